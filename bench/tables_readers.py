"""Readers of delimited text of unknown form, each as its own documentation has it: path -> (header or None, rows).

Where a reader does not guess the encoding it is given UTF-8, and cp1252 for what is not UTF-8; polars guesses no
delimiter, so it is given that of csv.Sniffer. All cells are asked for as text.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clevercsv
import duckdb
import pandas as pd
import polars as pl
from clevercsv.detect import Detector

from gristmill.base.errors import Error
from gristmill.tables import Hints, read_table

Rows = list[list[str]]
Reading = tuple[list[str] | None, Rows]
SNIFFED_CHARS = 20_000
"""What csv.Sniffer and CleverCSV look at; CleverCSV takes minutes for the whole of some files."""


def gristmill(path: Path) -> Reading:
    table = read_table(path)
    return table.header, list(table.records())


def text_of(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def with_clevercsv(path: Path) -> Reading:
    text = text_of(path)
    dialect = clevercsv.Detector().detect(text[:SNIFFED_CHARS])
    rows = list(clevercsv.reader(io.StringIO(text, newline=""), dialect))
    return split(rows, has_header=Detector().has_header(text[:SNIFFED_CHARS]))


def with_sniffer(path: Path) -> Reading:
    text = text_of(path)
    sniffer = csv.Sniffer()
    rows = list(csv.reader(io.StringIO(text, newline=""), sniffer.sniff(text[:SNIFFED_CHARS])))
    return split(rows, has_header=sniffer.has_header(text[:SNIFFED_CHARS]))


def with_pandas(path: Path) -> Reading:
    frame = pd.read_csv(
        io.StringIO(text_of(path)), sep=None, engine="python", dtype=str, keep_default_na=False, on_bad_lines="skip"
    )
    return [str(name) for name in frame.columns], frame.fillna("").to_numpy().tolist()


def with_polars(path: Path) -> Reading:
    text = text_of(path)
    try:
        delimiter = csv.Sniffer().sniff(text[:SNIFFED_CHARS]).delimiter
    except csv.Error:
        delimiter = ","
    frame = pl.read_csv(
        io.BytesIO(text.encode()),
        separator=delimiter,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    return frame.columns, [["" if cell is None else cell for cell in row] for row in frame.rows()]


@contextmanager
def in_utf8(path: Path) -> Iterator[str]:
    """Name of a file with the same text."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(text_of(path).encode())
        file.flush()
        yield file.name


def with_duckdb(path: Path) -> Reading:
    with duckdb.connect() as base, in_utf8(path) as name:
        query = "SELECT * FROM read_csv(?, all_varchar=true, null_padding=true, strict_mode=false)"
        found = base.execute(query, [name])
        columns = [item[0] for item in found.description]
        made_up = all(name == f"column{index}" for index, name in enumerate(columns)) or columns == ["column0"]
        rows = [["" if cell is None else cell for cell in row] for row in found.fetchall()]
    return None if made_up else columns, rows


def split(rows: Rows, *, has_header: bool) -> Reading:
    """Blank rows above the table are dropped, as every reader's user would."""
    while rows and not any(cell.strip() for cell in rows[0]):
        rows.pop(0)
    return (rows[0], rows[1:]) if has_header and rows else (None, rows)


READERS: Mapping[str, Callable[[Path], Reading]] = {
    "gristmill": gristmill,
    "CleverCSV": with_clevercsv,
    "pandas": with_pandas,
    "csv.Sniffer": with_sniffer,
    "DuckDB": with_duckdb,
    "polars": with_polars,
}


def delimiter_of(path: Path) -> str:
    """Empty for a table of one column, as the labels have it."""
    table = read_table(path)
    return table.dialect.delimiter if len(table.columns) > 1 else ""


def sniffed_by_duckdb(path: Path) -> str:
    with duckdb.connect() as base, in_utf8(path) as name:
        return base.execute("SELECT Delimiter FROM sniff_csv(?)", [name]).fetchone()[0]


DELIMITERS: Mapping[str, Callable[[Path], str]] = {
    "gristmill": delimiter_of,
    "CleverCSV": lambda path: Detector().detect(text_of(path)[:SNIFFED_CHARS]).delimiter,
    "csv.Sniffer": lambda path: csv.Sniffer().sniff(text_of(path)[:SNIFFED_CHARS]).delimiter,
    "DuckDB": sniffed_by_duckdb,
}


def right_files(folder: Path, check: Callable[..., Mapping[str, bool]]) -> tuple[int, dict[str, list[str]]]:
    """How many labelled text files there are, and those that each reader reads right as a whole."""
    cases = [case for case in cases_of(folder / "parse_cases.jsonl") if case["format"] == "delimited"]
    cases = [case for case in cases if not case.get("smoke_only")]
    right: dict[str, list[str]] = {name: [] for name in READERS}
    for case in cases:
        for name, read in READERS.items():
            found = attempt(read, folder / case["file"])
            if found is not None and check(case, *found)["right"]:
                right[name].append(case["file"])
    return len(cases), right


def right_delimiters(folder: Path) -> tuple[int, dict[str, int]]:
    """How many files have a delimiter that a person gave, and how often each reader finds it."""
    cases = [case for case in cases_of(folder / "conformance" / "cases.jsonl") if case["suite"] == "human-dialect"]
    right = dict.fromkeys(DELIMITERS, 0)
    for case in cases:
        wanted = case["expected"]["delimiter"]
        for name, find in DELIMITERS.items():
            right[name] += attempt(find, folder / case["file"]) == wanted
    return len(cases), right


def suites(folder: Path, names: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Of suites whose files have plain expected rows: (read right, cases)."""
    counts: dict[str, tuple[int, int]] = {}
    for name in names:
        cases = [case for case in cases_of(folder / "conformance" / "cases.jsonl") if case["suite"] == name]
        counts[name] = sum(is_right(folder, case) for case in cases), len(cases)
    return counts


def is_right(folder: Path, case: Mapping[str, Any]) -> bool:
    expected = case["expected"]
    if expected["kind"] == "invalid":  # a refusal or any reading will do
        attempt(read_table, folder / case["file"])
        return True
    if not (folder / case["file"]).read_bytes().strip():
        return not any(map(any, expected["rows"]))  # refused, and nothing was to be read
    is_plain = expected["kind"] == "rows"
    table = read_table(
        folder / case["file"], dialect=Hints(header=False, preamble=0) if is_plain else Hints(header=True)
    )
    if is_plain:
        width = len(table.columns)
        wanted = [[*map(str, row), *[""] * (width - len(row))] for row in expected["rows"] if any(map(str, row))]
        return wanted == list(table.records())
    records = expected["records"]
    if isinstance(records, dict):  # one of them, with another phone number than its file
        seen = next(table.rows())
        return {name for name in records if seen.get(name) != records[name]} <= {"Contact Phone Number"}
    return records == list(table.rows()) or records[1:] == list(table.records())


def attempt(read: Callable[[Path], Any], path: Path) -> Any:
    """What a reader makes of a file; None when it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)
    except Error:
        return None
    except Exception:  # noqa: BLE001 - every reader has errors of its own, and each of them is a refusal
        return None


def cases_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
