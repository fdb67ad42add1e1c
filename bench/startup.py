"""How long `gristmill up` takes until it is ready, and what it costs while nobody asks anything of it.

Ready is from the start of its process to the first 200 of /readyz. The second worker begins two seconds later.

/readyz answers 200 once the database answers and a worker has taken its lease. Cold is a fresh data folder: a database
cluster is made, the schema is created, the engine's tables are created. Warm is the same folder again. The server
programs of the embedded PostgreSQL are in place in both cases (root copies them once per machine, on its first start).

Idle is the processor time over a minute, of each of its processes, some time after the start. A worker that was busy
looks more often for a while.

    python bench/startup.py            median of 5, goals 8 s cold and 3 s warm; then idle
    python bench/startup.py --quick    one of each
    python bench/startup.py --idle     only idle
"""

from __future__ import annotations

import argparse
import time

from harness import (
    Cluster,
    Up,
    command_of,
    cpu_s,
    descendants,
    machine,
    median,
    number,
    own_cpu_s,
    scratch,
    table,
    verdict,
)

GOALS_S = {"cold": 8.0, "warm": 3.0}
SETTLE_S, IDLE_S = 45.0, 60.0


def measure(times: int) -> dict[str, list[float]]:
    """Seconds of each start."""
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(times):
        with scratch() as folder:
            for seconds in found.values():
                up = Up(folder / "data")
                try:
                    seconds.append(up.start())
                finally:
                    up.stop()
    return found


def measure_idle(settle_s: float, idle_s: float) -> dict[str, float]:
    """Processor seconds of the processes of a `gristmill up` with one worker that nobody asks anything."""
    with scratch() as folder:
        up = Up(folder / "data", workers=1)
        up.start()
        try:
            time.sleep(settle_s)
            before, begun = _cpu_by_role(up), time.monotonic()
            time.sleep(idle_s)
            after, seconds = _cpu_by_role(up), time.monotonic() - begun
        finally:
            up.stop()
    return {role: (used - before.get(role, 0.0)) * idle_s / seconds for role, used in after.items()}


def _cpu_by_role(up: Up) -> dict[str, float]:
    """The database as a whole, with what its ended processes took."""
    root = up.process.pid
    children = [pid for pid in descendants(root) if command_of(pid).rstrip().endswith(("cli server", "cli worker"))]
    found = {command_of(pid).split()[-1]: cpu_s(pid) for pid in children}
    postmaster = next(pid for pid in descendants(root) if "postgres -D" in command_of(pid))
    return {**found, "database": cpu_s(postmaster), "supervisor": own_cpu_s(root)}


def show_idle(*, quick: bool) -> None:
    """Measure and print."""
    settle_s, idle_s = (15.0, 15.0) if quick else (SETTLE_S, IDLE_S)
    found = measure_idle(settle_s, idle_s)
    lines = [
        (role, number(used), f"{used / idle_s:.1%}") for role, used in [*found.items(), ("all", sum(found.values()))]
    ]
    print(table((f"idle for {idle_s:g} s", "CPU s", "of a processor"), lines))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds until `gristmill up` is ready.")
    parser.add_argument("--quick", action="store_true", help="one start of each kind")
    parser.add_argument("--idle", action="store_true", help="only what it costs while nothing happens")
    options = parser.parse_args()
    if options.idle:
        print(machine())
        show_idle(quick=options.quick)
        return
    print(f"Start-up, server and 2 workers. {machine()}")
    with scratch() as folder:  # the server programs are copied now, if they ever are
        cluster = Cluster(folder)
        print(f"PostgreSQL {cluster.version}")
        cluster.stop()
    found = measure(1 if options.quick else 5)
    lines = [
        (f"gristmill up, {kind}", str(len(seconds)), number(median(seconds)), number(min(seconds)),
         number(max(seconds)), verdict(median(seconds), GOALS_S[kind], at_most=True))
        for kind, seconds in found.items()
    ]  # fmt: skip
    print(table(("what", "runs", "median s", "min", "max", "goal s"), lines))
    show_idle(quick=options.quick)


if __name__ == "__main__":
    main()
