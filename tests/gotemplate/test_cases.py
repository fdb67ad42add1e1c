"""What real Go printed for templates: output, error texts, lines, and what was written before an error.

`cases.jsonl` has 1,312 generated templates, `corners.jsonl` corners of the language that they seldom reach. Go is asked
again by tests/soak/test_gotemplate_go.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from template_cases import expected, load, outcome, row_of, template_of

CASES = [case for name in ("cases.jsonl", "corners.jsonl") for case in load(Path(__file__).with_name(name))]
GROUPS = sorted({case["group"] for case in CASES})


@pytest.mark.parametrize("group", GROUPS)
def test_output_and_errors_are_those_of_go(group: str) -> None:
    wrong = [
        (case["template"], expected(case), found)
        for case in CASES
        if case["group"] == group and (found := outcome(case)) != expected(case)
    ]
    assert wrong == []


def test_rows_that_render_are_rendered_by_the_quick_program() -> None:
    """A defect of the quick program would be hidden: the row would be rendered again by the exact one."""
    again: list[str] = []

    def refuse(data: Any) -> str:
        again.append(str(data))
        return ""

    for case in CASES:
        if case["error"] is None:
            template_of(case)._rows([row_of(case)], lambda _: None, refuse)
    assert again == []
