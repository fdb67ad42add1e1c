"""Classify rows by keywords: no model, no cost, the same answer every time."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from gristmill.agents.runtimes.python import Context
from gristmill.base.errors import PluginError

LABELS_MAX = 200
KEYWORDS_MAX = 5000


def classify(row: dict[str, Any], context: Context) -> dict[str, Any]:
    """Label the row's `text` with the label of `options.labels` (label -> list of keywords) that it names most often.

    Keywords are whole words, upper and lower case alike. The result is `{label, score, hits}`, where score is the
    share of all hits; it is empty when no keyword occurs. Ties go to the label that stands first.
    """
    labels: Any = context.options.get("labels")
    if not isinstance(labels, dict) or not labels or len(labels) > LABELS_MAX:
        raise PluginError(f"Set options.labels to 1-{LABELS_MAX} labels with their keywords.", permanent=True)
    text = " ".join(str(value) for value in row.values() if value is not None)
    hits = {
        label: len(_pattern(tuple(str(word) for word in words)).findall(text))
        for label, words in labels.items()
        if words
    }
    total = sum(hits.values())
    if total == 0:
        return {}
    best = max(hits, key=hits.__getitem__)
    return {"label": best, "score": round(hits[best] / total, 4), "hits": {k: v for k, v in hits.items() if v}}


@lru_cache(maxsize=1024)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    if len(words) > KEYWORDS_MAX:
        raise PluginError(f"A label has at most {KEYWORDS_MAX} keywords.", permanent=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)
