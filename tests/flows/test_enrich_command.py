"""`gristmill enrich` as a user runs it: a list of leads, references or a vendor, a results file, an exit code."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows.processes import TESTS, Command, Shell, environment, vendor_process, wait_for
from gristmill.base.db import Database

pytestmark = pytest.mark.xdist_group("run")

EXAMPLES = TESTS.parent / "examples"
LEADS = """Firma;Strasse;Ort;PLZ;Notiz
Haney Furniture LLC;100 Main St;Tampa;33602;first
Blue Harbor Foods;4 Quay Rd;Tampa;33609;
Nobody Knows Them;1 Nowhere Ln;Tampa;33611;
Haney Furniture LLC;100 Main St;Tampa;33602;again
;;;;only a note
"""
REGISTRY = """business,street,city,zip,phone,email,contact person
Haney Furniture,100 Main Street,Tampa,33602,(813) 555-0101,office@haney.example,Jordan Haney
Blue Harbour Foods Inc,4 Quay Road,Tampa,33609,813-555-0102,,
Somebody Else,77 High St,Tampa,33602,813-555-0199,info@else.example,
"""
COUNTS = ("pending", "succeeded", "empty", "failed", "skipped", "duplicate")


@pytest.fixture
def quick(tmp_path: Path, fresh_database: Database) -> Shell:
    """A shell on a database that runs already: what these tests are about does not hang on which one it is."""
    made = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL=fresh_database.url))
    made.write("leads.csv", LEADS)
    made.write("registry.csv", REGISTRY)
    return made


def read(path: Path, **options: Any) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, **options))


def ended(path: Path) -> Counter[str]:
    return Counter(row["enrich_status"] for row in read(path))


def done(command: Command, code: int, expected: int = 0) -> None:
    assert code == expected, f"exit code {code}, not {expected}; it said:\n{command.text}"
    assert "Traceback" not in command.text


def companies(count: int) -> str:
    lines = [f"Company {n},{n} Main St,Tampa,FL,33602" for n in range(1, count + 1)]
    return "\n".join(["company,street,city,state,zip", *lines, ""])


def vendor_agent(shell: Shell, config: dict[str, Any], call_usd: str = "0", **more: Any) -> None:
    """An agent file with one vendor."""
    passes = [{"name": "vendor", "provider": "http", "price_usd": call_usd, "config": config}]
    values = {"name": "Leads of a vendor", "runtime": "lead", "config": {"passes": passes}, "concurrency": 4, **more}
    shell.write("vendor.yaml", json.dumps(values))  # JSON is YAML


# Offline


def test_a_list_and_a_registry_become_contacts(quick: Shell) -> None:
    code, said = quick("enrich", "leads.csv", "--reference", "registry.csv", "-o", "out.csv")
    done(said, code, 3)
    rows = read(quick.folder / "out.csv")
    assert list(rows[0])[:4] == ["row_index", "enrich_status", "enrich_matched", "enrich_spent_usd"]
    assert [row["row_index"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["enrich_status"] for row in rows] == ["succeeded", "succeeded", "empty", "duplicate", "failed"]
    assert rows[0]["phones.0.e164"] == rows[3]["phones.0.e164"] == "+18135550101"
    assert rows[0]["emails.0.address"] == "office@haney.example"
    assert rows[0]["contacts.0.display_name"] == "Jordan Haney"
    assert rows[1]["phones.0.e164"] == "+18135550102"
    assert {row["enrich_spent_usd"] for row in rows} == {"0.000000"}
    assert "company = Firma" in said.stderr
    assert "2 phones, 1 e-mails" in " ".join(said.stderr.split())
    assert "1 x " in said.stderr, "the row without a lead is told"

    code, said = quick("enrich", "leads.csv", "--reference", "registry.csv", "-o", "again.csv")
    done(said, code, 3)
    assert "Nothing is left to do" in said.stderr
    assert (quick.folder / "again.csv").read_bytes() == (quick.folder / "out.csv").read_bytes()


def test_the_original_layout_keeps_the_file_and_appends(quick: Shell) -> None:
    code, said = quick("enrich", "leads.csv", "-r", "registry.csv", "-o", "out.csv", "--layout", "original")
    done(said, code, 3)
    rows = read(quick.folder / "out.csv", delimiter=";")
    assert list(rows[0])[:5] == ["Firma", "Strasse", "Ort", "PLZ", "Notiz"]
    assert [row["Notiz"] for row in rows] == ["first", "", "", "again", "only a note"]
    assert [row["enrich_status"] for row in rows] == ["succeeded", "succeeded", "empty", "duplicate", "failed"]
    assert rows[0]["phones.0.e164"] == "+18135550101"


def test_a_reference_that_changed_is_read_anew(quick: Shell) -> None:
    command = ["enrich", "leads.csv", "-r", "registry.csv", "-o", "out.csv"]
    done(*reversed(quick(*command)), 3)  # type: ignore[arg-type]
    assert read(quick.folder / "out.csv")[1].get("emails.0.address") in {None, ""}
    quick.write("registry.csv", REGISTRY.replace("813-555-0102,,", "813-555-0102,shop@blue.example,"))
    done(*reversed(quick(*command)), 3)  # type: ignore[arg-type]
    assert read(quick.folder / "out.csv")[1]["emails.0.address"] == "shop@blue.example"


def test_a_limit_keeps_the_rest_and_rejects_are_kept(quick: Shell) -> None:
    quick.write("more.csv", companies(20) + "one,two,three,four,five,six,seven\n")
    code, said = quick("enrich", "more.csv", "-r", "registry.csv", "-o", "out.csv", "--limit", "8")
    done(said, code)
    assert ended(quick.folder / "out.csv") == {"empty": 8, "skipped": 12}
    rejects = [json.loads(line) for line in (quick.folder / "out.csv.rejects.jsonl").read_text().splitlines()]
    assert [item["line"] for item in rejects] == [22]


def test_columns_that_the_user_names(quick: Shell) -> None:
    lead = "Haney Furniture LLC,100 Main St,Tampa,33602,office@haney.example,0813 555 0101\n"
    quick.write("own.csv", "firm,lane,town,code,e-mail,call\n" + lead)
    command = ["enrich", "own.csv", "-r", "registry.csv", "-o", "out.csv"]
    code, said = quick(*command)
    done(said, code)
    assert "--variant e-mail" in said.stderr
    assert read(quick.folder / "out.csv")[0]["emails.0.new"] == "true"
    code, said = quick(*command, "--variant", "e-mail", "--map", "street=lane", "--map", "street=town")
    done(said, code)
    assert "street = lane + town" in said.stderr
    assert "Tried when little is found: e-mail" in said.stderr
    assert "--variant" not in said.stderr
    assert read(quick.folder / "out.csv")[0]["emails.0.new"] == "false"


def test_a_file_in_which_no_lead_is_seen_is_mapped_by_hand(quick: Shell) -> None:
    quick.write("odd.csv", "a,b\n1,20\n3,40\n")
    command = ["enrich", "odd.csv", "-r", "registry.csv", "-o", "out.csv"]
    code, said = quick(*command)
    assert code == 2
    assert "The table has: `a`, `b`. Name them: `--map company=COLUMN`" in said.stderr
    code, said = quick(*command, "--map", "company=a")
    done(said, code)
    assert "company = a" in said.stderr
    assert ended(quick.folder / "out.csv") == {"empty": 2}


@pytest.mark.skipif(not (EXAMPLES / "libraries-known.csv").exists(), reason="the example files are not here")
def test_the_example_of_the_docs(quick: Shell) -> None:
    leads, registry = EXAMPLES / "libraries-known.csv", EXAMPLES / "libraries-open.csv"
    code, said = quick("enrich", leads, "--reference", registry, "--region", "GB", "-o", "out.csv")
    done(said, code)
    assert ended(quick.folder / "out.csv") == {"succeeded": 75, "empty": 24, "duplicate": 1}
    rows = read(quick.folder / "out.csv")
    known = read(leads, restkey="more")
    told = [row for row, lead in zip(rows, known, strict=True) if row["emails.0.address"] and lead["email"]]
    same = sum(row["emails.0.address"] == known[int(row["row_index"]) - 1]["email"].lower() for row in told)
    assert len(told) > 60
    assert same > 0.85 * len(told), "the list's own e-mails, which the hunt never saw, are mostly the same"


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        (["nowhere.csv"], 2, ["nowhere.csv"]),
        (["leads.csv", "-r", "nowhere.csv"], 2, ["nowhere.csv"]),
        (["notes.csv"], 2, ["company"]),
        (["leads.csv", "--budget", "ten"], 2, ["--budget"]),
        (["leads.csv", "--agent", "nobody-knows"], 1, ["no agent `nobody-knows`"]),
        (["leads.csv", "--agent", "other.yaml"], 2, ["a lead enricher is needed"]),
        (["leads.csv", "--region", "Mars"], 2, ["region"]),
    ],
    ids=["file", "reference", "no-lead-columns", "budget", "agent", "no-lead-agent", "region"],
)
def test_refusals(quick: Shell, arguments: list[str], expected: int, words: list[str]) -> None:
    quick.write("notes.csv", "a,b\n1,2\n3,4\n")
    quick.write("other.yaml", "name: other\nruntime: http\nconfig: {url: 'https://example.org/'}\n")
    code, said = quick("enrich", *arguments)
    done(said, code, expected)
    plain = " ".join(said.text.replace("│", " ").split())
    for word in words:
        assert word in plain, said.text


# A vendor that costs money


def test_a_vendor_is_paid_from_the_balance_and_the_books_are_right(quick: Shell, fresh_database: Database) -> None:
    quick.write("leads.csv", companies(20))
    with vendor_process(quick.folder, 0) as vendor:
        vendor_agent(quick, vendor.config(), "0.03", price_usd="0.05")
        command = ["enrich", "leads.csv", "--agent", "vendor.yaml", "-o", "out.csv"]
        code, said = quick(*command)
        done(said, code, 1)
        assert "paused (balance)" in said.stderr
        assert "gristmill topup" in said.stderr
        assert ended(quick.folder / "out.csv") == {"pending": 20}

        done(*reversed(quick("topup", "0.50")))  # type: ignore[arg-type]
        code, said = quick(*command)
        done(said, code, 1)
        before = ended(quick.folder / "out.csv")
        assert before["succeeded"] == 16, "three cents each, of which the next one's ceiling is not left"

        done(*reversed(quick("topup", "10")))  # type: ignore[arg-type]
        done(*reversed(quick(*command)))  # type: ignore[arg-type]
        assert ended(quick.folder / "out.csv") == {"succeeded": 18, "empty": 2}
        assert vendor.asked() == {f"Company {n}": 1 for n in range(1, 21)}
        rows = read(quick.folder / "out.csv")
        assert Counter((row["enrich_status"], row["enrich_spent_usd"]) for row in rows) == {
            ("succeeded", "0.030000"): 18,
            ("empty", "0.000000"): 2,
        }
        with psycopg.connect(fresh_database.url) as connection:
            money = "SELECT funded_micro_usd, available_micro_usd, held_micro_usd, spent_micro_usd FROM ledger_account"
            assert connection.execute(money).fetchone() == (10_500_000, 9_960_000, 0, 540_000)

        done(*reversed(quick(*command, "--fresh", "-o", "anew.csv")))  # type: ignore[arg-type]
        assert {row["enrich_spent_usd"] for row in read(quick.folder / "anew.csv")} == {"0.000000"}
        assert vendor.asked().total() == 20, "remembered answers are no calls and cost nothing"

        quick.write("others.csv", companies(45).replace("Company 1", "Company 10").replace("Company 2", "Company 20"))
        code, said = quick("enrich", "others.csv", "--agent", "vendor.yaml", "--budget", "0.12", "-o", "capped.csv")
        done(said, code, 1)
        assert "paused (budget)" in said.stderr
        spent = sum(float(row["enrich_spent_usd"]) for row in read(quick.folder / "capped.csv"))
        assert 0.07 < spent <= 0.12


def test_ctrl_c_and_kill_9_and_the_same_command_finishes(shell: Shell) -> None:
    """With the embedded database, which outlives the command that started it."""
    rows = 150
    shell.write("leads.csv", companies(rows))
    with vendor_process(shell.folder, 60) as vendor:
        vendor_agent(shell, vendor.config())
        command = ["enrich", "leads.csv", "--agent", "vendor.yaml", "-o", "out.csv"]
        running = shell.start(*command)
        wait_for(lambda: vendor.asked().total() >= 20, "twenty questions")
        running.process.send_signal(signal.SIGINT)
        code = running.end()
        done(running, code, 130)
        stopped = ended(shell.folder / "out.csv")
        assert stopped["running"] == 0
        assert stopped["pending"] > 0
        assert stopped["succeeded"] + stopped["empty"] == vendor.asked().total(), "rows in flight finish and are kept"

        (shell.folder / "out.csv").unlink()
        running = shell.start(*command)
        wait_for(lambda: vendor.asked().total() >= 60, "forty more")
        time.sleep(0.1)
        running.kill()
        assert not (shell.folder / "out.csv").exists()

        code, said = shell(*command)
        done(said, code)
        assert "Going on" in said.stderr
        known = sum(n % 7 != 0 for n in range(1, rows + 1))
        assert ended(shell.folder / "out.csv") == {"succeeded": known, "empty": rows - known}
        asked = vendor.asked()
        assert len(asked) == rows
        assert max(asked.values()) <= 2
        assert asked.total() - rows <= 12, "only what was in flight at the kill, or not yet saved, was asked again"
