"""From a file's columns to leads: the mapping as people see and edit it, and rows as leads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, BinaryIO

from pydantic import TypeAdapter

from gristmill import mapping as columns_to_fields
from gristmill.base.errors import FieldError, Invalid
from gristmill.enrich.model import HUNT_FIELDS, ChatLabel, ColumnUse, JobMapping, Lead, contact_id_of, lead_of
from gristmill.mapping import ChatLabel as Label
from gristmill.mapping import Evidence, FieldMapping
from gristmill.mapping import Mapping as Columns
from gristmill.tables import Dialect, read_table

TITLE_CHARS_MAX = 200
SAMPLE_ROWS = 50
SAMPLES_SHOWN = 3
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


def edited(
    columns: Columns,
    fields: Mapping[str, Sequence[str]],
    variants: Sequence[str] | None,
    label: tuple[str | None, Sequence[str]] | None,
) -> Columns:
    """A mapping with a person's edits. Raises `Invalid` for fields and columns that are not there."""
    places = {name: index for index, name in enumerate(columns.columns)}
    wrong: list[FieldError] = []

    def indexes(where: str, names: Sequence[str]) -> tuple[int, ...]:
        wrong.extend(FieldError(where, f"`{name}` is no column of the file") for name in names if name not in places)
        return tuple(dict.fromkeys(places[name] for name in names if name in places))

    found = dict(columns.fields)
    for name, names in fields.items():
        if name not in found:
            wrong.append(FieldError(f"fields.{name}", f"is no field of a lead; there are: {', '.join(found)}"))
            continue
        before = found[name]
        chosen = indexes(f"fields.{name}", names)
        join = before.join if chosen == before.columns else ", " if name == "street" else " "
        part = before.part if chosen == before.columns else ""
        found[name] = FieldMapping(chosen, 1.0, Evidence(stage="person"), None, join, part)
    used = {index for item in found.values() for index in item.columns}
    kept = columns.variants if variants is None else indexes("variants", variants)
    kept = tuple(index for index in kept if index not in used)
    chat_label = columns.chat_label
    if label is not None:
        primary = indexes("chat_label.primary_column", [label[0]] if label[0] is not None else [])
        chat_label = Label(primary[0] if primary else None, indexes("chat_label.location_columns", label[1]))
    if wrong:
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=tuple(wrong))
    return replace(columns, fields=found, variants=kept, chat_label=chat_label, problem=problem_of(found))


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


def problem_of(fields: Mapping[str, FieldMapping]) -> str:
    """Why leads can't be searched by these fields; empty when they can."""
    found = {name for name, item in fields.items() if item.columns}
    if "company" in found or ("street" in found and found & {"city", "zip"}):
        return ""
    return "No column holds a company name, nor enough of an address (a street with its city or zip)."


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
