"""Any text and any row: the reader never crashes or hangs, and rendering raises nothing but `TemplateError`."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import gotemplate
from gristmill.gotemplate import HELPERS, TemplateError
from soak.template_grammar import Grammar
from soak.template_words import DAMAGE

PIECES = [
    *DAMAGE,
    "{{.a}}",
    "{{if .a}}",
    "{{range .l}}",
    "{{with .m}}",
    "{{else}}",
    "{{end}}",
    " ",
    "printf",
    "%5.2f",
    "index",
    "len",
    "print",
    "slice",
    "and",
    "or",
    "not",
    "eq",
    "1",
    "2.5",
    "'x'",
    ".a",
    ".l",
    ".m.k",
    "true",
    "$y :=",
    "$",
    "upper",
    "default",
    "list",
    "join",
]
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from("alm"), inner, max_size=4)
    ),
    max_leaves=12,
)
rows = st.one_of(st.dictionaries(st.sampled_from(["a", "l", "m", "n"]), values), values)
BEHAVED = settings(deadline=timedelta(seconds=5), max_examples=300)


def compiled(text: str, **options: Any) -> gotemplate.Template | TemplateError:
    try:
        return gotemplate.compile(text, **options)
    except TemplateError as error:
        return error


def rendered(template: gotemplate.Template, row: Any) -> str | TemplateError:
    try:
        return template.render(row)
    except TemplateError as error:
        return error


@BEHAVED
@given(text=texts, row=rows, mode=st.sampled_from(["typed", "csv"]), missing=st.sampled_from(gotemplate.MISSING_KEYS))
def test_any_text_is_rendered_or_refused(text: str, row: Any, mode: Any, missing: Any) -> None:
    template = compiled(text, functions=HELPERS, data_mode=mode, missingkey=missing)
    if isinstance(template, TemplateError):
        assert template.stage == "parse"
        assert 1 <= template.line <= text.count("\n") + 1
        return
    found = rendered(template, row)
    assert isinstance(found, (str, TemplateError))
    assert [str(item) for item in template.render_each([row, row])] == [str(found)] * 2


@BEHAVED
@given(seed=st.integers(0, 2**32))
def test_quick_and_exact_programs_agree(seed: int) -> None:
    """A row that renders is rendered alike by both; a row that fails has the output of the exact one up to there."""
    case = Grammar(random.Random(seed)).case()  # noqa: S311 - not for secrets
    template = compiled(
        case["template"],
        missingkey=case["missingkey"],
        data_mode="csv" if case["csv"] else "typed",
        delims=tuple(case["delims"]) if case["delims"] else None,
    )
    if isinstance(template, TemplateError):
        return
    quick: list[str] = []
    template._rows([case["data"]], quick.append, lambda _: "\0again")
    try:
        exact = template._again(case["data"])
    except TemplateError:
        exact = "\0again"
    assert quick[0] in {exact, "\0again"}
    if isinstance(case["data"], dict) and exact != "\0again":
        assert quick[0] == exact


@BEHAVED
@given(text=st.text(max_size=300).filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert gotemplate.compile(text).render({}) == text


@BEHAVED
@given(value=st.text(max_size=50), more=st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_printf_v_is_print(value: str, more: Any) -> None:
    row = {"s": value, "v": more}
    one = gotemplate.compile("{{.s}}{{.v}}").render(row)
    assert gotemplate.compile("{{print .s}}{{print .v}}").render(row) == one
    assert gotemplate.compile('{{printf "%v%v" .s .v}}').render(row) == one


@BEHAVED
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_the_shortest_number_reads_back(value: float) -> None:
    text = gotemplate.compile("{{.}}").render(value)
    assert float(text) == value
    assert float.fromhex(gotemplate.compile('{{printf "%x" .}}').render(value)) == value
