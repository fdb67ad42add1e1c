"""Which characters separate cells and records? Every candidate reads the sample; the most regular table wins.

The measure follows van den Burg, Nazabal, Sutton, "Wrangling messy CSV files by detecting row and type
patterns" (2019): regularity of the row widths times the share of cells that look like a known kind of value.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, NamedTuple

from gristmill.tables.infer import shape
from gristmill.tables.records import Grammar, split_records

SAMPLE_CHARS = 96 * 1024
"""Text the candidates read."""
FIRST_CHARS = 8 * 1024
"""Text in which all candidates are compared."""
FINALISTS = 4
"""Candidates that read all of the sample."""
FINALIST_SHARE_MIN = 0.2
"""How close to the best one they must be."""
SAMPLE_RECORDS = 300
"""Records of it that are compared."""
SAMPLE_LINES = 1_500
"""Lines of it that are read: a record may have several."""
TYPED_CELLS = 2_000
"""Cells whose kind is looked at."""

# How likely a delimiter is before any evidence.
_PRIORS = {
    ",": 1.0, "\t": 1.0, ";": 1.0, "|": 1.0, "\x1f": 1.0, "\x1e": 1.0, "\x01": 1.0,
    "^": 0.9, "~": 0.9, "¦": 0.9, "§": 0.9, ":": 0.6, " ": 0.6, "*": 0.6, "#": 0.6, "_": 0.5, "&": 0.5, "!": 0.5,
}  # fmt: skip
_LONG = ("||", "::", "~~", "^^", "##", "@@", "|~|", "~|~", "^|^", "|^|", "#|#", "|#|")
"""Delimiters of several characters, believed where those never stand alone."""
_LONG_PRIOR = 0.9
PROSE_SHARE_MIN = 0.9
"""Commas of which so many are followed by a blank may be those of sentences and addresses ..."""
PROSE_PRIOR = 0.7
"""... and are believed less than another delimiter."""
_EXOTIC_PRIOR = 0.5
_EXOTIC_MAX = 4
WEAK_PRIOR = 0.8
"""A delimiter below this is also part of everyday text, and needs more than regularity to be believed."""
WEAK_REGULAR_MIN = 0.9
"""Share of the records that must have the same width when a weak delimiter separates them."""
WEAK_COLUMNS_MIN = 4
"""So many columns are no accident, whatever is in them."""
LIST_RUN = 3
"""So many rows of one width above 1, one after the other, are no list of texts with commas in them ..."""
LIST_RUN_SHARE = 0.2
"""... nor is this share of all rows."""
TYPED_SHARE_MIN = 0.8
"""Share of the cells that must be of a kind other than text for it to be no accident."""
_SINGLE_COLUMN = 0.02
_ESCAPED_QUOTE = re.compile(r"""\\["']""")
_TWO_NUMBERS = re.compile(r"\s*-?\d[\d.,]*\s*[;|\t]\s*-?\d[\d.,]*\s*")
_TORN = re.compile(r"""[,;\t|]["']\w|\w["'][,;\t|]""")
"""A quoted cell begins or ends inside of another."""
_QUOTE_MARKS = "\"'`~"
_UNUSED = ("\t", "|", ";", "\x1f")
"""What may stand for the delimiter of a file that has one column, with commas inside."""


class Guess(NamedTuple):
    """The separators and how sure they are."""

    delimiter: str
    quote: str
    escape: str
    skip_initial_space: bool
    confidence: float
    """0..1."""


def detect_newline(sample: str, quote: str = '"') -> Literal["\n", "\r", ""]:
    """What ends records, looking only outside of quotes."""
    bare = sample
    if quote:
        mark = re.escape(quote)
        bare = re.sub(rf"{mark}[^{mark}]*{mark}", "", sample)
    feeds = bare.count("\n")
    returns = len(re.findall(r"\r(?![\r\n])", bare))
    if not returns or returns < 0.2 * feeds:
        return "\n"
    return "\r" if not feeds else ""


def normalize_newlines(text: str, newline: str) -> str:
    r"""Text whose records all end in `\n`. With `\r` alone, the two characters trade places."""
    if newline == "\r":
        return text.translate({10: 13, 13: 10})
    return text.replace("\r\n", "\n").replace("\r", "\n") if not newline else text


def first_lines(text: str, count: int) -> str:
    """Blank lines at the top and so many lines below them."""
    if text.count("\n") <= count:
        return text
    bare = text.lstrip()
    lines = bare.split("\n", count)
    return text[: len(text) - len(lines[-1])] if len(lines) > count else text


class _Reading(NamedTuple):
    """The sample as one pair of delimiter and quote reads it."""

    delimiter: str
    quote: str
    rows: list[list[str]]
    """Without blank ones."""
    width: int
    """The commonest number of cells."""
    regular: float
    """Share of the rows that have it."""
    score: float


def detect_separators(sample: str, delimiter: str | None = None, quote: str | None = None) -> Guess:
    r"""The best reading of a sample whose records end in `\n`. Given values are not questioned."""
    sample = first_lines(sample[:SAMPLE_CHARS], SAMPLE_LINES)
    quotes = [quote] if quote is not None else _quote_candidates(sample)
    delimiters = [delimiter] if delimiter is not None else _delimiter_candidates(sample)
    pairs = [(candidate, mark) for mark in quotes for candidate in delimiters]
    readings = [_read(sample, *pair) for pair in _best_on_few(sample, pairs)]
    if delimiter is None:
        readings = [reading for reading in readings if _is_convincing(reading)]
    readings.sort(key=lambda reading: -reading.score)
    best = readings[0] if readings else None
    if delimiter is None and best is not None and _is_list(best):
        unused = next((mark for mark in _UNUSED if mark not in sample), _UNUSED[-1])
        return Guess(
            unused, best.quote, _detect_escape(sample, unused, best.quote), skip_initial_space=False, confidence=0.6
        )
    if best is None or (best.score < _SINGLE_COLUMN and delimiter is None):
        mark = best.quote if best else quotes[0]
        return Guess(",", mark, _detect_escape(sample, ",", mark), skip_initial_space=False, confidence=0.4)
    second = next((reading.score for reading in readings if reading.delimiter != best.delimiter), 0.0)
    confidence = best.score / (best.score + second) if best.score > 0 else 0.5
    skip = _spaces_follow(sample, best.delimiter, best.quote)
    escape = _detect_escape(sample, best.delimiter, best.quote)
    return Guess(best.delimiter, best.quote, escape, skip, round(confidence, 2))


def _best_on_few(sample: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs that do best on the first lines; reading all of the sample is for them alone."""
    if len(sample) <= FIRST_CHARS or len(pairs) <= FINALISTS:
        return pairs
    few = sample[: sample.rfind("\n", 0, FIRST_CHARS) + 1] or sample[:FIRST_CHARS]
    readings = sorted((_read(few, *pair) for pair in pairs), key=lambda reading: -reading.score)
    enough = readings[0].score * FINALIST_SHARE_MIN
    return [(reading.delimiter, reading.quote) for reading in readings[:FINALISTS] if reading.score >= enough]


def _is_list(reading: _Reading) -> bool:
    """Whether it is one column of texts, a few of which have the delimiter inside."""
    if reading.width > 1 or len(reading.rows) <= LIST_RUN:
        return False
    run = longest = 0
    for row, before in zip(reading.rows[1:], reading.rows, strict=False):
        run = run + 1 if len(row) == len(before) > 1 else 0
        longest = max(longest, run + 1)
    ends_as_table = run > 0  # a header and a row below titles
    return (
        len(reading.rows[0]) == 1 and not ends_as_table and longest < max(LIST_RUN, LIST_RUN_SHARE * len(reading.rows))
    )


def _is_convincing(reading: _Reading) -> bool:
    """Whether a delimiter that is also part of everyday text really separates cells here."""
    if _prior(reading.delimiter) >= WEAK_PRIOR:
        return True
    if reading.regular < WEAK_REGULAR_MIN and not _names_rows(reading):
        return False
    # Moments, phone numbers and addresses are values with blanks and colons inside.
    whole = [reading.delimiter.join(row).strip() for row in reading.rows[1:]] or [""]
    if sum(shape(line) not in ("", "text", "bool") for line in whole) >= TYPED_SHARE_MIN * len(whole):
        return False
    return reading.width >= WEAK_COLUMNS_MIN or any(
        sum(shape(row[index]) not in ("", "text") for row in reading.rows[1:] if index < len(row))
        >= TYPED_SHARE_MIN * max(len(reading.rows) - 1, 1)
        for index in range(reading.width)
    )


def _names_rows(reading: _Reading) -> bool:
    """Whether all rows have one cell more than the first, as R writes tables with names of rows."""
    widths = set(map(len, reading.rows[1:]))
    return len(reading.rows) > 2 and widths == {len(reading.rows[0]) + 1}  # noqa: PLR2004 (a row alone says little)


def _quote_candidates(sample: str) -> list[str]:
    """The double quote unless another mark stands at the edges of cells and it does not."""
    found = ['"']
    usual = len(re.findall(r'(?:^|[,;\t|^])"', sample, re.MULTILINE))
    for mark in ("'", "~", "`"):
        opened = len(re.findall(rf"(?:^|[,;\t|^]){mark}", sample, re.MULTILINE))
        edges = len(re.findall(rf"(?:^|[,;\t|^]){mark}[^{mark}\n]*{mark}(?=[,;\t|^\n]|$)", sample, re.MULTILINE))
        # Many, or few but every one that opens is closed; among double quotes a few are chance.
        if edges > max(2, 3 * usual) or (mark == "'" and '"' not in sample and 0 < opened <= edges):
            found.append(mark)
    if '"' in sample and not re.search(r'(?:^|[^\w\s])\s*"|"\s*(?:[^\w\s]|$)', sample, re.MULTILINE):
        found.append("")
    return found


def _delimiter_candidates(sample: str) -> list[str]:
    lines = sample.count("\n") + 1
    long = [
        mark
        for mark in _LONG
        if sample.count(mark) >= lines - 1 and sample.count(mark[0]) == sample.count(mark) * mark.count(mark[0])
    ]
    parts = frozenset("".join(long))
    present = [mark for mark in _PRIORS if mark in sample and mark not in parts]
    # Anything else that is no letter, digit or everyday punctuation and occurs on most lines.
    counts = Counter(char for char in sample[: SAMPLE_CHARS // 4] if not char.isalnum() or char > "\x7f")
    exotic = [char for char, n in counts.most_common() if n >= lines and char not in _NEVER and char not in parts]
    return (long + present + [char for char in exotic if char not in _PRIORS][:_EXOTIC_MAX]) or [","]


_NEVER = frozenset("\n\r\"'\\.-+$%€£()[]{}<>=@/?\0`")


def _read(sample: str, delimiter: str, quote: str) -> _Reading:
    skip = _spaces_follow(sample, delimiter, quote)
    block = split_records(sample, Grammar(delimiter, quote, "", skip_initial_space=skip), is_last=True)
    rows = [row for row in block.rows[:SAMPLE_RECORDS] if any(cell.strip() for cell in row)]
    if not rows:
        return _Reading(delimiter, quote, [], 1, 0.0, 0.0)
    widths = Counter(map(len, rows))
    pattern = sum(n * (max(width - 1, 0.001) / width) for width, n in widths.items()) / len(widths) / len(rows)
    # The bulk of a table has one width; a preamble or a few ragged rows should not cost much.
    width, count = widths.most_common(1)[0]
    regular = count / len(rows)
    form = (pattern + regular * max(width - 1, 0.001) / width) / 2
    malformed = 1 - min(1.0, len(block.malformed) / len(rows))
    prior = _prior(delimiter)
    if delimiter == "," and sample.count(", ") >= PROSE_SHARE_MIN * sample.count(","):
        prior *= PROSE_PRIOR
    score = form * _type_share(rows, quote) * prior * (0.3 + 0.7 * malformed)
    return _Reading(delimiter, quote, rows, width, regular, score)


def _prior(delimiter: str) -> float:
    return _LONG_PRIOR if len(delimiter) > 1 else _PRIORS.get(delimiter, _EXOTIC_PRIOR)


def _type_share(rows: list[list[str]], quote: str) -> float:
    cells = [cell for row in rows for cell in row][:TYPED_CELLS]
    good = sum(_typed_weight(cell, quote) for cell in cells)
    return max(good / len(cells), 0.001)


def _typed_weight(cell: str, quote: str) -> float:
    kind = shape(cell)
    if kind == "":
        return 0.6
    if kind != "text":
        return 1.0
    if cell[0] in _QUOTE_MARKS and cell[0] != quote and (quote == "" or (len(cell) > 1 and cell[-1] == cell[0])):
        return 0.2
    if _TWO_NUMBERS.fullmatch(cell):
        return 0.1
    if quote and _TORN.search(cell):
        return 0.1
    # Text that still holds many separators is probably several cells.
    marks = sum(cell.count(mark) for mark in ",;\t|^")
    return 0.9 if not marks else 0.5 if marks < 3 else 0.2  # noqa: PLR2004


def _detect_escape(sample: str, delimiter: str, quote: str) -> str:
    """A backslash, when reading with it leaves fewer quotes in doubt."""
    if not quote or not _ESCAPED_QUOTE.search(sample):
        return ""
    skip = _spaces_follow(sample, delimiter, quote)
    plain = split_records(sample, Grammar(delimiter, quote, "", skip_initial_space=skip), is_last=True)
    escaped = split_records(sample, Grammar(delimiter, quote, "\\", skip_initial_space=skip), is_last=True)
    return "\\" if len(escaped.malformed) < len(plain.malformed) else ""


def _spaces_follow(sample: str, delimiter: str, quote: str) -> bool:
    """Whether more quoted cells have a blank before them than none."""
    if delimiter in ("", " ") or not quote:
        return False
    return sample.count(f"{delimiter} {quote}") > sample.count(f"{delimiter}{quote}")
