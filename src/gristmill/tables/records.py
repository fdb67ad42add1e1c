"""Lines -> records of cells: the inner loop of reading delimited text.

Three gears, fastest first. Text without quotes is split. Text with well-formed quotes goes through the C
parser of the csv module in strict mode. A record that parser refuses is read by `parse_record`, which
knows stray quotes, escapes, long delimiters and quotes that are never closed.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import MutableSequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

RECORD_CHARS_MAX = 16 * 1024 * 1024
"""Characters of one line; more is refused."""
QUOTED_CHARS_MAX = 2 * 1024 * 1024
"""A quoted field may span lines up to here before its opening quote is taken literally."""
QUOTES_MAX = 200_000
"""Quotes of a record that are looked at one by one; in a record with more they are letters."""
LENIENT_LINES_MAX = 50
"""A field with stray quotes inside may span this many lines."""
LENIENT_TRIES_MAX = 3
"""Ends tried for such a field: every try reads the record anew."""
GIVEN_UP_MAX = 20
"""After so many fields without an end, further ends are not looked for ..."""
LINES_PER_GIVEN_UP = 1_000
"""... but for one more in so many lines."""
BLOCK_LINES = 50_000
"""Lines of one block, unless one record has more."""
_NOT_YET, _TOO_FAR = 0, -1
_WINDOW_LINES, _WINDOW_LINES_MAX = 4, 512
"""Lines given to the C parser at once after it met a bad one, twice as many while all are good: bad ones are often
together."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What separates cells."""

    delimiter: str
    quote: str
    escape: str
    skip_initial_space: bool
    width: int = 0
    """Cells a record should have, which settles doubtful quotes; 0 when not known yet."""


@dataclass(slots=True)
class Block:
    """Records of one stretch of text."""

    rows: list[list[str]] = field(default_factory=list[list[str]])
    starts: MutableSequence[int] | range = field(default_factory=list[int])
    """Index in `lines` where each record starts; a range when every record is one line."""
    lines: list[str] = field(default_factory=list[str])
    r"""With their `\n`."""
    used: int = 0
    """Lines consumed; the rest waits for more text."""
    malformed: list[int] = field(default_factory=list[int])
    """Indexes of records whose quotes had to be interpreted."""
    first_line: int = 1
    """Line of the file on which it starts."""
    given_up: int = 0
    """Records of the file so far whose quotes were taken as letters because no end of the field was found."""
    rest: str = ""
    """What follows the records."""

    def add(self, row: list[str], lines: int) -> None:
        """One more record, of so many lines."""
        self.rows.append(row)
        if isinstance(self.starts, range):
            self.starts = [*self.starts]
        self.starts.append(self.used)
        self.used += lines

    def raw(self, index: int) -> str:
        """The text of one record without its final newline."""
        end = self.starts[index + 1] if index + 1 < len(self.starts) else self.used
        return "".join(self.lines[self.starts[index] : end]).rstrip("\r\n")


def split_records(text: str, grammar: Grammar, *, is_last: bool, first_line: int = 1, given_up: int = 0) -> Block:
    r"""The first complete records of `text`, which must end in `\n` unless `is_last`.

    Without any record in the block, the first one does not end in `text`. `first_line` and `given_up` go on from the
    block before.
    """
    if not grammar.quote or grammar.quote not in text:
        return _split_plain(text, grammar, given_up)
    simple = len(grammar.delimiter) == 1 and grammar.delimiter != " "
    split = _split_quoted if simple and not (grammar.escape and grammar.escape in text) else _split_carefully
    stream = io.StringIO(text, newline="\n")
    block = Block(lines=list(islice(stream, BLOCK_LINES)), first_line=first_line, given_up=given_up)
    while True:
        at_end = stream.tell() == len(text)
        split(block, grammar, is_last=is_last and at_end)
        if block.rows or at_end:
            break
        block.lines += islice(stream, len(block.lines))
    block.rest = "".join(block.lines[block.used :]) + stream.read()
    return block


def _split_plain(text: str, grammar: Grammar, given_up: int) -> Block:
    lines = text.split("\n", BLOCK_LINES)
    rest = lines.pop() if len(lines) > BLOCK_LINES or not lines[-1] else ""
    if "\r" in text:
        lines = [line.rstrip("\r") for line in lines]
    delimiter = grammar.delimiter
    if delimiter == " ":
        rows = [[cell for cell in line.split(" ") if cell] for line in lines]
    elif grammar.skip_initial_space:
        rows = [[cell.lstrip(" ") for cell in line.split(delimiter)] for line in lines]
    else:
        rows = [line.split(delimiter) for line in lines]
    # `raw` joins lines, so they need no newline here: every record is one line.
    count = len(lines)
    return Block(rows=rows, starts=range(count), lines=lines, used=count, given_up=given_up, rest=rest)


def _split_carefully(block: Block, grammar: Grammar, *, is_last: bool) -> None:
    while (
        block.used < len(block.lines) and len(block.rows) < BLOCK_LINES and _one_record(block, grammar, is_last=is_last)
    ):
        pass


def _split_quoted(block: Block, grammar: Grammar, *, is_last: bool) -> None:
    if _split_one_by_one(block, grammar):
        return
    lines, window = block.lines, min(len(block.lines), BLOCK_LINES)
    while block.used < len(lines) and len(block.rows) < BLOCK_LINES:
        whole = block.used == 0 and window >= len(lines)
        some = lines if whole else lines[block.used : block.used + window]
        reader = _c_reader(some, grammar)
        base = block.used
        try:
            for row in reader:
                block.add(row, base + reader.line_num - block.used)
        except csv.Error:
            # A record that is still open where the window ends may close behind it.
            may_close = reader.line_num == len(some) and base + len(some) < len(lines)
            if not (may_close and window < _WINDOW_LINES_MAX):
                if not _one_record(block, grammar, is_last=is_last):
                    return
                window = _WINDOW_LINES
                continue
        window = min(2 * window, max(window, _WINDOW_LINES_MAX))


def _split_one_by_one(block: Block, grammar: Grammar) -> bool:
    """The quick way: true when the block's records turned out to be well formed and of one line each."""
    reader = _c_reader(block.lines, grammar)
    try:
        rows = list(reader)
    except csv.Error:
        return False
    if reader.line_num != len(rows):
        return False
    block.rows, block.starts, block.used = rows, range(len(rows)), len(rows)
    return True


def _c_reader(lines: list[str], grammar: Grammar) -> Any:
    return csv.reader(
        lines,
        delimiter=grammar.delimiter,
        quotechar=grammar.quote,
        skipinitialspace=grammar.skip_initial_space,
        strict=True,
    )


def _one_record(block: Block, grammar: Grammar, *, is_last: bool) -> bool:
    """Append the record at `block.used`; False when its end is not in sight yet."""
    line = block.first_line + block.used
    lines_max = LENIENT_LINES_MAX if block.given_up < GIVEN_UP_MAX + line // LINES_PER_GIVEN_UP else 1
    outcome = parse_record(block.lines, block.used, grammar, is_last=is_last, lenient_lines_max=lines_max)
    if outcome is None:
        return False
    block.given_up += outcome.given_up
    if outcome.malformed:
        block.malformed.append(len(block.rows))
    block.add(outcome.cells, outcome.lines)
    return True


class Outcome(NamedTuple):
    """One record, read with care."""

    cells: list[str]
    lines: int
    """How many it has."""
    malformed: bool
    """Whether its quotes had to be interpreted."""
    given_up: bool = False
    """Whether a quote that opens a field was taken as a letter."""


def parse_record(
    lines: list[str], start: int, grammar: Grammar, *, is_last: bool, lenient_lines_max: int = LENIENT_LINES_MAX
) -> Outcome | None:
    """The record at `start`; None: needs more lines.

    A quoted field may span lines as long as it closes properly. With stray quotes inside it may do so only
    when the record then has the expected width. Otherwise the opening quote is taken as a letter and the
    record ends with its line, so an unclosed quote costs one record and never the rest of the file.
    """
    if lenient_lines_max == 1 and stays_open(lines, start, grammar):
        return Outcome(lines[start].rstrip("\r\n").split(grammar.delimiter), 1, malformed=True, given_up=True)
    count, text, tries = 1, lines[start], 0
    while text.count(grammar.quote) <= QUOTES_MAX:
        cells, closed, malformed = _parse_text(text, grammar, literal=False)
        if closed >= 0:
            is_whole = closed >= len(text.rstrip("\r\n"))
            count = text.count("\n", 0, closed) + 1  # escaped quotes may have led too far
            fits = count == 1 or not malformed or (is_whole and len(cells) == grammar.width)
            if fits and malformed and count == 1 and len(cells) != grammar.width:
                plain, _, _ = _parse_text(text, grammar, literal=True)
                cells = plain if len(plain) == grammar.width else cells
            if fits:
                return Outcome(cells, count, malformed)
            break
        tries += malformed
        if tries > LENIENT_TRIES_MAX or len(text) > QUOTED_CHARS_MAX:
            break
        lines_max = lenient_lines_max if malformed else sys.maxsize
        end = _closing_line(lines, start + count, start + lines_max, grammar)
        if end == _NOT_YET and not is_last:
            return None
        if end <= 0:
            break
        text += "".join(lines[start + count : end])
        count = end - start
    cells, _, _ = _parse_text(lines[start], grammar, literal=True)
    return Outcome(cells, 1, malformed=True, given_up=True)


def stays_open(lines: list[str], start: int, grammar: Grammar) -> bool:
    """Whether the line's only quote opens a cell that can't end in the next line, where the next quotes are.

    A quick answer for files with an unclosed quote in line after line; False also where a longer look is needed.
    """
    line, delimiter, quote = lines[start], grammar.delimiter, grammar.quote
    if grammar.escape or grammar.skip_initial_space or delimiter == " " or len(delimiter) != 1:
        return False
    if start + 1 >= len(lines) or line.count(quote) != 1 or not (line[0] == quote or delimiter + quote in line):
        return False
    following = lines[start + 1]
    return following.count(quote) % 2 == 1 and not _closer(delimiter, quote).search(following)


@lru_cache(64)
def _closer(delimiter: str, quote: str) -> re.Pattern[str]:
    """A quote that may be the end of a cell."""
    return re.compile(rf"{re.escape(quote)} *(?:{re.escape(delimiter)}|\s*$|[\r\n])")


def _closing_line(lines: list[str], start: int, stop: int, grammar: Grammar) -> int:
    """The index behind the next line with an odd number of quotes; _NOT_YET or _TOO_FAR without one.

    Text closes an open field only there, so going straight to it keeps long fields linear.
    """
    size = 0
    escaped = grammar.escape + grammar.quote
    for index in range(start, min(stop, len(lines))):
        line = lines[index]
        size += len(line)
        if size > QUOTED_CHARS_MAX:
            return _TOO_FAR
        quotes = line.count(grammar.quote) - (line.count(escaped) if grammar.escape else 0)
        if quotes % 2:
            return index + 1
    return _TOO_FAR if len(lines) >= stop else _NOT_YET


def _parse_text(text: str, grammar: Grammar, *, literal: bool) -> tuple[list[str], int, bool]:
    """(cells of the record, where it ends or -1 when a quote is still open, whether quotes were malformed)."""
    text = text.rstrip("\r\n")
    cells: list[str] = []
    malformed = False
    position, delimiter, quote = 0, grammar.delimiter, grammar.quote
    blanks = grammar.skip_initial_space or delimiter == " "
    while True:
        while blanks and text.startswith(" ", position):
            position += 1
        if text.startswith(quote, position):
            cell, end, stray = _quoted(text, position, grammar)
            if end >= 0 and not (stray and literal):
                malformed = malformed or stray
                cells.append(cell)
                position = end
                if position >= len(text) or text[position] in "\r\n":
                    return cells, position, malformed
                position += len(delimiter)
                if not blanks and text.find(quote, position) < 0 and text.find("\n", position) < 0:
                    return [*cells, *text[position:].split(delimiter)], len(text), malformed
                continue
            if not literal:
                return cells, -1, malformed or stray
            malformed = True
        end = text.find(delimiter, position)
        newline = text.find("\n", position, end if end >= 0 else len(text))
        if end < 0 or newline >= 0:
            stop = newline if newline >= 0 else len(text)
            if not (delimiter == " " and position >= stop and cells):
                cells.append(text[position:stop].rstrip("\r") if newline >= 0 else text[position:])
            return cells, stop, malformed
        cells.append(text[position:end])
        position = end + len(delimiter)


def _quoted(text: str, start: int, grammar: Grammar) -> tuple[str, int, bool]:
    """(cell, index of the delimiter, newline or end behind it or -1 when it stays open, stray quotes inside)."""
    parts: list[str] = []
    stray, quote, delimiter, escape = False, grammar.quote, grammar.delimiter, grammar.escape
    begin = search = start + 1
    while True:
        at = text.find(quote, search)
        if at < 0:
            return "", -1, stray
        if escape and _is_escaped(text, at, begin, escape):
            parts.append(text[begin : at - 1])
            begin, search = at, at + 1
            continue
        if text.startswith(quote, at + 1):
            parts.append(text[begin : at + 1])
            begin = search = at + 2
            continue
        end = at + 1
        while delimiter != " " and text.startswith(" ", end):
            end += 1
        if end >= len(text) or text.startswith((delimiter, "\n", "\r\n"), end):
            parts.append(text[begin:at])
            return "".join(parts), end, stray
        stray = True
        search = at + 1


def _is_escaped(text: str, at: int, begin: int, escape: str) -> bool:
    count = 0
    while at - 1 - count >= begin and text[at - 1 - count] == escape:
        count += 1
    return count % 2 == 1
