"""Text -> pieces of records, as it comes: what is still open at the end of a chunk waits for more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gristmill.tables.formulas import may_be_guarded
from gristmill.tables.model import Dialect, TooLargeToRead
from gristmill.tables.records import QUOTED_CHARS_MAX, RECORD_CHARS_MAX, Block, Grammar, split_records


class Piece(NamedTuple):
    """Records of one stretch of text and what is true for all of them."""

    block: Block
    first_line: int
    has_nul: bool = False
    needs_repair: bool = False
    has_broken_bytes: bool = False
    has_guards: bool = False
    blank: int = 0
    """Blank lines, when there is nothing else: a file may have millions of them."""


class Splitter:
    """Splits one text into records, chunk after chunk."""

    def __init__(self, dialect: Dialect, width: int) -> None:
        self._dialect = dialect
        self._grammar = Grammar(dialect.delimiter, dialect.quote, dialect.escape, dialect.skip_initial_space, width)
        self.line = 1
        """Line of the first record that was not given out yet."""
        self.waiting = ""
        """Text from there on."""
        self._enough = 0
        self._given_up = 0

    def feed(self, text: str, *, is_last: bool) -> Iterator[Piece]:
        """The records that are complete now. Raises TooLargeToRead."""
        self.waiting += text
        if len(self.waiting) < self._enough and not is_last:
            return
        if len(self.waiting) > RECORD_CHARS_MAX and self.waiting.find("\n", 0, RECORD_CHARS_MAX) < 0:
            raise TooLargeToRead(
                f"The record at line {self.line} is longer than {RECORD_CHARS_MAX} characters.",
                limit=RECORD_CHARS_MAX,
                line=self.line,
            )
        cut = len(self.waiting) if is_last else self.waiting.rfind("\n") + 1
        if not cut:
            return
        ready, self.waiting = self.waiting[:cut], self.waiting[cut:]
        if ready.isspace():
            blank = ready.count("\n") + (not ready.endswith("\n"))
            yield Piece(Block(), self.line, blank=blank)
            self.line += blank
            return
        used = False
        while ready:
            block = split_records(ready, self._grammar, is_last=is_last, first_line=self.line, given_up=self._given_up)
            if not block.rows:
                break
            self._given_up = block.given_up
            used = True
            yield self._piece(block, ready)
            self.line += block.used
            ready = block.rest
        self.waiting = ready + self.waiting
        # A long open record is tried again only when twice as much is there: linear, not quadratic.
        size = len(self.waiting)
        self._enough = 0 if used else min(2 * size, size + QUOTED_CHARS_MAX)

    def _piece(self, block: Block, text: str) -> Piece:
        is_broken = has_broken_bytes(text)
        return Piece(
            block,
            self.line,
            has_nul="\0" in text,
            needs_repair=is_broken or (self._dialect.newline == "\r" and "\r" in text),
            has_broken_bytes=is_broken,
            has_guards=self._dialect.guarded and may_be_guarded(text),
        )


def has_broken_bytes(text: str) -> bool:
    """Whether some bytes could not be decoded and stand in the text as escapes."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
