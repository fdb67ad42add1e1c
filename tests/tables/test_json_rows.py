from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.errors import Error
from gristmill.tables import TooLargeToRead, Unreadable, json_rows, read_table, source, write_jsonl


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
