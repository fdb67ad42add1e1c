"""Knowledge of agents, made from files by templates: searched by meaning and by words, counted by SQL.

Other rooms look into datasets by `ask` (a question from an edge, whole) or, inside of their own transaction,
`embedders_of` and `embed_question` before it and `search` in it; by `query` (one guarded SELECT), `record_rows`,
`live_version`, `embedder_of` and `embed_texts`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gristmill.datasets.model import (
    Answer,
    Dataset,
    DatasetNotFound,
    EmbedderChoice,
    Hit,
    NoVectorSearch,
    Question,
    SearchResult,
)
from gristmill.datasets.questions import ask, embed_question, embed_texts, embedders_of
from gristmill.datasets.service import (
    Changes,
    Scope,
    embedder_of,
    forget_agent,
    get,
    list_datasets,
    live_version,
    process,
    record_rows,
)

if TYPE_CHECKING:
    from gristmill.datasets.querying import query
    from gristmill.datasets.searching import search

__all__ = [
    "Answer",
    "Changes",
    "Dataset",
    "DatasetNotFound",
    "EmbedderChoice",
    "Hit",
    "NoVectorSearch",
    "Question",
    "Scope",
    "SearchResult",
    "ask",
    "embed_question",
    "embed_texts",
    "embedder_of",
    "embedders_of",
    "forget_agent",
    "get",
    "list_datasets",
    "live_version",
    "process",
    "query",
    "record_rows",
    "search",
]


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is asked for. Raises `AttributeError`."""
    module = {"query": "querying", "search": "searching"}.get(name)
    if module is None:
        raise AttributeError(name)
    return getattr(import_module(f"gristmill.datasets.{module}"), name)
