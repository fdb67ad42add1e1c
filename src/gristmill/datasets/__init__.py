"""Knowledge of agents, made from files by templates: searched by meaning and by words, counted by SQL.

Other rooms look into datasets by `ask` (a question from an edge, whole) or, inside of their own transaction,
`embedders_of` and `embed_question` before it and `search` in it; by `query` (one guarded SELECT), `record_rows`,
`live_version` and `embed_texts`. What needs NumPy is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gristmill.datasets.model import Answer, Dataset, DatasetNotFound, Hit, NoVectorSearch
from gristmill.datasets.service import Changes, Scope, get, list_datasets, live_version, process, record_rows

if TYPE_CHECKING:
    from gristmill.datasets.query import query
    from gristmill.datasets.search import (
        Question,
        SearchResult,
        ask,
        embed_question,
        embed_texts,
        embedders_of,
        search,
    )

__all__ = [
    "Answer",
    "Changes",
    "Dataset",
    "DatasetNotFound",
    "Hit",
    "NoVectorSearch",
    "Question",
    "Scope",
    "SearchResult",
    "ask",
    "embed_question",
    "embed_texts",
    "embedders_of",
    "get",
    "list_datasets",
    "live_version",
    "process",
    "query",
    "record_rows",
    "search",
]

_LATER = {
    "query": "query",
    **dict.fromkeys(
        ("Question", "SearchResult", "ask", "embed_question", "embed_texts", "embedders_of", "search"), "search"
    ),
}
"""Name -> module that is imported when the name is asked for."""


def __getattr__(name: str) -> Any:
    """Load what is heavy. Raises `AttributeError`."""
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(f"gristmill.datasets.{_LATER[name]}"), name)
