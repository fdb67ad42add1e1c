"""Labelled tables written anew in other ways: what a reader makes of files that nobody tuned it for.

Only tables that are read right as they are, so that what they hold is known; at most 25 rows of each.
"""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gristmill.tables import read_table
from tables_readers import attempt, cases_of

ROWS_MAX = 25
Rows = list[list[str]]
Case = tuple[str, list[str] | None, Rows]


def written(rows: Sequence[Sequence[str]], delimiter: str = ",", newline: str = "\r\n", **form: object) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=newline, **form).writerows(rows)
    return out.getvalue()


def above(*lines: str) -> Callable[[Rows], str]:
    return lambda rows: "".join(f"{line}\r\n" for line in lines) + written(rows)


def padded(rows: Rows) -> str:
    rest = [""] * (len(rows[0]) - 1)
    return written([["Customer report", *rest], ["", *rest], *rows])


def spaced(rows: Rows) -> str:
    return "".join(", ".join(f'"{cell.strip().replace(chr(34), chr(34) * 2)}"' for cell in row) + "\n" for row in rows)


def total(rows: Rows) -> str:
    return written(rows) + f"Total,{len(rows)}" + "," * (len(rows[0]) - 2) + "\r\n"


WAYS: Mapping[str, Callable[[Rows], str]] = {
    "semicolons": lambda rows: written(rows, ";"),
    "tabs": lambda rows: written(rows, "\t"),
    "pipes": lambda rows: written(rows, "|"),
    "carets": lambda rows: written(rows, "^"),
    "tildes": lambda rows: written(rows, "~"),
    "control characters": lambda rows: written(rows, "\x01"),
    "every cell quoted": lambda rows: written(rows, quoting=csv.QUOTE_ALL),
    "single quotes": lambda rows: written(rows, quoting=csv.QUOTE_ALL, quotechar="'"),
    "backslashes": lambda rows: written(rows, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"),
    "blanks before quotes": spaced,
    "delimiter at the end": lambda rows: written([[*row, ""] for row in rows]),
    "sep line": lambda rows: "sep=;\r\n" + written(rows, ";"),
    "title": above("Customer report for March 2024"),
    "title and blank line": above("Customer report for March 2024", "Made by Example CRM on 2024-03-31 10:00", ""),
    "title, padded": padded,
    "facts above": above("Report,Customers", "Date,2024-03-31", '"Filter","Active, since 2020"', ""),
    "comments above": above("# Exported 2024-03-31, 10:00", "# by Example CRM, version 3"),
    "total below": total,
    "note below": lambda rows: written(rows) + "\r\nSource: Example CRM; confidential.\r\n",
    "empty rows below": lambda rows: written(rows) + ("," * (len(rows[0]) - 1) + "\r\n") * 30,
    "three rows": lambda rows: written(rows[:4]),
    "one row": lambda rows: written(rows[:2]),
}
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-be", "cp1252", "mac_roman", "cp850", "iso8859-15")


def tables(folder: Path, check: Callable[..., Mapping[str, bool]]) -> list[Case]:
    """Name, header and rows of tables that are read right."""
    found: list[Case] = []
    for case in cases_of(folder / "parse_cases.jsonl"):
        table = read_table(folder / case["file"])
        rows = list(table.records())
        if not case.get("smoke_only") and len(rows) > 2 and check(case, table.header, rows)["right"]:
            width = len(table.columns)
            header = table.header and [*table.header, *[""] * (width - len(table.header))]
            found.append((case["file"], header, rows[:ROWS_MAX]))
    return [case for case in found if len(case[2][0]) > 1]


def plain(rows: Rows) -> Rows:
    """Without blank rows, and without differences in blanks."""
    return [[" ".join(cell.split()) for cell in row] for row in rows if any(cell.strip() for cell in row)]


def is_right(data: bytes, header: list[str] | None, rows: Rows) -> bool:
    table = attempt(read_table, data)
    if table is None or (table.header is None) != (header is None):
        return False
    width = len(rows[0])
    got = [*([table.header] if header is not None else []), *table.records()]
    wanted = [*([header] if header is not None else []), *rows]
    return plain([row[:width] for row in got]) == plain(wanted)


def ways(cases: Sequence[Case]) -> Iterator[tuple[str, int, int]]:
    """(way, read right, tables)."""
    with_header = [(header, rows) for _, header, rows in cases if header]
    for name, write in WAYS.items():
        short = {"three rows": 3, "one row": 1}.get(name, ROWS_MAX)
        right = [is_right(write([header, *rows]).encode(), header, rows[:short]) for header, rows in with_header]
        yield name, sum(right), len(right)
    right = [is_right(written(rows).encode(), None, rows) for _, rows in with_header]
    yield "without the header", sum(right), len(right)
    for encoding in ENCODINGS:
        newline = "\r" if encoding == "mac_roman" else "\r\n"
        right = []
        for header, rows in with_header:
            text = written([header, *rows], newline=newline)
            data = text.encode(encoding, "replace")
            is_plain = encoding != "mac_roman" or not any("\n" in cell for row in rows for cell in row)
            if is_plain and not text.isascii() and data.decode(encoding).removeprefix("\ufeff") == text:
                right.append(is_right(data, header, rows))
        yield encoding, sum(right), len(right)


def drawn(cases: Sequence[Case]) -> Iterator[tuple[str, int, int]]:
    """Some columns and rows of each, with and without the header: (kind, read right, tables)."""
    right: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for name, header, rows in cases:
        for turn in range(4 if header else 0):
            chance = random.Random(f"{name}{turn}")
            width = min(len(header), chance.choice((2, 3, 4, 6, 9)))
            chosen = sorted(chance.sample(range(len(header)), width))
            top, some = [header[at] for at in chosen], [[row[at] for at in chosen] for row in rows]
            some = [row for row in some if all(cell.strip() for cell in row)][: chance.choice((2, 3, 5, 10, 40))]
            if len(some) < 2 or not all(cell.strip() for cell in top):
                continue
            delimiter = chance.choice(",;\t|")
            for kind, head in (("columns with a header", top), ("columns without one", None)):
                data = written([top, *some] if head else some, delimiter).encode()
                right[kind] += is_right(data, head, some)
                count[kind] += 1
    for kind in count:
        yield kind, right[kind], count[kind]
