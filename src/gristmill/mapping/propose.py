"""One call from a table to a mapping: the four stages in their order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from gristmill.mapping.apply import value_of
from gristmill.mapping.candidates import THRESHOLD, Candidate
from gristmill.mapping.evidence import Decision, decide
from gristmill.mapping.fields import LEAD, Fields, wanted
from gristmill.mapping.general import decide_any
from gristmill.mapping.model import ChatLabel, Evidence, Field, FieldMapping, Mapping, RunnerUp, lead_problem
from gristmill.mapping.shapes import is_phone, is_zip
from gristmill.mapping.variants import variants
from gristmill.tables import Table

SAMPLE_ROWS = 200
"""Rows that are looked at."""
SAMPLES_SHOWN = 3


def propose_mapping(table: Table, fields: Fields = LEAD) -> Mapping:
    """Propose which columns of a table feed the wanted fields. Raises `UnknownFields`, and what reading raises."""
    name, listed = wanted(fields)
    rows = list(islice(table.records(), SAMPLE_ROWS))
    columns = tuple(column.name for column in table.columns)
    width = len(columns)
    decision = decide(table.header, rows, width) if name == LEAD else decide_any(table.header, rows, width, listed)
    found = {item.name: _field(item, decision, rows) for item in listed}
    used = {index for item in found.values() for index in item.columns}
    return Mapping(
        fields=found,
        columns=columns,
        variants=variants(decision.sheet, used) if name == LEAD else (),
        chat_label=_label(found),
        fingerprint=table.fingerprint,
        fieldset=name,
        problem=lead_problem(found) if name == LEAD else "",
    )


def _field(item: Field, decision: Decision, rows: Sequence[Sequence[str]]) -> FieldMapping:
    chosen = decision.choice.get(item.name)
    others = [c for c in decision.candidates[item.name] if chosen is None or c.columns != chosen.columns]
    second = max(others, key=lambda c: c.score, default=None)
    runner_up = RunnerUp(second.columns, _confidence(second.score - THRESHOLD)) if second else None
    if chosen is None:
        return FieldMapping(confidence=1 - (runner_up.confidence if runner_up else 0.05), runner_up=runner_up)
    margin = chosen.score - max(THRESHOLD, second.score if second else 0.0)
    mapping = FieldMapping(
        columns=chosen.columns,
        confidence=_confidence(margin + 0.5),
        runner_up=runner_up,
        join=_join(item.name, chosen),
        part=item.name if chosen.shared and item.name in {"city", "state", "zip"} else "",  # pyright: ignore[reportArgumentType]
    )
    values = [value for row in rows if (value := value_of(mapping, row))]
    test = {"number1": is_phone, "number2": is_phone, "zip": is_zip}.get(item.name)
    evidence = Evidence(
        samples=tuple(list(dict.fromkeys(values))[:SAMPLES_SHOWN]),
        pass_rate=round(sum(map(test, values)) / len(values), 3) if test and values else None,
        reasons=chosen.reasons,
    )
    return FieldMapping(mapping.columns, mapping.confidence, evidence, mapping.runner_up, mapping.join, mapping.part)


def _join(name: str, chosen: Candidate) -> str:
    if name == "street":
        return " " if any("parts" in text for text in chosen.reasons) else ", "
    return "" if name == "contact_id" else " "


def _confidence(points: float) -> float:
    return round(1 / (1 + 2.718281828 ** -(1.5 * points)), 3)


def _label(found: dict[str, FieldMapping]) -> ChatLabel:
    name = next(
        (found[key].columns for key in ("company", "dm_name", "street") if key in found and found[key].columns), ()
    )
    places = [found[key].columns[0] for key in ("city", "state") if key in found and found[key].columns]
    return ChatLabel(name[0] if name else None, tuple(dict.fromkeys(places)))
