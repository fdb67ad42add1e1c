"""Finding where the table starts, whether it has a header, and what under it is a footer."""

from __future__ import annotations

import re
from collections import Counter
from itertools import takewhile
from math import sqrt
from statistics import median
from typing import NamedTuple

from gristmill.tables.infer import shape

PREAMBLE_RECORDS_MAX = 100
"""Records looked through for the start of the table."""
BODY_RECORDS = 200
"""Rows the header is compared with."""
COLUMNS_COMPARED = 200
"""Columns the header is compared in."""
OVERTAKEN_WIDTH_MIN = 5
"""Narrower tables have no line of group headings: a half-empty first line is their header."""
OVERTAKERS = 4
"""Lines below a sparse one that may be the real header."""
PROSE_SCORE_MIN = 0.5
"""How sure the header below a sentence or below facts must be."""
GAP_SCORE_MIN = 0.2
"""The same where a blank record stands between them, or the facts have colons."""
FACT_LINES_MAX = 20
"""Lines below a fact about the file that may be the header."""
SPARSE_SHARE = 0.7
"""Share of the columns of which a line of group headings, or of facts without colons, fills less."""
FULL_SHARE = 0.8
"""Share that the header below it fills at least."""
EXTRA_SHARE = 0.1
"""Share of the rows that must fill a cell beyond the header for it to be a column."""
FOOTER_RECORDS_MAX = 10
"""Records at the end that may be totals and notes."""
FOOTER_ROWS_MIN = 3
"""Rows a table must have before its last ones are taken for footers."""

COMMENT_SIGNS = ("#", "//", "%", "--")

_STRONG = frozenset(("int", "float", "amount", "date", "time", "email", "url", "phone", "zip"))
_NUMERIC = frozenset(("int", "float", "amount", "zip", "phone"))
_NEVER_HEADER = frozenset(("phone", "date", "amount", "time", "float"))
_FILL_MIN = 0.5
_DIGITS_MIN = 0.9
_NUMBERED = re.compile(r"\D+\d")
"""The way that columns are numbered."""
_TOTAL = re.compile(
    r"(?:grand |sub|sub-|overall |report )?totals?(?: ?(?:amount|count|rows|records))?\W*|totals?(?: [-\u2013]|:) .*"
    r"|gesamt(?:summe)?\W*|summe\W*|total g[eé]n[eé]ral\W*|suma\W*|итого\W*",
    re.IGNORECASE,
)
_RULE = re.compile(r"[-=+]{2,}|:?-{2,}:?")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_HEADER_WORDS = re.compile(
    r"(?:^|[\W_])(?:id|name|names|nom|nombre|naam|address|adresse|street|city|town|state|zip|zipcode|postcode|country"
    r"|county|phone|tel|telephone|fax|mobile|email|e-mail|mail|url|website|web|date|time|type|category|code|number|no"
    r"|description|title|status|notes?|comments?|lat|latitude|lng|lon|long|longitude|company|organi[sz]ation|amount"
    r"|price|quantity|count|first|last|department|owner|contact|gender|age|value|total|key|label|year|region)(?:$|[\W_\d])",
    re.IGNORECASE,
)


class Layout(NamedTuple):
    """What `detect_layout` found."""

    preamble: int
    """Records before the header or the first row."""
    header: bool
    preamble_confidence: float
    header_confidence: float


def is_blank(row: list[str]) -> bool:
    """No cell has text."""
    return not any(cell.strip() for cell in row)


def is_rule(row: list[str]) -> bool:
    """Only dashes or the like, as database shells draw under a header."""
    cells = [cell.strip() for cell in row]
    # Bars at both ends, as in Markdown, make an empty cell of each.
    cells = cells[not cells[0] : len(cells) - (not cells[-1])] if len(cells) > 2 else cells  # noqa: PLR2004
    # Two dashes in every cell may be a row without values.
    return all(map(_RULE.fullmatch, cells)) and sum(map(len, cells)) > 2 * len(cells)


def detect_layout(records: list[list[str]], preamble: int | None = None, *, header: bool | None = None) -> Layout:
    """Preamble and header from the first records, blank ones included. Given values are not questioned."""
    start, sure = (preamble, 1.0) if preamble is not None else _below_comments(records) or _find_start(records)
    if header is not None:
        return Layout(start, header, sure, 1.0)
    rest = [row for row in records[start : start + 1 + BODY_RECORDS] if not is_blank(row)]
    if not rest:
        return Layout(start, header=True, preamble_confidence=sure, header_confidence=0.3)
    score = _header_score(rest[0], rest[1:])
    return Layout(start, score >= 0, sure, round(0.5 + min(abs(score), 1.0) / 2, 2))


def detect_comment(records: list[list[str]]) -> str:
    """What starts the comments between the rows; empty where there are none.

    Lines above the table need no comment sign: they are its preamble.
    """
    filled = [row for row in records if not is_blank(row)]
    if len(filled) < 3:  # noqa: PLR2004 (a header, a row and a comment)
        return ""
    width = Counter(map(len, filled)).most_common(1)[0][0]
    for sign in COMMENT_SIGNS:
        marked = [index for index, row in enumerate(filled) if row[0].lstrip().startswith(sign)]
        inside = [index for index in marked if any(other not in marked for other in range(index))]
        if (
            inside
            and width > 1
            and all(len(filled[index]) != width and _fill(filled[index]) < width for index in inside)
        ):
            return sign
    return ""


def _below_comments(records: list[list[str]]) -> tuple[int, float] | None:
    """Below lines at the top that start as comments do, when what follows them is clearly a header."""
    filled = [(index, row) for index, row in enumerate(records[:PREAMBLE_RECORDS_MAX]) if not is_blank(row)]
    count = next((n for n, (_, row) in enumerate(filled) if not row[0].lstrip().startswith(COMMENT_SIGNS)), 0)
    if not 0 < count < len(filled) - 1:
        return None
    index, first = filled[count]
    below = [row for row in records[index + 1 : index + 1 + BODY_RECORDS] if not is_blank(row)]
    is_header = len(first) == len(below[0]) and _header_score(first, below) >= PROSE_SCORE_MIN
    return (index, 0.9) if is_header else None


def _find_start(records: list[list[str]]) -> tuple[int, float]:
    """Index of the first record that is as wide and as filled as the rows below."""
    filled = [
        (index, row) for index, row in enumerate(records[: PREAMBLE_RECORDS_MAX + BODY_RECORDS]) if not is_blank(row)
    ]
    if not filled:
        return 0, 0.3
    body = [row for _, row in filled[len(filled) // 3 :]]
    # Of few records a title and some facts may be the most; wide rows count more.
    width = max(Counter(map(len, body)).items(), key=lambda item: item[1] * sqrt(item[0]))[0]
    fill = median(_fill(row) for row in body)
    enough = min(fill, width) * _FILL_MIN
    for index, row in filled:
        if index > PREAMBLE_RECORDS_MAX:
            break
        count = _fill(row)
        if len(row) < width * _FILL_MIN or count < enough or (count == 1 and fill > 1):
            continue
        below = [other for position, other in filled if position > index]
        if _is_overtaken(row, below, width) or _is_prose(row, below, width) or _is_fact(row, below, width):
            continue
        header = _below_gap(records, index)
        if header is not None:
            return header, 0.8
        return index, 0.95 if count >= width * _FILL_MIN else 0.7
    return filled[0][0], 0.4


def _is_overtaken(row: list[str], below: list[list[str]], width: int) -> bool:
    """A sparse line of group headings or of facts about the file, above a full line of headings."""
    count = _fill(row)
    # A padded line of a narrow table is its header, half empty or not; one with fewer cells is not of the table.
    if (width < OVERTAKEN_WIDTH_MIN and len(row) >= width) or count >= width * SPARSE_SHARE:
        return False
    for other in below[:OVERTAKERS]:
        cells = [cell.strip() for cell in other if cell.strip()]
        if (
            len(cells) >= max(count * 1.5, width * FULL_SHARE)
            and len(set(cells)) == len(cells)
            and all(shape(cell) in ("text", "bool") for cell in cells)
        ):
            return True
    return False


def _is_prose(row: list[str], below: list[list[str]], width: int) -> bool:
    """A sentence whose commas make it wider than the table, or facts that are, above what is clearly the header."""
    if len(row) <= width or len(below) < 2 or len(below[0]) != width:  # noqa: PLR2004 (a header and a row)
        return False
    are_facts = not _STRONG.isdisjoint(map(shape, row)) and all(shape(cell) in ("text", "bool") for cell in below[0])
    enough = GAP_SCORE_MIN if are_facts else PROSE_SCORE_MIN
    return _header_score(below[0], below[1 : 1 + BODY_RECORDS]) >= enough


def _is_fact(row: list[str], below: list[list[str]], width: int) -> bool:
    """A line such as `Account:;123;;from;1 March;`, some lines above what is clearly the header."""
    cells = [cell.strip() for cell in row if cell.strip()]
    if not _has_label(row) and (
        len(cells) >= width or (len(cells) >= width * SPARSE_SHARE and _STRONG.isdisjoint(map(shape, cells)))
    ):
        return False
    for place, other in enumerate(below[:FACT_LINES_MAX], start=1):
        names = [cell.strip() for cell in other if cell.strip()]
        if len(names) < max(len(cells), width * FULL_SHARE) or _has_label(other):
            continue
        are_names = len(set(names)) == len(names) and all(shape(name) in ("text", "bool") for name in names)
        # The first full line is the header or a row: below a row there is no header.
        between = below[: place - 1]
        if len(between) > 1 and _header_score(row, between) >= PROSE_SCORE_MIN:  # another table
            return False
        enough = GAP_SCORE_MIN if _has_label(row) else PROSE_SCORE_MIN
        return are_names and _header_score(other, below[place : place + BODY_RECORDS]) >= enough
    return False


def _below_gap(records: list[list[str]], start: int) -> int | None:
    """Index of the header below a blank record, when what is above it are a few facts: names with one value each."""
    facts = list(takewhile(lambda row: not is_blank(row), records[start : start + FACT_LINES_MAX]))
    index = start + len(facts)
    while index < len(records) and is_blank(records[index]):
        index += 1
    below = [row for row in records[index + 1 : index + 1 + BODY_RECORDS] if not is_blank(row)]
    if len(below) < len(facts) or index == start + len(facts) or max(map(_fill, facts)) > 2:  # noqa: PLR2004 (pairs)
        return None
    is_table = len(facts) > 2 and _header_score(facts[0], facts[1:]) >= PROSE_SCORE_MIN  # noqa: PLR2004 (a row is no table)
    header = records[index]
    are_names = all(shape(cell) in ("text", "bool", "") for cell in header) and len(set(header)) == len(header)
    is_full = _fill(header) >= median(map(_fill, below))
    return index if not is_table and are_names and is_full and _header_score(header, below) >= GAP_SCORE_MIN else None


def _has_label(row: list[str]) -> bool:
    """Whether a cell says what another one is."""
    cells = [cell.rstrip() for cell in row if cell.strip()]
    return len({cell.endswith(":") for cell in cells}) > 1


def _fill(row: list[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _header_score(first: list[str], body: list[list[str]]) -> float:
    """Evidence per filled column that `first` names the columns: about -1 (a row) to 1 (a header)."""
    total, seen = 0.0, 0
    years = [cell for cell in first if _YEAR.fullmatch(cell.strip())]
    counts_up = _counts_up(first)
    for index, raw in enumerate(first[:COLUMNS_COMPARED]):
        cell = raw.strip()
        if not cell:
            continue
        seen += 1
        kind = shape(cell)
        column = [row[index].strip() for row in body if index < len(row) and row[index].strip()]
        if _YEAR.fullmatch(cell) and len(years) > 1 and len(set(years)) == len(years):
            total += 0.2  # a run of different years heads a time series
        elif counts_up and kind == "int":
            total += 0.2  # columns that have numbers for names
        elif kind == "date" and column and "date" not in map(shape, column[:50]):
            total += 0.5
        else:
            total += _cell_evidence(cell, kind, column)
    return total / max(seen, 1)


def _counts_up(first: list[str]) -> bool:
    """Whether the filled cells behind an empty one are 0, 1, 2 ... or 1, 2, 3 ..."""
    filled = [cell.strip() for cell in first if cell.strip()]
    if first[0].strip() or len(filled) < 3:  # noqa: PLR2004 (two are chance)
        return False
    return filled in ([str(n) for n in range(len(filled))], [str(n + 1) for n in range(len(filled))])


def _cell_evidence(cell: str, kind: str, column: list[str]) -> float:
    evidence = 0.4 if kind == "text" and _HEADER_WORDS.search(cell) else 0.0
    if kind == "email":
        evidence -= 4.0
    elif kind in _NEVER_HEADER or kind == "url" or _UUID.fullmatch(cell):
        evidence -= 1.5
    elif kind in _NUMERIC:
        evidence -= 0.8
    if not column:
        return evidence
    kinds = Counter(map(shape, column[:50]))
    strong, count = max(
        ((name, n) for name, n in kinds.items() if name in _STRONG), key=lambda p: p[1], default=("", 0)
    )
    if strong and count >= 0.7 * min(len(column), 50):
        return evidence + (1.0 if kind in ("text", "bool") else 0.0)
    repeats = column.count(cell)
    if repeats:
        return evidence - min(1.0, 0.3 + 2 * repeats / len(column))
    return evidence + _form_evidence(cell, column)


def _form_evidence(cell: str, column: list[str]) -> float:
    """What digits and lengths say of a cell above texts that are all different from it."""
    lengths = [len(value) for value in column]
    if len(column) > 2:  # noqa: PLR2004 (two of a kind are chance)
        if sum(map(_has_digit, column)) >= _DIGITS_MIN * len(column):
            return 0.2 if _NUMBERED.fullmatch(cell) else -0.4 if _has_digit(cell) else 0.6
        if min(lengths) == max(lengths):
            return 0.5 if len(cell) != lengths[0] else -0.2
    if len(cell) > 3 * max(lengths) or len(cell) * 3 < median(lengths):
        return 0.2
    return 0.0


def names_rows(header: list[str], body: list[list[str]], delimiter: str) -> bool:
    """Whether a column of names stands before the columns that the header names, as R writes tables."""
    if delimiter not in (" ", "\t") or len(body) < 2 or len(header) < 2:  # noqa: PLR2004 (less is no evidence)
        return False
    width = len(header) + 1
    names = {row[0] for row in body if len(row) == width and row[0].strip() and row[-1].strip()}
    return len(names) == len(body)


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))


def table_width(header: list[str] | None, body: list[list[str]]) -> int:
    """Number of columns: the header's, and further ones that a fair share of the rows fill."""
    widths = Counter(map(len, body))
    width = len(header) if header is not None else widths.most_common(1)[0][0] if widths else 0
    reached: Counter[int] = Counter()
    for row in body:
        if len(row) > width:
            for index in range(width, len(row)):
                reached[index] += bool(row[index].strip())
    common = [index for index, n in reached.items() if n >= max(1, EXTRA_SHARE * len(body))]
    return max([width, *(index + 1 for index in common)])


class Tail(NamedTuple):
    """One of the last records, kept back until it is known not to be a footer."""

    line: int
    row: list[str]
    raw: str
    width: int
    """Cells it had in the file."""
    after_gap: bool
    """Whether a blank record stands before it."""


def count_footers(tail: list[Tail], rows_before: int) -> int:
    """How many records at the end of a table are totals or notes instead of rows."""
    width = len(tail[0].row) if tail else 0
    if width < 2 or rows_before + len(tail) <= FOOTER_ROWS_MIN:  # noqa: PLR2004 (a list has no totals column)
        return 0
    count, gap = 0, False
    for item in reversed(tail):
        if _is_total(item.row) or _is_note(item, width):
            count += 1
            gap = gap or item.after_gap or item.width < width or _is_total(item.row)
        else:
            break
    # Notes count only when something sets them apart; a whole tail of "footers" is a sparse table.
    return count if gap and count < len(tail) else 0


def _is_total(row: list[str]) -> bool:
    filled = [cell.strip() for cell in row if cell.strip()]
    return len(filled) > 1 and bool(_TOTAL.fullmatch(filled[0])) and all(map(_is_sum, filled[1:]))


def _is_sum(cell: str) -> bool:
    """A number, or dashes in place of one."""
    return shape(cell) in _NUMERIC or not cell.strip("-\u2013\u2014")


def _is_note(item: Tail, width: int) -> bool:
    filled = [index for index, cell in enumerate(item.row) if cell.strip()]
    return len(filled) == 1 and filled[0] <= 1 and width >= FOOTER_ROWS_MIN and shape(item.row[filled[0]]) == "text"
