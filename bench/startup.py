"""How long `gristmill up` takes until it is ready: from the start of its process to the first 200 of /readyz.

/readyz answers 200 once the database answers and a worker has taken its lease. Cold is a fresh data folder: a database
cluster is made, the schema is created, the engine's tables are created. Warm is the same folder again. The server
programs of the embedded PostgreSQL are in place in both cases (root copies them once per machine, on its first start).

    python bench/startup.py            median of 5, goals 8 s cold and 3 s warm
    python bench/startup.py --quick    one of each
"""

from __future__ import annotations

import argparse

from harness import Cluster, Up, machine, median, number, scratch, table, verdict

GOALS_S = {"cold": 8.0, "warm": 3.0}


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds until `gristmill up` is ready.")
    parser.add_argument("--quick", action="store_true", help="one start of each kind")
    options = parser.parse_args()
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


if __name__ == "__main__":
    main()
