"""The words for states, each with its tone, and how rows share a bar. Colour never says anything alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gristmill import enrich
from gristmill.agents import Agent
from gristmill.batches import Batch
from gristmill.batches.model import LIVE, RowStatus
from gristmill.enrich.service import status_of
from gristmill.identity import ApiKey

Tone = Literal["ok", "warn", "bad", "info", "mute"]


@dataclass(frozen=True, slots=True)
class Word:
    """A state as people read it."""

    text: str
    tone: Tone


BATCH_WORDS: dict[str, Word] = {
    "queued": Word("Queued", "mute"),
    "running": Word("Running", "info"),
    "paused": Word("Paused", "warn"),
    "completed": Word("Completed", "ok"),
    "failed": Word("Failed", "bad"),
    "cancelled": Word("Cancelled", "mute"),
}
COMPLETED_WITH_ERRORS = Word("Completed with errors", "warn")
UPLOADED = Word("Uploaded", "mute")

ROW_WORDS: dict[str, Word] = {
    "succeeded": Word("Succeeded", "ok"),
    "empty": Word("Empty", "mute"),
    "failed": Word("Failed", "bad"),
    "cancelled": Word("Cancelled", "warn"),
    "skipped": Word("Skipped", "mute"),
    "duplicate": Word("Duplicate", "mute"),
    "running": Word("Running", "info"),
    "pending": Word("Pending", "mute"),
    "retry": Word("Tried again", "warn"),
}
BAR: tuple[RowStatus, ...] = (
    "succeeded", "empty", "duplicate", "skipped", "failed", "cancelled", "running", "pending",
)  # fmt: skip
"""Order of the parts of a bar: what ended, what runs, what waits."""
ALWAYS_SHOWN = frozenset({"succeeded", "empty", "failed", "running", "pending"})
BAR_UNITS = 1000
PART_UNITS_MIN = 6
"""A part that has any row is wide enough to be seen."""

WHAT_NEXT: dict[str, str] = {
    "user": "Resume goes on where it stopped; finished rows are neither run nor billed again.",
    "balance": "Add money with `gristmill topup 25`, then press Resume.",
    "budget": "A batch keeps its budget: cancel it and start another for the rest. "
    "An agent's daily budget is free again at midnight UTC: then press Resume.",
    "failures": "Look at the failures by cause below, mend what is wrong, then press Resume.",
    "schedule": "It goes on by itself when its time comes.",
}
"""What to do about a paused batch, by reason."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar."""

    name: str
    word: str
    count: int
    x: int
    width: int
    shown: bool
    """Whether the legend names it."""


def waits_for_start(batch: Batch) -> bool:
    """Whether it is a lead file whose columns somebody should look at first."""
    return batch.origin.get("kind") == enrich.ORIGIN and status_of(batch) == "uploaded"


def batch_word(batch: Batch) -> Word:
    """A batch's state."""
    if batch.status == "completed" and batch.failed:
        return COMPLETED_WITH_ERRORS
    if waits_for_start(batch):
        return UPLOADED
    return BATCH_WORDS[batch.status]


def widths(counts: Sequence[int]) -> list[int]:
    """Shares of `BAR_UNITS`, nothing that exists too thin to be seen; the widest gives what others need."""
    total = sum(counts)
    if total == 0:
        return [0] * len(counts)
    found = [max(count * BAR_UNITS // total, PART_UNITS_MIN) if count else 0 for count in counts]
    widest = found.index(max(found))
    found[widest] += BAR_UNITS - sum(found)
    return found


def bar(batch: Batch) -> list[Part]:
    """All parts of a batch's bar, empty ones too: the page's script gives them their later widths."""
    counts = [int(getattr(batch, name)) for name in BAR]
    parts: list[Part] = []
    x = 0
    for name, count, width in zip(BAR, counts, widths(counts), strict=True):
        parts.append(Part(name, ROW_WORDS[name].text, count, x, width, name in ALWAYS_SHOWN or count > 0))
        x += width
    return parts


def title_of(batch: Batch) -> str:
    """A batch's name; unless it was given one: what its rows came from, or its agent and when."""
    origin = batch.origin.get("name")
    if batch.name or origin:
        return batch.name or str(origin)
    return f"{batch.agent_name}, {batch.created_at.day} {batch.created_at:%b %H:%M}"


def key_word(key: ApiKey, now: datetime) -> Word:
    """Whether a key opens anything."""
    if key.revoked_at is not None:
        return Word("Revoked", "mute")
    if key.expires_at is not None and key.expires_at <= now:
        return Word("Expired", "mute")
    return Word("Ends soon", "warn") if key.expires_at is not None else Word("Active", "ok")


DELIVERY_WORDS: dict[str, Word] = {
    "pending": Word("Waiting", "info"),
    "delivered": Word("Delivered", "ok"),
    "dead": Word("Dead", "bad"),
}
DATASET_WORDS: dict[str, Word] = {
    "pending": Word("Waiting", "mute"),
    "processing": Word("Processing", "info"),
    "completed": Word("Completed", "ok"),
    "failed": Word("Failed", "bad"),
}
RECEIVER_WORDS: dict[str, Word] = {
    "active": Word("Active", "ok"),
    "paused": Word("Paused", "warn"),
    "disabled": Word("Disabled", "bad"),
}


_EXAMPLES = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
EXAMPLE_FIELDS_MAX = 4


def example_items(agent: Agent, key: str = "") -> str:
    """One row such as the agent takes, as JSON: its required fields, else its first ones. Under `key`, when given."""
    needed = [item for item in agent.input_fields if item.required] or list(agent.input_fields)
    row = {item.name: _EXAMPLES.get(item.type, "...") for item in needed[:EXAMPLE_FIELDS_MAX]} or {"name": "..."}
    return json.dumps({key: [row]} if key else [row], ensure_ascii=False)


def ended_rows(batch: Batch) -> int:
    """Rows that need no more work."""
    return batch.rows_in - batch.pending - batch.running


def is_live(batch: Batch) -> bool:
    """Whether workers take its rows now."""
    return batch.status in LIVE
