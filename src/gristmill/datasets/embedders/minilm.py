"""The embedded model: all-MiniLM-L6-v2 in 8-bit integers on the processor; no key, no network.

Texts are embedded one at a time: dynamic quantisation scales by batch, so a vector would depend on what it was
embedded with, and the cache relies on equal texts having equal vectors. One session that runs on one thread is shared
by as many threads as the machine has processors.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from gristmill.base.errors import PluginError
from gristmill.datasets.embedders import EmbedderContext, Encode, Model, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

DIMENSIONS = 384
TOKENS_MAX = 256
SPECIAL_TOKENS = 2
"""The model's marks for begin and end stand in the window as well."""
TEXTS_PER_S = 200.0
"""Of texts of sixty tokens on one processor."""
WEIGHTS = {
    "minilm.onnx": "69512021253eaa2d9b178785e60298184c3ee6a2176b6d18b74ce65fe3e64f61",
    "minilm.tokenizer.json.gz": "b366cd34435037c9f627984279fc6bb5217e30c0c068d9152a5a06584a9953d4",
}
"""SHA-256 of the files of the model."""


class Config(BaseModel):
    """The embedded model has no settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Session:
    """The model, loaded once per process."""

    def __init__(self) -> None:
        # First NumPy: ONNX Runtime loads it from C, by another way in. Beside a thread that imports NumPy by its door
        # both fail, and then NumPy can't be loaded in this process any more.
        import_module("numpy")
        import onnxruntime as ort  # noqa: PLC0415 - a quarter of a second that only embedding needs

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting would burn a processor
        options.log_severity_level = 3
        self._session = ort.InferenceSession(_read("minilm.onnx"), options, providers=["CPUExecutionProvider"])
        self._tokenizer = _new_tokenizer()
        self._tokenizer.enable_truncation(TOKENS_MAX)

    def embed(self, text: str) -> NDArray[np.float32]:
        """One vector of length 1: the mean over the tokens."""
        import numpy as np  # noqa: PLC0415 - see __init__

        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        answer: Any = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        mean = answer[0].mean(0)
        return mean / np.linalg.norm(mean)


def _read(name: str) -> bytes:
    data = files("gristmill.datasets.embedders").joinpath("weights", name).read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS[name]:
        raise PluginError(f"The file {name} of the embedded model is damaged; install Gristmill again.", permanent=True)
    return data


def _new_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415 - only embedding needs it

    tokenizer = Tokenizer.from_str(gzip.decompress(_read("minilm.tokenizer.json.gz")).decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@lru_cache(maxsize=1)
def _counter() -> Tokenizer:
    return _new_tokenizer()


_loading = threading.Lock()


def _session() -> _Session:
    with _loading:  # threads that come together load one
        return _make_session()


@lru_cache(maxsize=1)
def _make_session() -> _Session:
    return _Session()


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="embed")


def _embed(texts: Sequence[str]) -> Vectors:
    import numpy as np  # noqa: PLC0415 - see _Session

    session = _session()
    return np.array([session.embed(text) for text in texts], np.float32).reshape(-1, DIMENSIONS)


async def _encode(texts: Sequence[str]) -> Vectors:
    """One text, a question, does not queue behind the many of a dataset."""
    if len(texts) <= 1:
        return await asyncio.to_thread(_embed, texts)
    import numpy as np  # noqa: PLC0415 - see _Session

    loop, count = asyncio.get_running_loop(), os.cpu_count() or 1
    shares = [texts[first::count] for first in range(count)]
    parts = await asyncio.gather(*(loop.run_in_executor(_threads(), _embed, share) for share in shares))
    vectors = np.empty((len(texts), DIMENSIONS), np.float32)
    for first, part in enumerate(parts):
        vectors[first::count] = part
    return vectors


class MiniLm:
    """See the module."""

    kind: ClassVar[str] = "minilm"
    title: ClassVar[str] = "Embedded model"
    summary: ClassVar[str] = "all-MiniLM-L6-v2 on this machine: English, no key, no network."
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: EmbedderContext) -> None:
        """Always fine."""

    def model(self, config: Config, context: EmbedderContext) -> Model:
        """See Embedder."""
        del config, context
        threads = os.cpu_count() or 1
        return Model("all-minilm-l6-v2-int8", DIMENSIONS, TOKENS_MAX - SPECIAL_TOKENS, TEXTS_PER_S * threads)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Exactly, by the model's own tokenizer."""
        if len(texts) == 1 and len(texts[0]) < TOKENS_MAX // 4:
            return [len(texts[0])]  # shorter than the window whatever the tokens
        found = _counter().encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(item.ids) for item in found]

    @asynccontextmanager
    async def open(self, config: Config, context: EmbedderContext) -> AsyncGenerator[Encode]:
        """Loads the model on first use."""
        del config, context
        if not _make_session.cache_info().currsize:
            await asyncio.to_thread(_session)
        yield _encode


PLUGIN = MiniLm()
