"""Questions on their way to `search`: which models they need, their vectors, and the whole for an edge.

No transaction is open while something is embedded, but those of other threads: the words of a question are looked up
meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.datasets import search_store
from gristmill.datasets.embedders import EmbedderContext, embedders, parse_config
from gristmill.datasets.model import DatasetNotFound, EmbedderChoice, NoVectorSearch, Question, SearchResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gristmill.datasets.searching import Prepared

QUESTIONS_KEPT = 1_000
"""Vectors of questions that are kept in memory."""
ROUNDS_MAX = 3
"""A question is embedded anew so often while its datasets change to other models meanwhile."""


def embedders_of(
    tx: Tx, organization_id: int, agent_id: int, dataset_ids: Sequence[int] | None
) -> list[EmbedderChoice]:
    """What made the vectors of an agent's datasets. Raises `DatasetNotFound` for an id that is not the agent's."""
    rows = rows_of(tx, organization_id, agent_id, dataset_ids)
    found = {repr(row["embedder"]): EmbedderChoice(**row["embedder"]) for row in rows}
    return list(found.values())


_questions: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
_questions_lock = threading.Lock()


async def embed_question(
    settings: Settings, database: Database, organization_id: int, choices: Sequence[EmbedderChoice], text: str
) -> dict[str, NDArray[np.float32]]:
    """The question's vector by each model. Raises `PluginError` of an embedder; no transaction may be open."""
    vectors: dict[str, NDArray[np.float32]] = {}
    for choice in choices:
        embedder = embedders.get(choice.kind)
        config = parse_config(embedder, choice.config)
        context = EmbedderContext(settings, organization_id, database)
        name = embedder.model(config, context).name
        with _questions_lock:
            known = _questions.get((name, text))
        if known is None:
            async with embedder.open(config, context) as encode:
                known = (await encode([text]))[0]
            with _questions_lock:
                _questions[name, text] = known
                while len(_questions) > QUESTIONS_KEPT:
                    _questions.popitem(last=False)
        vectors[name] = known
    return vectors


async def embed_texts(
    settings: Settings,
    texts: Sequence[str],
    *,
    choice: EmbedderChoice | None = None,
    organization_id: int = 0,
    database: Database | None = None,
) -> NDArray[np.float32]:
    """Vectors of length 1 of any texts, one line each, by an embedder or the installation's usual one.

    Raises `PluginError` of the embedder; no transaction may be open. `database` is needed for one with a secret.
    """
    wanted = choice or EmbedderChoice(settings.embedder)
    embedder = embedders.get(wanted.kind)
    config = parse_config(embedder, wanted.config)
    async with embedder.open(config, EmbedderContext(settings, organization_id, database)) as encode:
        return await encode(list(texts))


async def ask(
    database: Database,
    settings: Settings,
    organization_id: int,
    agent_id: int,
    question: Question,
    *,
    choices: Sequence[EmbedderChoice] | None = None,
) -> SearchResult:
    """The whole of it, for an edge: look, embed, search. Raises what `embed_question` and `search` raise.

    `choices` spares a transaction where `embedders_of` was called in one before.
    """

    def look() -> list[EmbedderChoice]:
        with database.tx(organization_id) as tx:
            return embedders_of(tx, organization_id, agent_id, question.dataset_ids)

    def prepare() -> Prepared:
        from gristmill.datasets.searching import prepare  # noqa: PLC0415 - see find

        with database.tx(organization_id) as tx:
            return prepare(tx, organization_id, agent_id, question)

    def find(vectors: Mapping[str, NDArray[np.float32]], prepared: Prepared | None) -> SearchResult:
        from gristmill.datasets.searching import search  # noqa: PLC0415 - a tenth of a second that a start does not pay

        with database.tx(organization_id) as tx:
            return search(tx, organization_id, agent_id, question, vectors, prepared)

    if question.mode == "keyword":
        return await asyncio.to_thread(find, {}, None)
    wanted = await asyncio.to_thread(look) if choices is None else list(choices)
    for rounds_left in reversed(range(ROUNDS_MAX)):
        embedding = embed_question(settings, database, organization_id, wanted, question.text)
        vectors, prepared = await _beside(embedding, prepare if question.mode == "hybrid" else None)
        try:
            return await asyncio.to_thread(find, vectors, prepared)
        except NoVectorSearch:
            before, wanted = wanted, await asyncio.to_thread(look)
            if wanted == before or not rounds_left:
                raise
    raise AssertionError("the last round returns or raises")


async def _beside(
    embedding: Coroutine[Any, Any, dict[str, NDArray[np.float32]]], prepare: Callable[[], Prepared] | None
) -> tuple[dict[str, NDArray[np.float32]], Prepared | None]:
    """The vectors, and what was prepared while they were made: nothing where they were known already."""
    task, prepared = asyncio.ensure_future(embedding), None
    try:
        await asyncio.sleep(0)  # known vectors are there after this turn of the loop
        if prepare is not None and not task.done():
            prepared = await asyncio.to_thread(prepare)
        return await task, prepared
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def rows_of(tx: Tx, organization_id: int, agent_id: int, dataset_ids: Sequence[int] | None) -> list[dict[str, Any]]:
    """The datasets that are meant and can be searched. Raises `DatasetNotFound` for an id that is not the agent's."""
    rows = search_store.list_searchable(tx, organization_id, agent_id, dataset_ids)
    missing = set(dataset_ids or ()) - {row["id"] for row in rows}
    if missing:
        raise DatasetNotFound(f"Agent {agent_id} has no dataset {min(missing)}.")
    return [row for row in rows if row["version"] is not None]
