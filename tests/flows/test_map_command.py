"""`gristmill map` as a user runs it, and what `gristmill run` says of the columns it takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from flows.processes import Shell, environment
from gristmill.base.db import Database

pytestmark = pytest.mark.xdist_group("run")

LEADS = (
    "Kunden-Nr.;Firma;Straße;Hausnr.;PLZ;Ort;Telefon;Mail-Adresse;Zweite Adresse\n"
    "K-1;Müller GmbH;Hauptstr.;5;10115;Berlin;030 1234567;a@mueller.de;Am Markt 1\n"
    "K-2;Bolt AG;Lange Gasse;12a;80331;München;089 7654321;info@bolt.de;\n"
)


@pytest.fixture
def quick(tmp_path: Path, fresh_database: Database) -> Shell:
    """A shell on a database that runs already."""
    made = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL=fresh_database.url))
    made.write("leads.csv", LEADS)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell without any database."""
    made = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL="postgresql://127.0.0.1:1/none"))
    made.write("leads.csv", LEADS)
    return made


def test_a_table_for_people(alone: Shell) -> None:
    code, said = alone("map", "leads.csv")
    assert code == 0, said.text
    lines = {line.split()[0]: line for line in said.stdout.splitlines() if line.strip()}
    assert "Straße + Hausnr." in lines["street"]
    assert "Hauptstr. 5 | Lange Gasse 12a" in lines["street"]
    assert "%" in lines["company"]
    assert "search variants: Zweite Adresse" in said.stdout


def test_brackets_are_text_and_a_field_takes_a_line_of_a_narrow_terminal(alone: Shell) -> None:
    alone.write("odd.csv", "company,[red]name\nA [/b],Ana Ek\nB [/b],Bo Berg\n")
    alone.env["COLUMNS"] = "80"
    code, said = alone("map", "odd.csv")
    assert (code, "Traceback" in said.text) == (0, False), said.text
    assert "[red]name" in said.stdout
    assert "A [/b] | B [/b]" in said.stdout
    ids = "".join(f"e0444512-54a6-4a44-b5bb-0f9b8832645{n},Haney {n}\n" for n in range(5))
    alone.write("ids.csv", "id,company\n" + ids)
    code, said = alone("map", "ids.csv")
    assert code == 0
    lines = said.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["field", "contact_id", "company"]
    assert max(map(len, lines)) <= 80


def test_json_for_programs(alone: Shell) -> None:
    code, said = alone("map", "leads.csv", "--json")
    assert code == 0, said.text
    found = json.loads(said.stdout)
    assert found["fields"]["street"]["columns"] == [2, 3]
    assert found["fields"]["company"]["evidence"]["samples"] == ["Müller GmbH", "Bolt AG"]
    assert found["variants"] == [8]


def test_a_schema(alone: Shell) -> None:
    alone.write("want.json", json.dumps({"type": "object", "properties": {"email": {"type": "string"}}}))
    code, said = alone("map", "leads.csv", "--fields", "want.json", "--json")
    assert code == 0, said.text
    assert {name: item["columns"] for name, item in json.loads(said.stdout)["fields"].items()} == {"email": [7]}


def test_what_cannot_be_searched_is_said(alone: Shell) -> None:
    alone.write("odd.csv", "colour,size\nred,4\n")
    code, said = alone("map", "odd.csv")
    assert code == 0, said.text
    assert "No column holds a company name" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["leads.csv", "--fields", "leads"], "agent:NAME"),
        (["leads.csv", "--fields", "leads.csv"], "is not JSON"),
    ],
)
def test_refusals(alone: Shell, arguments: list[str], word: str) -> None:
    code, said = alone("map", *arguments)
    assert code in {1, 2}
    assert word in " ".join(said.text.split())
    assert "Traceback" not in said.text


def test_fields_of_an_agent_and_a_run_by_them(quick: Shell) -> None:
    code, said = quick("map", "leads.csv", "--fields", "agent:clean-contacts", "--json")
    assert code == 0, said.text
    assert json.loads(said.stdout)["fields"]["email"]["columns"] == [7]

    code, said = quick("run", "leads.csv", "--agent", "clean-contacts", "-o", "out.csv")
    assert code == 0, said.text
    assert "email = Mail-Adresse" in next(line for line in said.stdout.splitlines() if line.startswith("Mapped: "))
    with (quick.folder / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["email_clean"] for row in csv.DictReader(file)] == ["a@mueller.de", "info@bolt.de"]
