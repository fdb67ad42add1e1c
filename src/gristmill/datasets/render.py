"""Rows to texts, and texts to chunks: what a recipe says. Pure but for the embedder's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from gristmill import gotemplate
from gristmill.base import jsons
from gristmill.datasets import chunks
from gristmill.datasets.embedders import Embedder, Model
from gristmill.datasets.keys import digest
from gristmill.datasets.model import Draft, TemplateOptions, storable
from gristmill.gotemplate import Template, TemplateError

NO_VALUE = "<no value>"
"""What Go writes for a key that a row lacks."""
REASON_CHARS_MAX = 1_000


def recipe(draft: Draft, model: Model) -> bytes:
    """A hash of all that decides how a row becomes chunks."""
    facts = {
        "template": draft.template,
        "options": asdict(draft.options),
        "rules": chunks.RULES,
        "model": model.name,
        "window": model.window,
    }
    return digest(jsons.dumps_sorted(facts))


def compiled(template: str, options: TemplateOptions, *, typed: bool) -> Template:
    """A template, checked. Raises `TemplateError` with line, column and Go's message."""
    return gotemplate.compile(
        template,
        missingkey=options.missing_key,
        functions={} if options.go_functions_only else gotemplate.HELPERS,
        data_mode="typed" if typed else "csv",
    )


def go_value(value: Any) -> Any:
    """A JSON value as Go's encoding/json decodes it: every number is a float64."""
    if isinstance(value, dict):
        return {key: go_value(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [go_value(item) for item in cast("list[Any]", value)]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return str(value)
    return value


def stored_json(value: Any) -> str:
    """A row as it is kept: JSON without NULs and halves of surrogate pairs, which PostgreSQL can't hold."""
    try:
        text = jsons.dumps(value)
    except (TypeError, ValueError):
        return jsons.dumps(_clean(value)).decode()
    return jsons.dumps(_clean(value)).decode() if b"\\u0000" in text else text.decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _clean(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_clean(item) for item in cast("list[Any]", value)]
    return value


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of one row: its chunks, or why it has none."""

    texts: list[str]
    reason: str = ""
    """Why the template failed; empty where it gave no text."""
    lacks_value: bool = False
    """Whether the text has Go's mark of a missing key."""


class Renderer:
    """Renders rows and cuts their texts."""

    def __init__(self, template: Template, names: Sequence[str], embedder: Embedder, window: int) -> None:
        self._template = template
        self._names = names
        self._embedder = embedder
        self._window = window

    def data(self, row: Sequence[str], value: Any) -> Any:
        """A row as it is kept and shown: its cells by column, or the JSON value."""
        if value is None:
            return dict(zip(self._names, row, strict=True))
        return value if isinstance(value, dict) else {"value": value}

    def render(self, rows: Sequence[Sequence[str]], values: Sequence[Any] | None) -> list[Rendered]:
        """The chunks of each row."""
        if values is None:
            data: list[Any] = [dict(zip(self._names, row, strict=True)) for row in rows]
        else:
            data = [go_value(value) for value in values]
        texts = self._template.render_each(data)
        fine = [storable(text).strip() for text in texts if isinstance(text, str)]
        long = [text for text in fine if len(text) > self._window]
        sizes = dict(zip(long, self._embedder.count(long), strict=True)) if long else {}
        waiting = iter(fine)
        return [
            Rendered([], text.message[:REASON_CHARS_MAX])
            if isinstance(text, TemplateError)
            else self._cut(next(waiting), sizes)
            for text in texts
        ]

    def _cut(self, text: str, sizes: dict[str, int]) -> Rendered:
        lacks = NO_VALUE in text
        if not text:
            return Rendered([])
        if sizes.get(text, 0) <= self._window:
            return Rendered([text], lacks_value=lacks)
        try:
            return Rendered(chunks.split(text, self._window, self._embedder.count), lacks_value=lacks)
        except chunks.TooManyChunks as error:
            return Rendered([], str(error))
