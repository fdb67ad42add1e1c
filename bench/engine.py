"""The batch engine beside the raw limit of the database, beside task queues, and beside the ideal.

What is measured, all on one embedded PostgreSQL (durable settings, Gristmill's own), each time into emptied tables:

- raw: claim in chunks and bulk update of the results with psycopg and nothing else, by 1 and 2 processes (peer_raw.py);
- gristmill: the same rows through a `python` agent that gives its row back, by real `gristmill worker` processes, free
  and priced (a hold and a charge for each row), from the first claim to completion; making the batch is not part of it;
- dbos, celery: one task per row that gives its row back, from the start of the first to the end of the last, on DBOS
  on the same PostgreSQL and on Celery with Redis; queueing the tasks is not part of it;
- wait 50 ms: an async agent that waits, against the ideal of concurrency / 50 ms;
- wait 20 ms: workers added one by one, 8 rows in flight for each, against as many times what one worker does.

Everything is measured in rounds, one after the other, and the median counts. CPU is processor time of the workers and
of the database together, per row: less noisy than the clock on a machine that is shared.

    python bench/engine.py            all of it, less than six minutes
    python bench/engine.py --quick    a smoke run of a few rows: numbers mean nothing
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

import peer_dbos
import peer_raw
from harness import (
    HERE,
    Cluster,
    Mill,
    Run,
    cpu_s,
    end,
    environment,
    free_port,
    machine,
    median,
    number,
    sample_row,
    sample_rows,
    scratch,
    spawn,
    table,
    verdict,
    wait_for,
)

BUDGET_S = 345
"""No further round is begun when it would not end within this time."""
PRICE_MICRO_USD = 100
PER_WORKER = 8
INSERT_ROWS = 5_000


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    rows: int
    """Of the no-op runs."""
    tasks: int
    """Of the queues with one task per row."""
    wait_s: float
    """How long the runs with waiting agents take, if they are ideal."""
    workers: tuple[int, ...]
    """Of the runs that add workers."""


FULL = Size(3, 100_000, 2_000, 4.0, (1, 2, 4, 8))
QUICK = Size(1, 3_000, 150, 0.5, (1, 2))


class Bench:
    """Everything that is measured, each kind as one method that answers one run."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self.mill = Mill(cluster, folder)
        self._raw_url = cluster.create("bench_raw")
        self._dbos_url = cluster.create("bench_dbos").replace("postgresql://", "postgresql+psycopg://")
        with psycopg.connect(self._raw_url) as connection:
            connection.execute(peer_raw.SCHEMA)

    def raw(self, processes: int, rows: int) -> Run:
        """Claim and finish rows of a plain table."""
        begun = time.monotonic()
        with psycopg.connect(self._raw_url, autocommit=True) as connection:
            connection.execute("TRUNCATE raw_row")
            for first in range(0, rows, INSERT_ROWS):
                numbers = range(first, min(first + INSERT_ROWS, rows))
                connection.execute(
                    "INSERT INTO raw_row (batch_id, organization_id, row_number, status, data, input_hash)"
                    " SELECT %s, 1, t.n, 'pending', t.data, decode(md5(t.n::text), 'hex')"
                    " FROM unnest(%s::int[], %s::json[]) AS t(n, data)",
                    (peer_raw.BATCH, [n + 1 for n in numbers], [json.dumps(sample_row(n)) for n in numbers]),
                )
            intake_s = time.monotonic() - begun
            connection.execute("ANALYZE raw_row")
        self._cluster.settle()
        command = (sys.executable, HERE / "peer_raw.py", self._raw_url)
        peers = [spawn(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
        for peer in peers:
            _await_line(peer, "ready")
        cpu = cpu_s(self._cluster.pid, *(peer.pid for peer in peers))
        for peer in peers:
            peer.stdin.write("go\n")
            peer.stdin.flush()
        answers = [json.loads(peer.stdout.readline()) for peer in peers]
        cpu = self._cpu_after(peers) - cpu
        end(*peers)
        if sum(answer["rows"] for answer in answers) != rows:
            raise RuntimeError("the raw peer lost rows")
        return Run(rows, _span(answers), cpu, intake_s)

    def _cpu_after(self, peers: list[subprocess.Popen[Any]]) -> float:
        return cpu_s(self._cluster.pid, *(peer.pid for peer in peers))

    def noop(self, rows: int, *, priced: bool = False, asynchronous: bool = False) -> Run:
        """Rows through the agent that gives them back."""
        entry_point = "bench_agents:noop_async" if asynchronous else "bench_agents:noop"
        agent = {"config": {"entry_point": entry_point}, "price_micro_usd": PRICE_MICRO_USD if priced else 0}
        return self.mill.run(agent, rows)

    def wait(self, agent_s: float, concurrency: int, ideal_s: float) -> Run:
        """Rows through the agent that waits, as many as take `ideal_s` at best."""
        options = {"entry_point": "bench_agents:wait", "options": {"s": agent_s}}
        return self.mill.run({"config": options, "concurrency": concurrency}, int(concurrency * ideal_s / agent_s))

    def dbos(self, processes: int, tasks: int) -> Run:
        """One workflow per row; the times are those that the engine notes itself."""
        import sqlalchemy as sa  # noqa: PLC0415 - only here
        from dbos import DBOSClient  # noqa: PLC0415

        peers: list[subprocess.Popen[Any]] = []
        for _ in range(processes):  # one by one: the first one makes the engine's tables
            peers.append(
                spawn((sys.executable, HERE / "peer_dbos.py", self._dbos_url), text=True, stdout=subprocess.PIPE)
            )
            _await_line(peers[-1], "ready")
        engine = sa.create_engine(self._dbos_url)
        client = DBOSClient(system_database_url=self._dbos_url, application_name="bench")
        with engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE dbos.workflow_status CASCADE"))
        self._cluster.settle()
        begun = time.monotonic()
        with engine.begin() as connection:
            for row in sample_rows(tasks):
                client.enqueue_in_transaction(
                    connection,
                    {
                        "workflow_name": peer_dbos.WORKFLOW,
                        "queue_name": peer_dbos.QUEUE,
                        "app_version": peer_dbos.VERSION,
                    },
                    row,
                )
        intake_s = time.monotonic() - begun
        cpu = self._cpu_after(peers)
        with psycopg.connect(self._dbos_url.replace("+psycopg", ""), autocommit=True) as watch:
            question = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
            wait_for(lambda: watch.execute(question).fetchone()[0] == tasks, "the last workflow", look_s=0.1)
            cpu = self._cpu_after(peers) - cpu
            span = "SELECT (max(completed_at) - min(started_at_epoch_ms)) / 1000.0 FROM dbos.workflow_status"
            seconds = float(watch.execute(span).fetchone()[0])
        end(*peers)
        client.destroy()
        engine.dispose()
        return Run(tasks, seconds, cpu, intake_s)

    def celery(self, processes: int, tasks: int) -> Run:
        """One task per row, queued before the workers start; the times are those that the tasks note themselves."""
        with self._redis() as (url, redis_pid):
            out = self._folder / f"celery-{time.monotonic_ns()}"
            out.mkdir()
            env = environment(BENCH_REDIS=url, BENCH_OUT=str(out))
            begun = time.monotonic()
            feed = "import sys, peer_celery, harness\nfor row in harness.sample_rows(int(sys.argv[1])):\n"
            feed += "    peer_celery.row.delay(row)\n"
            subprocess.run((sys.executable, "-c", feed, str(tasks)), env=env, check=True)
            intake_s = time.monotonic() - begun
            flags = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR")
            command = (sys.executable, "-m", "celery", "-A", "peer_celery", "worker", "-P", "solo", *flags)
            peers = [
                spawn((*command, "-n", f"w{n}@bench"), env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for n in range(processes)
            ]
            import redis  # noqa: PLC0415 - of the bench group, like celery

            with redis.Redis.from_url(url + "/1") as results:
                wait_for(results.dbsize, "the first task")
                cpu = cpu_s(redis_pid, *(peer.pid for peer in peers))
                first = results.dbsize()
                wait_for(lambda: results.dbsize() == tasks, "the last task", look_s=0.1)
            cpu = cpu_s(redis_pid, *(peer.pid for peer in peers)) - cpu
            end(*peers)
            answers = [json.loads(path.read_text()) for path in out.iterdir()]
        if sum(answer["rows"] for answer in answers) != tasks:
            raise RuntimeError("celery lost or repeated rows")
        return Run(tasks, _span(answers), cpu * tasks / (tasks - first), intake_s)

    @contextlib.contextmanager
    def _redis(self) -> Generator[tuple[str, int]]:
        """A Redis of this run's own, without persistence, which is its fastest setting."""
        port = free_port()
        command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        server = spawn((*command, "--dir", self._folder), stdout=subprocess.DEVNULL)
        import redis  # noqa: PLC0415 - see above

        def answers() -> bool:
            with contextlib.suppress(redis.ConnectionError), redis.Redis(port=port) as client:
                return bool(client.ping())
            return False

        try:
            wait_for(answers, "Redis")
            yield f"redis://127.0.0.1:{port}", server.pid
        finally:
            end(server)


def _await_line(peer: subprocess.Popen[Any], line: str) -> None:
    found = peer.stdout.readline().strip()
    if found != line:
        raise RuntimeError(f"a peer did not start: {found!r}")


def _span(answers: list[dict[str, float]]) -> float:
    return max(answer["last"] for answer in answers) - min(answer["first"] for answer in answers)


@dataclass(frozen=True)
class Item:
    """One line of the plan."""

    name: str
    function: Callable[[], Run]
    workers: int = 0
    """Gristmill's workers while it runs."""
    once: bool = False
    """Measured in the first round only."""


def plan(bench: Bench, size: Size, *, celery: bool) -> list[Item]:
    """A round: peers first, while no worker polls beside them, then more and more workers."""
    items = [
        Item("raw 1", partial(bench.raw, 1, size.rows)),
        Item("raw 2", partial(bench.raw, 2, size.rows)),
        Item("dbos 1", partial(bench.dbos, 1, size.tasks)),
        Item("dbos 2", partial(bench.dbos, 2, size.tasks), once=True),
    ]
    if celery:
        items += [
            Item("celery 1", partial(bench.celery, 1, size.tasks)),
            Item("celery 2", partial(bench.celery, 2, size.tasks), once=True),
        ]
    items += [
        Item("noop 1", partial(bench.noop, size.rows), 1),
        Item("noop async 1", partial(bench.noop, size.rows // 2, asynchronous=True), 1, once=True),
        Item("priced 1", partial(bench.noop, size.rows // 2, priced=True), 1, once=True),
        Item("50ms 8 1", partial(bench.wait, 0.05, 8, size.wait_s), 1),
        Item("50ms 64 1", partial(bench.wait, 0.05, 64, size.wait_s), 1),
        Item("noop 2", partial(bench.noop, size.rows), 2),
        Item("priced 2", partial(bench.noop, size.rows // 2, priced=True), 2),
        Item("50ms 64 2", partial(bench.wait, 0.05, 64, size.wait_s), 2),
    ]
    items += [
        Item(f"20ms {count}", partial(bench.wait, 0.02, PER_WORKER * count, size.wait_s), count)
        for count in size.workers
    ]
    return sorted(items, key=lambda item: item.workers)


def measure(bench: Bench, items: list[Item], rounds: int) -> dict[str, list[Run]]:
    """All rounds, as far as the time allows."""
    found: dict[str, list[Run]] = {}
    begun = time.monotonic()
    longest = 0.0
    for turn in range(rounds):
        started = time.monotonic()
        if turn and started - begun + longest > BUDGET_S:
            break
        for item in items:
            if item.once and turn:
                continue
            begun_item = time.monotonic()
            bench.mill.workers(item.workers)
            run = item.function()
            found.setdefault(item.name, []).append(run)
            took = f"{time.monotonic() - begun_item:.0f} s in all"
            print(f"  round {turn + 1}: {item.name}: {number(run.rate)} rows/s, {took}", file=sys.stderr, flush=True)
        bench.mill.workers(0)
        longest = max(longest, time.monotonic() - started)
    return found


def report(found: dict[str, list[Run]], size: Size) -> str:
    """The table."""
    rates = {name: median([run.rate for run in runs]) for name, runs in found.items()}
    lines: list[tuple[str, ...]] = []

    def line(name: str, title: str, beside: str = "", base: float = 0.0, goal: float = 0.0) -> None:
        if name not in found:
            return
        runs = found[name]
        spread = f"{number(min(run.rate for run in runs))} - {number(max(run.rate for run in runs))}"
        cpu = number(median([run.cpu_s / run.rows * 1e6 for run in runs]))
        ratio = number(rates[name] / base) if base else ""
        judged = verdict(rates[name] / base, goal) if goal else ""
        lines.append((title, f"{len(runs)}", number(rates[name]), spread, cpu, beside, ratio, judged))

    for count in (1, 2):
        line(f"raw {count}", f"raw claim + bulk update, {_processes(count)}")
    for count in (1, 2):
        workers, base = _workers(count), rates[f"raw {count}"]
        line(f"noop {count}", f"gristmill, no-op agent, {workers}", f"raw, {_processes(count)}", base, 0.5)
        line(f"noop async {count}", f"gristmill, async no-op agent, {workers}", f"raw, {_processes(count)}", base)
        line(f"priced {count}", f"gristmill, priced, {workers}", f"raw, {_processes(count)}", base)
    for peer in ("dbos", "celery"):
        for count in (1, 2):
            name = f"{peer} {count}"
            title = f"{'DBOS' if peer == 'dbos' else 'Celery + Redis'}, a task per row, {_processes(count)}"
            line(name, title)
            if name in found:
                ratio = rates[f"noop {count}"] / rates[name]
                lines.append(
                    (f"  gristmill, no-op, {_workers(count)}", "", number(rates[f"noop {count}"]), "", "", title,
                     number(ratio), verdict(ratio, 10))
                )  # fmt: skip
    for concurrency, count in ((8, 1), (64, 1), (64, 2)):
        ideal = concurrency / 0.05
        title = f"agent waits 50 ms, {concurrency} in flight, {_workers(count)}"
        line(f"50ms {concurrency} {count}", title, f"{number(ideal)} ideal", ideal, 0.8)
    for count in size.workers:
        linear = rates["20ms 1"] * count
        title = f"agent waits 20 ms, {PER_WORKER * count} in flight, {_workers(count)}"
        line(f"20ms {count}", title, f"{count} x one worker", linear, 0.8)
    head = ("what", "runs", "rows/s", "min - max", "CPU us/row", "beside", "ratio", "goal")
    intake = found["noop 1"] + found["noop 2"]
    note = (
        f"Making the batch (check, hash, store, queue): {number(median([r.rows / r.intake_s for r in intake]))} rows/s"
    )
    return f"{table(head, lines)}\n{note}, not part of the times above."


def _processes(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''}"


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The batch engine beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--rounds", type=int, help="instead of 3")
    parser.add_argument("--only", default="", help="only items whose name contains one of these, comma-separated")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    with scratch() as folder:
        cluster = Cluster(folder)
        try:
            bench = Bench(cluster, folder)
            redis = shutil.which("redis-server")
            celery = _celery_version() if redis else None
            print(f"Batch engine. {machine()}")
            print(f"PostgreSQL {cluster.version}, psycopg {version('psycopg')}, DBOS {version('dbos')}, ", end="")
            print(f"Celery {celery} with {_redis_version()}" if celery else "no Celery or no redis-server: left out")
            wanted = [part for part in options.only.split(",") if part]
            items = plan(bench, size, celery=celery is not None)
            items = [item for item in items if not wanted or any(part in item.name for part in wanted)]
            found = measure(bench, items, options.rounds or size.rounds)
            bench.mill.stop()
            print(report(found, size) if not wanted else "")
        finally:
            cluster.stop()


def _celery_version() -> str | None:
    with contextlib.suppress(Exception):
        return version("celery")
    return None


def _redis_version() -> str:
    text = subprocess.run(("redis-server", "--version"), capture_output=True, text=True, check=True).stdout
    return "Redis " + text.partition("v=")[2].split()[0]


if __name__ == "__main__":
    main()
