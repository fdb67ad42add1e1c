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
SAMPLE_RECORDS = 300
"""Records of it that are compared."""
TYPED_CELLS = 2_000
"""Cells whose kind is looked at."""

# How likely a delimiter is before any evidence.
_PRIORS = {
    ",": 1.0, "\t": 1.0, ";": 1.0, "|": 1.0, "\x1f": 1.0, "\x1e": 1.0, "\x01": 1.0,
    "^": 0.9, "~": 0.9, "¦": 0.9, "§": 0.9, ":": 0.6, " ": 0.6, "*": 0.6, "#": 0.6, "_": 0.5, "&": 0.5, "!": 0.5,
}  # fmt: skip
_EXOTIC_PRIOR = 0.5
_EXOTIC_MAX = 4
_SINGLE_COLUMN = 0.02
_ESCAPED_QUOTE = re.compile(r"""\\["']""")


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


def detect_separators(sample: str, delimiter: str | None = None, quote: str | None = None) -> Guess:
    r"""The best reading of a sample whose records end in `\n`. Given values are not questioned."""
    sample = sample[:SAMPLE_CHARS]
    quotes = [quote] if quote is not None else _quote_candidates(sample)
    delimiters = [delimiter] if delimiter is not None else _delimiter_candidates(sample)
    scored: list[tuple[float, str, str]] = []
    for mark in quotes:
        for candidate in delimiters:
            grammar = Grammar(candidate, mark, "", skip_initial_space=False)
            scored.append((_score(sample, grammar), candidate, mark))
    scored.sort(key=lambda item: -item[0])
    best, rest = scored[0], [item for item in scored[1:] if item[1] != scored[0][1]]
    if best[0] < _SINGLE_COLUMN and delimiter is None:
        best = (best[0], ",", quotes[0])
        confidence = 0.4
    else:
        second = rest[0][0] if rest else 0.0
        confidence = best[0] / (best[0] + second) if best[0] > 0 else 0.5
    skip = _spaces_follow(sample, best[1], best[2])
    return Guess(best[1], best[2], _detect_escape(sample, best[1], best[2]), skip, round(confidence, 2))


def _quote_candidates(sample: str) -> list[str]:
    """The double quote unless another mark stands at the edges of cells and it does not."""
    found = ['"']
    usual = len(re.findall(r'(?:^|[,;\t|^])"', sample, re.MULTILINE))
    for mark in ("'", "~", "`"):
        edges = len(re.findall(rf"(?:^|[,;\t|^]){mark}[^{mark}\n]*{mark}(?=[,;\t|^\n]|$)", sample, re.MULTILINE))
        if edges > 2 and edges > 3 * usual:  # noqa: PLR2004 (once or twice is chance)
            found.append(mark)
    if '"' in sample and not re.search(r'(?:^|[^\w\s])\s*"|"\s*(?:[^\w\s]|$)', sample, re.MULTILINE):
        found.append("")
    return found


def _delimiter_candidates(sample: str) -> list[str]:
    present = [mark for mark in _PRIORS if mark in sample]
    # Anything else that is no letter, digit or everyday punctuation and occurs on most lines.
    lines = sample.count("\n") + 1
    counts = Counter(char for char in sample[: SAMPLE_CHARS // 4] if not char.isalnum() or char > "\x7f")
    exotic = [char for char, n in counts.most_common() if n >= lines and char not in _NEVER]
    return (present + [char for char in exotic if char not in _PRIORS][:_EXOTIC_MAX]) or [","]


_NEVER = frozenset("\n\r\"'\\.-+$%€£()[]{}<>=@/?\0`")


def _score(sample: str, grammar: Grammar) -> float:
    block = split_records(sample, grammar, is_last=True)
    rows = [row for row in block.rows[:SAMPLE_RECORDS] if any(cell.strip() for cell in row)]
    if not rows:
        return 0.0
    widths = Counter(map(len, rows))
    pattern = sum(n * (max(width - 1, 0.001) / width) for width, n in widths.items()) / len(widths) / len(rows)
    # The bulk of a table has one width; a preamble or a few ragged rows should not cost much.
    main_width, main = widths.most_common(1)[0]
    regular = (main / len(rows)) * (max(main_width - 1, 0.001) / main_width)
    prior = _PRIORS.get(grammar.delimiter, _EXOTIC_PRIOR)
    malformed = 1 - min(1.0, len(block.malformed) / len(rows))
    return (pattern + regular) / 2 * _type_share(rows, grammar.quote) * prior * (0.3 + 0.7 * malformed)


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
    if quote == "" and cell[:1] in "\"'":
        return 0.2
    # Text that still holds many separators is probably several cells.
    marks = sum(cell.count(mark) for mark in ",;\t|^")
    return 0.9 if not marks else 0.5 if marks < 3 else 0.2  # noqa: PLR2004


def _detect_escape(sample: str, delimiter: str, quote: str) -> str:
    """A backslash, when reading with it leaves fewer quotes in doubt."""
    if not quote or not _ESCAPED_QUOTE.search(sample):
        return ""
    plain = split_records(sample, Grammar(delimiter, quote, "", skip_initial_space=False), is_last=True)
    escaped = split_records(sample, Grammar(delimiter, quote, "\\", skip_initial_space=False), is_last=True)
    return "\\" if len(escaped.malformed) < len(plain.malformed) else ""


def _spaces_follow(sample: str, delimiter: str, quote: str) -> bool:
    """Whether nearly every delimiter is followed by a blank, or a quoted cell by a blank before it."""
    if delimiter in ("", " "):
        return False
    mark = re.escape(delimiter)
    return bool(
        quote
        and len(re.findall(rf"{mark} +{re.escape(quote)}", sample))
        > len(re.findall(rf"{mark}{re.escape(quote)}", sample))
    )
