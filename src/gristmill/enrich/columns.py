"""From a file's columns to leads: the mapping as people see and edit it, and rows as leads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, BinaryIO

from pydantic import TypeAdapter

from gristmill import mapping as columns_to_fields
from gristmill.base.errors import FieldError, Invalid
from gristmill.enrich.model import HUNT_FIELDS, ChatLabel, ColumnUse, JobMapping, Lead, contact_id_of, lead_of
from gristmill.mapping import ChatLabel as Label
from gristmill.mapping import Mapping as Columns
from gristmill.tables import Dialect, read_table

TITLE_CHARS_MAX = 200
SAMPLE_ROWS = 50
SAMPLES_SHOWN = 3
UNHEARD_SHOWN = 10
_CONTACT = re.compile(r"(?i)(?<![a-z])(e-?mails?|web[ _-]?sites?|web[ _-]?pages?|home[ _-]?pages?|urls?|www)(?![a-z])")
TOO_THIN = "The row has neither a company nor a street with a town or postal code."
_json: TypeAdapter[Columns] = TypeAdapter(Columns)


def to_json(columns: Columns) -> dict[str, Any]:
    """A mapping as it is stored."""
    return asdict(columns)


def from_json(value: Any) -> Columns:
    """A stored mapping."""
    return _json.validate_python(value)


def view(columns: Columns) -> JobMapping:
    """A mapping as people see it: by names of columns."""

    def names(indexes: Iterable[int]) -> list[str]:
        return [columns.columns[index] for index in indexes]

    fields = {
        name: ColumnUse(
            columns=names(item.columns),
            confidence=item.confidence,
            stage=item.evidence.stage,
            samples=list(item.evidence.samples),
            pass_rate=item.evidence.pass_rate,
            reasons=list(item.evidence.reasons),
            runner_up=names(item.runner_up.columns) if item.runner_up else [],
        )
        for name, item in columns.fields.items()
    }
    primary = columns.chat_label.primary_column
    label = ChatLabel(None if primary is None else columns.columns[primary], names(columns.chat_label.location_columns))
    return JobMapping(fields, names(columns.variants), list(columns.columns), label)


def contacts_left_out(columns: Columns) -> list[str]:
    """Columns of e-mails and websites that are neither mapped nor variants."""
    used = {index for item in columns.fields.values() for index in item.columns} | set(columns.variants)
    return [name for index, name in enumerate(columns.columns) if index not in used and _CONTACT.search(name)]


def unheard(columns: Columns) -> list[str]:
    """A warning when columns of e-mails or websites are left out, since finding those again is charged as a match."""
    names = contacts_left_out(columns)
    if not names:
        return []
    told = ", ".join(f"`{name[:60]}`" for name in names[:UNHEARD_SHOWN])
    return [f"Not compared: {told}. What is found there again counts as new; choose them as variants, and it does not."]


def edited(
    columns: Columns,
    fields: Mapping[str, Sequence[str]],
    variants: Sequence[str] | None,
    label: tuple[str | None, Sequence[str]] | None,
) -> Columns:
    """A mapping with a person's edits. Raises `Invalid` for fields and columns that are not there."""
    places = {name: index for index, name in enumerate(columns.columns)}
    wrong: list[FieldError] = []

    def indexes(where: str, names: Sequence[str]) -> list[int]:
        wrong.extend(FieldError(where, f"`{name}` is no column of the file") for name in names if name not in places)
        return list(dict.fromkeys(places[name] for name in names if name in places))

    chosen = {name: indexes(f"fields.{name}", names) for name, names in fields.items()}
    kept = None if variants is None else indexes("variants", variants)
    chat_label = columns.chat_label
    if label is not None:
        primary = indexes("chat_label.primary_column", [label[0]] if label[0] is not None else [])
        places_of = indexes("chat_label.location_columns", label[1])
        chat_label = Label(primary[0] if primary else None, tuple(places_of))
    if wrong:
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=tuple(wrong))
    return replace(columns_to_fields.edited(columns, chosen, kept), chat_label=chat_label)


def with_samples(columns: Columns, dialect: Dialect, file: BinaryIO) -> Columns:
    """The mapping with sample values of the fields that a person mapped."""
    table = read_table(file, dialect=dialect)
    rows = [columns_to_fields.apply(columns, cells) for cells in islice(table.records(), SAMPLE_ROWS)]
    fields = dict(columns.fields)
    for name, item in fields.items():
        if item.columns and not item.evidence.samples:
            seen = dict.fromkeys(value for row in rows if (value := row.get(name, "")))
            fields[name] = replace(item, evidence=replace(item.evidence, samples=tuple(seen)[:SAMPLES_SHOWN]))
    return replace(columns, fields=fields)


def lead_rows(columns: Columns, records: Iterable[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Each record of the file as a lead, with its id and what it is called."""
    for cells in records:
        values = columns_to_fields.apply(columns, cells)
        variants = columns_to_fields.variants_of(columns, cells)
        lead = lead_of({**values, "search_variants": variants})
        yield {
            "contact_id": values.get("contact_id", "") or contact_id_of(lead),
            **{name: getattr(lead, name) for name in HUNT_FIELDS},
            "search_variants": dict(lead.search_variants),
            "chat_title": chat_title(columns, cells, lead),
        }


def chat_title(columns: Columns, cells: Sequence[str], lead: Lead) -> str:
    """What a row is called in lists: its primary column, and where it is."""
    label = columns.chat_label

    def text(index: int) -> str:
        return " ".join(cells[index].split()) if index < len(cells) else ""

    name = text(label.primary_column) if label.primary_column is not None else ""
    place = ", ".join(part for index in label.location_columns if (part := text(index)))
    title = " \N{MIDDLE DOT} ".join(filter(None, (name or lead.company or lead.street, place)))
    return (title or "Untitled")[:TITLE_CHARS_MAX]


def refuse(row: Mapping[str, Any]) -> str:
    """Why a lead can't be hunted; empty when it can."""
    return "" if lead_of(row).can_be_hunted() else TOO_THIN
