"""How fast the API answers beside a running batch: 50 clients that ask for the batch's progress.

`gristmill up` with 2 workers, GET /api/v1/batch_executions/{id} of the very batch that runs, by clients in a process of
their own (load.py): paced, as people and dashboards do it (2 requests a second each, timed from when a request was
due), and in a closed loop, which asks for as many requests as there can be. Three situations: nothing runs; a batch
whose agent waits 20 ms for each of 64 rows in flight; a batch with a no-op agent, which takes all the processor time
that it gets. Clients, server, workers and database share the machine's cores.

    python bench/api.py            goals for paced clients beside a batch: p50 15 ms, p99 150 ms
    python bench/api.py --quick    a smoke run
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version

from client import Client
from harness import HERE, Up, environment, machine, number, sample_rows, scratch, table, verdict
from load import Orders

CLIENTS = 50
PACE_PER_S = 2.0
P50_MS, P99_MS = 15.0, 150.0
WARM_UP_S = 3.0
"""Time that a load takes beside its measured seconds, at most."""


@dataclass(frozen=True)
class Situation:
    """What runs beside the clients."""

    title: str
    entry_point: str
    concurrency: int
    wait_s: float
    rows_per_s: int
    """No batch of it gets through its rows faster than that."""


SITUATIONS = (
    Situation("nothing runs", "bench_agents:noop", 8, 0.0, 0),
    Situation("agent waits 20 ms, 64 in flight", "bench_agents:wait", 64, 0.02, 3_300),
    Situation("no-op agent at full speed", "bench_agents:noop", 8, 0.0, 25_000),
)


def load(up: Up, batch_id: str, seconds: float, per_s: float) -> dict[str, float]:
    """What the clients saw."""
    orders = Orders(f"{up.url}/api/v1/batch_executions/{batch_id}", up.secret, CLIENTS, seconds, per_s)
    command = (sys.executable, HERE / "load.py", json.dumps(asdict(orders)))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    if found["wrong"]:
        raise RuntimeError(f"{found['wrong']} of {found['requests']} requests failed: {found['example']}")
    return found


def measure(up: Up, api: Client, seconds: float) -> list[tuple[str, ...]]:
    """A line for each situation and kind of client."""
    lines: list[tuple[str, ...]] = []
    for situation in SITUATIONS:
        options = {"s": situation.wait_s} if situation.wait_s else {}
        agent_id = api.agent(situation.title, situation.entry_point, situation.concurrency, **options)
        for title, per_s in (("paced", PACE_PER_S), ("closed loop", 0.0)):
            rows = int(situation.rows_per_s * (seconds + WARM_UP_S)) or 10
            batch_id = api.batch(agent_id, sample_rows(rows))
            if not situation.rows_per_s:
                api.wait(batch_id)
            before = api.get(batch_id)
            found = load(up, batch_id, seconds, per_s)
            after = api.get(batch_id)
            beside = f"{number((after['succeeded'] - before['succeeded']) / (seconds + 1))} rows/s"
            if situation.rows_per_s and after["status"] != "running":
                beside = "batch ended early"
            judged = per_s and situation.rows_per_s
            lines.append(
                (
                    situation.title,
                    title,
                    number(found["per_s"]),
                    number(found["p50_ms"]),
                    verdict(found["p50_ms"], P50_MS, at_most=True) if judged else "",
                    number(found["p99_ms"]),
                    verdict(found["p99_ms"], P99_MS, at_most=True) if judged else "",
                    number(found["max_ms"]),
                    beside if situation.rows_per_s else "",
                )
            )
            api.cancel(batch_id)
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="API latency beside a running batch.")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    print(f"API beside a batch, {CLIENTS} clients, 2 workers. {machine()}")
    print(f"FastAPI {version('fastapi')}, uvicorn {version('uvicorn')}; clients: aiohttp {version('aiohttp')}")
    with scratch() as folder:
        up = Up(folder / "data")
        try:
            up.start()
            api = Client(up.url, up.key())
            lines = measure(up, api, 1.0 if options.quick else 8.0)
            api.close()
        finally:
            up.stop()
    head = ("beside", "clients", "requests/s", "p50 ms", "goal", "p99 ms", "goal", "max ms", "the batch")
    print(table(head, lines))


if __name__ == "__main__":
    main()
