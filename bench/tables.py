"""Reading and writing tables beside their peers: speed, memory, and how many real files come out right.

A million rows of CSV beside polars, every reader in a process of its own; sniffing; a workbook beside openpyxl and
calamine; nested results as CSV beside pandas; labelled files of other people beside CleverCSV, csv.Sniffer, DuckDB,
pandas and polars (`python bench/tables.py CASES`; left out where the folder is absent).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import environment, machine, median, number, scratch, table, verdict

CASES = Path(__file__).resolve().parents[2] / "shared" / "data" / "csv"
ROWS, QUICK_ROWS = 1_000_000, 50_000
TURNS = 3
SHARE_OF_POLARS = 0.5
MEMORY_MB_MAX = 300.0
SNIFF_MS_MAX = 100.0
FLATTEN_TIMES = 10.0
SHEET_ROWS, SHEET_COLUMNS = 50_000, 20
RESULTS = 100_000
COLUMNS = (
    "id", "company", "contact", "street", "city", "state", "zip", "phone", "email", "website", "founded", "employees",
    "revenue", "rating", "active", "signed_up", "latitude", "longitude", "category", "notes",
)  # fmt: skip
NOTE = (
    'Met at the fair, said ""later"" twice; wants a quote for the second quarter, prefers mail, has asked '
    "about delivery times and the warranty of the larger one. Key account since the merger; see the contract "
    "before any talk about it."
)


# Data


def csv_line(n: int) -> str:
    """Some 460 bytes, different for each number; two cells are quoted."""
    return (
        f'{n + 100_000},"Example Works {n % 9973}, Ltd.",Ana Example-{n % 997},{n % 999} Long Example Street West,'
        f"Springfield Heights,CA,{10_000 + n % 89_999:05d},(415) 555-{n % 10_000:04d},ana.{n}@example-{n % 997}.com,"
        f"https://www.example-{n % 997}.com/about/team/{n},{1950 + n % 75},{n % 5000},{n % 7919 * 13.25:.2f},"
        f"{n % 50 / 10},{'true' if n % 3 else 'false'},2024-{n % 12 + 1:02d}-{n % 28 + 1:02d},{n % 89 + n / 1e7:.7f},"
        f'{-(n % 179) - n / 1e7:.7f},Industrial machinery and equipment,"{NOTE[: 120 + n % 90]}"\n'
    )


def result(n: int) -> dict[str, Any]:
    """A nested answer of an agent."""
    return {
        "id": n,
        "company": {"name": f"Example Works {n % 9973} Ltd.", "address": {"city": "Springfield", "zip": f"{n:05d}"}},
        "contacts": [{"name": f"Ana {n}", "phones": [f"+1 555 {n:07d}"]}, {"name": "Ben", "phones": []}],
        "score": n / 7,
        "found": n % 3 == 0,
        "note": None,
    }


# Readers of the large file: each reads all of it and answers the rows


def ours(path: Path) -> int:
    from gristmill.tables import read_table  # noqa: PLC0415 - each reader in a process of its own

    return sum(batch.num_rows for batch in read_table(path).typed_batches())


def ours_text(path: Path) -> int:
    from gristmill.tables import read_table  # noqa: PLC0415 - the same

    return sum(batch.num_rows for batch in read_table(path).batches())


def ours_lists(path: Path) -> int:
    from gristmill.tables import read_table  # noqa: PLC0415 - the same

    return sum(len(group.rows) for group in read_table(path).groups())


def polars_known(path: Path) -> int:
    import polars as pl  # noqa: PLC0415 - the same

    return pl.read_csv(path, separator=",", quote_char='"', try_parse_dates=True).height


def pandas_known(path: Path) -> int:
    import pandas as pd  # noqa: PLC0415 - the same

    return len(pd.read_csv(path))


def duckdb_sniffed(path: Path) -> int:
    import duckdb  # noqa: PLC0415 - the same

    base = duckdb.connect()
    base.execute("CREATE TABLE t AS SELECT * FROM read_csv(?)", [str(path)])
    return base.execute("SELECT count(*) FROM t").fetchone()[0]


def csv_module(path: Path) -> int:
    import csv  # noqa: PLC0415 - the same

    with path.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


LARGE: dict[str, Callable[[Path], int]] = {
    "polars, dialect given": polars_known,
    "gristmill: sniff, read, type": ours,
    "gristmill: sniff, read": ours_text,
    "gristmill: rows as Python lists": ours_lists,
    "DuckDB, sniffed": duckdb_sniffed,
    "csv.reader, dialect given": csv_module,
    "pandas, dialect given": pandas_known,
}


def apart(name: str, path: Path) -> dict[str, float]:
    """One reader in a new process: seconds, processor seconds, peak memory in MB, all without the start of Python."""
    command = [sys.executable, __file__, "--reader", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    return json.loads(done.stdout)


class NoPandas:
    """pyarrow loads pandas where it is installed, for half a second; Gristmill does not bring it."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def be_reader(name: str, path: Path) -> None:
    """The other side of `apart`."""
    reader = LARGE[name]
    if name.startswith("gristmill"):
        sys.meta_path.insert(0, NoPandas())
    with path.open("rb") as file:  # what is read is in memory for everyone
        while file.read(1 << 24):
            pass
    begun, before = time.perf_counter(), os.times()
    rows = reader(path)
    seconds, after = time.perf_counter() - begun, os.times()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    spent = after.user + after.system - before.user - before.system
    print(json.dumps({"rows": rows, "s": seconds, "cpu_s": spent, "peak_mb": peak}))


def large_file(folder: Path, rows: int, turns: int) -> None:
    path = folder / "large.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        for start in range(0, rows, 10_000):
            file.writelines(map(csv_line, range(start, start + 10_000)))
    size = path.stat().st_size / 1e6
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in LARGE}
    for turn in range(turns):
        for name, found in runs.items():
            if turn == 0 or name in list(LARGE)[:3]:
                found.append(apart(name, path))
    base = min(run["s"] for run in runs["polars, dialect given"])
    base_cpu = min(run["cpu_s"] for run in runs["polars, dialect given"])
    lines: list[tuple[str, ...]] = []
    for name, found in runs.items():
        if any(run["rows"] != rows for run in found):
            raise RuntimeError(f"{name} read {found[0]['rows']} of {rows} rows")
        seconds, cpu = min(run["s"] for run in found), min(run["cpu_s"] for run in found)
        peak = max(run["peak_mb"] for run in found)
        is_goal = name == "gristmill: sniff, read, type"
        lines.append((
            name, number(seconds), number(size / seconds), f"{base / seconds:.2f}", number(cpu),
            f"{base_cpu / cpu:.2f}", number(peak),
            verdict(base / seconds, SHARE_OF_POLARS) if is_goal else "",
            verdict(peak, MEMORY_MB_MAX, at_most=True) if is_goal else "",
        ))  # fmt: skip
    print(f"{rows:,} rows, {len(COLUMNS)} columns, {size:,.0f} MB of CSV; the best of {turns} turns\n")
    head = ("", "s", "MB/s", "of polars", "CPU s", "of polars", "peak MB", "goal", "goal MB")
    print(table(head, lines), "\n")
    sniff_one(path)


# Sniffing


def sniff_ms(path: Path) -> float:
    """Milliseconds of processor time to open a file: encoding, format, separators, layout, types."""
    from gristmill.base.errors import Error  # noqa: PLC0415 - after the arguments were read
    from gristmill.tables import read_table  # noqa: PLC0415 - the same

    times: list[float] = []
    for _ in range(3):
        begun = time.process_time()
        try:
            read_table(path)
        except Error:
            return 0.0
        times.append(1000 * (time.process_time() - begun))
    return min(times)


def sniff_one(path: Path) -> None:
    found = sniff_ms(path)
    print(f"opening that file: {found:.0f} ms CPU  {verdict(found, SNIFF_MS_MAX, at_most=True)}\n")


def sniff_files(folder: Path) -> None:
    texts = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat")
    files = sorted(path for path in folder.rglob("files/*") if path.suffix.lower() in texts)
    times = sorted((sniff_ms(path), path.name) for path in files)
    slowest, name = times[-1]
    middle = median([ms for ms, _ in times])
    goal = verdict(slowest, SNIFF_MS_MAX, at_most=True)
    print(f"opening {len(files)} files: median {middle:.1f} ms CPU, slowest {slowest:.0f} ms ({name})  {goal}\n")


# Workbooks


def workbook(folder: Path, rows: int) -> None:
    import openpyxl  # noqa: PLC0415 - bench only
    import python_calamine  # noqa: PLC0415 - the same

    from gristmill.tables import read_table, write_table  # noqa: PLC0415 - the same

    path = folder / "book.xlsx"
    header = [f"column {index}" for index in range(SHEET_COLUMNS)]
    cells = ([n, n / 7, f"Example Works {n % 997}", n % 2 == 0] * (SHEET_COLUMNS // 4) for n in range(rows))
    with path.open("wb") as file:
        file.writelines(write_table("xlsx", cells, header))

    def with_openpyxl() -> int:
        book = openpyxl.load_workbook(path, read_only=True)
        return sum(1 for _ in book.worksheets[0].iter_rows(values_only=True)) - 1

    def with_calamine() -> int:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        return len(book.get_sheet_by_index(0).to_python()) - 1

    readers = {
        "gristmill": lambda: sum(1 for _ in read_table(path).records()),
        "openpyxl, read only": with_openpyxl,
        "calamine": with_calamine,
    }
    spent = {name: cpu_of(read, rows) for name, read in readers.items()}
    lines = [(name, number(s), f"{spent['openpyxl, read only'] / s:.1f} x") for name, s in spent.items()]
    print(f"XLSX, {rows:,} x {SHEET_COLUMNS} cells, {path.stat().st_size / 1e6:.0f} MB\n")
    print(table(("", "CPU s", "faster than openpyxl"), lines), "\n")


def cpu_of(work: Callable[[], int], expected: int, turns: int = 2) -> float:
    """Processor seconds of this process, the best of the turns."""
    times: list[float] = []
    for _ in range(turns):
        begun = time.process_time()
        if (found := work()) != expected:
            raise RuntimeError(f"{found} rows instead of {expected}")
        times.append(time.process_time() - begun)
    return min(times)


# Nested results


def nested(folder: Path, count: int) -> None:
    import pandas as pd  # noqa: PLC0415 - bench only

    from gristmill.tables import FlatRows, write_csv  # noqa: PLC0415 - the same

    results = list(map(result, range(count)))

    def ours_flat() -> int:
        flat = FlatRows(results)
        with (folder / "ours.csv").open("wb") as file:
            file.writelines(write_csv(flat, flat.columns))
        return count

    def theirs() -> int:
        pd.json_normalize(results).to_csv(folder / "theirs.csv", index=False)
        return count

    spent = {
        "gristmill: flatten, guard, write": cpu_of(ours_flat, count),
        "pandas: json_normalize": cpu_of(theirs, count),
    }
    ratio = spent["pandas: json_normalize"] / spent["gristmill: flatten, guard, write"]
    print(f"{count:,} nested results to CSV (pandas leaves lists as they are, we flatten them)\n")
    print(table(("", "CPU s"), [(name, number(s)) for name, s in spent.items()]))
    print(f"{ratio:.1f} x  {verdict(ratio, FLATTEN_TIMES)}\n")


# Files of other people


def scorer_of(folder: Path) -> Any:
    """The scorer that came with the files."""
    spec = importlib.util.spec_from_file_location("score_parse", folder / "tools" / "score_parse.py")
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    return scorer


def right(folder: Path) -> None:
    import tables_readers  # noqa: PLC0415 - loads all the peers

    scorer = scorer_of(folder)
    total, good = tables_readers.right_files(folder, scorer.check)
    delimiters, found = tables_readers.right_delimiters(folder)
    lines = [
        (name, f"{len(files) / total:.1%}", f"{found[name] / delimiters:.1%}" if name in found else "")
        for name, files in good.items()
    ]
    any_peer = {file for name, files in good.items() if name != "gristmill" for file in files}
    print(f"{total} labelled files (header, columns, rows and cells), {delimiters} labelled delimiters\n")
    print(table(("", "files right", "delimiters right"), lines))
    print(f"right in at least one peer: {len(any_peer) / total:.1%}; wrong here: {missing(good, any_peer)}")
    for name, (count, cases) in tables_readers.suites(folder, ("csv-spectrum", "csv-test-data")).items():
        print(f"{name}: {count} of {cases}")
    print()


def rewritten(folder: Path) -> None:
    import tables_rewritten  # noqa: PLC0415 - loads all the peers

    cases = tables_rewritten.tables(folder, scorer_of(folder).check)
    found = [*tables_rewritten.ways(cases), *tables_rewritten.drawn(cases)]
    lines = [(name, str(count), str(total), f"{count / total:.1%}") for name, count, total in found]
    print(f"{len(cases)} labelled tables written anew\n")
    print(table(("", "right", "of", ""), lines), "\n")


def missing(good: dict[str, list[str]], any_peer: set[str]) -> str:
    return ", ".join(sorted(any_peer - {*good["gristmill"]})) or "none of them"


def parts(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    quick = options.quick
    yield "large", lambda: large_file(folder, QUICK_ROWS if quick else ROWS, 1 if quick else TURNS)
    yield "workbook", lambda: workbook(folder, SHEET_ROWS // 20 if quick else SHEET_ROWS)
    yield "nested", lambda: nested(folder, RESULTS // 20 if quick else RESULTS)
    if options.cases.is_dir():
        yield "sniff", lambda: sniff_files(options.cases)
        yield "right", lambda: right(options.cases)
        yield "rewritten", lambda: rewritten(options.cases)
    else:
        print(f"There are no labelled files at {options.cases}.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Tables, beside their peers.")
    parser.add_argument("cases", nargs="?", type=Path, default=CASES, help="labelled files")
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--only", help="large, workbook, nested, sniff, right or rewritten")
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        be_reader(options.reader, options.cases)
        return
    print(f"Tables. {machine()}\n")
    with scratch() as folder:
        for name, run in parts(options, folder):
            if options.only in (None, name):
                run()


if __name__ == "__main__":
    main()
