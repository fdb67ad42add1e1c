"""Nouns of templates: the error, the limits, and what a template run counts against them."""

from __future__ import annotations

import re
from typing import Literal, get_args

from gristmill.base.errors import Error, FieldError

Stage = Literal["parse", "exec"]
"""Where an error was found: in the text, or while a row was rendered."""
MissingKey = Literal["default", "zero", "error"]
MISSING_KEYS: tuple[MissingKey, ...] = get_args(MissingKey)
DataMode = Literal["typed", "csv"]

TEMPLATE_CHARS_MAX = 256 * 1024
"""Characters of a template's text."""
NODES_MAX = 5_000
"""Parts of a template: texts, actions, operands."""
PARENS_MAX = 40
"""Parentheses within one another. Go allows 10,000; each level needs a few frames of Python's stack."""
NESTING_MAX = 60
"""Blocks (`if`, `with`, `range`, `block`) within one another."""
RANGES_MAX = 15
"""`range` blocks within one another: Python allows 20 loops."""
CALLS_MAX = 200
"""Templates that call one another at a time; Go allows 100,000."""
OUTPUT_CHARS_MAX = 4 * 1024 * 1024
"""Characters of one rendered row."""
STEPS_MAX = 1_000_000
"""Steps of one row: every part of a template that runs, each time it runs."""
STEPS_BETWEEN_CHECKS = 500
SECONDS_MAX = 0.3
"""CPU time of one row, looked at when steps are counted: no row of real data comes near it."""
TEXT_CHARS_MAX = 1024 * 1024
"""Characters of one text that a function makes."""
MADE_CHARS_MAX = 4 * 1024 * 1024
"""Characters of all long texts that functions make for one row."""
LONG_CHARS = 1024
"""A text is long from here on: its characters are counted."""


MESSAGE_CHARS_MAX = 20_000
"""Characters of a message: values of a row may stand in it."""
_LONE = re.compile("[\ud800-\udfff]")
"""Bytes that are not UTF-8, as they stand in a text; a message must be fit to be sent."""


class TemplateError(Error):
    """The template can't be read, or a row can't be rendered with it."""

    code = "invalid"

    def __init__(self, message: str, *, stage: Stage, line: int, column: int, partial: str = "") -> None:
        """`message` is Go's own wording, `template: t:4:5: executing ...` included.

        `line` counts from 1. `column` is the number of bytes before the place in its line, as Go counts; Go's own
        messages name it for errors of the stage `exec` only. `partial` is what was written before the error.
        """
        message = _LONE.sub("\ufffd", message)
        if len(message) > MESSAGE_CHARS_MAX:
            message = message[:MESSAGE_CHARS_MAX] + "..."
        super().__init__(message, errors=(FieldError("template", message, line, column),))
        self.stage: Stage = stage
        self.line = line
        self.column = column
        self.partial = partial


class Failure(Exception):
    """A row can't be rendered: at which site of the program, and why."""

    def __init__(self, site: int, reason: str) -> None:
        super().__init__(reason)
        self.site = site
        self.reason = reason
        self.partial = ""


class Meter:
    """What one row has used of its limits."""

    __slots__ = ("check", "made", "steps", "until")

    def __init__(self) -> None:
        self.steps = 0
        self.check = STEPS_BETWEEN_CHECKS
        """When so many steps are done, the limits are looked at."""
        self.made = 0
        """Characters of long texts that functions made."""
        self.until = 0.0
        """When the row must be done, on the thread's clock; 0 before the first look."""
