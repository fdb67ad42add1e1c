"""`gristmill template render` and `lint`, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gristmill.doors.template import app

CSV = "name,city,Company Name\nAnna,Austin,Acme & Co\nLi,,Böhm\n"
JSONL = '{"name": "Anna", "n": 3, "tags": ["a", "b"]}\n{"name": "Li", "n": 1.5, "tags": 7}\n'


@pytest.fixture
def leads(tmp_path: Path) -> Path:
    file = tmp_path / "leads.csv"
    file.write_text(CSV, encoding="utf-8")
    return file


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text(JSONL, encoding="utf-8")
    return file


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_each_row_is_printed(leads: Path, tmp_path: Path) -> None:
    template = tmp_path / "card.tmpl"
    template.write_text(
        '# {{.name}}\n{{index . "Company Name" | html}}{{with .city}}, {{.}}{{end}}\n', encoding="utf-8"
    )
    done = call("render", template, leads)
    assert done.exit_code == 0
    assert done.stdout == "# Anna\nAcme &amp; Co, Austin\n\n# Li\nBöhm\n"
    assert "2 rows rendered, 0 failed." in done.stderr


def test_a_template_may_stand_on_the_command_line(leads: Path) -> None:
    done = call("render", "{{.name | upper}}", leads, "--limit", "1")
    assert (done.exit_code, done.stdout) == (0, "ANNA\n")


def test_rows_that_fail_are_told_with_their_line(rows: Path) -> None:
    done = call("render", "{{.n}}{{range .tags}}{{.}}{{end}}", rows)
    assert done.exit_code == 3
    assert done.stdout == "3ab\n"
    assert "rows.jsonl, line 2: template: template:1:14: executing" in done.stderr
    assert "range can't iterate over 7" in done.stderr


def test_bytes_are_written_as_they_are(leads: Path) -> None:
    done = call("render", '{{slice (index . "Company Name") 0 2}}', leads)
    assert done.stdout_bytes == b"Ac\n\nB\xc3\n"


def test_options(leads: Path) -> None:
    assert call("render", "{{.gone}}", leads, "--missing-key", "error").exit_code == 3
    assert "not one" in str(call("render", "{{.gone}}", leads, "--missing-key", "never").exception.errors)  # type: ignore[union-attr]
    assert 'function "upper" not defined' in str(call("render", "{{upper .name}}", leads, "--go-only").exception)


def test_a_template_that_is_not_there(leads: Path) -> None:
    assert "can't be read" in str(call("render", "no-such.tmpl", leads).exception)


def test_lint(leads: Path, rows: Path) -> None:
    done = call("lint", "{{.nam}}{{if gt .city 5}}x{{end}}", leads)
    assert done.exit_code == 1
    assert 'template:1:2: unknown_field: No row has "nam". Did you mean `.name`?' in done.stdout
    assert "always_fails" in done.stdout
    assert 'unused_column: Nothing of the column "Company Name"' in done.stdout
    assert call("lint", "{{.name}} {{.n}}", rows).exit_code == 0
    clean = call("lint", "{{.}}", leads)
    assert (clean.exit_code, clean.stdout) == (0, "Nothing found.\n")
