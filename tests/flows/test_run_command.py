"""`gristmill run` as a user runs it: a file, an agent, a results file, an exit code."""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flows.processes import AgentProcess, Command, Shell, agent_process, environment, wait_for
from gristmill.base.db import Database

pytestmark = pytest.mark.xdist_group("run")

LEADS = "name,E-Mail,Score\nAna,ana@example.com,7\nBob,bob@example.com,8\nCid,cid@example.com,9\n"
AGENTS = """
import pathlib, time
from gristmill.agents import RowResult

def note(row, context):
    with open("calls", "a") as file:
        file.write(f"{context.row_number}\\n")

def size(row, context):
    return {"size": len(row), "of": {"name": row.get("name")}}

def odd_breaks(row, context):
    note(row, context)
    if int(row["n"]) % 2 and not pathlib.Path("mended").exists():
        raise ValueError("odd [/one]")
    return {"half": int(row["n"]) // 2}

def slow(row, context):
    note(row, context)
    time.sleep(context.options.get("s", 0.02))
    return {"n": row["n"]}
"""


@pytest.fixture
def quick(tmp_path: Path, fresh_database: Database) -> Shell:
    """A shell on a database that runs already: what these tests are about does not hang on which one it is."""
    made = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL=fresh_database.url))
    made.write("leads.csv", LEADS)
    made.write("mine.py", AGENTS)
    return made


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An HTTP agent for tests that do not count its calls."""
    with agent_process(tmp_path_factory.mktemp("agent")) as running:
        yield running


def numbers(count: int) -> str:
    return "n\n" + "".join(f"{n}\n" for n in range(1, count + 1))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(path: Path) -> Counter[str]:
    return Counter(row["status"] for row in read(path))


def done(command: Command, code: int, expected: int = 0) -> None:
    assert code == expected, f"exit code {code}, not {expected}; it said:\n{command.text}"
    assert "Traceback" not in command.text


# Agents


def test_a_template_by_its_slug(quick: Shell) -> None:
    code, said = quick("run", "leads.csv", "--agent", "clean-contacts", "--map", "email=E-Mail", "-o", "out.csv")
    done(said, code)
    rows = read(quick.folder / "out.csv")
    facts = ["row_number", "status", "charge_usd", "error_code", "error"]
    assert list(rows[0])[:8] == ["name", "E-Mail", "Score", *facts]
    assert [row["name"] for row in rows] == ["Ana", "Bob", "Cid"]
    assert [row["email_clean"] for row in rows] == ["ana@example.com", "bob@example.com", "cid@example.com"]
    assert {row["email_valid"] for row in rows} == {"true"}
    assert "every row has ended" in " ".join(said.stderr.split())


def test_a_url_gets_each_row_as_json(quick: Shell, endpoint: AgentProcess) -> None:
    code, said = quick("run", "leads.csv", "--agent", f"{endpoint.url}/echo", "-m", "mail=E-Mail", "-o", "out.jsonl")
    done(said, code)
    lines = [json.loads(line) for line in (quick.folder / "out.jsonl").read_text().splitlines()]
    assert [line["row_number"] for line in lines] == [1, 2, 3]
    assert lines[1]["data"] == {"name": "Bob", "E-Mail": "bob@example.com", "Score": "8"}
    assert lines[1]["result"] == {"echo": {"name": "Bob", "Score": "8", "mail": "bob@example.com"}}


def test_a_function_of_this_folder_and_the_usual_output_name(quick: Shell) -> None:
    code, said = quick("run", "leads.csv", "--agent", "mine:size")
    done(said, code)
    rows = read(quick.folder / "leads.csv.results.csv")
    assert [(row["size"], row["of.name"]) for row in rows] == [("3", "Ana"), ("3", "Bob"), ("3", "Cid")]


def test_agent_files_and_then_the_saved_name(quick: Shell, endpoint: AgentProcess) -> None:
    (quick.folder / "agents").mkdir()
    quick.write("agents/near.py", "async def shout(row, context):\n    return {'loud': row['name'].upper() + '!'}\n")
    quick.write(
        "agents/shouter.yaml",
        "runtime: python\nconfig:\n  entry_point: near:shout\ninput_fields:\n  - {name: name, required: true}\n",
    )
    code, said = quick("run", "leads.csv", "--agent", "agents/shouter.yaml", "-o", "loud.csv")
    done(said, code)
    assert [row["loud"] for row in read(quick.folder / "loud.csv")] == ["ANA!", "BOB!", "CID!"]

    quick.write(
        "agents/there.toml",
        f'name = "there"\nruntime = "http"\nconcurrency = 2\n[config]\nurl = "{endpoint.url}/echo"\n',
    )
    code, said = quick("run", "leads.csv", "--agent", "agents/there.toml", "-o", "there.csv")
    done(said, code)
    assert [row["echo.name"] for row in read(quick.folder / "there.csv")] == ["Ana", "Bob", "Cid"]

    quick.write("other.csv", "Name\nDora\n")  # the field is `name`: case does not matter
    code, said = quick("run", "other.csv", "--agent", "shouter", "-o", "other-out.csv")
    done(said, code)
    assert [row["loud"] for row in read(quick.folder / "other-out.csv")] == ["DORA!"]


# Refusals: nothing is run, the message says what to do


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        (
            ["leads.csv", "--agent", "clean-contacts", "--map", "email=Mail"],
            2,
            ["no column Mail", "name, E-Mail, Score"],
        ),
        (
            ["leads.csv", "--agent", "clean-contacts", "--map", "mail=E-Mail"],
            2,
            ["no field mail", "phone, email, website"],
        ),
        (["leads.csv", "--agent", "website-check"], 2, ["needs website", "--map website=COLUMN"]),
        (["leads.csv", "--agent", "clean-contacts", "--map", "email"], 2, ["FIELD=COLUMN"]),
        (["leads.csv", "--agent", "nobody-knows"], 1, ["no agent `nobody-knows`", "clean-contacts"]),
        (["nowhere.csv", "--agent", "clean-contacts"], 2, ["nowhere.csv"]),
        (["leads.csv", "--agent", "mine:size", "-o", "out.pdf"], 2, [".csv", ".jsonl"]),
        (["leads.csv", "--agent", "mine:sise"], 1, ["no function `sise`"]),
        (["leads.csv", "--agent", "wrong.yaml"], 2, ["wrong.yaml", "runtyme"]),
        (["leads.csv", "--agent", "mine:size", "--budget", "ten"], 2, ["--budget"]),
        (["leads.csv", "--agent", "mine:note", "-o", "mine.py/out.csv"], 2, ["can't be written to mine.py/out.csv"]),
    ],
    ids=["column", "field", "required", "map", "agent", "file", "format", "function", "agent-file", "budget", "out"],
)
def test_refusals(quick: Shell, arguments: list[str], expected: int, words: list[str]) -> None:
    quick.write("wrong.yaml", "runtyme: http\n")
    code, said = quick("run", *arguments)
    done(said, code, expected)
    plain = " ".join(said.text.replace("│", " ").split())
    for word in words:
        assert word in plain, said.text
    assert not (quick.folder / "calls").exists()


@pytest.mark.parametrize("command", [["config"], ["run", "leads.csv", "--agent", "clean-contacts"], ["server"]])
def test_a_setting_that_cannot_be_used_is_named(quick: Shell, command: list[str]) -> None:
    quick.env["GRISTMILL_PORT"] = "eighty"
    quick.env["BATCH_ENRICH_MAX_ROWS"] = "-1"
    code, said = quick(*command)
    done(said, code, 2)
    assert "GRISTMILL_PORT: Input should be a valid integer" in said.stderr
    assert "BATCH_ENRICH_MAX_ROWS: Input should be greater" in said.stderr
    assert "eighty" not in said.text, "a value may be a secret"


def test_settings_for_people_and_programs(quick: Shell) -> None:
    quick.env["GRISTMILL_PORT"] = "9123"
    code, said = quick("config")
    done(said, code)
    assert "GRISTMILL_PORT=9123   (environment)\n    Port that" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 200
    code, said = quick("config", "--json")
    done(said, code)
    port = next(line for line in json.loads(said.stdout) if line["env"] == "GRISTMILL_PORT")
    assert (port["value"], port["source"]) == ("9123", "environment")


# Rows


def test_duplicates_share_results_and_rejects_are_kept(quick: Shell) -> None:
    lines = ["1,7", "2,8", "1,7", "3,4,5,6", "2,8", "1,7", *(f"{n},9" for n in range(10, 60))]
    quick.write("n.csv", "".join(f"{line}\n" for line in ["n,t", *lines]))
    code, said = quick("run", "n.csv", "--agent", "mine:slow", "-o", "out.csv")
    done(said, code)
    rows = read(quick.folder / "out.csv")
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", *["duplicate"] * 3, *["succeeded"] * 50]
    assert (
        [row["n_2"] for row in rows]
        == [row["n"] for row in rows]
        == ["1", "2", "1", "2", "1", *map(str, range(10, 60))]
    )
    assert sorted(map(int, (quick.folder / "calls").read_text().split())) == [1, 2, *range(6, 56)]
    rejects = [json.loads(line) for line in (quick.folder / "out.csv.rejects.jsonl").read_text().splitlines()]
    assert [(item["line"], item["raw"].strip()) for item in rejects] == [(5, "3,4,5,6")]
    assert "out.csv.rejects.jsonl" in said.stdout


def test_limit_failed_rows_retry_and_the_second_call(quick: Shell) -> None:
    quick.write("n.csv", numbers(12))
    command = ["run", "n.csv", "--agent", "mine:odd_breaks", "-o", "out.csv", "--limit", "10"]
    code, said = quick(*command)
    done(said, code, 3)
    assert statuses(quick.folder / "out.csv") == {"succeeded": 5, "failed": 5, "skipped": 2}
    assert {row["error"] for row in read(quick.folder / "out.csv") if row["status"] == "failed"} == {
        "ValueError: odd [/one]"
    }
    assert "5 x " in said.stderr

    code, said = quick(*command)  # nothing is left: nothing runs, the same answer
    done(said, code, 3)
    assert len((quick.folder / "calls").read_text().split()) == 10

    quick.write("mended", "")
    code, said = quick(*command, "--retry-failed")
    done(said, code)
    assert statuses(quick.folder / "out.csv") == {"succeeded": 10, "skipped": 2}
    calls = Counter((quick.folder / "calls").read_text().split())
    assert calls == {str(n): 1 + n % 2 for n in range(1, 11)}


def test_max_failures_stops_early(quick: Shell) -> None:
    quick.write("n.csv", "n\n" + "".join(f"{2 * n + 1}\n" for n in range(500)))
    code, said = quick("run", "n.csv", "--agent", "mine:odd_breaks", "-o", "out.csv", "--max-failures", "3")
    done(said, code, 1)
    found = statuses(quick.folder / "out.csv")
    assert 4 <= found["failed"] <= 60
    assert found["failed"] + found["pending"] == 500
    assert "at most 3 may" in said.stderr


def test_a_priced_agent_stops_at_the_budget_and_at_the_balance(quick: Shell, fresh_database: Database) -> None:
    quick.write("n.csv", numbers(10))
    quick.write(
        "paid.yaml",
        "runtime: python\nprice_usd: '0.01'\nconcurrency: 4\nconfig: {entry_point: 'mine:slow'}\n",
    )
    command = ["run", "n.csv", "--agent", "paid.yaml", "-o", "out.csv"]
    code, said = quick(*command)
    done(said, code, 1)
    assert "paused (balance)" in said.stderr
    assert statuses(quick.folder / "out.csv") == {"pending": 10}

    done(*reversed(quick("topup", "0.065", "--note", "a first round")))  # type: ignore[arg-type]
    code, said = quick(*command)  # 6 of 10 rows at one cent
    done(said, code, 1)
    assert statuses(quick.folder / "out.csv") == {"succeeded": 6, "pending": 4}

    code, said = quick("topup", "1")
    done(said, code)
    assert "1.005000" in said.stdout
    code, said = quick(*command)
    done(said, code)
    assert statuses(quick.folder / "out.csv") == {"succeeded": 10}
    assert {row["charge_usd"] for row in read(quick.folder / "out.csv")} == {"0.010000"}
    assert len((quick.folder / "calls").read_text().split()) == 10

    code, said = quick(*command, "--fresh", "--budget", "0.025", "-o", "again.csv")
    done(said, code, 1)
    assert "paused (budget)" in said.stderr
    assert statuses(quick.folder / "again.csv") == {"succeeded": 2, "pending": 8}
    with psycopg.connect(fresh_database.url) as connection:
        money = connection.execute(
            "SELECT funded_micro_usd, available_micro_usd, held_micro_usd, spent_micro_usd FROM ledger_account"
        ).fetchone()
    assert money == (1_065_000, 945_000, 0, 120_000)


# Stopped and killed


def test_ctrl_c_pauses_and_the_same_command_finishes(quick: Shell) -> None:
    quick.write("n.csv", numbers(200))
    command = ["run", "n.csv", "--agent", "mine:slow", "-o", "out.csv"]
    running = quick.start(*command)
    calls = quick.folder / "calls"
    wait_for(lambda: calls.exists() and calls.read_text().count("\n") >= 30, "thirty calls")
    running.process.send_signal(signal.SIGINT)
    code = running.end()
    done(running, code, 130)
    found = statuses(quick.folder / "out.csv")
    assert found["running"] == 0
    assert found["pending"] > 0
    assert found["succeeded"] + found["pending"] == 200
    assert found["succeeded"] == calls.read_text().count("\n"), "rows in flight finish and are kept"

    code, said = quick(*command)
    done(said, code)
    assert "Going on" in said.stdout
    assert statuses(quick.folder / "out.csv") == {"succeeded": 200}
    assert Counter(calls.read_text().split()) == {str(n): 1 for n in range(1, 201)}


def test_kill_9_at_random_moments_repeats_no_finished_row(shell: Shell, agent: AgentProcess) -> None:
    """The embedded database goes on with its server, of which nobody is left to look after; the next call takes it."""
    seed = random.randrange(10**6)  # noqa: S311 - no secret
    chance = random.Random(seed)  # noqa: S311 - the same
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test failed
    rows, slots = 400, 8
    shell.write("n.csv", numbers(rows))
    command = ["run", "n.csv", "--agent", f"{agent.url}/slow/25", "-o", "out.csv", "--concurrency", str(slots)]
    kills = 3
    for _ in range(kills):
        before = agent.calls().total()
        running = shell.start(*command)
        wait_for(lambda before=before: agent.calls().total() > before, "a first call")
        time.sleep(chance.uniform(0.0, 0.3))
        running.kill()
        assert not (shell.folder / "out.csv").exists()
    code, said = shell(*command)
    done(said, code)
    out = read(shell.folder / "out.csv")
    assert [row["n"] for row in out] == [str(n) for n in range(1, rows + 1)]
    assert [row["echo.n"] for row in out] == [str(n) for n in range(1, rows + 1)]
    assert {row["status"] for row in out} == {"succeeded"}
    calls = agent.calls()
    assert len(calls) == rows
    repeated = sum(count - 1 for count in calls.values())
    # Only a row that was in flight at a kill, or answered and not yet saved, may be called again.
    assert repeated <= kills * 3 * slots, f"{repeated} calls were repeated"
    assert max(calls.values()) <= 1 + kills


def test_two_commands_at_once_share_one_database(shell: Shell, agent: AgentProcess) -> None:
    """The first one started the database; the second one still needs it when the first is done."""
    shell.write("first.csv", numbers(240))
    shell.write("second.csv", numbers(400))
    first = shell.start("run", "first.csv", "--agent", f"{agent.url}/slow/100", "-o", "first.out.csv")
    wait_for(lambda: agent.calls().total() > 0, "a first call")
    second = shell.start("run", "second.csv", "--agent", f"{agent.url}/slow/60", "-o", "second.out.csv")
    done(first, first.end())
    assert second.process.poll() is None, "the second one ended too early to prove anything"
    done(second, second.end())
    assert statuses(shell.folder / "first.out.csv") == {"succeeded": 240}
    assert statuses(shell.folder / "second.out.csv") == {"succeeded": 400}
    assert agent.calls().total() == 640


def test_a_killed_run_is_left_alone_by_a_run_of_something_else(quick: Shell) -> None:
    """Nobody asked for the rest of the first file: it may cost money, and its agent may be somewhere else."""
    quick.write("first.csv", numbers(500))
    quick.write("second.csv", "n\nx\n")
    running = quick.start("run", "first.csv", "--agent", "mine:slow", "-o", "first.out.csv")
    calls = quick.folder / "calls"
    wait_for(lambda: calls.exists() and calls.read_text().count("\n") > 10, "ten calls")
    running.kill()
    before = calls.read_text()
    code, said = quick("run", "second.csv", "--agent", "mine:size", "-o", "second.out.csv")
    done(said, code)
    assert statuses(quick.folder / "second.out.csv") == {"succeeded": 1}
    assert calls.read_text() == before
