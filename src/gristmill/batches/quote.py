"""What a batch would run and cost, before anything runs."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gristmill.agents import Agent, input_of, try_row
from gristmill.agents.model import check_input
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Error, FieldError
from gristmill.base.money import usd
from gristmill.batches import store
from gristmill.batches.intake import ERRORS_SHOWN_MAX, input_hash
from gristmill.batches.service import Order

PILOT_ROWS_MAX = 20
Z_10 = 1.2816
"""Standard normal quantile of 90 %: p10 and p90 lie this many standard errors off the mean."""


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity as its tenth and ninetieth percentile."""

    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class UsdRange:
    """An amount in dollars as its tenth and ninetieth percentile."""

    p10: str
    p90: str


@dataclass(frozen=True, slots=True)
class Pilot:
    """A few rows, spread evenly over the file, run for real."""

    rows: int
    succeeded: int
    empty: int
    failed: int
    mean_ms: float
    errors: list[str]
    """First error messages."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a batch would do."""

    rows_in: int
    to_run: int
    """Rows that would be sent to the agent."""
    duplicate: int
    """Equal to an earlier row: run once."""
    reused: int
    """Answered by results of earlier batches."""
    invalid: int
    """Refused before they run, at no cost."""
    skipped: int
    """Beyond `row_limit`."""
    errors: list[FieldError]
    """What is wrong with the first invalid rows; `line` is the row number."""
    cost_usd_max: str
    """Every row to run at the full price: no run can cost more."""
    cost_micro_usd_max: int
    cost_usd: UsdRange
    """Expected cost; the maximum on both ends without a pilot."""
    cost_micro_usd: Range
    seconds: Range | None
    """Expected duration; null without a pilot."""
    pilot: Pilot | None


class Survey:
    """Rows looked at once, with memory for their hashes and a spread-out sample only."""

    def __init__(self, agent: Agent, order: Order) -> None:
        self._agent = agent
        self._order = order
        self._hashes: set[bytes] = set()
        self.rows_in = self.duplicate = self.invalid = self.skipped = 0
        self.errors: list[FieldError] = []
        self.sample: list[dict[str, Any]] = []
        self._stride = 1

    def look(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Go through all rows."""
        for row in rows:
            self.rows_in += 1
            if self._order.row_limit is not None and self.rows_in > self._order.row_limit:
                self.skipped += 1
                continue
            value = input_of(row, self._order.mapping, self._agent.input_fields)
            wrong = check_input(value, self._agent.input_fields)
            digest = input_hash(value)
            if wrong:
                self.invalid += 1
                room = ERRORS_SHOWN_MAX - len(self.errors)
                self.errors.extend(FieldError(item.field, item.message, line=self.rows_in) for item in wrong[:room])
            elif digest in self._hashes:
                self.duplicate += 1
            else:
                self._hashes.add(digest)
                self._keep(value)

    def reused(self, tx: Tx, organization_id: int) -> int:
        """Rows that earlier batches of the same agent version answer."""
        if not self._order.reuse_within_s:
            return 0
        since = tx.now - timedelta(seconds=self._order.reuse_within_s)
        return store.count_reusable(
            tx,
            organization_id,
            agent_id=self._agent.id,
            agent_version=self._agent.version,
            since=since,
            input_hashes=list(self._hashes),
        )

    @property
    def to_run(self) -> int:
        """Different valid rows within the limit."""
        return len(self._hashes)

    def _keep(self, value: dict[str, Any]) -> None:
        """Every stride-th row; when the sample is full every second one of it goes and the stride doubles."""
        if len(self._hashes) % self._stride:
            return
        self.sample.append(value)
        if len(self.sample) > 2 * PILOT_ROWS_MAX:
            self.sample = self.sample[::2]
            self._stride *= 2


def quote(survey: Survey, agent: Agent, *, reused: int, pilot: tuple[Pilot, list[int]] | None) -> Quote:
    """The quote of a survey, sharpened by a pilot when there was one."""
    to_run = survey.to_run - reused
    most = to_run * agent.price_micro_usd
    cost, seconds = Range(most, most), None
    if pilot is not None and pilot[0].rows:
        facts, costs = pilot
        cost = _spread([float(amount) for amount in costs], to_run, ceiling=most)
        ideal = to_run * facts.mean_ms / 1000 / agent.concurrency
        paced = to_run / (agent.rate_limit.rpm / 60) if agent.rate_limit.rpm else 0.0
        seconds = Range(round(max(ideal, paced) * 0.8, 1), round(max(ideal, paced) * 1.5 + 1, 1))
    return Quote(
        rows_in=survey.rows_in,
        to_run=to_run,
        duplicate=survey.duplicate,
        reused=reused,
        invalid=survey.invalid,
        skipped=survey.skipped,
        errors=survey.errors,
        cost_usd_max=usd(most),
        cost_micro_usd_max=most,
        cost_usd=UsdRange(usd(round(cost.p10)), usd(round(cost.p90))),
        cost_micro_usd=cost,
        seconds=seconds,
        pilot=pilot[0] if pilot else None,
    )


async def run_pilot(
    agent: Agent, organization_id: int, sample: list[dict[str, Any]], rows: int, database: Database
) -> tuple[Pilot, list[int]]:
    """Run a few rows for real, unbilled: the pilot and what each row would have cost."""
    step = max(1, len(sample) // max(1, min(rows, PILOT_ROWS_MAX)))
    chosen = sample[::step][: min(rows, PILOT_ROWS_MAX)]
    trials = await asyncio.gather(
        *(try_row(agent, organization_id, row, database=database) for row in chosen), return_exceptions=True
    )
    counts = {"succeeded": 0, "empty": 0, "failed": 0}
    costs: list[int] = []
    durations: list[int] = []
    errors: list[str] = []
    for trial in trials:
        if isinstance(trial, BaseException):
            if not isinstance(trial, Error):
                raise trial
            counts["failed"] += 1
            errors.append(trial.message)
            costs.append(0)
            continue
        counts[trial.status] += 1
        durations.append(trial.duration_ms)
        charged = trial.status == "succeeded" or (trial.status == "empty" and not agent.bill_on_match)
        real = agent.price_micro_usd if trial.cost_micro_usd is None else trial.cost_micro_usd
        costs.append(min(real, agent.price_micro_usd) if charged else 0)
        if trial.error:
            errors.append(trial.error)
    mean_ms = statistics.fmean(durations) if durations else 0.0
    return Pilot(len(trials), **counts, mean_ms=round(mean_ms, 1), errors=errors[:5]), costs


def _spread(costs: list[float], rows: int, *, ceiling: int) -> Range:
    """p10 and p90 of the sum of `rows` costs like those of the pilot, whose own mean is uncertain too."""
    mean = statistics.fmean(costs)
    deviation = statistics.stdev(costs) if len(costs) > 1 else 0.0
    error = Z_10 * deviation * rows * (1 / len(costs) + 1 / max(rows, 1)) ** 0.5
    return Range(max(0.0, round(mean * rows - error)), min(float(ceiling), round(mean * rows + error)))
