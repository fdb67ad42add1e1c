"""What `lint` finds in a template when the columns are known."""

from __future__ import annotations

import pytest

from gristmill import gotemplate
from gristmill.gotemplate import Finding, TemplateError, lint

COLUMNS = ["name", "city", "Company Name", "tags", "price"]


def found(
    text: str, *, csv: bool = False, kinds: tuple[str, ...] = ("unknown_field", "always_empty", "always_fails")
) -> list[Finding]:
    template = gotemplate.compile(text, data_mode="csv" if csv else "typed")
    return [finding for finding in lint(template, COLUMNS) if finding.kind in kinds]


def unused(text: str) -> list[str]:
    return [finding.name for finding in found(text, kinds=("unused_column",))]


def test_a_clean_template() -> None:
    text = '{{.name}}{{.city}}{{index . "Company Name"}}{{range .tags}}{{.}}{{$.price}}{{end}}'
    assert lint(text, COLUMNS) == []


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("{{.nmae}}", ".name"),
        ("{{.Name}}", ".name"),
        ("{{.CompanyName}}", 'index . "Company Name"'),
        ("{{.company_name}}", 'index . "Company Name"'),
        ('{{index . "company name"}}', '"Company Name"'),
        ("{{$.citty}}", ".city"),
        ("{{range .tags}}{{$.prise}}{{end}}", ".price"),
        ("{{with .name}}{{$.cty}}{{end}}", ".city"),
        ('{{define "x"}}{{.nam}}{{end}}{{template "x" .}}', ".name"),
        ("{{$r := .}}{{$r.nam}}", ".name"),
        ("{{print (print .nam)}}", ".name"),
        ("{{(.).nam}}", ".name"),
        ("{{.zzzzzz}}", None),
    ],
)
def test_an_unknown_field_with_the_nearest_column(text: str, suggestion: str | None) -> None:
    (finding,) = found(text)
    assert (finding.kind, finding.suggestion) == ("unknown_field", suggestion)


def test_fields_of_other_things_than_the_row_are_not_judged() -> None:
    assert found("{{range .tags}}{{.anything}}{{end}}{{with .city}}{{.else}}{{end}}{{.price.amount}}") == []
    assert found('{{define "x"}}{{.nam}}{{end}}{{template "x" .city}}') == []
    assert found('{{define "unused"}}{{.nam}}{{end}}') == []
    assert found("{{$x := .city}}{{$x.foo}}{{index .tags 0}}") == []


def test_places() -> None:
    (finding,) = found("é\né {{.nam}}")
    assert (finding.line, finding.column) == (2, 5)


def test_unused_columns() -> None:
    assert unused("{{.name}}{{if .city}}x{{end}}") == ["Company Name", "tags", "price"]
    assert unused("{{.}}") == unused("{{range $k, $v := .}}{{$v}}{{end}}") == unused("{{print $}}") == []
    assert unused('{{define "x"}}{{.name}}{{end}}{{template "x" .}}') == ["city", "Company Name", "tags", "price"]


@pytest.mark.parametrize(
    "text",
    [
        "{{if .nam}}a{{end}}",
        "{{with .nam}}a{{else}}b{{end}}",
        "{{range .nam}}a{{end}}",
        '{{if (index . "nam")}}a{{end}}',
        "{{if false}}a{{end}}",
        "{{if 0}}a{{end}}",
        "{{if ``}}a{{end}}",
        "{{if true}}a{{else}}b{{end}}",
        "{{if .name}}{{end}}",
        "{{if .name}}a{{else if .nam}}b{{end}}",
    ],
)
def test_parts_that_are_always_empty(text: str) -> None:
    assert [finding.kind for finding in found(text) if finding.kind != "unknown_field"] == ["always_empty"]


def test_what_fails_for_every_row_of_text() -> None:
    texts = [
        "{{if gt .price 100.0}}a{{end}}",
        "{{range .tags}}a{{end}}",
        "{{.city.name}}",
        '{{template "gone"}}',
        "{{eq .price 1}}",
    ]
    assert [[finding.kind for finding in found(text, csv=True)] for text in texts] == [["always_fails"]] * len(texts)
    assert found('{{if gt .price "100"}}a{{end}}{{eq .price "1"}}', csv=True) == []
    assert [finding.kind for finding in found("{{if gt .price 100.0}}a{{end}}{{range .tags}}a{{end}}")] == []


def test_what_lint_says_comes_true() -> None:
    """A part that is told to fail does fail, whatever the cells are."""
    for text in ("{{if gt .price 100.0}}a{{end}}", "{{range .tags}}a{{end}}", "{{.city.name}}", "{{eq .price 1}}"):
        with pytest.raises(TemplateError):
            gotemplate.compile(text, data_mode="csv").render(dict.fromkeys(COLUMNS, "1"))


def test_a_text_that_is_no_template() -> None:
    with pytest.raises(TemplateError):
        lint("{{.a", COLUMNS)


def test_long_chains_are_read() -> None:
    text = "{{if .name}}a" + "".join(f"{{{{else if eq .city `{n}`}}}}b" for n in range(800)) + "{{end}}"
    assert found(text) == []
