"""Batches over the real HTTP API with real workers and a real HTTP agent that behaves, and one that does not."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import httpx
import pytest
from aiohttp import web

from agent_server import AgentServer
from flows.processes import Api, Up, open_folder, running_up, wait_for

pytestmark = pytest.mark.xdist_group("http-agent")


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One `gristmill up` with two workers for all of these tests."""
    with open_folder() as folder, running_up(folder / "data") as running:
        yield running


@pytest.fixture
def api(up: Up) -> Api:
    return up.api()


def http_agent(api: Api, url: str, **values: Any) -> int:
    """An agent that retries without much ado."""
    return api.make_agent(
        runtime="http", config={"url": url}, **{"retry": {"max_attempts": 4, "backoff": 0.05}, **values}
    )


def items(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"n": n} for n in range(first, first + count)]


class Crowded:
    """An agent that answers 429 while more than `limit` calls are under way, and notes how many there were."""

    def __init__(self, limit: int, retry_after: str | None) -> None:
        self.limit, self.retry_after = limit, retry_after
        self.running = self.refused = self.most_allowed = 0
        self.crowds: list[tuple[float, int]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.running += 1
        self.crowds.append((time.monotonic(), self.running))
        try:
            if self.running > self.limit:
                self.refused += 1
                headers = {"Retry-After": self.retry_after} if self.retry_after else {}
                await asyncio.sleep(0.02)
                return web.Response(status=429, headers=headers, text="too many")
            self.most_allowed = max(self.most_allowed, self.running)
            await asyncio.sleep(0.06)
            return web.json_response({"n": body["n"]})
        finally:
            self.running -= 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


# Rows in, results out


def test_items_in_exports_out_in_row_order_with_duplicates_fanned_out(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/echo", concurrency=8)
    rows = [{"n": n % 40, "who": f"=A{n % 40}", "id": f"00{n % 40}"} for n in range(60)]
    batch = api.run(agent, rows, name="first", external_ids=[f"x{n}" for n in range(60)])
    done = api.await_batch(batch)
    assert (done["succeeded"], done["duplicate"], done["rows_in"]) == (40, 20, 60)
    assert len(agent_server.calls.by_row) == 40
    assert set(agent_server.calls.by_row.values()) == {1}

    answer = api.call("GET", f"/batch_executions/{batch}/export.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert list(lines[0])[:8] == ["n", "who", "id", "row_number", "status", "charge_usd", "error_code", "error"]
    assert [line["row_number"] for line in lines] == [str(n) for n in range(1, 61)]
    assert [line["echo.n"] for line in lines] == [str(n % 40) for n in range(60)]
    assert lines[45]["status"] == "duplicate"
    assert lines[45]["echo.id"] == "005"
    assert not any(cell.startswith("=") for line in lines for cell in line.values()), "no cell is a formula"

    answer = api.call("GET", f"/batch_executions/{batch}/export.jsonl")
    parsed = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["row_number"] for line in parsed] == list(range(1, 61))
    assert [line["external_id"] for line in parsed] == [f"x{n}" for n in range(60)]
    assert parsed[45]["result"] == parsed[5]["result"] == {"echo": rows[5]}
    assert parsed[45]["duplicate_of"] == 6


def test_a_stream_of_lines_and_a_line_that_is_none(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/echo", concurrency=16)
    path = f"/agents/{agent}/batch_executions"
    ndjson = {"Content-Type": "application/x-ndjson"}

    def lines() -> Iterator[bytes]:
        for n in range(2_000):
            yield f'{{"Number": {n}}}\n'.encode()

    answer = api.call(
        "POST", path, params={"mapping": '{"n": "Number"}', "row_limit": "300"}, content=lines(), headers=ndjson
    )
    assert answer.status_code == 202, answer.text
    done = api.await_batch(answer.json()["id"])
    assert (done["rows_in"], done["succeeded"], done["skipped"]) == (2_000, 300, 1_700)
    assert {tuple(body) for body in agent_server.calls.bodies} == {("n",)}

    before = len(api.get(path)["data"])
    for bad, line in ((b'{"n": 1}\n{"n": 2}\n{"n": 3\n{"n": 4}\n', 3), (b'{"n": 1}\n\n[1]\n', 3)):
        answer = api.call("POST", path, content=bad, headers=ndjson)
        assert answer.status_code == 400, answer.text
        problem = answer.json()
        assert (problem["code"], problem["errors"][0]["line"]) == ("malformed", line)
    assert len(api.get(path)["data"]) == before, "nothing is kept of a stream that was refused"


def test_the_same_key_gives_the_same_answer_and_another_body_none(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/echo")
    path = f"/agents/{agent}/batch_executions"
    for more in (
        {"json": {"items": items(3)}},
        {"content": b'{"n": 1}\n{"n": 2}\n', "headers": {"Content-Type": "application/x-ndjson"}},
    ):
        headers = {**more.pop("headers", {}), "Idempotency-Key": f"once-{len(more)}-{'json' in more}"}  # type: ignore[dict-item]
        first = api.call("POST", path, headers=headers, **more)
        again = api.call("POST", path, headers=headers, **more)
        assert first.status_code == again.status_code == 202
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first.json()
        other = {"json": {"items": items(4)}} if "json" in more else {"content": b'{"n": 3}\n'}
        refused = api.call("POST", path, headers=headers, **other)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
        api.await_batch(first.json()["id"])
    assert len(api.get(path)["data"]) == 2


# Watching and steering


def events(lines: Iterator[str]) -> Iterator[tuple[str, int | None, Any]]:
    """Server-sent events: (event, id, data)."""
    name, number, data = "", None, ""
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and name:
            yield name, number, json.loads(data)
            name, number, data = "", None, ""


def test_watching_goes_on_where_it_was_cut(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/slow/50", concurrency=4)
    batch = api.run(agent, items(120))
    path = f"/batch_executions/{batch}/events"
    seen: list[int] = []
    last = None
    with api.client.stream("GET", path, headers={"Last-Event-ID": "0"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for name, number, data in events(stream.iter_lines()):
            last = number if number is not None else last
            if name == "rows":
                seen += [row[0] for row in data]
            if name == "progress" and len(seen) >= 20:
                break  # the connection is cut here
    finished = False
    with api.client.stream("GET", path, headers={"Last-Event-ID": str(last)}) as stream:
        for name, number, data in events(stream.iter_lines()):
            assert number is None or last is None or number >= last
            assert name != "resync"
            if name == "rows":
                seen += [row[0] for row in data]
            if name == "progress":
                final = data
            finished = name == "done"
    assert finished
    assert sorted(seen) == list(range(1, 121)), "each row is told of once, none is missed"
    assert (final["status"], final["succeeded"]) == ("completed", 120)
    with api.client.stream("GET", path) as stream:
        assert [name for name, _, _ in events(stream.iter_lines())] == ["progress", "done"]


def test_pause_resume_and_cancel_keep_their_bounds(api: Api, agent_server: AgentServer) -> None:
    slots = 6
    agent = http_agent(api, f"{agent_server.url}/slow/150", concurrency=slots)
    batch = api.run(agent, items(200))
    wait_for(lambda: len(agent_server.calls.by_row) >= 20, "some calls")
    paused = api.post(f"/batch_executions/{batch}/pause")
    assert (paused["status"], paused["reason"]) == ("paused", "user")
    at_pause = len(agent_server.calls.by_row)
    still = api.await_batch(batch, "paused")
    assert len(agent_server.calls.by_row) <= at_pause + 2 * slots
    assert still["succeeded"] == len(agent_server.calls.by_row), "what was in flight is kept"
    assert still["running"] == 0
    assert api.post(f"/batch_executions/{batch}/pause")["status"] == "paused"

    assert api.post(f"/batch_executions/{batch}/resume")["status"] in {"queued", "running"}
    more = still["succeeded"] + 20
    wait_for(lambda: api.batch(batch)["succeeded"] > more, "rows after the resume")
    api.post(f"/batch_executions/{batch}/cancel")
    done = api.await_batch(batch, "cancelled")
    receipt = api.get(f"/batch_executions/{batch}/receipt")
    assert receipt["closed"], receipt
    assert receipt["succeeded"] + receipt["cancelled"] == 200, receipt
    assert receipt["cancelled"] > 0
    assert set(agent_server.calls.by_row.values()) == {1}
    assert done["succeeded"] == len(agent_server.calls.by_row)
    assert api.call("POST", f"/batch_executions/{batch}/resume").status_code == 409

    retried = api.post(f"/batch_executions/{batch}/retry", {})
    assert retried["cancelled"] == 0
    done = api.await_batch(batch)
    assert done["succeeded"] == 200
    assert set(agent_server.calls.by_row.values()) == {1}, "what had succeeded is not run again"
    assert agent_server.calls.most_running <= slots


# Limits


def test_concurrency_holds_across_workers_and_batches(api: Api, agent_server: AgentServer) -> None:
    slots = 7
    agent = http_agent(api, f"{agent_server.url}/slow/30", concurrency=slots)
    batches = [api.run(agent, items(150, first=1000 * n)) for n in range(3)]
    for batch in batches:
        assert api.await_batch(batch, within_s=60)["succeeded"] == 150
    assert agent_server.calls.most_running <= slots
    assert agent_server.calls.most_running >= slots - 1, "and is made use of"


@pytest.mark.parametrize("retry_after", ["1", None])
def test_429_lowers_the_concurrency_and_the_batch_completes(api: Api, retry_after: str | None) -> None:
    with Crowded(limit=4, retry_after=retry_after) as crowded:
        agent = http_agent(api, crowded.url, concurrency=24, retry={"max_attempts": 12, "backoff": 0.05})
        rows = 80 if retry_after else 200
        done = api.await_batch(api.run(agent, items(rows)), within_s=60)
        assert done["succeeded"] == rows
        assert crowded.refused > 0
        assert max(n for _, n in crowded.crowds) > 2 * crowded.limit, "at first as many as the agent allows"
        start, end = crowded.crowds[0][0], crowded.crowds[-1][0]
        late = [n for at, n in crowded.crowds if at > start + (end - start) / 2]
        assert sum(late) / len(late) < 10, "later about as many as it can take"
        assert done["attempts"] == len(crowded.crowds)


def test_calls_per_minute(api: Api, agent_server: AgentServer) -> None:
    rpm = 600
    agent = http_agent(api, f"{agent_server.url}/echo", concurrency=50, rate_limit={"rpm": rpm})
    begun = time.monotonic()
    batch = api.run(agent, items(60))
    seen: list[tuple[float, int]] = []
    while api.batch(batch)["status"] != "completed":
        seen.append((time.monotonic(), len(agent_server.calls.bodies)))
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    took = time.monotonic() - begun
    assert took > 60 / (rpm / 60) - 2.0, f"60 calls at {rpm} a minute took {took:.1f} s"
    for at, count in seen:
        later = [n for when, n in seen if at <= when < at + 1.0]
        assert max(later) - count <= rpm / 60 * 2.5, "no burst of more than two seconds' worth"


# Failures


def test_retries_are_kept_as_attempts(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/flaky/2", concurrency=4)
    batch = api.run(agent, items(6))
    done = api.await_batch(batch)
    assert (done["succeeded"], done["attempts"]) == (6, 18)
    row = api.rows(batch)[0]
    detail = api.get(f"/batch_executions/{batch}/rows/{row['id']}")
    assert [(item["number"], item["status"], item["error_code"]) for item in detail["attempts"]] == [
        (1, "retry", "http_503"),
        (2, "retry", "http_503"),
        (3, "succeeded", None),
    ]
    assert detail["input"] == {"n": 0}
    assert detail["trace"]["status"] == 200
    assert detail["charges"] == []
    assert {header["X-Gristmill-Attempt"] for header in agent_server.calls.headers} == {"1", "2", "3"}


def test_timeouts_failures_by_cause_and_retry_of_one_cause(api: Api, agent_server: AgentServer) -> None:
    slow = http_agent(api, f"{agent_server.url}/slow/2000", timeout_s=0.2, retry={"max_attempts": 2, "backoff": 0.05})
    batch = api.run(slow, items(3))
    done = api.await_batch(batch)
    assert (done["failed"], done["attempts"]) == (3, 6)
    (group,) = api.get(f"/batch_executions/{batch}/failures")["data"]
    assert (group["error_code"], group["rows"]) == ("timed_out", 3)
    api.client.patch(f"/agents/{slow}", json={"config": {"url": f"{agent_server.url}/echo"}, "timeout_s": 10})
    nothing = api.call("POST", f"/batch_executions/{batch}/retry", json={"error_code": "http_500"})
    assert nothing.status_code == 422
    api.post(f"/batch_executions/{batch}/retry", {"error_code": "timed_out", "update_agent": True})
    assert api.await_batch(batch)["succeeded"] == 3

    strict = api.make_agent(
        runtime="http",
        config={"url": f"{agent_server.url}/status/400"},
        input_fields=[{"name": "n", "type": "integer", "required": True}],
    )
    batch = api.run(strict, [{"n": 1}, {"n": "x"}, {"m": 2}])
    assert api.await_batch(batch)["failed"] == 3
    codes = [row["error_code"] for row in api.rows(batch)]
    assert codes == ["http_400", "input_invalid", "input_invalid"]
    assert [row["tries"] for row in api.rows(batch)] == [1, 0, 0]


def test_max_failures_pauses_and_a_resume_counts_anew(api: Api, agent_server: AgentServer) -> None:
    agent = http_agent(api, f"{agent_server.url}/status/404", concurrency=2)
    batch = api.run(agent, items(200), max_failures=5)
    paused = api.await_batch(batch, "paused")
    assert paused["reason"] == "failures"
    assert 6 <= paused["failed"] <= 20, "what was claimed ahead may fail too"
    api.post(f"/batch_executions/{batch}/resume")
    wait_for(lambda: api.batch(batch)["failed"] > paused["failed"], "more failures")
    again = api.await_batch(batch, "paused")
    assert 6 <= again["failed"] - paused["failed"] <= 20


# Money


def test_money_runs_out_exactly_when_the_next_row_can_not_be_held(api: Api, agent_server: AgentServer) -> None:
    before = api.balance()
    assert before["available_micro_usd"] == 0, "only this test has money"
    api.top_up("0.35")
    agent = http_agent(api, f"{agent_server.url}/echo", concurrency=4, price_usd="0.10")
    batch = api.run(agent, items(10))
    paused = api.await_batch(batch, "paused")
    assert (paused["reason"], paused["succeeded"], paused["pending"]) == ("balance", 3, 7)
    assert "0.050000" in paused["message"]
    assert (paused["spent_usd"], paused["held_usd"]) == ("0.300000", "0.000000")
    balance = api.balance()
    assert (balance["available_usd"], balance["held_usd"]) == ("0.050000", "0.000000")
    assert balance["spent_micro_usd"] - before["spent_micro_usd"] == 300_000

    api.top_up("0.25")
    api.post(f"/batch_executions/{batch}/resume")
    paused = api.await_batch(batch, "paused")
    assert (paused["reason"], paused["succeeded"]) == ("balance", 6)
    api.top_up("2.00")
    api.post(f"/batch_executions/{batch}/resume")
    done = api.await_batch(batch)
    assert (done["succeeded"], done["spent_usd"]) == (10, "1.000000")
    assert set(agent_server.calls.by_row.values()) == {1}

    row = api.rows(batch)[0]
    detail = api.get(f"/batch_executions/{batch}/rows/{row['id']}")
    assert [(move["kind"], move["amount_micro_usd"]) for move in detail["charges"]] == [
        ("hold", 100_000),
        ("settle", 100_000),
    ]
    assert detail["row"]["charge_usd"] == "0.100000"

    # A budget: the real cost is below the price, so that more rows fit than the price says.
    cheap = http_agent(api, f"{agent_server.url}/cost/0.04", concurrency=3, price_usd="0.10")
    batch = api.run(cheap, items(20), budget_usd="0.30")
    paused = api.await_batch(batch, "paused")
    assert paused["reason"] == "budget"
    assert 200_000 < paused["spent_micro_usd"] <= 300_000
    assert paused["spent_micro_usd"] == 40_000 * paused["succeeded"]
    assert 300_000 - paused["spent_micro_usd"] < 100_000, "it goes on for as long as one more row fits"

    # Nothing found and nothing right cost nothing.
    for path in ("empty", "status/404"):
        free = http_agent(api, f"{agent_server.url}/{path}", price_usd="0.10", bill_on_match=True)
        done = api.await_batch(api.run(free, items(3)))
        assert done["spent_micro_usd"] == 0
    final = api.balance()
    assert final["held_micro_usd"] == 0
    assert final["funded_micro_usd"] == final["available_micro_usd"] + final["spent_micro_usd"]


def test_strangers_see_nothing(up: Up, api: Api, agent_server: AgentServer) -> None:
    batch = api.run(http_agent(api, f"{agent_server.url}/echo"), items(1))
    api.await_batch(batch)
    for path in ("", "/rows", "/receipt", "/export.csv", "/events", "/failures"):
        assert httpx.get(f"{up.url}/api/v1/batch_executions/{batch}{path}").status_code == 401
