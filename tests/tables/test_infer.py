from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.tables import Type, infer, typed
from gristmill.tables.model import type_names


@pytest.mark.parametrize(
    ("cells", "name", "kind"),
    [
        (["1", "20", "-3", "1,234"], "", "int"),
        (["1.5", "2", "-3e5"], "", "float"),
        (["yes", "No", ""], "", "bool"),
        (["2024-01-31", "2024-02-01 10:00:00"], "", "date"),
        (["1/31/2024", "12/1/24"], "", "date"),
        (["(212) 555-0100", "+44 20 7946 0000"], "", "phone"),
        (["2125550100", "3125550101"], "", "phone"),
        (["a@b.co", "c.d@e-f.org"], "", "email"),
        (["https://x.org/a", "www.example.com"], "", "url"),
        (["12345", "02139"], "", "zip"),
        (["12345", "22139"], "Postal Code", "zip"),
        (["12345", "22139"], "amount", "int"),
        (["V7E 1P4", "SW1A 1AA"], "", "zip"),
        (["007", "012"], "", "text"),
        (["", " "], "", "text"),
        (["Anna", "1"], "", "text"),
    ],
)
def test_column_types(cells: list[str], name: str, kind: Type) -> None:
    assert infer(cells, name) == kind


def test_typed_values() -> None:
    assert typed("1,234", "int") == 1234
    assert typed("2.50", "float") == 2.5
    assert typed("Yes", "bool") is True
    assert typed("31.12.2024", "date") == date(2024, 12, 31)
    assert typed("", "int") is None
    assert typed("n/a", "int") == "n/a"
    assert typed("02139", "zip") == "02139"


@given(st.text(), st.sampled_from(type_names))
def test_any_text_has_a_value(cell: str, kind: Type) -> None:
    value = typed(cell, kind)
    assert (value is None) == (not cell.strip())
    assert infer([cell]) in type_names
