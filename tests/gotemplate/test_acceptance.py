"""Templates of the Go project's own tests, kept outside of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from template_cases import expected, load, outcome

CASES = Path(__file__).parents[2] / ".." / "shared" / "data" / "gotemplate" / "cases_go_tables.jsonl"
pytestmark = pytest.mark.skipif(
    not CASES.is_file(), reason=f"the shared acceptance cases are not at {CASES}: nothing to compare with"
)


def test_output_and_errors_are_those_of_go() -> None:
    cases = load(CASES)
    assert len(cases) > 800
    wrong = [(case["template"], expected(case), found) for case in cases if (found := outcome(case)) != expected(case)]
    assert wrong == []
