"""One call from a table to a mapping: the four stages in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from gristmill.mapping import confidence, llm, obvious
from gristmill.mapping.apply import value_of
from gristmill.mapping.cache import Cache, recall, signature
from gristmill.mapping.candidates import Candidate
from gristmill.mapping.evidence import Decision, decide
from gristmill.mapping.fields import LEAD, Fields, wanted
from gristmill.mapping.general import decide_any
from gristmill.mapping.identifiers import SIREN_REASON
from gristmill.mapping.model import (
    PARTS,
    ChatLabel,
    Draft,
    Evidence,
    Field,
    FieldMapping,
    Mapping,
    RunnerUp,
    Stage,
    lead_problem,
)
from gristmill.mapping.sheet import Sheet, read_sheet
from gristmill.mapping.streets import PARTS_REASON
from gristmill.mapping.values import is_email, is_full_address, is_phone, is_url, is_zip
from gristmill.mapping.variants import variants
from gristmill.tables import Table, fingerprint

SAMPLE_ROWS = 200
"""Rows that are looked at."""
COLUMNS_MAX = 2000
"""Columns that are looked at; the others are never proposed."""
SAMPLES_SHOWN = 3
VALIDATORS: dict[str, Callable[[str], bool]] = {"number1": is_phone, "number2": is_phone, "zip": is_zip}
FORMAT_VALIDATORS: dict[str, Callable[[str], bool]] = {"email": is_email, "uri": is_url, "url": is_url}


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is known of a table."""

    header: Sequence[str] | None
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    fingerprint: str


def propose_mapping(
    table: Table, fields: Fields = LEAD, *, cache: Cache | None = None, llm: llm.Model | None = None
) -> Mapping:
    """Propose which columns of a table feed the wanted fields.

    `cache` has what was mapped before; `llm` is asked only when headers are not plain, nothing is remembered and local
    evidence is unsure. Raises `UnknownFields`, and what reading the table raises.
    """
    names = tuple(column.name for column in table.columns)
    rows = list(islice(table.records(), SAMPLE_ROWS))
    return _propose(_Sample(table.header, names, rows, table.fingerprint), fields, cache, llm)


def propose_for_rows(
    columns: Sequence[str], rows: Sequence[Sequence[str]], fields: Fields = LEAD, *, cache: Cache | None = None
) -> Mapping:
    """The same for rows that come from no file: names of columns and some rows of text."""
    sample = _Sample(columns, tuple(columns), rows[:SAMPLE_ROWS], fingerprint(list(columns)))
    return _propose(sample, fields, cache, None)


def _propose(sample: _Sample, fields: Fields, cache: Cache | None, model: llm.Model | None) -> Mapping:
    name, listed = wanted(fields)
    sheet = read_sheet(sample.header, sample.rows, min(len(sample.columns), COLUMNS_MAX))
    shapes = signature(sheet.columns)
    known = recall(cache, sample.fingerprint, name, shapes, len(sample.columns)) if cache else None
    if known is not None:
        draft = _with_stage(known.mapping, "person" if known.edited else "cache")
    else:
        draft = _plain(sample, listed) if name == LEAD else None
        if draft is None:
            draft = _weigh(sample, sheet, name, listed, model)
    found = {item.name: _evidence(item, draft.fields[item.name], sample.rows) for item in listed}
    label = draft.chat_label if draft.chat_label.primary_column is not None else _label(found)
    return Mapping(
        fields=found,
        columns=sample.columns,
        variants=draft.variants,
        chat_label=label,
        fingerprint=sample.fingerprint,
        shapes=shapes,
        fieldset=name,
        problem=lead_problem(found) if name == LEAD else "",
    )


def _plain(sample: _Sample, listed: Sequence[Field]) -> Draft | None:
    found = obvious.map_plain(sample.header, sample.rows)
    if found is None:
        return None
    stage = Evidence(stage="obvious", reasons=("the header is one of the plain ones",))
    empty = FieldMapping(confidence=obvious.CONFIDENCE, evidence=Evidence(stage="obvious"))
    return Draft(
        {item.name: replace(found[item.name], evidence=stage) if item.name in found else empty for item in listed}
    )


def _weigh(sample: _Sample, sheet: Sheet, name: str, listed: Sequence[Field], model: llm.Model | None) -> Draft:
    """Local evidence, and a model's answer where it is unsure."""
    decision = decide(sheet) if name == LEAD else decide_any(sheet, listed)
    fields = {item.name: _choice(item.name, decision) for item in listed}
    used = {index for item in fields.values() for index in item.columns}
    draft = Draft(fields, variants(decision.sheet, used) if name == LEAD else ())
    if model is None or sample.header is None or not llm.is_unsure(draft, decision.sheet, every=name != LEAD):
        return draft
    answer = model.ask(llm.Question(listed, sample.columns, sample.rows))
    return draft if answer is None else llm.improve(draft, answer, decision.sheet)


def _choice(name: str, decision: Decision) -> FieldMapping:
    """A field as the evidence decided, with its confidence and runner-up."""
    chosen = decision.choice.get(name)
    second = confidence.runner_up(name, decision.choice, decision.candidates)
    runner_up = RunnerUp(second.columns, confidence.chosen(second, chosen)) if second else None
    if chosen is None:
        return FieldMapping(confidence=confidence.left_empty(second), runner_up=runner_up)
    return FieldMapping(
        columns=chosen.columns,
        confidence=confidence.chosen(chosen, second),
        evidence=Evidence(reasons=chosen.reasons),
        runner_up=runner_up,
        join=_join(name, chosen),
        part=PARTS.get(name, "") if chosen.shared else "",
    )


def _join(name: str, chosen: Candidate) -> str:
    if SIREN_REASON in chosen.reasons:
        return ""
    return ", " if name == "street" and PARTS_REASON not in chosen.reasons else " "


def _with_stage(mapping: Mapping, stage: Stage) -> Draft:
    fields = {
        name: replace(item, evidence=Evidence(stage=stage, reasons=item.evidence.reasons))
        for name, item in mapping.fields.items()
    }
    return Draft(fields, mapping.variants, mapping.chat_label)


def _evidence(item: Field, mapping: FieldMapping, rows: Sequence[Sequence[str]]) -> FieldMapping:
    """The field with samples of its values and the share that its validator accepts."""
    if not mapping.columns:
        return mapping
    values = [value for row in rows if (value := value_of(mapping, row))]
    test = VALIDATORS.get(item.name) or FORMAT_VALIDATORS.get(item.format)
    evidence = replace(
        mapping.evidence,
        samples=tuple(list(dict.fromkeys(values))[:SAMPLES_SHOWN]),
        pass_rate=round(sum(map(test, values)) / len(values), 3) if test and values else None,
    )
    whole = item.name == "street" and sum(map(is_full_address, values)) > len(values) / 2
    return replace(mapping, evidence=evidence, whole=whole)


def _label(found: dict[str, FieldMapping]) -> ChatLabel:
    """The company, or the person, or the street names a row; city and state say where it is."""
    named = [found[name].columns for name in ("company", "dm_name", "street") if name in found and found[name].columns]
    places = [found[name].columns[0] for name in ("city", "state") if name in found and found[name].columns]
    return ChatLabel(named[0][0] if named else None, tuple(dict.fromkeys(places)))
