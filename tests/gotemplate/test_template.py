"""The room's front door: compile, render, render_many, render_each, errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gristmill import gotemplate
from gristmill.base.errors import Error
from gristmill.gotemplate import HELPERS, TemplateError


def render(text: str, data: Any = None, **options: Any) -> str:
    return gotemplate.compile(text, **options).render({} if data is None else data)


def error_of(text: str, data: Any = None, **options: Any) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(text, data, **options)
    return caught.value


ROWS = [{"name": "Anna", "n": 3}, {"name": None}, {"name": {"first": "Zoë"}}, "no row at all", {"n": 1.5, "name": "é"}]


def test_many_rows_are_rendered_as_each_alone() -> None:
    template = gotemplate.compile("{{.name}} {{if .n}}{{.n}}{{end}}")
    rows = [row for row in ROWS if isinstance(row, dict)]
    assert template.render_many(rows) == [template.render(row) for row in rows]
    assert template.render_many(iter(rows)) == template.render_many(rows)
    assert template.render_many([]) == []


def test_many_rows_stop_at_the_first_that_fails() -> None:
    with pytest.raises(TemplateError, match="can't evaluate field name in type string"):
        gotemplate.compile("{{.name}}").render_many(ROWS)


def test_each_row_has_its_text_or_its_error() -> None:
    found = gotemplate.compile("a {{.name}} {{.name.first}}").render_each(ROWS)
    texts = [item for item in found if isinstance(item, str)]
    errors = [item for item in found if isinstance(item, TemplateError)]
    assert texts == ["a map[first:Zoë] Zoë"]
    assert len(found) == len(ROWS)
    assert [error.partial for error in errors] == ["a Anna ", "a <no value> ", "a ", "a é "]


def test_a_source_of_rows_that_fails_is_not_taken_for_a_row_that_fails() -> None:
    def rows() -> Any:
        yield {"name": "a"}
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        gotemplate.compile("{{.name}}").render_each(rows())


def test_an_error_of_the_text_has_its_place() -> None:
    error = error_of("one\ntwo {{ .x | }} {{end}}")
    assert (error.stage, error.line, error.column) == ("parse", 2, 20)
    assert error.message == "template: t:2: unexpected {{end}}"
    assert error.errors[0].line == 2
    assert isinstance(error, Error)
    assert error.status == 422


def test_an_error_of_a_row_has_its_place_in_bytes() -> None:
    error = error_of("é\né {{len 3}}")
    assert (error.stage, error.line, error.column, error.partial) == ("exec", 2, 5, "é\né ")
    assert error.message == 'template: t:2:5: executing "t" at <len 3>: error calling len: len of type int'


def test_the_name_of_a_template_is_in_its_messages() -> None:
    assert error_of("{{.x.y}}", {"x": 1}, name="card.tmpl").message.startswith(
        'template: card.tmpl:1:4: executing "card'
    )


def test_missing_keys() -> None:
    assert render("{{.a}}|{{.a.b}}|{{print .a}}") == "<no value>|<no value>|<nil>"
    assert render("{{.a}}", missingkey="zero") == "<no value>"
    assert render("{{.a}}|{{index . `a`}}", missingkey="zero", data_mode="csv") == "|"
    assert render("{{.a}}", data_mode="csv") == "<no value>"
    assert 'map has no entry for key "a"' in error_of("{{.a}}", missingkey="error").message
    assert "nil pointer evaluating interface {}.b" in error_of("{{.a.b}}", {"a": None}).message


def test_delimiters() -> None:
    assert render("<< .a >>{{.a}}", {"a": 1}, delims=("<<", ">>")) == "1{{.a}}"
    assert render("{{.a}}", {"a": 1}, delims=("", "")) == "1"


def test_rows_of_other_types_than_dict() -> None:
    class Row(dict[str, Any]):
        pass

    assert render("{{.a}}", Row(a=1)) == "1"
    assert render("{{range .}}{{.}},{{end}}", [1, "a", None]) == "1,a,<no value>,"
    assert render("{{.}}", 1.5) == "1.5"
    assert render("{{.}}|{{.x}}", {}) == "map[]|<no value>"
    assert gotemplate.compile("{{.}}|{{.x}}").render(None) == "<no value>|<no value>"
    assert render("{{printf `%T` .}}", Row(a="1"), data_mode="csv") == "map[string]string"


def test_values_that_json_does_not_know_are_shown_as_text() -> None:
    from datetime import date  # noqa: PLC0415 - only here
    from decimal import Decimal  # noqa: PLC0415

    assert render("{{.d}} {{.n}}", {"d": date(2024, 1, 2), "n": Decimal("1.50")}) == "2024-01-02 1.50"
    assert render("{{.n}}", {"n": 10**30}) == "1" + "0" * 30


def test_whatever_is_in_a_row_only_template_errors_come_out() -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise RuntimeError("no truth")

        def __str__(self) -> str:
            raise RuntimeError("no text")

    for text in (
        "{{.x}}",
        "{{if .x}}a{{end}}",
        "{{eq .x .x}}",
        "{{printf `%d` .x}}",
        "{{range .x}}{{end}}",
        "{{.x.y}}",
    ):
        with pytest.raises(TemplateError):
            render(text, {"x": Odd()})
    with pytest.raises(TemplateError):
        render("{{.}}", {1: 2, "a": 10**5000})


def test_bytes_that_are_not_text_come_as_surrogate_escapes() -> None:
    text = render('{{slice .s 0 1}}|{{slice .s 1}}|{{slice .s 0 1}}{{slice .s 1}}{{"\\xff"}}', {"s": "é"})
    assert text.encode("utf-8", "surrogateescape") == b"\xc3|\xa9|\xc3\xa9\xff"
    assert "é" in text
    assert render("{{eq (print (slice .s 0 1) (slice .s 1)) .s}}", {"s": "é"}) == "true"
    error = error_of('{{slice .s 0 1}}{{template "no\\xff"}}', {"s": "é"})
    error.message.encode()
    assert error.partial == "\udcc3"


def test_text_can_not_get_into_the_program() -> None:
    quotes = "'\"\\\n\r\t\0{}}{`$%\u2028'''\"\"\"f'{x}'\\N{DASH}{0}"
    text = quotes.replace("{{", "").replace("}}", "} }")
    assert render(text) == text
    assert render("{{.x}}" + text + "{{.x}}", {"x": quotes}) == quotes + text + quotes
    literal = text.replace("`", "").replace("\r", "")
    assert render(f"{{{{`{literal}`}}}}{{{{printf `%s` `{literal}`}}}}") == literal * 2
    assert (
        render('{{index . "__class__\'"}}|{{.__class__}}|{{.__init__.__globals__}}')
        == "<no value>|<no value>|<no value>"
    )


def test_functions_of_ones_own() -> None:
    def greet(name: str, *more: Any) -> str:
        return f"Hello {name} and {len(more)} more"

    functions = {"greet": greet, "broken": lambda: 1 / 0}
    assert render("{{greet .n 1 2}}|{{.n | greet `x`}}", {"n": "Li"}, functions=functions) == (
        "Hello Li and 2 more|Hello x and 1 more"
    )
    assert "error calling broken: division by zero" in error_of("{{broken}}", functions=functions).message
    assert error_of("{{greet}}", functions=functions).message.endswith(
        "wrong number of args for greet: want at least 1 got 0"
    )
    assert error_of("{{greet 1}}", functions=functions).message.endswith("at <1>: expected string; found 1")
    assert error_of("{{greet .x}}", {"x": 1}, functions=functions).message.endswith("expected string; got int")
    assert 'function "upper" not defined' in error_of("{{upper .x}}").message
    with pytest.raises(ValueError, match="Go defines len"):
        gotemplate.compile("", functions={"len": greet})


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="missingkey"):
        gotemplate.compile("", missingkey="other")  # pyright: ignore[reportArgumentType] - that is the point
    with pytest.raises(ValueError, match="data_mode"):
        gotemplate.compile("", data_mode="other")  # pyright: ignore[reportArgumentType] - that is the point


def test_a_template_is_compiled_once() -> None:
    assert gotemplate.compile("{{.once}}", functions=HELPERS) is gotemplate.compile("{{.once}}", functions=HELPERS)
    assert gotemplate.compile("{{.once}}") is not gotemplate.compile("{{.once}}", missingkey="zero")


def test_threads_may_share_a_template() -> None:
    template = gotemplate.compile("{{range $i, $e := .l}}{{if gt $i 1}}{{break}}{{end}}{{$e}}{{end}}{{.x.y}}")
    rows = [{"l": [n, n, n], "x": 1 if n % 7 == 0 else {}} for n in range(500)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: template.render_each([row])[0], rows))
    assert [isinstance(item, TemplateError) for item in found] == [n % 7 == 0 for n in range(500)]
    assert found[1] == "11<no value>"
