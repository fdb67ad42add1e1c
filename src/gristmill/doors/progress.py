"""What `gristmill run` shows: a progress bar, and at the end the receipt."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from gristmill.agents import Agent
from gristmill.base.money import MICRO
from gristmill.batches import Batch, FailureGroup, Receipt

PLAIN_EVERY_S = 2.0
"""Where standard error is no terminal, one line this often."""
FAILURES_SHOWN = 5


class Progress:
    """A bar with rate, time left and spending; plain lines where there is no terminal."""

    def __init__(self, batch: Batch, agent: Agent) -> None:
        self._console = Console(stderr=True)
        self._agent = agent
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(escape(agent.name[:40]), total=max(_to_do(batch), 1), facts="")
        self._first_done = _done(batch)
        self._started = time.monotonic()
        self._spoke = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, batch: Batch) -> None:
        """Draw a batch as it is now."""
        done = _done(batch)
        elapsed = time.monotonic() - self._started
        rate = (done - self._first_done) / elapsed if elapsed > 0 else 0.0
        left = batch.pending + batch.running
        facts: list[str] = []
        if rate > 0:
            facts.append(f"{rate:,.0f} rows/s" if rate >= 1 else f"{rate * 60:,.1f} rows/min")
        if rate > 0 and left:
            facts.append(f"{_span(left / rate)} left")
        if self._agent.price_micro_usd:
            facts.append(f"{batch.spent_micro_usd / MICRO:,.2f} USD spent")
        if batch.failed:
            facts.append(f"{batch.failed} failed")
        text = " · ".join(facts)
        self._bar.update(self._task, completed=done, facts=text)
        if not self._console.is_terminal and time.monotonic() - self._spoke > PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self.say(" · ".join([f"{done:,}/{_to_do(batch):,} rows", *facts]))

    def say(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(text, highlight=False)


def print_outcome(batch: Batch, receipt: Receipt, failures: list[FailureGroup], out: Path) -> None:
    """The receipt, the causes of failures, and where the results are."""
    console = Console(stderr=True)
    console.print(f"Receipt: {_sentence(batch)}", style="italic", highlight=False, markup=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows in", f"{receipt.rows_in:,}", style="bold")
    for name in ("succeeded", "empty", "failed", "skipped", "duplicate", "cancelled", "pending", "running"):
        count = getattr(receipt, name)
        if count or name in {"succeeded", "failed"}:
            table.add_row(f"  {name}", f"{count:,}")
    if batch.reused:
        table.add_row("  of these reused", f"{batch.reused:,}")
    if batch.spent_micro_usd or batch.price_usd != "0.000000":
        table.add_row("spent", f"{receipt.spent_usd} USD")
    console.print(table)
    for group in failures[:FAILURES_SHOWN]:
        text = f"  {group.rows:,} x {group.error_code}: {group.example}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Results: {out}", highlight=False, markup=False, soft_wrap=True)
    if batch.status == "failed":
        console.print("Mend the cause; the same command then goes on from here.", highlight=False)
    elif not receipt.closed:
        console.print("The same command goes on from here.", highlight=False)


def _sentence(batch: Batch) -> str:
    if batch.status == "completed":
        return "every row has ended"
    why = f" ({batch.reason})" if batch.reason else ""
    return f"{batch.status}{why}" + (f": {batch.message}" if batch.message else "")


def _to_do(batch: Batch) -> int:
    """Rows of this run: not those that a limit left out."""
    return batch.rows_in - batch.skipped


def _done(batch: Batch) -> int:
    return _to_do(batch) - batch.pending - batch.running


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"
