from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Error
from gristmill.tables import TooLargeToRead, Unreadable, json_cut, json_rows, read_table, source, write_jsonl


def read(data: bytes) -> list[dict[str, str]]:
    return list(read_table(data).rows())


def test_array_lines_and_wrapped_array_are_the_same() -> None:
    objects = [{"id": 1, "a": {"b": [True, None]}}, {"id": 2, "late": "x"}]
    expected = [
        {"id": "1", "a.b.0": "true", "a.b.1": "", "late": ""},
        {"id": "2", "a.b.0": "", "a.b.1": "", "late": "x"},
    ]
    lines = "\n".join(map(json.dumps, objects))
    for text in (json.dumps(objects), json.dumps({"meta": {"n": 2}, "data": objects}, indent=2), lines):
        assert read(text.encode()) == expected
    assert read_table(lines.encode()).dialect.format == "jsonl"
    assert read(json.dumps(objects[0]).encode()) == [{"id": "1", "a.b.0": "true", "a.b.1": ""}]


def test_long_numbers_are_exact() -> None:
    assert read(b'[{"id": 123456789012345678901234567890, "f": 0.1}]') == [
        {"id": "123456789012345678901234567890", "f": "0.1"}
    ]


def test_bad_lines_are_rejects() -> None:
    table = read_table(b'{"a": 1}\n{"a": oops}\n\n{"a": 3}\n')
    assert list(table.numbered()) == [(1, ["1"]), (4, ["3"])]
    assert [(reject.line, reject.raw) for reject in table.rejects] == [(2, b'{"a": oops}')]
    receipt = table.receipt
    assert (receipt.lines, receipt.rows, receipt.rejects, receipt.blank) == (4, 2, 1, 1)


def test_a_truncated_array_keeps_its_good_elements() -> None:
    table = read_table(b'{"rows": [{"a": "x]"}, {"a": [1, 2]}, {"a": "unfin')
    assert list(table.rows()) == [{"a": "x]", "a.0": "", "a.1": ""}, {"a": "", "a.0": "1", "a.1": "2"}]
    assert "middle" in table.rejects[0].reason


@pytest.mark.parametrize("size", [1, 3, 7, 40, 0])
def test_what_stands_behind_the_array_is_told(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    if size:
        monkeypatch.setattr(json_rows, "WHOLE_BYTES_MAX", 10)
        monkeypatch.setattr(source, "CHUNK_BYTES", size)
    two = json.dumps([{"a": 1}, {"a": 2}], indent=1) + "\n" + json.dumps([{"a": 3}], indent=1)
    table = read_table(two.encode(), format="json")
    assert list(table.rows()) == [{"a": "1"}, {"a": "2"}]
    assert [(item.line, item.reason) for item in table.rejects] == [
        (3, "It stands behind the array of rows and is not read.")
    ]
    assert (table.receipt.lines, table.receipt.rows, table.receipt.rejects) == (3, 2, 1)
    cut = read_table(b'[{"a": 1}, {"a": 2},  \n', format="json")
    assert list(cut.rows()) == [{"a": "1"}, {"a": "2"}]
    assert any("ends before its array" in warning for warning in cut.receipt.warnings)
    sound = read_table(b'[{"a": 1}, {"a": 2}]  \n \n', format="json")
    assert list(sound.rows()) == [{"a": "1"}, {"a": "2"}]
    assert (sound.receipt.warnings, list(sound.rejects)) == ((), [])


def test_arrays_that_are_not_read_are_told() -> None:
    data = {"meta": {"tags": [1, 2]}, "data": {"rows": [{"a": 1}, {"a": 2}], "notes": [{"n": "x"}]}, "none": []}
    table = read_table(json.dumps(data).encode())
    assert list(table.rows()) == [{"a": "1"}, {"a": "2"}]
    assert table.receipt.warnings == ("The longest array of rows, `data.rows`, is read; `data.notes` (1) is not.",)


def test_two_objects_one_behind_the_other_are_told() -> None:
    table = read_table(b'{"rows": [{"a": 1}]}{"rows": [{"a": 2}]}', format="json")
    assert list(table.rows()) == [{"a": "1"}]
    assert "not sound as a whole" in table.receipt.warnings[0]


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_large_files_are_cut_in_elements(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [{"id": i, "t": 'a "quoted", ] } \\', "n": {"m": [i]}} for i in range(20)]
    data = json.dumps({"info": {"list": [1, 2]}, "rows": objects, "after": []}, indent=1).encode()
    whole = read(data)
    monkeypatch.setattr(json_rows, "WHOLE_BYTES_MAX", 10)
    monkeypatch.setattr(source, "CHUNK_BYTES", size)
    assert read(data) == whole
    assert len(whole) == 20


def test_hostile_json() -> None:
    with pytest.raises(Unreadable):
        read(b"[" * 100_000)
    with pytest.raises(Error):
        read(b'{"a":' * 100_000)
    deep = b'[{"a":' + b"[" * 500 + b"]" * 500 + b"}]"
    assert len(read(deep)) <= 1
    many = json.dumps([{f"k{i}": 1} for i in range(20_000)]).encode()
    with pytest.raises(TooLargeToRead):
        read(many)


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=5),
            st.text(max_size=9) | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_written_lines_are_read_back(objects: list[dict[str, Any]]) -> None:
    data = b"".join(write_jsonl(objects))
    assert data.count(b"\n") == len(objects)
    assert [json.loads(line) for line in data.splitlines()] == objects or b"\\ud" in data
    assert len(list(read_table(data, format="jsonl").records())) == len(objects)


def test_a_single_value_is_no_table() -> None:
    for text in (b"1", b"null", b'""', b"true"):
        with pytest.raises(Unreadable, match="single value"):
            read_table(text, format="json")


def test_the_file_is_read_when_rows_or_columns_are_asked_for() -> None:
    table = read_table(b'{"a": 1}\n{"a": 2}\n{"b": 3}\n')
    assert table.receipt.complete is False
    assert table.header == ["a", "b"]


def test_of_a_key_that_comes_twice_the_last_value_counts() -> None:
    assert read(b'[{"id": 1, "id": 2, "__proto__": {"admin": true}, "constructor": 3}]') == [
        {"id": "2", "__proto__.admin": "true", "constructor": "3"}
    ]


def test_numbers_that_are_none_are_rejects() -> None:
    with pytest.raises(Unreadable, match="No row"):
        read(b"[NaN,Infinity,-Infinity]")
    table = read_table(b'[{"a": 1}, {"a": NaN}, {"a": 3}]')
    assert [row["a"] for row in table.rows()] == ["1", "3"]
    assert [(reject.line, reject.raw) for reject in table.rejects] == [(2, b'{"a": NaN}')]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


json_objects = st.dictionaries(st.text(max_size=3), json_values, max_size=3)


@given(st.lists(json_objects, min_size=1, max_size=20), st.integers(1, 40))
def test_cutting_finds_the_elements_that_parsing_finds(objects: list[dict[str, Any]], size: int) -> None:
    data = json.dumps(objects, ensure_ascii=False).encode("utf-8", "replace")
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    elements = [json.loads(raw) for piece in json_cut.cut_array(chunks) for raw in piece.elements()]
    assert elements == json.loads(data)


def test_long_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_cut, "ELEMENT_BYTES_MAX", 1000)
    monkeypatch.setattr(json_rows, "WHOLE_BYTES_MAX", 10)
    monkeypatch.setattr(source, "CHUNK_BYTES", 100)
    with pytest.raises(TooLargeToRead):
        read(json.dumps([{"a": "x" * 5000}]).encode())
    monkeypatch.setattr(json_rows, "LINE_BYTES_MAX", 1000)
    with pytest.raises(TooLargeToRead):
        read(b'{"a": 1}\n{"a": "' + b"x" * 5000 + b'"}\n')


def test_of_a_large_file_the_longest_array_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"errors": [{"e": "]"}], "rows": [{"a": 1, "of": [{"b": 1}] * 9}, {"a": 2}], "notes": [{"n": 1}, {"n": 2}]}
    raw = json.dumps(data, indent=1).encode()
    whole = read(raw)
    assert [row["a"] for row in whole] == ["1", "2"]
    monkeypatch.setattr(json_rows, "WHOLE_BYTES_MAX", 10)
    monkeypatch.setattr(source, "CHUNK_BYTES", 7)
    assert read(raw) == whole
    assert list(read_table(raw[: raw.index(b'"notes"')]).rows()) == whole


@pytest.mark.parametrize(
    "data",
    [
        b'[["id", "name"], [1, "Elm"], [2, "Oak"]]',
        b'["id", "name"]\n[1, "Elm"]\n[2, "Oak"]\n',
        b'{"range": "A1:B3", "values": [["id", "name"], [1, "Elm"], [2, "Oak"]]}',
        b'{"columns": ["id", "name"], "index": [0, 1], "data": [[1, "Elm"], [2, "Oak"]]}',
        b'{"meta": {"columns": [{"name": "id"}, {"name": "name"}]}, "data": [[1, "Elm"], [2, "Oak"], [3, "Fir"]]}',
    ],
)
def test_rows_that_are_arrays_have_a_header(data: bytes) -> None:
    table = read_table(data)
    assert list(table.rows())[:2] == [{"id": "1", "name": "Elm"}, {"id": "2", "name": "Oak"}]
    assert table.receipt.lines == table.receipt.header + table.receipt.rows
    first = next(table.groups())
    assert first.values
    assert first.values[0] == {"id": 1, "name": "Elm"}
    assert first.lines[0] == 1 + table.receipt.header


def test_arrays_without_names_have_no_header() -> None:
    assert read(b"[[1, 2], [3, 4]]") == [{"0": "1", "1": "2"}, {"0": "3", "1": "4"}]
    table = read_table(b'[["id", "n"], [1, 2]]', dialect={"header": False})
    assert len(list(table.records())) == 2


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1},\n{"a": 2}\n',
        b'{"a": 1},\n{"a": 2},\n',
        b'{"a": 1}\n\n{"a": 2}\n\n',
        b'\x1e{"a": 1}\n\x1e{"a": 2}\n',
        b'{\n "a": 1\n}\n{\n "a": 2\n}\n',
        b'{"a": 1}\n{"a":\n{"a": 2}\n',
        b'{"a":\n{"a": 1}\n{"a": 2}\n',
    ],
)
def test_values_one_behind_the_other(data: bytes) -> None:
    assert read(data) == [{"a": "1"}, {"a": "2"}]
