"""What makes vectors of texts: the plug-in family `embedders`, one file each.

An embedder is a class with `kind`, `title`, `summary`, `Config` and four methods. Others add theirs by an entry point
of the group `gristmill.embedders` that loads an instance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ValidationError

from gristmill import vault
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.kinds import Family

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
else:
    Vectors = Any

DIMENSIONS_MAX = 4_000
"""What an index of half-precision vectors takes."""


@dataclass(frozen=True, slots=True)
class EmbedderContext:
    """What an embedder may use."""

    settings: Settings
    organization_id: int
    database: Database | None = None
    """For secrets; None where a config is only checked. No transaction is open during a call."""

    def secret(self, secret_ref: str) -> vault.Revealed:
        """The values of a secret; not on an event loop. Raises `Error` when it can't be opened."""
        if self.database is None:
            raise LookupError("a config that is only checked opens no secret")
        with self.database.tx(self.organization_id) as tx:
            return vault.reveal(tx, self.organization_id, secret_ref, purpose="embeddings")


@dataclass(frozen=True, slots=True)
class Model:
    """What is known about a model without calling it."""

    name: str
    """What the cache of vectors knows it by: equal names, equal vectors."""
    dimensions: int | None
    """None: the first answer tells."""
    window: int
    """Tokens of the longest text."""
    texts_per_s: float
    """About how many it embeds, for estimates."""
    price_micro_usd_per_million_tokens: int = 0


Encode = Callable[[Sequence[str]], Awaitable[Vectors]]
"""Texts to vectors of length 1, one line each. Raises `PluginError`; one that is not permanent may be tried again."""


class Embedder(Protocol):
    """A way to make vectors."""

    kind: ClassVar[str]
    """The word in the API and the database."""
    title: ClassVar[str]
    """What lists and forms show."""
    summary: ClassVar[str]
    """One sentence for a form."""
    Config: ClassVar[type[BaseModel]]
    """Its settings; secrets are named by `secret_ref`."""

    def check(self, config: Any, context: EmbedderContext) -> None:
        """Refuse, with an `Error`, a config that can't work here; calls nothing."""
        ...

    def model(self, config: Any, context: EmbedderContext) -> Model:
        """The model that a config names."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, or a little more than it can have."""
        ...

    def open(self, config: Any, context: EmbedderContext) -> AbstractAsyncContextManager[Encode]:
        """Ready to embed."""
        ...


embedders: Family[Embedder] = Family("embedders", "gristmill.datasets.embedders", "embedder.kind")
"""Every module of this folder with a `PLUGIN`, and entry points of the same group."""


def parse_config(embedder: Embedder, values: dict[str, Any]) -> BaseModel:
    """A config from JSON. Raises `Invalid` that names the fields."""
    try:
        return embedder.Config.model_validate(values)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(["embedder.config", *(str(part) for part in item["loc"])]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=wrong) from None
