"""The calls of one worker: slots are kept to, nothing is lost between queue and thread, overruns are given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from gristmill.agents import Retry, RowCall, RowResult
from gristmill.agents.model import RETRY_AFTER_S_MAX
from gristmill.base.errors import PluginError
from gristmill.base.ids import batch_uuid
from gristmill.batches import pools
from gristmill.batches.calls import CallLimits, Calls
from gristmill.batches.model import Finished
from gristmill.batches.pools import Claimed


def limits(**changes: Any) -> CallLimits:
    values: dict[str, Any] = {"timeout_s": 5.0, "retry": Retry(3, 0.0), "result_bytes_max": 1000} | changes
    return CallLimits(batch_uuid(), **values)


def rows(count: int, first: int = 1) -> list[Claimed]:
    return [Claimed(number, 1, 0, {"n": number}) for number in range(first, first + count)]


class Probe:
    """An agent that counts how many of its calls run at a time, as a plain function or as a coroutine."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds
        self.running = self.most = self.count = 0
        self.lock = threading.Lock()

    def _in(self) -> None:
        with self.lock:
            self.running += 1
            self.count += 1
            self.most = max(self.most, self.running)

    def _out(self) -> None:
        with self.lock:
            self.running -= 1

    def plain(self, call: RowCall) -> RowResult:
        self._in()
        time.sleep(self.seconds)
        self._out()
        return RowResult({"n": call.input["n"]})

    async def coroutine(self, call: RowCall) -> RowResult:
        self._in()
        await asyncio.sleep(self.seconds)
        self._out()
        return RowResult({"n": call.input["n"]})


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


def play(function: Any, script: Callable[[Calls], Awaitable[Any]], **changes: Any) -> Any:
    async def go() -> Any:
        calls = Calls(function, limits(**changes), asyncio.get_running_loop())
        try:
            return await script(calls)
        finally:
            await calls.close()

    return asyncio.run(asyncio.wait_for(go(), 30))


async def gather(calls: Calls, count: int) -> list[Finished]:
    done: list[Finished] = []
    while len(done) < count:
        await calls.wait(0.2)
        calls.give_up_on_overdue()
        done += calls.take(1000)
    return done


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_never_more_in_flight_than_slots(kind: str) -> None:
    probe = Probe()

    async def script(calls: Calls) -> list[Finished]:
        calls.offer(rows(60))
        assert calls.held == 60
        calls.set_slots(4)
        done = await gather(calls, 60)
        while calls.held:  # an outcome is handed on a moment before its row stops being held
            await calls.wait(0.01)
        return done

    done = play(getattr(probe, kind), script)
    assert sorted(row.row_number for row in done) == list(range(1, 61))
    assert probe.most == 4


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_slots_can_shrink_to_none_and_grow_again_without_new_rows(kind: str) -> None:
    probe = Probe()

    async def script(calls: Calls) -> None:
        calls.set_slots(2)
        calls.offer(rows(40))
        await gather(calls, 3)
        calls.set_slots(0)
        for _ in range(500):
            if calls.in_flight == 0:
                break
            await asyncio.sleep(0.002)
        before = probe.count
        assert before < 40, "those that wait don't run first"
        await calls.wait(0.05)
        assert probe.count == before, "nothing starts without a slot"
        calls.set_slots(3)
        while calls.held:
            calls.take(1000)
            await calls.wait(0.2)

    play(getattr(probe, kind), script)
    assert probe.count == 40
    assert probe.most <= 3


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_has_not_started_can_be_withdrawn_and_is_never_run(kind: str) -> None:
    probe = Probe(0.02)

    async def script(calls: Calls) -> tuple[list[Finished], list[Finished]]:
        calls.set_slots(2)
        calls.offer(rows(30))
        first = await gather(calls, 1)
        back = calls.withdraw()
        while calls.held:
            await calls.wait(0.2)
            first += calls.take(1000)
        return first + calls.take(1000), back

    ran, back = play(getattr(probe, kind), script)
    assert {row.status for row in back} == {"pending"}
    assert not any(row.ran for row in back)
    assert sorted(row.row_number for row in ran + back) == list(range(1, 31))
    assert probe.count == len(ran)


def test_a_thread_that_overruns_is_given_up_and_replaced() -> None:
    release, waited_out = threading.Event(), threading.Event()

    def function(call: RowCall) -> RowResult:
        if call.row_number == 1 and not release.wait(20):
            waited_out.set()
        return RowResult({"n": call.row_number})

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(1)
        calls.offer(rows(3))
        done = await gather(calls, 3)
        release.set()
        return done

    done = {row.row_number: row for row in play(function, script, timeout_s=0.3, retry=Retry(1, 0.0))}
    assert (done[1].status, done[1].error_code) == ("failed", "timed_out")
    assert [done[2].status, done[3].status] == ["succeeded", "succeeded"]
    assert not waited_out.is_set(), "the others ran beside the thread that was left behind"


def test_a_coroutine_that_overruns_is_cancelled() -> None:
    cancelled = threading.Event()

    async def function(call: RowCall) -> RowResult:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return RowResult({})

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(1)
        calls.offer(rows(1))
        return await gather(calls, 1)

    done = play(function, script, timeout_s=0.05)
    assert (done[0].status, done[0].error_code) == ("pending", "timed_out")
    assert cancelled.is_set()


def test_a_coroutine_that_heeds_no_cancellation_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare `except` in a loop of retries is enough for that."""
    monkeypatch.setattr(pools, "HEED_S", 0.1)
    done_at_last = asyncio.Event()

    async def function(call: RowCall) -> RowResult:
        while call.row_number == 1 and not done_at_last.is_set():
            with suppress(BaseException):
                await done_at_last.wait()
        return RowResult({"n": call.row_number})

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(1)
        calls.offer(rows(3))
        done = await gather(calls, 3)
        assert calls.held == 0
        done_at_last.set()
        await calls.wait(0.05)
        return done + calls.take(10)

    done = play(function, script, timeout_s=0.1, retry=Retry(1, 0.0))
    assert [(row.row_number, row.status, row.error_code) for row in done] == [
        (1, "failed", "timed_out"), (2, "succeeded", None), (3, "succeeded", None),
    ]  # fmt: skip


def test_a_function_that_hangs_in_every_call_gives_the_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "THREADS_MAX", 2)
    monkeypatch.setattr(pools, "STUCK_THREADS_MAX", 1)
    monkeypatch.setattr(pools, "STUCK_S_MAX", 0.1)
    release = threading.Event()

    def function(call: RowCall) -> RowResult:
        release.wait(20)
        return RowResult({})

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(2)
        calls.offer(rows(9))
        with pytest.raises(pools.CallsStuck, match="3 calls of the agent's function hang"):
            await gather(calls, 9)
        release.set()
        return calls.withdraw()

    assert len(play(function, script, timeout_s=0.05)) == 6


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_function_that_wants_out_ends_its_row_and_nothing_else(kind: str, error: BaseException) -> None:
    def plain(call: RowCall) -> RowResult:
        if call.row_number % 2:
            raise error
        return RowResult({"n": call.row_number})

    async def coroutine(call: RowCall) -> RowResult:
        return plain(call)

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(2)
        calls.offer(rows(200))  # more than there are threads to lose
        return await gather(calls, 200)

    done = {row.row_number: row for row in play(plain if kind == "plain" else coroutine, script, retry=Retry(1, 0.0))}
    assert {done[number].status for number in range(1, 201, 2)} == {"failed"}
    assert {done[number].error_code for number in range(1, 201, 2)} == {"agent_error"}
    assert {done[number].status for number in range(2, 201, 2)} == {"succeeded"}


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (RowResult({"a": 1}), "succeeded", None),
        (RowResult({}), "empty", None),
        (RowResult(None), "empty", None),
        (RowResult({"a": "x" * 2000}), "failed", "result_too_large"),
        (RowResult({"a": "\ud800"}), "failed", "bad_answer"),
        (RowResult({"a": 1}, cost_micro_usd=-5), "succeeded", None),
        (RowResult({"a": 1}, cost_micro_usd="much"), "failed", "bad_answer"),  # type: ignore[arg-type]
        (PluginError("no", permanent=True, code="x"), "failed", "x"),
        (PluginError("later", permanent=False, code="y"), "pending", "y"),
        (ValueError("defect"), "failed", "agent_error"),
        (PluginError("nul \x00 and \ud800", permanent=True), "failed", "agent_error"),
        (PluginError("no", permanent=True, code="nul \x00"), "failed", "nul \N{REPLACEMENT CHARACTER}"),
        (PluginError("no", permanent=True, code=404), "failed", "bad_answer"),  # type: ignore[arg-type]
        (PluginError("soon", permanent=False, retry_after_s="1"), "failed", "bad_answer"),  # type: ignore[arg-type]
        (PluginError("soon", permanent=False, retry_after_s=float("nan"), throttled=True), "pending", "agent_error"),
        (PluginError("soon", permanent=False, retry_after_s=1e12, throttled=True), "pending", "agent_error"),
        (Unspeakable(), "failed", "agent_error"),
        (None, "failed", "bad_answer"),
        ({"a": 1}, "failed", "bad_answer"),
    ],
)
def test_outcomes(outcome: Any, status: str, code: str | None) -> None:
    def function(call: RowCall) -> RowResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def script(calls: Calls) -> list[Finished]:
        calls.set_slots(1)
        calls.offer(rows(1))
        return await gather(calls, 1)

    done = play(function, script)[0]
    assert (done.status, done.error_code) == (status, code)
    assert done.ran
    assert (done.cost_micro_usd or 0) >= 0
    assert 0 <= (done.wait_s or 0) <= RETRY_AFTER_S_MAX
    assert 0 <= (done.retry_after_s or 0) <= RETRY_AFTER_S_MAX
    if done.error:
        assert "\x00" not in done.error
        done.error.encode()
