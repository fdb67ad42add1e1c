"""What the columns of a dataset say about a lead: whom a record speaks of, and which facts it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill import mapping, tables
from gristmill.enrich.model import FactKind
from gristmill.enrich.normalise import is_nothing
from gristmill.mapping import Mapping as Columns

_FAX = re.compile(r"(?i)\b(fax|telefax|telecopy|tty|tdd|pager)")
_TITLE = re.compile(r"(?i)^(job[\s_-]*)?(title|role|position|function)$|(contact|dm|owner)[\s_-]*title")
_LEGAL = re.compile(r"(?i)legal|registered|licensee|corporate|parent")
_REGISTRY = re.compile(r"(?i)\b(licen[cs]e|registration|registry|permit|ein|duns|siret|siren)[\s_-]*(no|num|id|#|$)")
FACT_COLUMNS_MAX = 40

Said = tuple[FactKind, dict[str, str]]
"""A kind of fact and its fields."""


@dataclass(frozen=True, slots=True)
class RecordMap:
    """How to read the records of one dataset."""

    columns: Columns
    phones: tuple[str, ...]
    """Columns of voice phones, the main ones first."""
    emails: tuple[str, ...]
    websites: tuple[str, ...]
    legal_name: str | None
    registry_id: str | None
    title: str | None

    def identity(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Whom a record speaks of: company, street, city, zip, phone."""
        values = mapping.apply(self.columns, _texts(row))
        texts = [_text(row, name) for name in self.phones]
        return {
            "company": values.get("company", ""),
            "street": values.get("street", ""),
            "city": values.get("city", ""),
            "zip": values.get("zip", ""),
            "phone": ", ".join(filter(None, texts)),
        }

    def facts(self, row: Mapping[str, Any]) -> list[Said]:
        """What a record says of its company."""
        values = mapping.apply(self.columns, _texts(row))
        found: list[Said] = []
        person = values.get("dm_name", "")
        if person:
            title = _text(row, self.title) if self.title else ""
            found.append(("contact", {"display_name": person, **({"title": title} if title else {})}))
        phones: list[Said] = [("phone", {"number": text}) for name in self.phones if (text := _text(row, name))]
        emails: list[Said] = [("email", {"address": text}) for name in self.emails if (text := _text(row, name))]
        found += [*phones, *emails]
        entity = {
            "legal_name": (_text(row, self.legal_name) if self.legal_name else "") or values.get("company", ""),
            "website": next((text for name in self.websites if (text := _text(row, name))), ""),
            "registry_id": _text(row, self.registry_id) if self.registry_id else "",
        }
        if entity["legal_name"]:
            found.append(("entity", {name: text for name, text in entity.items() if text}))
        place = {name: values.get(name, "") for name in ("street", "city", "state", "zip") if values.get(name)}
        if place.get("street"):
            found.append(("address", place))
        return found


def record_map(rows: Sequence[Mapping[str, Any]]) -> RecordMap:
    """Understand a dataset from some of its records: its columns are mapped as those of an uploaded lead file are."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    records = [[_text(row, name) for name in names] for row in rows]
    columns = mapping.propose_for_rows(names, records)
    types = {name: tables.infer([record[place] for record in records], name) for place, name in enumerate(names)}
    main = [names[index] for key in ("number1", "number2") for index in columns.fields[key].columns]
    voice = [name for name in names if types[name] == "phone" and not _FAX.search(name)]
    used = {names[index] for item in columns.fields.values() for index in item.columns}
    free = [name for name in names if name not in used]
    return RecordMap(
        columns=columns,
        phones=tuple(dict.fromkeys([*main, *voice]))[:FACT_COLUMNS_MAX],
        emails=tuple(name for name in names if types[name] == "email")[:FACT_COLUMNS_MAX],
        websites=tuple(name for name in names if types[name] == "url")[:FACT_COLUMNS_MAX],
        legal_name=next((name for name in free if _LEGAL.search(name) and types[name] == "text"), None),
        registry_id=next((name for name in free if _REGISTRY.search(name)), None),
        title=next((name for name in free if _TITLE.search(name)), None),
    )


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(row, name) for name in row}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or isinstance(value, dict | list):
        return ""
    text = " ".join(tables.cell(value).split())
    return "" if is_nothing(text) else text
