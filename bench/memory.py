"""Soak: memory of server and workers over a batch of a million rows, end to end over real HTTP.

`gristmill up` with 2 workers. The rows are streamed into POST as JSON lines from a generator, run by a no-op agent, and
exported as CSV. Resident memory of the server and of each worker is read every 0.2 s; growth is what it reaches above
its value after a small batch has gone the whole way. Server and workers together may grow by less than 200 MB.

    python bench/memory.py                  about three minutes; ends with 1 when the goal is missed
    python bench/memory.py --rows 20000     a smoke run
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from client import Client
from harness import Up, machine, number, rss_mb, sample_rows, scratch, table, verdict

GOAL_MB = 200.0
SAMPLE_S = 0.2
WARM_UP_ROWS = 5_000
IDLE_S = 2.0


class Watch:
    """Reads the memory of some processes again and again; remembers the most in each phase."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._phase = "idle"
        self.base = {name: rss_mb(pid) for name, pid in pids.items()}
        self.most: dict[str, dict[str, float]] = {}
        self._gone: set[str] = set()
        self.together = 0.0
        """Most growth of all processes at one moment."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def phase(self, name: str, function: Callable[[], Any]) -> tuple[Any, float]:
        """Run a phase; answers its result and its seconds."""
        self._phase = name
        begun = time.monotonic()
        result = function()
        seconds = time.monotonic() - begun
        self._read()
        if self._gone:
            raise RuntimeError(f"ended during {name}: {', '.join(self._gone)}")
        return result, seconds

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._read()

    def _read(self) -> None:
        now = {name: rss_mb(pid) for name, pid in self._pids.items()}
        self._gone.update(name for name, value in now.items() if not value)
        most = self.most.setdefault(self._phase, dict.fromkeys(now, 0.0))
        for name, value in now.items():
            most[name] = max(most[name], value)
        self.together = max(self.together, sum(now.values()) - sum(self.base.values()))


def whole_way(api: Client, agent_id: int, rows: int) -> None:
    """Make, run and export a batch."""
    batch_id = api.batch(agent_id, sample_rows(rows))
    api.wait(batch_id)
    api.get(batch_id, "/receipt")
    api.export(batch_id)


def soak(up: Up, rows: int) -> bool:
    """Measure, print, and answer whether the goal is met."""
    api = Client(up.url, up.secret)
    agent_id = api.agent("No-op", "bench_agents:noop", 8)
    whole_way(api, agent_id, WARM_UP_ROWS)
    time.sleep(IDLE_S)
    server, workers = up.pids("server"), sorted(up.pids("worker"))
    pids = {"server": server[0], **{f"worker {n}": pid for n, pid in enumerate(workers, start=1)}}
    watch = Watch(pids)
    batch_id, create_s = watch.phase("create", lambda: api.batch(agent_id, sample_rows(rows)))
    batch, run_s = watch.phase("run", lambda: api.wait(batch_id))
    (lines, size), export_s = watch.phase("export", lambda: api.export(batch_id))
    watch.phase("idle after", lambda: time.sleep(IDLE_S))
    watch.stop()
    receipt = api.get(batch_id, "/receipt")
    api.close()
    phases = list(watch.most)
    body = [
        (name, number(base), *(f"{watch.most[phase][name] - base:+.0f}" for phase in phases))
        for name, base in watch.base.items()
    ]
    print(table(("MB resident", "warm", *phases), body))
    print(
        f"create {create_s:.1f} s ({number(rows / create_s)} rows/s), run {run_s:.1f} s ({number(rows / run_s)} rows/s)"
    )
    print(f"export {export_s:.1f} s ({number(rows / export_s)} rows/s, {size / 1e6:.0f} MB)")
    print(f"batch {batch['status']}; receipt {receipt}")
    print(
        f"server and workers together grew by {watch.together:.0f} MB: {verdict(watch.together, GOAL_MB, at_most=True)}"
    )
    whole = receipt["closed"] and receipt["rows_in"] == receipt["succeeded"] == rows and lines == rows + 1
    if not whole:
        print(f"ROWS ARE MISSING: {lines - 1} of {rows} exported")
    return whole and watch.together <= GOAL_MB


def main() -> None:
    """Measure, print, end with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="Memory over a large batch.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"Memory, {options.rows:,} rows. {machine()}", flush=True)
    with scratch() as folder:
        up = Up(folder / "data")
        try:
            up.start()
            up.key()
            good = soak(up, options.rows)
        finally:
            up.stop()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
