"""Pages of the dashboard: who sees what, forms, escaping, caching, and values as they read."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Caller, fund, make_agent, make_organization, wait_for
from gristmill import identity
from gristmill.base.db import Database
from gristmill.doors.dashboard import formats, words
from gristmill.doors.dashboard.assets import ASSETS, FOLDER

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
TEMPLATES = FOLDER.parent / "templates"
_numbers = itertools.count(1)

Login = Callable[[int], httpx.Client]


@pytest.fixture
def login(database: Database, base_url: str) -> Iterator[Login]:
    """Opens browser sessions."""
    clients: list[httpx.Client] = []

    def open_session(organization_id: int) -> httpx.Client:
        with database.tx(organization_id) as tx:
            token = identity.create_login_link(tx, organization_id)
        client = httpx.Client(base_url=base_url, timeout=60)
        clients.append(client)
        answer = client.get("/login", params={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        return client

    yield open_session
    for client in clients:
        client.close()


@dataclass(frozen=True)
class World:
    """Things of the owner, with names that try to break out."""

    agent: int
    source: int
    batch: str
    row: str

    @property
    def pages(self) -> list[str]:
        batch = f"/dashboard/batches/{self.batch}"
        return [
            "/dashboard",
            "/dashboard/batches",
            batch,
            f"{batch}?status=failed",
            f"{batch}?q=%3Cscript%3E",
            f"{batch}/rows/{self.row}",
            "/dashboard/agents",
            f"/dashboard/agents/{self.agent}",
            f"/dashboard/agents/{self.agent}?tab=batch&data_source_id={self.source}&row_limit=1",
            f"/dashboard/agents/{self.agent}?tab=settings",
            "/dashboard/sources",
            f"/dashboard/sources/{self.source}",
            f"/dashboard/sources/{self.source}?agent_id={self.agent}",
            "/dashboard/sources/new",
            "/connect",
            "/dashboard/settings",
            "/dashboard/settings?tab=webhooks",
        ]


@pytest.fixture
def world(database: Database, owner: Caller, worker: object) -> World:
    fund(database, owner.organization_id, 5_000_000)
    agent = make_agent(
        database,
        owner.organization_id,
        name=f"{HOSTILE} {next(_numbers)}",
        config={"entry_point": "sample_agents:odd_breaks"},
        price_micro_usd=12_500,
    )
    table = f'n,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n1,<b>x</b>\n2,y\n'
    source = owner.post(
        "/api/v1/data_sources",
        {
            "name": HOSTILE,
            "kind": "csv",
            "csv_data": table,
            "config": {"default_mapping": {"fields": {"<i>n</i>": "n"}}},
        },
    ).json()
    items = [{"n": number, HOSTILE: HOSTILE} for number in range(6)]
    batch = run(owner, agent.id, {"name": HOSTILE, "items": items})
    rows = owner.get(f"/api/v1/batch_executions/{batch}/rows").json()["data"]
    return World(agent.id, source["id"], batch, rows[1]["id"])


def run(owner: Caller, agent: int, body: dict[str, Any], *, until: str = "completed") -> str:
    batch = owner.post(f"/api/v1/agents/{agent}/batch_executions", body).json()["id"]
    wait_for(lambda: state(owner, batch) == until, until)
    return batch


def state(owner: Caller, batch: str) -> str:
    return owner.get(f"/api/v1/batch_executions/{batch}").json()["status"]


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found[1]


def test_every_page_for_owner_nobody_and_stranger(
    database: Database, world: World, owner: Caller, login: Login, anyone: httpx.Client
) -> None:
    mine, theirs = login(owner.organization_id), login(make_organization(database))
    for path in world.pages:
        page = mine.get(path)
        assert page.status_code == 200, (path, page.text[:300])
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy, path
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.text.count("<h1") == 1, path

        nobody = anyone.get(path)
        assert (nobody.status_code, nobody.headers["location"].split("?")[0]) == (303, "/login"), path

        foreign = theirs.get(path)
        about_a_thing = bool(re.search(r"/(batches|agents|sources)/(?!new)", path))
        assert foreign.status_code == (404 if about_a_thing else 200), path
        assert "text/html" in foreign.headers["content-type"]
        for secret in (world.row, "alert(", "odd_breaks"):
            assert secret not in foreign.text.replace(world.row if world.row in path else "\0", ""), path


def test_hostile_values_stay_text(world: World, owner: Caller, login: Login) -> None:
    mine = login(owner.organization_id)
    for path in world.pages:
        text = mine.get(path).text
        for raw in ("<script>alert", "<img src=x", "<b>x</b>", "<i>n</i>"):
            assert raw not in text, (path, raw)
        # An attribute's value may hold anything; only a handler outside of quotes is one.
        assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', text)), path
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(\S*)", text)
        assert not re.search(r"<(style|script)>|<[a-z]+[^>]*\sstyle=", text), path


def test_a_key_opens_no_page_and_a_wrong_session_neither(owner: Caller, base_url: str) -> None:
    assert owner.get("/dashboard").headers["location"].split("?")[0] == "/login"
    with httpx.Client(base_url=base_url, cookies={"gristmill_session": "x" * 500}) as client:
        assert client.get("/dashboard").headers["location"].split("?")[0] == "/login"
        assert client.post("/dashboard/batches/x/pause").status_code == 404


def test_login_page_says_what_to_do(anyone: httpx.Client) -> None:
    assert anyone.get("/").headers["location"] == "/dashboard"
    assert "gristmill login" in anyone.get("/login").text
    old = anyone.get("/login", params={"token": "used-before"})
    assert old.status_code == 401
    assert "used already or is too old" in old.text


def test_a_used_link_leads_in_whoever_is_in(database: Database, owner: Caller, base_url: str) -> None:
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    with httpx.Client(base_url=base_url) as first, httpx.Client(base_url=base_url) as second:
        for _ in range(2):
            assert first.get("/login", params={"token": token}).headers["location"] == "/dashboard"
        assert first.get("/login").headers["location"] == "/dashboard"
        assert second.get("/login", params={"token": token}).status_code == 401


def test_looking_at_a_link_does_not_use_it_up(database: Database, owner: Caller, anyone: httpx.Client) -> None:
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    assert anyone.head("/login", params={"token": token}).status_code == 200
    assert anyone.get("/login", params={"token": token}).headers["location"] == "/dashboard"


def test_logout_ends_the_session_on_the_server_too(owner: Caller, login: Login, base_url: str) -> None:
    mine = login(owner.organization_id)
    cookie = mine.cookies["gristmill_session"]
    page = mine.get("/dashboard")
    assert mine.post("/logout").status_code == 403
    assert mine.get("/dashboard").status_code == 200
    assert mine.post("/logout", data={"csrf": csrf_of(page)}).headers["location"].split("?")[0] == "/login"
    assert "gristmill_session" not in mine.cookies
    with httpx.Client(base_url=base_url, cookies={"gristmill_session": cookie}) as thief:
        assert thief.get("/dashboard").headers["location"].split("?")[0] == "/login"


def test_forms_need_the_token_of_their_own_session(
    database: Database, owner: Caller, login: Login, worker: object
) -> None:
    agent = make_agent(database, owner.organization_id, config={"entry_point": "sample_agents:wait_async"})
    batch = owner.post(f"/api/v1/agents/{agent.id}/batch_executions", {"items": [{"s": 20}]}).json()["id"]
    mine, other = login(owner.organization_id), login(owner.organization_id)
    foreign = csrf_of(other.get("/dashboard"))
    for verb in ("pause", "resume", "cancel", "retry"):
        for data in ({}, {"csrf": ""}, {"csrf": "wrong"}, {"csrf": foreign}, {"csrf": "\u00e9"}):
            refused = mine.post(f"/dashboard/batches/{batch}/{verb}", data=data)
            assert refused.status_code == 403, (verb, data)
            assert "reload the page" in refused.text
    assert state(owner, batch) in {"queued", "running"}
    owner.post(f"/api/v1/batch_executions/{batch}/cancel")


def test_pause_resume_cancel_and_what_is_refused(
    database: Database, owner: Caller, login: Login, worker: object
) -> None:
    agent = make_agent(
        database, owner.organization_id, concurrency=1, config={"entry_point": "sample_agents:wait_async"}
    )
    batch = owner.post(
        f"/api/v1/agents/{agent.id}/batch_executions", {"items": [{"s": 0.3, "i": i} for i in range(60)]}
    )
    path = f"/dashboard/batches/{batch.json()['id']}"
    mine = login(owner.organization_id)
    token = {"csrf": csrf_of(mine.get(path))}

    def press(verb: str) -> httpx.Response:
        answer = mine.post(f"{path}/{verb}", data=token)
        assert (answer.status_code, answer.headers.get("location")) == (303, path), answer.text[:500]
        return mine.get(path)

    paused = press("pause")
    assert "Paused by a person" in paused.text
    assert "Resume" in paused.text
    assert state(owner, batch.json()["id"]) == "paused"
    assert "Pause" in press("resume").text
    refused = mine.post(f"{path}/retry", data=token)
    assert refused.status_code == 409
    assert "Rows are still running" in refused.text
    assert "Receipt" in refused.text
    assert mine.get(f"{path}/retry").headers["location"] == path
    assert "Cancelled" in press("cancel").text
    refused = mine.post(f"{path}/pause", data=token)
    assert refused.status_code == 409
    assert "be paused" in refused.text
    stranger = login(make_organization(database))
    assert stranger.post(f"{path}/cancel", data={"csrf": csrf_of(stranger.get("/dashboard"))}).status_code == 404
    assert mine.post(f"{path}/explode", data=token).status_code == 404


def test_retry_of_one_cause_runs_only_its_rows(database: Database, owner: Caller, login: Login, worker: object) -> None:
    agent = make_agent(
        database,
        owner.organization_id,
        config={"entry_point": "sample_agents:odd_breaks"},
        input_fields=[{"name": "n", "type": "integer", "required": True, "description": ""}],
    )
    batch = run(owner, agent.id, {"items": [{"n": n} for n in range(9)] + [{"n": ""}]})
    path, mine = f"/dashboard/batches/{batch}", login(owner.organization_id)
    page = mine.get(path)
    assert "Retry these 4" in page.text
    assert "not retried" in page.text
    before = owner.get(f"/api/v1/batch_executions/{batch}").json()["attempts"]
    data = {"csrf": csrf_of(page), "error_code": "agent_error"}
    assert mine.post(f"{path}/retry", data=data).status_code == 303
    wait_for(lambda: state(owner, batch) == "completed", "completion")
    assert owner.get(f"/api/v1/batch_executions/{batch}").json()["attempts"] == before + 4
    nothing = mine.post(f"{path}/retry", data={**data, "error_code": "no_such_cause"})
    assert nothing.status_code == 422
    assert "No row of the batch fits" in nothing.text


def test_rows_by_status_text_and_page(database: Database, owner: Caller, login: Login, worker: object) -> None:
    agent = make_agent(database, owner.organization_id)
    items = [{"n": n, "word": "even" if n % 2 == 0 else "odd"} for n in range(120)]
    batch = run(owner, agent.id, {"items": items})
    mine, path = login(owner.organization_id), f"/dashboard/batches/{batch}"

    def numbers(page: httpx.Response) -> list[int]:
        return [int(text) for text in re.findall(r'aria-label="Row (\d+)"', page.text)]

    page, seen = mine.get(path), list[int]()
    while True:
        seen += numbers(page)
        more = re.search(r'rel="next" href="([^"]+)">Next rows', page.text)
        if more is None:
            break
        page = mine.get(more[1].replace("&amp;", "&"))
    assert seen == list(range(1, 121))
    assert numbers(mine.get(path, params={"q": "odd"}))[:3] == [2, 4, 6]
    assert "No row fits" in mine.get(path, params={"status": "failed"}).text
    assert mine.get(path, params={"status": "nonsense"}).status_code == 422
    assert mine.get(path, params={"cursor": "nonsense"}).status_code == 400
    assert mine.get(path, params={"q": "a\0b"}).status_code == 422


def test_the_receipt_shows_the_equation(world: World, owner: Caller, login: Login) -> None:
    text = login(owner.organization_id).get(f"/dashboard/batches/{world.batch}").text
    plain = re.sub(r"<[^>]+>", "", text)
    assert "6 = 3 + 0 + 3" in plain
    assert "Closed: every row is accounted for" in plain
    assert "Completed with errors" in plain


def test_nothing_there_is_a_page(owner: Caller, login: Login, anyone: httpx.Client) -> None:
    mine = login(owner.organization_id)
    for path in (
        "nothing",
        "a/b/c",
        "batches/not-an-id",
        "agents/0",
        "agents/999999999",
        "sources/x",
        "batches/x/rows/y",
    ):
        answer = mine.get(f"/dashboard/{path}")
        assert answer.status_code == 404, path
        assert "text/html" in answer.headers["content-type"]
        assert answer.headers["x-request-id"] in answer.text
    assert mine.put("/dashboard/agents").status_code in {404, 405}
    assert anyone.get("/dashboard/nothing").headers["location"].split("?")[0] == "/login"
    assert anyone.get("/api/v1/nothing").headers["content-type"] == "application/problem+json"


def test_a_defect_is_a_page_too(owner: Caller, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("gristmill.doors.dashboard.agent_pages.agents.list_agents", broken)
    answer = login(owner.organization_id).get("/dashboard/agents")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_static_files_are_kept_for_ever_under_their_hash(anyone: httpx.Client) -> None:
    found = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', anyone.get("/login").text))
    assert len(found) >= 5
    for path in found:
        answer = anyone.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]
    stale = anyone.get("/static/000000000000/tokens.css")
    assert (stale.status_code, stale.headers["cache-control"]) == (200, "no-cache")
    for path in ("/static/x/nothing.css", "/static/x/%2e%2e/door.py", "/static/x/.hidden"):
        assert anyone.get(path).status_code == 404, path


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    for path in [*TEMPLATES.rglob("*.html"), *FOLDER.iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(?:src|href|url\(|import)\W{0,3}https?://""", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|\|\s*safe", text), path.name


def test_style_and_scripts_are_small() -> None:
    def packed(suffix: str) -> int:
        return sum(len(gzip.compress(path.read_bytes(), 9, mtime=0)) for path in Path(FOLDER).glob(f"*{suffix}"))

    assert packed(".css") < 15 * 1024
    assert packed(".js") < 40 * 1024
    assert ASSETS.url("tokens.css").endswith("/tokens.css")


def test_values_as_they_read() -> None:
    assert [formats.money(n) for n in (0, 1, 10_000, 1_234_567_890, -5_000_000)] == [
        "$0.00", "<$0.01", "$0.01", "$1,234.57", "-$5.00"]  # fmt: skip
    assert [formats.row_money(n) for n in (0, 18_000, 12_500, 1, 2_000_000)] == [
        "$0.000", "$0.018", "$0.0125", "$0.000001", "$2.000"]  # fmt: skip
    assert [formats.percent(*n) for n in ((0, 0), (9_999, 10_000), (1, 3), (5, 5))] == [
        "0.0 %", "99.9 %", "33.3 %", "100.0 %"]  # fmt: skip
    assert [formats.duration(n) for n in (None, 0, 59, 60, 3_725, 90_000, 86_400)] == [
        "\u2013", "0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h", "1 d"]  # fmt: skip
    assert [formats.rate(n) for n in (None, 0.5, 2.25, 1234.4)] == [
        "\u2013", "30.0 rows/min", "2.2 rows/s", "1,234 rows/s"]  # fmt: skip
    now = datetime(2026, 3, 12, 9, 42, tzinfo=UTC)
    assert [formats.ago(now - timedelta(seconds=n), now) for n in (-3, 15, 240, 7_300, 200_000, 40 * 86_400)] == [
        "just now", "15 s ago", "4 min ago", "2 h ago", "2 d ago", "31 Jan 2026"]  # fmt: skip
    assert formats.ticks("press `a<b` now") == "press <code>a&lt;b</code> now"
    assert formats.ticks("one ` alone <") == "one ` alone &lt;"
    assert '<span class="j-key">&#34;a&#34;</span>' in formats.pretty({"a": "<b>"})
    assert "<b>" not in formats.pretty({"<b>": ['\\"<b>', 1, None]})
    assert formats.short({"a": None, "b": "", "c": {"d": 1}, "e": "x" * 99})[0] == ("c", '{"d": 1}')
    uuid = "e0444512-54a6-4a44-b5bb-0f9b88326454"
    row = {"id": uuid, "name": "Aether", "city": "Northgate"}
    assert formats.telling(row, ["city"]) == [("city", "Northgate"), ("name", "Aether")]
    assert formats.telling({"id": uuid}) == [("id", uuid)], "where there is nothing else"
    assert [formats.needer(name) for name in ("connector:7", f"batch:{uuid}", "agent")] == [
        "connector 7", "batch e0444512-54a6\u2026", "agent"]  # fmt: skip


def test_parts_of_a_bar_fill_it_and_nothing_vanishes() -> None:
    for counts in ([0, 0], [1, 0], [1_000_000, 1], [1, 1, 1], [5, 0, 2, 1_000]):
        found = words.widths(counts)
        assert sum(found) == (words.BAR_UNITS if any(counts) else 0)
        assert all((width > 0) == (count > 0) for count, width in zip(counts, found, strict=True))
