"""Hostile and broken files: each ends in a clear error or a clean reading, quickly and with little memory.

Every file is read by a process of its own, whose time and memory are measured. Cases that lie beside the project are
run as well where they are there.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.tables import read_table, write_csv, write_table
from workbooks import ods, rows_xml, sheet_xml, xlsx, zipped

CASES = Path(__file__).parents[2] / ".." / "shared" / "data" / "security" / "bad_inputs.jsonl"
CPU_S_MAX = 5.0
MEMORY_MB_MAX = 300
READ = """
import json, resource, sys, time
from gristmill.base.errors import Error
from gristmill.tables import read_table
out = {"rows": 0, "first": None, "error": None}
try:
    table = read_table(sys.argv[1])
    out["header"] = table.header
    for group in table.groups():
        out["rows"] += len(group.rows)
        out["first"] = out["first"] or group.rows[0]
    receipt = table.receipt
    out.update(rejects=[(item.line, item.reason) for item in table.rejects], warnings=receipt.warnings,
               complete=receipt.complete, sheet=table.dialect.sheet)
except Error as error:
    out.update(error=error.message, status=error.status)
own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
out["cpu_s"] = sum(item.ru_utime + item.ru_stime for item in (own, children))
# The peak in `own` is that of the process this one was forked from.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
out["memory_mb"] = max(peak, children.ru_maxrss) / 1024
print(json.dumps(out))
"""

Chunks = Iterator[bytes]


def lines(head: bytes, line: bytes, count: int) -> Chunks:
    yield head
    for _ in range(count // 10_000):
        yield line * 10_000


def deflated(name: str, chunks: Chunks, files: dict[str, str | bytes]) -> bytes:
    """An archive whose file `name` is written as a stream."""
    out = io.BytesIO(zipped(files))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open(name, "w") as file:
        for chunk in chunks:
            file.write(chunk)
    return out.getvalue()


def book_with_sheet(chunks: Chunks) -> bytes:
    """A workbook with a long sheet."""
    files = {name: content for name, content in parts_of(xlsx({"S": ""})).items() if "sheet1" not in name}
    return deflated("xl/worksheets/sheet1.xml", chunks, files)


def parts_of(book: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sheet(rows: Chunks) -> Chunks:
    yield b"<worksheet><sheetData>"
    yield from rows
    yield b"</sheetData></worksheet>"


def million_rows() -> Chunks:
    for start in range(0, 1_048_576, 4096):
        yield "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(start + 1, start + 4097)).encode()


def texts() -> Chunks:
    yield b'<sst xmlns="x">'
    for _ in range(300):
        yield b"<si><t>x</t></si>" * 10_000
    yield b"</sst>"


def book_with_texts() -> bytes:
    book = parts_of(xlsx({"S": sheet_xml('<row r="1"><c r="A1" t="s"><v>0</v></c></row>')}, texts="<si/>"))
    del book["xl/sharedStrings.xml"]
    return deflated("xl/sharedStrings.xml", texts(), book)


def overlapping() -> bytes:
    """Many entries, one stream."""
    data = zipped({"one.csv": b"a,b\n" * 1000})
    start, end = data.find(b"PK\x01\x02"), data.find(b"PK\x05\x06")
    entry = data[start:end]
    count = 1000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, start, 0)
    return data[:start] + entry * count + tail


def lying_directory() -> bytes:
    data = bytearray(zipped({"t.csv": b"a,b\n" * 1_000_000}))
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 24, 10)
    return bytes(data)


DOCTYPE = '<!DOCTYPE worksheet [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(10)
)
XXE = '<!DOCTYPE worksheet [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
CORNERS = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
FORMULA = '<row r="2"><c r="A2"><f>WEBSERVICE("http://127.0.0.1/")</f><v>5</v></c></row>'
MACRO = {"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0", "xl/externalLinks/externalLink1.xml": "<externalLink/>"}
ODS_BOMB = (
    '<table:table table:name="S"><table:table-row table:number-rows-repeated="1000000"><table:table-cell '
    'table:number-columns-repeated="16000" office:value-type="float" office:value="1"/></table:table-row></table:table>'
)
ONE_CELL = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
ENTITY_TEXT = {"xl/sharedStrings.xml": f"{XXE}<sst><si><t>&e;</t></si></sst>"}
LONG_CELL = b'<row r="1"><c r="A1" t="str"><v>'
FIRST_ROW = b'<row r="1"><c r="A1"><v>1</v></c></row>'
NESTED = 100_000

# Name -> (the file, what must come of it). `error` is a part of the message; None means that it is read.
FILES: dict[str, tuple[Callable[[], bytes | Chunks], str | None]] = {
    "sparse corner": (lambda: xlsx({"S": sheet_xml(CORNERS)}), "cells"),
    "dimension lies": (lambda: xlsx({"S": sheet_xml(rows_xml(["a", "b"], [1, 2]), dimension="A1:XFD1048576")}), None),
    "billion laughs": (lambda: xlsx({"S": f"{DOCTYPE}]>{sheet_xml(rows_xml(['&k;', 'b']))}"}), "type definition"),
    "external entity": (lambda: xlsx({"S": XXE + sheet_xml(rows_xml(["&e;", "b"]))}), "type definition"),
    "entity in texts": (lambda: xlsx({"S": sheet_xml(ONE_CELL)}, more=ENTITY_TEXT, texts="<si/>"), "type definition"),
    "central directory lies": (lying_directory, "more than the archive says"),
    "overlapping members": (overlapping, "overlap"),
    "long cell": (lambda: book_with_sheet(sheet(lines(LONG_CELL, b"x" * 1000, 60_000))), "longer than"),
    "million rows": (lambda: book_with_sheet(sheet(million_rows())), None),
    "empty rows": (lambda: book_with_sheet(sheet(lines(FIRST_ROW, b"<row/>", 1_000_000))), None),
    "millions of texts": (book_with_texts, None),
    "formula cells": (lambda: xlsx({"S": sheet_xml(rows_xml(["a"]) + FORMULA)}), None),
    "macros and links": (lambda: xlsx({"S": sheet_xml(rows_xml(["a", "b"], [1, 2]))}, more=MACRO), None),
    "ods bomb": (lambda: ods(ODS_BOMB), "memory"),
    "locked workbook": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096), "damaged"),
    "truncated gzip": (lambda: gzip.compress(b"a,b\n1,2\n" * 100)[:-8], "too early"),
    "double gzip": (lambda: gzip.compress(gzip.compress(b"a,b\n1,2\n")), "twice"),
    "gzip bomb": (lambda: gzip.compress(b"a,b\n" + b"1,2\n" * 10_000_000), "times its size"),
    "depth of a million": (lambda: b"[" * 1_000_000, ""),
    "balanced depth": (lambda: b"[" * NESTED + b"]" * NESTED, ""),
    "object depth": (lambda: b'{"a":' * NESTED + b"1" + b"}" * NESTED, ""),
    "no numbers": (lambda: b"[NaN,Infinity,-Infinity,1e999]", "No row"),
    "twice the same key": (lambda: b'{"id":1,"id":2}', None),
    "a million keys": (lambda: b'{"k":0' + b"".join(b',"k%d":0' % n for n in range(1_000_000)) + b"}", ""),
    "keys in rows": (lambda: b'[{"k":0' + b"".join(b',"k%d":0' % n for n in range(50_000)) + b"}]", "different keys"),
    "keys of an object": (lambda: b'{"__proto__":{"admin":true},"constructor":1}', None),
    "a field of 200 MB": (lambda: lines(b'a,b\n1,"', b"x" * 1000, 200_000), "line 2"),
    "a line of 200 MB": (lambda: lines(b"a,b\n1,", b"x" * 1000, 200_000), "line 2"),
    "unclosed quote": (lambda: lines(b'a,b\n1,"oops\n', b"1,x\n", 500_000), None),
    "unclosed quotes": (lambda: lines(b"a,b\n", b'1,"x"y\n', 100_000), None),
    "quotes only": (lambda: lines(b"a,b\n", b'"' * 100, 100_000), None),
    "blank lines only": (lambda: lines(b"a,b\n", b"\n" * 100, 300_000), None),
    "commas only": (lambda: lines(b"", b"," * 100, 200_000), "longer than"),
    "NUL": (lambda: b"a,b\n1,\0x\n2,y\n", None),
    "headers": (lambda: b"id,id,, ,\n1,2,3,4,5\n", None),
    "sep line": (lambda: b"sep=;\na;b\n1;2\n", None),
    "a program": (lambda: b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 40, "program"),
    "an image": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "image"),
    "a document": (lambda: b"%PDF-1.7\n1 0 obj <</Type/Catalog>>\n", "PDF"),
    "quote inside": (lambda: b'a,b\n5" pipe,x\n', None),
    "signs": ("\u202eexe.csv,b\n\u200bx,e\u0301 \U0001f600\n".encode, None),
    "code": (lambda: b"a,b\n'; DROP TABLE x;--,<script>{{7*7}} ${jndi:ldap://x}\n", None),
}  # fmt: skip
EXPECTED: dict[str, tuple[int, list[str]]] = {
    "dimension lies": (1, ["1", "2"]),
    "million rows": (1_048_576, ["1"]),
    "formula cells": (1, ["5"]),
    "macros and links": (1, ["1", "2"]),
    "twice the same key": (1, ["2"]),
    "keys of an object": (1, ["true", "1"]),
    "unclosed quote": (500_001, ["1", '"oops']),
    "unclosed quotes": (100_000, ["1", '"x"y']),
    "NUL": (1, ["2", "y"]),
    "headers": (1, ["1", "2", "3", "4", "5"]),
    "sep line": (1, ["1", "2"]),
    "quote inside": (1, ['5" pipe', "x"]),
    "signs": (1, ["\u200bx", "e\u0301 \U0001f600"]),
    "code": (1, ["'; DROP TABLE x;--", "<script>{{7*7}} ${jndi:ldap://x}"]),
}


def read_apart(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", FILES)
def test_bad_file(name: str, tmp_path: Path) -> None:
    make, error = FILES[name]
    path = tmp_path / "input"
    content = make()
    with path.open("wb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
    out = read_apart(path)
    assert out["cpu_s"] < CPU_S_MAX
    assert out["memory_mb"] < MEMORY_MB_MAX
    if error is None:
        assert out["error"] is None
        assert out["complete"]
        if name in EXPECTED:
            assert (out["rows"], out["first"]) == EXPECTED[name]
    else:
        assert error in (out["error"] or "nothing")
        assert 400 <= out["status"] < 500
        assert "root:" not in out["error"]


def test_what_is_doubtful_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\n1,"oops\n' + b"2,y\n" * 50)
    assert any("line 2" in warning for warning in read_apart(path)["warnings"])
    path.write_bytes(b"a,b\n1,\0x\n2,y\n")
    assert read_apart(path)["rejects"] == [[2, "The record has NUL characters."]]


def shared(*kinds: str) -> list[dict[str, Any]]:
    if not CASES.is_file():
        return []
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    return [case for case in cases if case["cat"] in kinds]


def value_of(case: dict[str, Any]) -> str:
    found = re.search(r"(?:value|named) (\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", case["gen"])
    assert found, case
    return ast.literal_eval(found[1])


DANGEROUS = set("=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20")


@pytest.mark.parametrize("case", shared("formula", "formula-fp"), ids=lambda case: case["name"])
def test_formulas_of_the_shared_cases(case: dict[str, Any]) -> None:
    value = value_of(case)
    rows, header = ([["x", "y"]], [value, "b"]) if "header" in case["name"] else ([[value, "y"]], ["name", "b"])
    data = b"".join(write_csv(rows, header)).decode()
    assert data.startswith('"')
    if case["cat"] == "formula":
        written = [cell for row in csv.reader(io.StringIO(data, newline="")) for cell in row]
        assert all(cell.lstrip("\ufeff \u00a0")[:1] not in DANGEROUS for cell in written if cell)
    if "\0" not in value:
        back = read_table(data.encode())
        assert [back.header, *back.records()] == [header, *rows]
    book = b"".join(write_table("xlsx", rows, header))
    xml = parts_of(book)["xl/worksheets/sheet1.xml"]
    assert b"<f>" not in (xml if isinstance(xml, bytes) else xml.encode())
    back = read_table(book, dialect={"header": True, "preamble": 0})
    assert [back.header, *back.records()] == [header, *rows]


def test_every_shared_case_of_reading_is_run_here() -> None:
    # Those have tests of their own beside their readers, or concern bodies of requests.
    elsewhere = {
        "xls / xlsb / ods / xlsm", "hidden and 2 sheets", "1900/1904 dates, error cells, booleans",
        "top level scalar / null / empty body", "Content-Encoding: gzip bomb on the webhook and pull", "zstd/br body",
    }  # fmt: skip
    names = {
        "external link": "macros and links", "XXE file": "external entity", "depth 1 M": "depth of a million",
        "balanced depth 100 k": "balanced depth", "object depth 100 k": "object depth",
        "NaN/Infinity/1e999": "no numbers", "duplicate keys": "twice the same key", "2 M keys": "a million keys",
        "field 200 MB": "a field of 200 MB", "__proto__, constructor keys": "keys of an object", "NUL bytes": "NUL",
        "sep=; first line": "sep line", "duplicate / empty / blank headers": "headers",
        "binary as .csv": "a program", "quote inside unquoted field": "quote inside",
        "RTL override, zero-width, emoji, combining": "signs", "SQL/HTML/template text in cells": "code",
    }  # fmt: skip
    for case in shared("xlsx", "gzip", "json", "csv"):
        name = case["name"]
        assert name in elsewhere or names.get(name, name) in FILES, name
