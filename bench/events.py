"""How fast events reach webhooks: from the commit of a fact to the receiver's socket, and how many a second.

Facts are committed one by one through the service functions at a steady pace; real `gristmill worker` processes deliver
them, signed, to a receiver in a process of its own (receiver.py). Latency is from the return of the commit to the
request's arrival, by the clock of this machine. Database, workers, receiver and the emitting threads share its cores.

    python bench/events.py            200 facts a second for 20 s in each situation; goals: p99 1 s, 200 a second
    python bench/events.py --quick    a smoke run
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from harness import (
    CLI,
    HERE,
    Cluster,
    cpu_s,
    end,
    environment,
    free_port,
    machine,
    number,
    scratch,
    spawn,
    table,
    verdict,
    wait_for,
)

RATE_PER_S = 200
THREADS = 4
P99_S = 1.0
DELAY_S_MAX = 2.0
DEAD = 200
DATA = {"agent_id": 1, "name": "Leads", "message": "x" * 400}


@dataclass
class Bench:
    """A database with organizations and their webhooks, workers, and the receiver."""

    cluster: Cluster
    folder: Path
    port: int
    organizations: list[int] = field(default_factory=list)
    workers: list[Any] = field(default_factory=list)
    database: Any = None

    def start(self) -> None:
        """Schema, organizations."""
        from gristmill import engine  # noqa: PLC0415 - after the environment is set
        from gristmill.base.db import Database  # noqa: PLC0415
        from gristmill.base.migrate import migrate  # noqa: PLC0415

        migrate(self.cluster.url)
        engine.prepare(self.cluster.url)
        self.database = Database(self.cluster.url, application="bench")

    def organization(self, paths: list[str]) -> int:
        """A tenant with a webhook for each path, subscribed to everything."""
        from gristmill import identity  # noqa: PLC0415 - see above
        from gristmill.events import webhooks  # noqa: PLC0415

        with self.database.system() as tx:
            organization_id = identity.create_organization(tx, "Bench").id
        with self.database.tx(organization_id) as tx:
            for path in paths:
                webhooks.create_webhook(
                    tx, organization_id, url=f"http://127.0.0.1:{self.port}{path}", event_types=["*"]
                )
        return organization_id

    def emit(self, organization_id: int) -> tuple[UUID, float]:
        """Commit a fact; answers its id and when the commit returned."""
        from gristmill import events  # noqa: PLC0415 - see above

        with self.database.tx(organization_id) as tx:
            event_id = events.emit(tx, organization_id, "agent.batch.failed", subject="batch:1", data=DATA)
        return event_id, time.time()

    def run_workers(self, count: int) -> None:
        """Have exactly that many workers, all of them ready."""
        end(*self.workers[count:])
        del self.workers[count:]
        more = environment(
            GRISTMILL_DATABASE_URL=self.cluster.url,
            GRISTMILL_DATA_DIR=str(self.folder / "data"),
            GRISTMILL_EGRESS_ALLOW="loopback",
        )
        self.workers += [spawn((*CLI, "worker"), more) for _ in range(count - len(self.workers))]

        def ready() -> bool:
            with self.database.system() as tx:
                return tx.one("SELECT count(*) AS n FROM worker")["n"] == count

        wait_for(ready, f"{count} workers")

    def ask(self, what: str) -> bytes:
        """Ask the receiver."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}", timeout=30) as answer:
            return answer.read()

    def cpu(self) -> float:
        """Processor seconds of workers and database."""
        return cpu_s(self.cluster.pid, *(worker.pid for worker in self.workers))


def paced(bench: Bench, organizations: list[int], seconds: float) -> tuple[list[float], float]:
    """Latencies of facts that are committed at the pace, and the cores that workers and database kept busy."""
    bench.ask("reset")
    bench.cluster.settle()
    committed: dict[str, float] = {}
    lock = threading.Lock()
    began, cpu = time.monotonic(), bench.cpu()

    def work(offset: int) -> None:
        for turn in range(offset, int(RATE_PER_S * seconds), THREADS):
            pause = began + turn / RATE_PER_S - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            event_id, at = bench.emit(organizations[turn % len(organizations)])
            with lock:
                committed[str(event_id)] = at

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    if took > seconds * 1.1:
        print(f"(facts could only be committed at {len(committed) / took:.0f} a second)")
    wait_for(lambda: int(bench.ask("count")) >= len(committed), "all deliveries", within_s=60)
    cpu = bench.cpu() - cpu
    seen = orjson.loads(bench.ask("report"))
    return sorted(seen[event_id] - at for event_id, at in committed.items()), cpu / (time.monotonic() - began)


def backlog(bench: Bench, organizations: list[int], count: int) -> tuple[float, float]:
    """Deliveries a second when many are owed at once, and processor milliseconds for each."""
    bench.run_workers(0)
    bench.ask("reset")
    per_organization = count // len(organizations)
    from gristmill import events  # noqa: PLC0415 - after the environment is set

    for organization_id in organizations:
        with bench.database.tx(organization_id) as tx:
            for _ in range(per_organization):
                events.emit(tx, organization_id, "agent.batch.failed", subject="batch:1", data=DATA)
    bench.cluster.settle()
    bench.run_workers(2)
    wait_for(lambda: int(bench.ask("count")) > 0, "the first delivery")
    began, already, cpu = time.monotonic(), int(bench.ask("count")), bench.cpu()
    total = per_organization * len(organizations)
    wait_for(lambda: int(bench.ask("count")) >= total, "the backlog", within_s=600)
    sent = total - already
    return sent / (time.monotonic() - began), (bench.cpu() - cpu) * 1000 / sent


def share(latencies: list[float], part: float) -> float:
    """A percentile."""
    return latencies[min(len(latencies) - 1, int(len(latencies) * part))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run, whose numbers mean nothing")
    arguments = parser.parse_args()
    seconds, dead, owed = (2.0, 20, 400) if arguments.quick else (20.0, DEAD, 20_000)
    import os  # noqa: PLC0415 - before the settings are read

    os.environ.update(environment(GRISTMILL_EGRESS_ALLOW="loopback"))
    print(machine())
    with scratch() as folder:
        cluster = Cluster(folder)
        port = free_port()
        receiver = spawn((sys.executable, HERE / "receiver.py", str(port)))
        bench = Bench(cluster, folder, port)
        try:
            bench.start()
            wait_for(lambda: _answers(bench), "the receiver")
            spread = [bench.organization([f"/{turn}"]) for turn in range(10)]
            alone = [bench.organization(["/alone"])]
            bench.run_workers(2)
            lines = []
            for title, organizations in (("10 webhooks", spread), ("one webhook, in order", alone)):
                lines.append(line_of(title, *paced(bench, organizations, seconds)))
            dying = bench.organization([f"/dead/{turn}" for turn in range(dead)])
            bench.emit(dying)
            lines.append(line_of(f"10 webhooks beside {dead} that never answer", *paced(bench, spread, seconds)))
            print(f"\n{RATE_PER_S} facts a second, each delivered once, 2 workers")
            head = ("situation", "p50 ms", "p99 ms", "slowest ms", "cores used", "goal: p99 and slowest")
            print(table(head, lines))
            with bench.database.system() as tx:
                tx.run("DELETE FROM receiver WHERE organization_id = %s", (dying,))
            rate, cost = backlog(bench, spread, owed)
            print(
                f"\nBacklog of {owed} deliveries to 10 webhooks, 2 workers: {number(rate)} deliveries/s"
                f" ({verdict(rate, RATE_PER_S)}), {cost:.2f} ms of processor time each"
            )
        finally:
            bench.run_workers(0)
            end(receiver)
            cluster.stop()


def line_of(title: str, latencies: list[float], cores: float) -> tuple[str, ...]:
    p99, slowest = share(latencies, 0.99), latencies[-1]
    goal = f"{verdict(p99, P99_S, at_most=True)}, {verdict(slowest, DELAY_S_MAX, at_most=True)}"
    times = (share(latencies, 0.5), p99, slowest)
    return (title, *(number(value * 1000) for value in times), f"{cores:.2f}", goal)


def _answers(bench: Bench) -> bool:
    try:
        return bench.ask("count") == b"0"
    except OSError:
        return False


if __name__ == "__main__":
    main()
