"""The reference page: every example is run, and every action, function and helper has one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill import gotemplate
from gristmill.gotemplate import HELPERS, TemplateError, model
from gristmill.gotemplate.functions import ARITY

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "go-templates.md").read_text(encoding="utf-8")
ROW = gotemplate.as_decoded(json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]))
ACTIONS = [
    "if",
    "else",
    "with",
    "range",
    "break",
    "continue",
    "define",
    "template",
    "block",
    "/* */",
    "{{- -}}",
    "$x",
    "|",
]


def examples() -> Iterator[tuple[str, str]]:
    """(template, what it gives with its marks) of each example."""
    for block in re.findall(r"^```template\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for example in re.split(r"\n\n(?=[^→✗])", block.rstrip("\n")):
            lines = example.split("\n")
            start = next(number for number, line in enumerate(lines) if line[:1] in {"→", "✗"})
            yield "\n".join(lines[:start]), "\n".join(lines[start:])


def given(text: str) -> str:
    """What a template gives, with the marks of the page."""
    try:
        shown = gotemplate.compile(text, functions=HELPERS).render(ROW)
    except TemplateError as error:
        return f"✗ {error.message}"
    return "\n".join(f"→ {line}" if line else "→" for line in shown.split("\n"))


@pytest.mark.parametrize(("text", "want"), list(examples()), ids=[text for text, _ in examples()])
def test_an_example_gives_what_the_page_says(text: str, want: str) -> None:
    assert given(text) == want


@pytest.mark.parametrize("name", [*ACTIONS, *ARITY, *HELPERS])
def test_everything_has_an_example(name: str) -> None:
    section = re.search(rf"^####? `{re.escape(name)}`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, "no section"
    word = {"/* */": "/*", "{{- -}}": "{{-", "$x": ":="}.get(name, name)
    assert word in "\n".join(re.findall(r"^```template\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL))


def test_what_a_helper_does_is_told_as_in_the_code() -> None:
    missing = [name for name, helper in HELPERS.items() if " ".join((helper.__doc__ or "").split()) not in PAGE]
    assert missing == []


def test_the_limits_are_those_of_the_code() -> None:
    numbers = [
        model.TEMPLATE_CHARS_MAX, model.NODES_MAX, model.NESTING_MAX, model.RANGES_MAX, model.PARENS_MAX,
        model.CALLS_MAX, model.OUTPUT_CHARS_MAX, model.TEXT_CHARS_MAX, model.STEPS_MAX, model.SECONDS_MAX,
    ]  # fmt: skip
    limits = PAGE.split("## Limits", 1)[1]
    assert [number for number in numbers if not re.search(rf"(?<![\d,.]){number:,}(?!\d|,\d)", limits)] == []
