"""The dispatcher: every worker sends what receivers are owed, each receiver in the hands of one worker at a time.

    wake, claim      one short transaction: receivers that are due become this worker's lanes, with what they are owed
    send             outside any transaction; all lanes at the same time, one delivery after the other in each
    save, release    one transaction for what came back from all lanes; a lane that is done is free again

A lane that fails waits for its next rung without holding anything. A worker that dies leaves its lanes to the reaper,
and what it had sent without saving is sent again under the same id: at least once, never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import psycopg

from gristmill import engine, vault
from gristmill.base.db import Tx
from gristmill.base.egress import Egress
from gristmill.base.errors import Error
from gristmill.base.fetch import http_session
from gristmill.base.log import get_log
from gristmill.events import delivery_store, outcomes
from gristmill.events.channels import Tools
from gristmill.events.delivery_store import Lane, Owed
from gristmill.events.outcomes import Report
from gristmill.events.sending import attempt

log = get_log("events")

LOOK_S = 0.1
"""How often a dispatcher looks for lanes that are due."""
IDLE_S, IDLE_LOOK_S = 10.0, 0.2
"""When nothing was due for so long, it looks less often, and only if the lookout has seen something."""
SIGN = "deliveries"
LANES_MAX = 500
"""Lanes of one worker at a time."""
FAILING_MAX = 400
"""Of these, lanes whose last attempt failed: there is always room for one that is well."""
OWED_MAX = 50
"""Deliveries taken with a lane; the lane is released after them, so that no receiver keeps others waiting."""
LANE_S_MAX = 30.0
"""No delivery is begun later than this in a lane, so that a changed URL or secret is soon looked up anew."""
ABREAST_MAX = 8
"""Deliveries of an unordered lane that are sent at the same time."""
GATHER_S = 0.02
"""What comes back within this time is saved together."""
TROUBLE_S = 1.0
"""Pause after the database has failed."""
RECONCILE_S = 10.0
DRAIN_S = 5.0
"""A draining worker waits this long for answers; what is unanswered then is sent again by another one."""
SECRET_S_MAX = 300.0
SECRETS_MAX = 2000

engine.watch(SIGN, delivery_store.WAITING)

T = TypeVar("T")
_transactions = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dispatch")


@engine.always
async def dispatch(context: engine.JobContext) -> None:
    """Send for as long as the worker lives."""
    egress = Egress.of(context.settings.egress_allow)
    async with http_session(egress, connections=LANES_MAX * 2) as session:
        await Dispatcher(context, Tools(session, egress, context.settings)).run()


@engine.on_worker_lost
def release_lost(tx: Tx, worker_id: UUID) -> None:
    """What a dead worker was sending is due again."""
    delivery_store.release_unknown(tx, worker_id, ())


@dataclass(slots=True)
class Held:
    """A lane in this worker's hands."""

    lane: Lane
    halted: bool = False
    """Set when its receiver is no longer to be sent to."""
    since: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Opened:
    """The secret of a receiver, opened a while ago."""

    version: int | None
    values: list[vault.Revealed]
    at: float = field(default_factory=time.monotonic)


class Dispatcher:
    """One worker's part in sending."""

    def __init__(self, context: engine.JobContext, tools: Tools) -> None:
        self._context = context
        self._tools = tools
        self._held: dict[UUID, Held] = {}
        self._reports: deque[Report] = deque()
        self._news = asyncio.Event()
        self._saved = asyncio.Event()
        self._secrets: OrderedDict[UUID, Opened] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reconcile_at = 0.0
        self._busy_at = 0.0
        self._looked_at = 0.0

    async def run(self) -> None:
        """Claim and send until the worker drains; then finish what is under way and save it."""
        saving = asyncio.ensure_future(self._save_reports())
        try:
            while not self._context.stopping.is_set():
                idle = time.monotonic() - self._busy_at > IDLE_S
                if not idle or self._context.is_due(SIGN, self._looked_at):
                    self._looked_at = time.monotonic()
                    await self._look()
                await self._pause(IDLE_LOOK_S if idle else LOOK_S)
        finally:
            for held in self._held.values():
                held.halted = True
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=DRAIN_S)
                for task in late:
                    task.cancel()
            while self._reports or self._held:
                self._saved.clear()
                await self._saved.wait()
            saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await saving

    async def _look(self) -> None:
        room = LANES_MAX - len(self._held)
        if room <= 0:
            return
        failing = sum(held.lane.failing for held in self._held.values())
        reconcile = time.monotonic() >= self._reconcile_at

        def take(tx: Tx) -> list[Lane]:
            if reconcile:
                delivery_store.release_unknown(tx, self._context.worker_id, list(self._held))
            delivery_store.wake_receivers(tx)
            lanes = delivery_store.claim_lanes(
                tx, self._context.worker_id, limit=room, owed_max=OWED_MAX, failing=False
            )
            for_failing = min(room - len(lanes), FAILING_MAX - failing)
            if for_failing > 0:
                lanes += delivery_store.claim_lanes(
                    tx, self._context.worker_id, limit=for_failing, owed_max=OWED_MAX, failing=True
                )
            return lanes

        lanes = await self._transact(take)
        if lanes is None:
            self._reconcile_at = 0.0  # a claim may have been made though its answer did not come
            await self._pause(TROUBLE_S)
            return
        if reconcile:
            self._reconcile_at = time.monotonic() + RECONCILE_S
        if lanes:
            self._busy_at = time.monotonic()
        for lane in lanes:
            held = Held(lane)
            self._held[lane.receiver_id] = held
            task = asyncio.ensure_future(self._work(held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, held: Held) -> None:
        """Send what a lane is owed, then give it back."""
        lane = held.lane
        try:
            secrets = await self._open_secret(lane)
            if secrets is None:
                await self._pause(TROUBLE_S)
            elif lane.ordered:
                for owed in lane.owed:
                    if self._is_over(held) or not await self._send(held, owed, secrets):
                        break
            else:
                await self._send_abreast(held, secrets)
        except Exception:
            log.exception("a lane broke", receiver=str(lane.receiver_id))
        finally:
            self._report(Report(lane, done=True))

    async def _send_abreast(self, held: Held, secrets: Sequence[Mapping[str, str]]) -> None:
        """Several at a time; none is started after one has failed."""
        turns = asyncio.Semaphore(ABREAST_MAX)

        async def one(owed: Owed) -> None:
            async with turns:
                if not self._is_over(held) and not await self._send(held, owed, secrets):
                    held.halted = True

        await asyncio.gather(*(one(owed) for owed in held.lane.owed))

    @staticmethod
    def _is_over(held: Held) -> bool:
        return held.halted or time.monotonic() - held.since > LANE_S_MAX

    async def _send(self, held: Held, owed: Owed, secrets: Sequence[Mapping[str, str]]) -> bool:
        lane = held.lane
        outcome, _ = await attempt(owed, lane.kind, lane.config, secrets, self._tools)
        self._report(Report(lane, owed, outcome))
        return outcome.ok

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self._news.set()

    async def _save_reports(self) -> None:
        """Save what comes back, a little of it together; what can't be saved is tried again."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            reports = list(self._reports)
            try:
                halted = await self._save(reports) if reports else set[UUID]()
            except Exception:
                log.exception("outcomes could not be saved")
                halted = None
            if halted is None:
                await asyncio.sleep(TROUBLE_S)
                self._news.set()
                continue
            for report in reports:
                self._reports.popleft()
                if report.done:
                    self._held.pop(report.lane.receiver_id, None)
            for receiver_id in halted & self._held.keys():
                self._held[receiver_id].halted = True
            self._saved.set()
            await self._tell_callers([report for report in reports if report.lane.form == "callback"])

    async def _save(self, reports: list[Report]) -> set[UUID] | None:
        """Save all of it; where that fails one by one, so that what can't be stored keeps nothing else back."""
        halted = await self._transact(lambda tx: outcomes.save(tx, self._context.worker_id, reports))
        if halted is not None or len(reports) == 1:
            return halted
        halted = set()
        for report in reports:
            one = await self._transact(lambda tx, item=report: outcomes.save(tx, self._context.worker_id, [item]))
            if one is None:
                bare = report.bare()
                one = await self._transact(lambda tx, item=bare: outcomes.save(tx, self._context.worker_id, [item]))
            if one is None:
                return None
            halted |= one
        return halted

    async def _tell_callers(self, reports: list[Report]) -> None:
        """Tell the rooms whose callbacks were tried, each in a transaction of its own: they take locks of their own."""
        for report in reports:
            if report.outcome is not None:
                await self._transact(lambda tx, item=report: outcomes.tell_caller(tx, item))

    async def _open_secret(self, lane: Lane) -> list[vault.Revealed] | None:
        """The values that open the receiver, or None when they can't be had now."""
        if lane.secret_id is None:
            return []
        known = self._secrets.get(lane.secret_id)
        if known is None or known.version != lane.secret_version or time.monotonic() - known.at > SECRET_S_MAX:
            secret_id, purpose = lane.secret_id, f"{lane.form}:{lane.receiver_id}"
            values = await self._transact(
                lambda tx: vault.reveal_all(tx, lane.organization_id, secret_id, purpose=purpose)
            )
            if values is None:
                return None
            known = self._secrets[secret_id] = Opened(lane.secret_version, values)
            while len(self._secrets) > SECRETS_MAX:
                self._secrets.popitem(last=False)
        return [item for item in known.values if item.valid_until is None or item.valid_until > datetime.now(UTC)]

    async def _transact(self, work: Callable[[Tx], T]) -> T | None:
        """Run `work` in a system transaction, which serves all tenants; None when the database or the vault failed."""

        def run() -> T:
            with self._context.database.system() as tx:
                return work(tx)

        try:
            return await asyncio.get_running_loop().run_in_executor(_transactions, run)
        except (Error, psycopg.Error) as error:
            log.warning("the dispatcher could not get through", error=str(error)[:300])
            return None

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._context.stopping.wait()
