"""Enrichment while workers, server and database die: every lead ends once, and the books are right in the end.

The seed is printed; GRISTMILL_KILL_SEED repeats a run, and GRISTMILL_SOAK=1 makes it a long one.
"""

from __future__ import annotations

import csv
import io
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from flows.processes import Api, Up, VendorProcess, kill, running_up, vendor_process, wait_for

SOAK = os.environ.get("GRISTMILL_SOAK") == "1"
ROWS = 5_000 if SOAK else 480
ROUNDS = 3 if SOAK else 1
TWICE = 40
"""Leads at the end of the file that are at its start, too."""
LATENCY_MS = 150
CONCURRENCY = 10
PRICE, COST = 50_000, 30_000
FIRST_USD, THEN_USD = 10, 1000
PATIENCE_S = 60.0
TAKEOVER_S_MAX = 30.0
PATH = "/batch/enrich"

pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(1800 if SOAK else 300)]


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[VendorProcess]:
    with vendor_process(tmp_path, LATENCY_MS) as running:
        yield running


def leads() -> bytes:
    numbers = [*range(1, ROWS - TWICE + 1), *range(1, TWICE + 1)]
    lines = [f"{place},Company {n},{n} Main St,Tampa,FL,33602" for place, n in enumerate(numbers)]
    return "\n".join(["contact_id,company,street,city,state,zip", *lines]).encode()


@dataclass
class Story:
    """What is killed, and what must come back."""

    up: Up
    api: Api
    chance: random.Random
    job_id: str

    def job(self) -> dict[str, Any]:
        return self.api.get(f"{PATH}/{self.job_id}", patience_s=PATIENCE_S)

    def done(self) -> int:
        found = self.job()
        return found["succeeded"] + found["empty"]

    def kill_worker(self) -> None:
        with self.up.connect() as connection:
            pid = self.chance.choice(wait_for(lambda: self.up.children("worker"), "a worker"))
            found = connection.execute("SELECT id FROM worker WHERE pid = %s", (pid,)).fetchone()
            kill(pid)
            if found is None:
                return
            held = "SELECT count(*) FROM batch_row WHERE worker_id = %s"
            wait_for(lambda: connection.execute(held, found).fetchone() == (0,), "the takeover", TAKEOVER_S_MAX)

    def kill_server(self) -> None:
        old = self.up.children("server")
        if old:
            kill(old[0])
            wait_for(lambda: self.up.children("server") not in ([], old), "another server")
            wait_for(self.up.is_ready, "the server's readiness", PATIENCE_S)

    def kill_database(self) -> None:
        old, before = self.up.postmaster(), self.done()
        kill(old)
        wait_for(lambda: self.up.postmaster() not in {0, old}, "another database")
        wait_for(
            lambda: self.done() > before or self.job()["status"] == "paused",
            "a lead after the database's end",
            TAKEOVER_S_MAX,
        )


def test_every_lead_ends_once_whatever_is_killed(folder: Path, vendor: VendorProcess) -> None:
    seed = int(os.environ.get("GRISTMILL_KILL_SEED") or random.randrange(10**6))  # noqa: S311 - no secret
    print(f"GRISTMILL_KILL_SEED={seed}")  # noqa: T201 - repeats a failure
    chance = random.Random(seed)  # noqa: S311 - the same
    with running_up(folder / "data", workers=2) as up:
        api = up.api()
        story = Story(up, api, chance, upload_and_link(up, api, vendor))
        path = f"{PATH}/{story.job_id}"
        assert api.call("POST", f"{path}/start").status_code == 402
        api.top_up(str(FIRST_USD))
        api.post(f"{path}/start")

        kills: list[Callable[[], None]] = [story.kill_worker, story.kill_database, story.kill_server] * ROUNDS
        run_dry = FIRST_USD * 10**6 // COST
        moments = sorted(chance.sample(range(20, run_dry * 7 // 10), len(kills)))
        for moment, what in zip(moments, kills, strict=True):
            wait_for(lambda moment=moment: story.done() >= moment, f"{moment} leads", 600)
            what()
        paused = await_status(story, "paused")
        assert paused["reason"] == "balance"
        balance = api.balance()
        assert balance["held_micro_usd"] == 0
        assert balance["available_micro_usd"] < PRICE, "it paused at exactly the row that could not be held"
        assert balance["spent_micro_usd"] == paused["spent_micro_usd"]

        api.top_up(str(THEN_USD))
        api.post(f"{path}/resume")
        wait_for(lambda: story.done() >= paused["succeeded"] + paused["empty"] + 20, "more leads", 600)
        story.kill_worker()
        done = await_status(story, "completed")
        check_lines(api, path, done)
        with up.connect() as connection:
            check_books(connection, api, story.job_id, done)
            check_calls(connection, story.job_id, vendor)
        assert up.stop() == 0


def upload_and_link(up: Up, api: Api, vendor: VendorProcess) -> str:
    fields = ("company", "street", "city", "state", "zip", "number1", "number2", "dm_name")
    passes = [{"provider": "http", "config": vendor.config(), "price_usd": "0.01"}]
    agent = api.make_agent(
        runtime="lead",
        config={"passes": passes, "match_usd": "0.02", "coverage": {"phones": 1}},
        input_fields=[{"name": name} for name in fields],
        price_usd=f"{PRICE / 10**6:.6f}",
        concurrency=CONCURRENCY,
        retry={"max_attempts": 20, "backoff": 0.1},
    )
    with httpx.Client(base_url=f"{up.url}/api/v1", timeout=60) as nobody:
        made = nobody.post(f"{PATH}/upload", files={"file": ("leads.csv", leads())})
    assert made.status_code == 201, made.text
    job_id = made.json()["id"]
    api.post(f"{PATH}/{job_id}/link", {"upload_token": made.json()["upload_token"], "agent": agent})
    return job_id


def await_status(story: Story, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 600
    found: dict[str, Any] = {}
    while time.monotonic() < deadline:
        found = story.job()
        if found["status"] == status and found["running"] == 0:
            return found
        time.sleep(0.05)
    pytest.fail(f"the job did not get {status}; it is {found}")


def check_lines(api: Api, path: str, done: dict[str, Any]) -> None:
    """One line per lead, each with its own number and its own cost."""
    text = api.call("GET", f"{path}/download.csv").text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["row_index"] for line in lines] == [str(n) for n in range(1, ROWS + 1)]
    assert Counter(line["enrich_status"] for line in lines) == {
        "succeeded": done["succeeded"], "empty": done["empty"], "duplicate": TWICE,
    }  # fmt: skip
    for place, line in enumerate(lines):
        number = place + 1 if place < ROWS - TWICE else place + 1 - (ROWS - TWICE)
        known = number % 7 != 0
        assert line["enrich_matched"] == ("true" if known else "false")
        assert line["phones.0.e164"] == (f"+1813{200 + number // 10_000}{number % 10_000:04d}" if known else "")
        cost = COST if line["enrich_status"] == "succeeded" else 0
        assert line["enrich_spent_usd"] == f"{cost / 10**6:.6f}"


def check_books(connection: psycopg.Connection, api: Api, job_id: str, done: dict[str, Any]) -> None:
    """Each charge once, nothing held, and everybody's sums are the same."""
    rows = connection.execute(
        "SELECT row_number, status, charge_micro_usd FROM batch_row WHERE batch_id = %s ORDER BY 1", (job_id,)
    ).fetchall()
    settled = dict(
        connection.execute(
            "SELECT row_number, sum(amount_micro_usd)::bigint FROM ledger_entry WHERE batch_id = %s AND kind = 'settle'"
            " GROUP BY 1", (job_id,)
        ).fetchall()
    )  # fmt: skip
    assert settled == {number: charge for number, _, charge in rows if charge}
    once = connection.execute(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM ledger_entry WHERE batch_id = %s AND kind = 'settle'"
        " GROUP BY row_number) t", (job_id,)
    ).fetchone()  # fmt: skip
    assert once == (1,)
    moves = dict(
        connection.execute(
            "SELECT kind, sum(amount_micro_usd)::bigint FROM ledger_entry WHERE batch_id = %s GROUP BY 1", (job_id,)
        ).fetchall()
    )
    assert moves["hold"] == moves["settle"] + moves["release"]
    total = sum(settled.values())
    assert total == COST * done["succeeded"] == done["spent_micro_usd"]
    balance, funded = api.balance(), (FIRST_USD + THEN_USD) * 10**6
    assert (balance["held_micro_usd"], balance["spent_micro_usd"]) == (0, total)
    assert balance["available_micro_usd"] == funded - total
    left = connection.execute("SELECT count(*) FROM batch_row WHERE status = 'running' OR held_micro_usd > 0")
    assert left.fetchone() == (0,)
    charged = sum(api.get(f"{PATH}/{job_id}/rows/{n}")["receipt"]["charged_micro_usd"] for n in range(1, ROWS + 1, 7))
    assert charged == sum(charge for number, _, charge in rows if number % 7 == 1)


def check_calls(connection: psycopg.Connection, job_id: str, vendor: VendorProcess) -> None:
    """A vendor is asked once more than once only where a process died before the answer could be kept."""
    asked = vendor.asked()
    rows = connection.execute(
        "SELECT data->>'company', tries, losses, attempt FROM batch_row WHERE batch_id = %s AND status <> 'duplicate'",
        (job_id,),
    ).fetchall()
    assert set(asked) == {company for company, *_ in rows}
    again = {
        company: asked[company] for company, _, losses, attempt in rows if asked[company] > max(1 + losses, attempt)
    }
    assert again == {}
    assert sum(count > 1 for count in asked.values()) <= CONCURRENCY * (3 * ROUNDS + 1)
