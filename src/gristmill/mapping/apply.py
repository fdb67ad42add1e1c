"""From a row to the values of fields: columns joined, combined columns taken apart."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from typing import Any

from gristmill.mapping.model import FieldMapping, Mapping, Part

_SPACES = re.compile(r"\s+")
_ZIP_FIRST = re.compile(
    r"(?P<zip>(?:[A-Z]{1,2}-)?(?:\d{4,6}|\d{2}-\d{3}|\d{3} \d{2}|\d{4} ?[A-Z]{2})),? +(?P<city>[^\W\d_].*)"
)
_STATE_LAST = re.compile(
    r"(?P<city>.*?[^\W\d_].*?)(?:,\s*|\s+)(?P<state>[A-Za-z]{2,3}|[A-Z][a-z]+(?: [A-Z][a-z]+)*)\.?,?\s+"
    r"(?P<zip>\d{5}(?:-?\d{4})?|[A-Za-z]\d[A-Za-z] ?\d[A-Za-z]\d|\d{4})"
)
_NO_ZIP = re.compile(
    r"(?P<city>.*?[^\W\d_].*?)(?:,\s*|\s+)(?P<state>[A-Z]{2,3})|(?P<city2>[^,]+),\s*(?P<state2>[^,\d]+)"
)
_ZIP_LAST = re.compile(
    r"(?P<city>.*?[^\W\d_].*?),?\s+(?P<zip>\d{4,6}(?:-\d{4})?|[A-Za-z]{1,2}\d[A-Za-z\d]? ?\d[A-Za-z]{2})"
)
_ZIP_ANYWHERE = re.compile(r"(?<![\w-])(\d{5}(?:-\d{4})?)(?![\w-])")
_COUNTRY = re.compile(r",?\s+(?:USA|U\.S\.A\.|US|United States(?: of America)?|Canada)$", re.IGNORECASE)


def apply(mapping: Mapping, row: Sequence[str] | Dict[str, Any]) -> dict[str, str]:
    """Values of all fields of one row; the empty string where there is none.

    `row` is a list of cells as `Table.records()` yields, which may be short, or a dict by column name.
    """
    cells = _cells(mapping, row)
    return {name: value_of(item, cells) for name, item in mapping.fields.items()}


def variants_of(mapping: Mapping, row: Sequence[str] | Dict[str, Any]) -> dict[str, str]:
    """Column name -> value of the search variants that the row has."""
    cells = _cells(mapping, row)
    found = {mapping.columns[index]: _clean(cells, index) for index in mapping.variants if index < len(mapping.columns)}
    return {name: value for name, value in found.items() if value}


def value_of(item: FieldMapping, cells: Sequence[str]) -> str:
    """The value of one field: its columns joined, without empty and repeated ones, or its part of a combined one."""
    values: list[str] = []
    for index in item.columns:
        value = _clean(cells, index)
        if value and value not in values:
            values.append(value)
    joined = item.join.join(values)
    return split_place(joined)[item.part] if item.part else joined


def split_place(text: str) -> dict[Part, str]:
    """`Tampa, FL 33602`, `4058 Basel` or `Nantes 44000` as city, state and zip; what is missing is empty."""
    plain = _COUNTRY.sub("", _SPACES.sub(" ", text).strip())
    for pattern in (_ZIP_FIRST, _STATE_LAST, _ZIP_LAST, _NO_ZIP):
        match = pattern.fullmatch(plain)
        if match:
            found = match.groupdict()
            return {
                "city": (found.get("city") or found.get("city2") or "").strip(" ,"),
                "state": (found.get("state") or found.get("state2") or "").strip(" ,."),
                "zip": found.get("zip") or "",
            }
    code = _ZIP_ANYWHERE.search(plain)
    if code:
        return {"city": "", "state": "", "zip": code[1]}
    return {"city": plain, "state": "", "zip": ""}


def _cells(mapping: Mapping, row: Sequence[str] | Dict[str, Any]) -> Sequence[str]:
    if isinstance(row, Dict):
        return ["" if row.get(name) is None else str(row[name]) for name in mapping.columns]
    return row


def _clean(cells: Sequence[str], index: int) -> str:
    return _SPACES.sub(" ", cells[index]).strip() if index < len(cells) else ""
