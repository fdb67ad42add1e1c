"""Python source, line by line: text pieces that are joined late, names that are never used twice.

No text of a template or a row gets into the source except as `repr` of a constant; names are letters and counters.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gristmill.gotemplate.model import OUTPUT_CHARS_MAX
from gristmill.gotemplate.nodes import Call, Command, Operand

INDENT_MAX = 90
"""Levels of indentation; Python reads up to 100."""
PIECES_MAX = 16
"""Pieces that one f-string joins."""
NOT_CONSTANT: Any = object()

Place = Operand | Command | Call
"""What an error message can point at."""


_ASSIGNMENT = re.compile(r"([a-z]\d+) = (.+)")


class TooDeep(Exception):
    """The program would be nested deeper than Python allows."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value while the program is written: the code that names it, and what is known of it beforehand."""

    code: str
    """A name or a literal, so that it can be written several times."""
    kind: str = "any"
    """`str`, `int`, `float`, `bool`, `complex`, or `any`."""
    boxed: str = ""
    """Python expression: whether Go sees it with the static type interface {}; empty for no."""
    three: bool = False
    """Whether it may be `MISSING` beside None."""
    constant: Any = NOT_CONSTANT
    at: str = "0"
    """Python expression: the site that was evaluated last, where Go reports what goes wrong next."""
    is_row: bool = False
    """Whether it is the row itself, known to be a dict."""


@dataclass(slots=True)
class Aside:
    """Code kept apart until it is known how to place it."""

    depth: int
    lines: list[str]
    pieces: list[str]
    """Pieces not written yet."""

    def raised(self) -> Aside:
        """The same, one level less indented."""
        return Aside(self.depth - 1, [line[1:] for line in self.lines], self.pieces)

    def folded(self, code: str) -> str | None:
        """The code as one expression with the assignments before it; None when there are other statements."""
        steps: list[str] = []
        for line in self.lines:
            found = _ASSIGNMENT.fullmatch(line, self.depth)
            if not found:
                return None
            steps.append(f"({found[1]} := {found[2]})")
        if not steps:
            return code
        if not steps[-1].startswith(f"({code} := "):
            steps.append(code)
        return steps[0] if len(steps) == 1 else f"({', '.join(steps)})[-1]"


@dataclass(slots=True)
class Emitter:
    """The program as it grows."""

    exact: bool
    """Write out every piece at once, so that an error finds the text before it; slower."""
    lines: list[str] = field(default_factory=list[str])
    depth: int = 0
    pieces: list[str] = field(default_factory=list[str])
    """Insides of f-strings, not written yet."""
    globals: dict[str, Any] = field(default_factory=dict[str, Any])
    """Names of constants that have no literal."""
    sites: list[tuple[Place, str]] = field(default_factory=list[tuple[Place, str]])
    """Places of errors with the name of the template they are in, by number."""
    template: str = ""
    """The name of the template being written."""
    started: bool = False
    """Whether the variable `s` has been set."""
    place_of_output: str = "0"
    """The site where an output that is too long is told."""
    _unchecked: int = 0
    """Values written since the output's length was looked at."""
    _count: int = 0
    _numbers: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])

    def name(self, letter: str = "t") -> str:
        """A fresh name."""
        self._count += 1
        return f"{letter}{self._count}"

    def line(self, text: str) -> None:
        """One statement."""
        if self.depth > INDENT_MAX:
            raise TooDeep
        self.lines.append(" " * self.depth + text)

    def set(self, code: str) -> str:
        """A fresh name for the expression's value."""
        name = self.name()
        self.line(f"{name} = {code}")
        return name

    def constant(self, value: Any) -> str:
        """The name of a constant that has no literal."""
        name = self.name("K")
        self.globals[name] = value
        return name

    def site(self, place: Place) -> str:
        """The number of a place."""
        key = (id(place), self.template)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.sites)
            self.sites.append((place, self.template))
        return str(number)

    @contextmanager
    def indented(self) -> Generator[None]:
        """A deeper level; an empty one gets a `pass`."""
        self.depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1

    @contextmanager
    def aside(self) -> Generator[Aside]:
        """Lines and pieces kept apart; it is up to the caller to place them."""
        kept = self.lines, self.pieces, self.started
        apart = Aside(self.depth, [], [])
        self.lines, self.pieces = apart.lines, apart.pieces
        yield apart
        self.lines, self.pieces, self.started = kept

    def place(self, part: Aside) -> None:
        """Put code that was kept apart here."""
        self.lines += part.lines
        if part.pieces:
            self.lines.append(f"{' ' * part.depth}s += {joined(part.pieces)}")
        elif not part.lines:
            self.lines.append(f"{' ' * part.depth}pass")

    # Output

    def text(self, text: str) -> None:
        """Literal text of the output."""
        if text:
            self.piece(braced(text))

    def shown(self, code: str) -> None:
        """A value of the output; the expression has no quotes and no backslashes in it."""
        self.piece(f"{{{code}}}")

    def piece(self, piece: str) -> None:
        """Inside of an f-string."""
        if piece:
            self.pieces.append(piece)
        if self.exact or len(self.pieces) >= PIECES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write the pieces to `s`."""
        if not self.pieces:
            return
        self.line(f"s {'+=' if self.started else '='} {joined(self.pieces)}")
        self.started = True
        self._unchecked += sum(piece[:1] == "{" for piece in self.pieces)
        self.pieces.clear()
        if self._unchecked >= PIECES_MAX:
            self._unchecked = 0
            self.line(f"if len(s) > {OUTPUT_CHARS_MAX}: overflow({self.place_of_output}, s)")

    def begin(self) -> None:
        """Make sure that `s` is set."""
        self.flush()
        if not self.started:
            self.line("s = ''")
            self.started = True


def braced(text: str) -> str:
    """Literal text inside of an f-string."""
    return text.replace("{", "{{").replace("}", "}}")


def joined(pieces: list[str]) -> str:
    """An expression of pieces put together.

    `repr` makes the literal: what is between braces has no quotes and no backslashes, so it comes through unchanged.
    """
    text = "".join(pieces)
    if not any(piece[:1] == "{" and piece[:2] != "{{" for piece in pieces):
        return repr(text.replace("{{", "{").replace("}}", "}"))
    return f"f{text!r}"
