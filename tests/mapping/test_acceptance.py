"""Labelled tables of other people, kept outside of the repository."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gristmill.base.errors import Error
from gristmill.mapping import SAMPLE_ROWS, Mapping, propose_mapping
from gristmill.tables import read_table

CASES = Path(__file__).parents[2] / ".." / "shared" / "data" / "csv"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"the labelled tables are not at {CASES}: nothing to compare with"
)
F1_MIN, WHOLE_MIN, HEADLESS_MIN, VARIANTS_MIN = 0.98, 0.93, 0.7, 0.9
SURE, SURE_RIGHT_MIN = 0.9, 0.95


def scorer() -> Any:
    spec = importlib.util.spec_from_file_location("score_mapping", CASES / "tools" / "score_mapping.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def proposals() -> list[tuple[dict[str, Any], Mapping]]:
    found: list[tuple[dict[str, Any], Mapping]] = []
    for line in (CASES / "mapping_cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        found.append((case, propose_mapping(read_table(CASES / case["file"]))))
    return found


def score_of(chosen: list[tuple[dict[str, Any], Mapping]]) -> Any:
    answers = {
        case["id"]: {
            "map": {name: list(item.columns) or None for name, item in found.fields.items()},
            "variants": list(found.variants),
        }
        for case, found in chosen
    }
    return scorer().score([case for case, _ in chosen], answers)


def test_fields_files_and_variants() -> None:
    score = score_of(proposals())
    assert score["micro_strict"][2] >= F1_MIN
    assert score["exact_file"] >= WHOLE_MIN
    assert score["variants"][2] >= VARIANTS_MIN


def test_tables_without_a_header() -> None:
    headless = [(case, found) for case, found in proposals() if case["headers"] is None]
    assert headless
    assert score_of(headless)["exact_file"] >= HEADLESS_MIN


def test_a_confidence_of_nine_tenths_is_right_nine_times_of_ten() -> None:
    module = scorer()
    sure: list[bool] = []
    for case, found in proposals():
        for name, item in found.fields.items():
            if item.confidence >= SURE:
                answer = module.canon(case, list(item.columns))
                sure.append(answer in case["accept"][name])
    assert len(sure) > 300
    assert sum(sure) / len(sure) >= SURE_RIGHT_MIN


def test_every_proposal_is_well_formed() -> None:
    for case, found in proposals():
        width = len(found.columns)
        taken = [i for item in found.fields.values() if not item.part for i in item.columns]
        assert len(taken) == len(set(taken)), case["file"]
        assert set(taken).isdisjoint(found.variants), case["file"]
        assert all(0 <= index < width for index in (*taken, *found.variants)), case["file"]
        for item in found.fields.values():
            assert 0 <= item.confidence <= 1
            assert len(item.evidence.samples) <= 3
            assert item.evidence.reasons or not item.columns


def test_every_table_of_the_folder_is_mapped_without_an_error() -> None:
    for path in sorted((CASES / "files").iterdir()):
        try:
            table = read_table(path)
            list(islice(table.records(), SAMPLE_ROWS))
        except Error:
            continue
        propose_mapping(table)
        propose_mapping(table, ["email", "website", "company_name", "phone"])
