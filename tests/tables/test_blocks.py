"""Arrow's parser gives what the careful way gives, block by block, or is not used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gristmill.base.errors import Error
from gristmill.tables import Hints, Table, blocks, read_table, source
from gristmill.tables.table import Log

FILES = sorted((Path(__file__).parents[2] / ".." / "shared" / "data" / "csv").glob("**/files/*"))
FILES = [path for path in FILES if path.stat().st_size > 2000]  # two blocks
HINTS = Hints(format="delimited", header=True, preamble=0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Blocks of a kilobyte; the list has for each that was tried whether Arrow parsed it."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(source, "CHUNK_BYTES", 700)
    monkeypatch.setattr(blocks, "TOP_BYTES", 500)
    # A tail that is all footers is a sparse table: more lines must wait than may be footers, as they always do.
    monkeypatch.setattr(blocks, "HELD_BACK", blocks.FOOTER_RECORDS_MAX + 1)
    used: list[bool] = []
    parse = blocks._Blocks.parse

    def noted(self: Any, block: bytes, plain: Any) -> Any:
        table = parse(self, block, plain)
        used.append(table is not None)
        return table

    monkeypatch.setattr(blocks._Blocks, "parse", noted)
    return used


def both(table: Table) -> tuple[Any, Any]:
    rows = list(table.records())
    careful = (rows, bare(table), table.rejects)
    quick = [list(row.values()) for batch in table.batches() for row in batch.to_pylist()]
    return careful, (quick, bare(table), table.rejects)


def bare(table: Table) -> Any:
    """The receipt with its warnings, but not how often each was given, which depends on the pieces."""
    warnings = tuple(sorted({warning.partition(" (")[0] for warning in table.receipt.warnings}))
    return replace(table.receipt, warnings=warnings)


def body(line: str, count: int = 600) -> str:
    return "".join(line.format(n=n) for n in range(count))


@pytest.mark.parametrize(
    ("text", "is_parsed"),
    [
        ("id,name\n" + body("{n},name {n}\n"), True),
        ("id;name\r\n" + body('{n};"name; {n}"\r\n'), True),
        ("id,name\n" + body('{n},"two\nlines ""{n}"""\n'), True),
        ("id|name\n" + body("{n}|5' 10 tall, {n}\n"), True),
        ("id,name\n" + body("{n},x\n\n") + ",\n", True),
        ("id,name\n" + body("{n},x\n , \n"), True),
        ("name\n" + body('a {n}\n"b"\n\n'), True),
        ("Report\n\nid,name\n" + body("{n},x\n") + "Total,200\n", True),
        ("id,name\n" + body("{n},x\n") + "\n\n\nSource: us\n", True),
        ("id,name\n--,----\n" + body("{n},x\n"), True),
        ("id,name\n" + body("{n}\n"), False),
        ("id,name\n" + body('{n},5" pipe\n'), False),
        ("id,name\n" + body('{n},"open\n'), False),
        ("id,name\n" + body('{n},"x"y\n'), False),
        ("id,name\n" + body("{n},'=1+{n}\n"), False),
        ("id,name\n" + body("{n},a long name\n2,a\0b\n3,another long name\n"), False),
        ("id,name\n" + body("{n},a\rb\n"), False),
        ("name\n" + body("a{n}\n") + body("x\ry\n\r\r\n", 300), True),
        ("id,name\n" + body("{n},x\n", 300) + "Total,300\n" + ",\n" * 3000, True),
        ("id,name\n" + body("{n},x\n", 300) + "Total,300\n" + '"",\n' * 3000, True),
        ("id,name\n" + body(" ,\n", 300) + body("{n},x\n", 300), True),
        ("id,name\n" + body("\ufeff{n},x\n"), False),
        ("id,name\n" + body("\x1c,\x85\n \u2028,\u00a0\n{n},x\n"), True),
        ("id,name\n1," + "é" * 20_000 + "\n" + body("{n},x\n"), True),
        ("id,name\n" + body("{n},x\n") + body("{n},x,\n", 9) + body("{n},x\n"), True),
    ],
)
def test_both_ways_agree(text: str, is_parsed: bool, small: list[bool]) -> None:
    careful, quick = both(read_table(text.encode()))
    assert quick == careful
    assert any(small) is is_parsed


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "utf-8"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_newlines(encoding: str, newline: str, small: list[bool]) -> None:
    text = ("id,naïve\n" + body('{n},"Zoë, {n}"\n')).replace("\n", newline)
    careful, quick = both(read_table(text.encode(encoding)))
    assert quick == careful
    assert len(careful[0]) == 600


def test_broken_bytes_are_repaired_alike(small: list[bool]) -> None:
    data = b"id,name\n" + b"1,caf\xe9\n2,x\n" * 100
    for encoding in ("utf-8", "cp1252"):
        careful, quick = both(read_table(data, dialect=Hints(encoding=encoding)))
        assert quick == careful


@pytest.mark.skipif(not FILES, reason="the shared files are not there: nothing to compare with")
def test_real_files_are_read_alike(small: list[bool]) -> None:
    different: list[str] = []
    for path in FILES:
        try:
            table = read_table(path)
        except Error:
            continue
        if table.dialect.format == "delimited":
            careful, quick = both(table)
            if quick != careful:
                different.append(path.name)
    assert different == []
    assert sum(small) > 100


def test_rows_before_an_error_of_the_source_come_first(small: list[bool]) -> None:
    data = body('{n},"Ana {n}"\n', 300).encode()
    table = read_table(b"id,name\n" + data, dialect=HINTS)

    def chunks() -> Iterator[bytes]:
        yield b"id,name\n"
        for start in range(0, len(data), 700):
            yield data[start : start + 700]
        raise OSError("the disk is gone")

    rows = 0
    with pytest.raises(OSError, match="the disk is gone"):
        for batch in blocks.read_blocks(chunks(), table.dialect, table.columns, Log()):
            rows += batch.num_rows
    assert rows > 250
    assert sum(small) > 1


def test_a_reading_that_is_left_early_leaves_no_thread(small: list[bool]) -> None:
    before = threading.active_count()
    batches = read_table(b"id,name\n" + body("{n},x\n").encode(), dialect=HINTS).batches()
    while not any(small):
        next(batches)
    next(batches)
    del batches
    assert threading.active_count() == before


cells = st.text(st.sampled_from("ab1, \"'\n\r;=ä\0"), max_size=5)


@pytest.mark.usefixtures("small")
@given(st.lists(st.lists(cells, min_size=1, max_size=3), min_size=30, max_size=60), st.booleans())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_read_alike(rows: list[list[str]], is_sound: bool) -> None:
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' if is_sound else cell for cell in row] for row in rows]
    text = "id,name,c\n" + "".join(",".join(row) + "\n" for row in quoted)
    try:
        table = read_table(text.encode(), dialect=HINTS)
    except Error:
        return
    table = read_table(text.encode(), dialect=replace(table.dialect, delimiter=",", newline="\n", comment=""))
    careful, quick = both(table)
    assert quick == careful


# Lines of every kind, `,` standing for the delimiter and `"` for the quote, repeated so that some blocks are plain.
KINDS = (
    b"7,x y,z\n", b'7,"x, y",z\n', b'"7","two\nlines",""\n', b'7,"a ""b""",z\n', b"7,x\n", b"7,x,z,\n", b"7,x,z,more\n",
    b"\n", b" \n", b",,\n", b'"","",""\n', b'7,"x,z\n', b'7,5" x,z\n', b'7,"x"y,z\n', b"7,caf\xe9,z\n", b"7,\0,z\n",
    b"7,'=1,z\n", b"7,caf\xc3\xa9,z\n", b"7,x\rx,z\n", b"Total,7,\n", b"Source: us\n", b"\xef\xbb\xbf7,x,z\n",
)  # fmt: skip
lines = st.tuples(st.sampled_from(KINDS), st.sampled_from((1, 1, 2, 40, 150)))


@pytest.mark.usefixtures("small")
@given(
    st.lists(lines, min_size=1, max_size=8),
    st.sampled_from(",;|\t"),
    st.sampled_from("\"'"),
    st.sampled_from(("\n", "\r\n")),
    st.booleans(),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_mixture_of_lines_is_read_alike(
    kinds: list[tuple[bytes, int]], delimiter: str, quote: str, newline: str, ends: bool
) -> None:
    data = b"id,name,c\n" + b"7,a,b\n" * 100 + b"".join(line * count for line, count in kinds)
    data = data.replace(b",", delimiter.encode()).replace(b'"', quote.encode()).replace(b"\n", newline.encode())
    known = Hints(format="delimited", encoding="utf-8", delimiter=delimiter, quote=quote, newline="\n", header=True)
    careful, quick = both(read_table(data if ends else data.rstrip(b"\r\n"), dialect=known))
    assert quick == careful
    receipt = careful[1]
    assert receipt.lines == receipt.header + receipt.preamble + receipt.rows + receipt.rejects + receipt.blank
