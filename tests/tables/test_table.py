from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.base.errors import Invalid
from gristmill.tables import read_table


def test_batches_are_arrow_and_all_text() -> None:
    table = read_table(b"id,name,name\n007,Zo\xc3\xab,x\n8,,y\n")
    batches = list(table.batches())
    fields = [(field.name, str(field.type)) for field in batches[0].schema]
    assert fields == [("id", "string"), ("name", "string"), ("name_2", "string")]
    assert pa.Table.from_batches(batches).to_pydict() == {"id": ["007", "8"], "name": ["Zoë", ""], "name_2": ["x", "y"]}
    assert table.receipt.rows == 2
    assert table.receipt.complete


def test_groups_have_line_numbers() -> None:
    table = read_table(b'a,b\n1,"x\ny"\n2,z\n')
    assert [(group.lines, group.rows) for group in table.groups()] == [([2, 4], [["1", "x\ny"], ["2", "z"]])]


def test_a_format_is_named_as_people_name_it() -> None:
    data = b'{"a": 1}\n{"a": 2}\n'
    assert list(read_table(data, format="ndjson").records()) == [["1"], ["2"]]
    assert read_table(b"a,b\n1,2\n", format="csv").header == ["a", "b"]
    assert read_table(b"a\tb\n1\t2\n", format="tsv").header == ["a", "b"]
    with pytest.raises(Invalid, match="`word` is no format that is read; there are: delimited, json,"):
        read_table(data, format="word")  # type: ignore[arg-type]
