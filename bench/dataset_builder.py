"""Datasets built in this process, for the benchmarks of datasets: no HTTP and no job engine in between.

`FastEmbedder` gives vectors like the model's in microseconds, for what is not about the model; `meter_minilm` counts
the processor time that the model itself takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from harness import Cluster, cpu_s, rss_mb

DIMENSIONS = 384
LOOK_S = 0.25
MOVED = 0.5
"""Part of the way between two texts that a third one's vector is moved by."""


class FastEmbedder:
    """Vectors that are spread as the real model's are, without its time; one text alone, a question, gets its real one.

    A text's vector is that of one text that the model has seen, moved by some of the way between two others, all three
    chosen by the text's hash: it varies in the same directions as real vectors do, and nowhere else.
    """

    kind: ClassVar[str] = "fast"
    title: ClassVar[str] = "For benchmarks"
    summary: ClassVar[str] = "Vectors made of those of some texts."

    class Config(BaseModel):
        """None."""

    def __init__(self) -> None:
        self._seen = np.zeros((0, DIMENSIONS), np.float32)

    def learn(self, texts: Sequence[str]) -> None:
        """Embed some texts with the model."""
        from gristmill.datasets.embedders import minilm  # noqa: PLC0415 - after the environment is set

        self._seen = asyncio.run(minilm._encode(texts))

    def check(self, config: Any, context: Any) -> None:
        """Always fine."""

    def model(self, config: Any, context: Any) -> Any:
        """See Embedder."""
        from gristmill.datasets.embedders import Model  # noqa: PLC0415 - after the environment is set

        return Model("fast", DIMENSIONS, 254, 1e6)

    def count(self, texts: Sequence[str]) -> list[int]:
        """About."""
        return [len(text) // 4 for text in texts]

    @asynccontextmanager
    async def open(self, config: Any, context: Any) -> AsyncGenerator[Any]:
        """Nothing to load."""
        from gristmill.datasets.embedders import minilm  # noqa: PLC0415 - after the environment is set

        async def encode(texts: Sequence[str]) -> Any:
            if len(texts) == 1:
                return await minilm._encode(texts)
            hashes = b"".join(hashlib.blake2b(text.encode(), digest_size=12).digest() for text in texts)
            base, start, end = (np.frombuffer(hashes, "<u4").reshape(-1, 3) % len(self._seen)).T
            out = self._seen[base] + MOVED * (self._seen[end] - self._seen[start])
            return out / np.linalg.norm(out, axis=1, keepdims=True)

        yield encode


@dataclass
class Meter:
    """What the model took."""

    cpu_s: float = 0.0
    texts: int = 0


def meter_minilm() -> Meter:
    """Count the processor time inside of the embedded model, thread by thread."""
    from gristmill.datasets.embedders import minilm  # noqa: PLC0415 - after the environment is set

    meter, lock, real = Meter(), threading.Lock(), minilm._Session.embed

    def embed(self: Any, text: str) -> Any:
        started = time.thread_time()
        vector = real(self, text)
        with lock:
            meter.cpu_s += time.thread_time() - started
            meter.texts += 1
        return vector

    minilm._Session.embed = embed
    return meter


@dataclass
class Measured:
    """One build."""

    seconds: float
    cpu_s: float
    """Of this process and the database."""
    peak_mb: float
    """Of this process."""


class Builder:
    """One agent with datasets, on a cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        os.environ["GRISTMILL_DATA_DIR"] = str(folder / "data")
        from gristmill import agents, engine, identity  # noqa: PLC0415 - after the environment is set
        from gristmill.base.config import settings  # noqa: PLC0415
        from gristmill.base.db import Database  # noqa: PLC0415
        from gristmill.base.migrate import migrate  # noqa: PLC0415
        from gristmill.datasets import service  # noqa: PLC0415
        from gristmill.datasets.embedders import embedders  # noqa: PLC0415

        settings.cache_clear()
        migrate(cluster.url)
        engine.prepare(cluster.url)
        embedders.all()
        self.fast = FastEmbedder()
        embedders._kinds["fast"] = self.fast
        self.cluster, self.settings = cluster, settings()
        self.database = Database(cluster.url, application="bench")
        with self.database.system() as tx:
            self.organization_id = identity.create_organization(tx, "Bench").id
        with self.database.tx(self.organization_id) as tx:
            values = {"name": "Bench", "runtime": "http", "config": {"url": "https://agents.example.com"}}
            self.agent_id = agents.create(tx, self.organization_id, values).id
        self.scope = service.Scope(self.organization_id, self.agent_id)

    def create(self, data: bytes, template: str, *, kind: str = "minilm", key: str | None = "id") -> int:
        """A dataset that waits."""
        from gristmill.datasets import service  # noqa: PLC0415 - see above
        from gristmill.datasets.model import Draft, EmbedderChoice, TemplateOptions  # noqa: PLC0415

        sent = self._keep(data)
        draft = Draft("Bench", "csv", template, TemplateOptions(), key, EmbedderChoice(kind))
        with self.database.tx(self.organization_id) as tx:
            service.keep_file(tx, self.scope, sent)
            return service.create(tx, self.scope, draft, sent).id

    def replace(self, dataset_id: int, data: bytes) -> None:
        """Another file."""
        from gristmill.datasets import service  # noqa: PLC0415 - see above

        sent = self._keep(data)
        with self.database.tx(self.organization_id) as tx:
            service.keep_file(tx, self.scope, sent)
            service.update(tx, self.scope, dataset_id, service.Changes(file=sent))

    def process(self, dataset_id: int) -> None:
        """Ask for it again."""
        from gristmill.datasets import service  # noqa: PLC0415 - see above

        with self.database.tx(self.organization_id) as tx:
            service.process(tx, self.scope, dataset_id)

    def build(self, dataset_id: int) -> Measured:
        """Process what waits, here and now."""
        from gristmill.base.ids import uuid7  # noqa: PLC0415 - see above
        from gristmill.datasets import ingest  # noqa: PLC0415
        from gristmill.datasets.build import Build  # noqa: PLC0415
        from gristmill.datasets.lease import Lease  # noqa: PLC0415
        from gristmill.engine import JobContext  # noqa: PLC0415
        from gristmill.engine import store as engine_store  # noqa: PLC0415

        worker = uuid7()
        with self.database.system() as tx:
            engine_store.insert_worker(tx, worker, host="bench", pid=os.getpid(), queues=[])
        context = JobContext(worker, self.database, self.settings, asyncio.Event())
        with self.database.tx(self.organization_id) as tx:
            work = ingest.claim(tx, context, self.organization_id, dataset_id)
        if work is None:
            raise RuntimeError("nothing waits")
        peak, done = [rss_mb(os.getpid())], threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_S):
                peak[0] = max(peak[0], rss_mb(os.getpid()))

        threading.Thread(target=watch, daemon=True).start()
        database, started = cpu_s(self.cluster.pid), time.monotonic()
        own = time.process_time()
        asyncio.run(Build(Lease(context, work)).run())
        seconds = time.monotonic() - started
        cpu = time.process_time() - own + cpu_s(self.cluster.pid) - database
        done.set()
        return Measured(seconds, cpu, peak[0])

    def version(self, dataset_id: int) -> Any:
        """The newest version."""
        from gristmill.datasets import service  # noqa: PLC0415 - see above

        with self.database.tx(self.organization_id) as tx:
            return service.list_versions(tx, self.scope, dataset_id)[0]

    def stop(self) -> None:
        """Close the pool."""
        self.database.close()

    def _keep(self, data: bytes) -> Any:
        from gristmill.datasets import files  # noqa: PLC0415 - see above

        return files.keep(self.settings, self.organization_id, self.agent_id, "rows.csv", "csv", io.BytesIO(data))
