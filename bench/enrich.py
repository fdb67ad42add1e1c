"""Enrichment: how near hunts come to what a vendor's latency allows, how they take a refusal, and how good they are.

- rate: 10,000 different leads, one `http` provider on this machine that takes 50 ms, by two real `gristmill worker`
  processes, against the ideal of leads in flight / 50 ms, and against a bare loop of requests to the same vendor at the
  same time of day, since a busy machine keeps neither from being late; then the same leads again, all remembered;
- 429: the vendor serves at most half of the leads in flight and answers 429 with Retry-After to the others: every lead
  must end well, and the rate is compared with what the vendor would serve; then once more with a vendor that serves
  everybody from the middle on, with a plot of how many leads the engine allows in flight;
- quality: leads and registries of enrich_quality.py, each registry a dataset of the agent: precision, recall and
  calibration of what was hidden from the leads, with search variants and without.

    python bench/enrich.py            about six minutes
    python bench/enrich.py --quick    a smoke run of few leads, without quality
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psycopg

import enrich_quality
from harness import (
    HERE,
    MASTER_KEY,
    Cluster,
    Mill,
    cpu_s,
    end,
    free_port,
    machine,
    number,
    scratch,
    spawn,
    table,
    wait_for,
)  # fmt: skip

LATENCY_MS = 50
GOAL = 0.8
PLOT_COLUMNS, PLOT_LINES = 72, 8


class Vendor:
    """bench_vendor.py on a port of its own."""

    def __init__(self, in_flight_max: int) -> None:
        self.port = free_port()
        command = (sys.executable, HERE / "bench_vendor.py", str(self.port), str(LATENCY_MS), str(in_flight_max))
        self.process = spawn(command)
        wait_for(self._answers, "the vendor")

    def _answers(self) -> bool:
        try:
            return bool(self.counts() is not None)
        except OSError:
            return False

    def counts(self) -> dict[str, int]:
        """How many questions it answered and refused."""
        import json  # noqa: PLC0415 - only here

        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts") as answer:
            return json.load(answer)

    def serve_all(self) -> None:
        """Refuse nobody from now on."""
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/serve_all", data=b"").close()

    def agent(self, in_flight: int) -> dict[str, Any]:
        """A lead enricher that asks it."""
        config = {
            "url": f"http://127.0.0.1:{self.port}/find",
            "query": {"company": "{company}"},
            "records": "data",
            "identity": {"company": "name"},
            "facts": [
                {"kind": "phone", "fields": {"number": "phone"}},
                {"kind": "email", "fields": {"address": "email"}},
            ],
        }
        provider = {"provider": "http", "config": config, "price_usd": "0.01"}
        return {
            "runtime": "lead",
            "config": {"passes": [provider], "coverage": {"phones": 1}},
            "input_fields": [{"name": name} for name in ("company", "street", "city", "state", "zip")],
            "concurrency": in_flight,
            "price_micro_usd": 20_000,
            "retry": {"max_attempts": 20, "backoff": 0.2},
        }


def leads(count: int) -> Iterator[dict[str, str]]:
    """Leads that are all different."""
    for place in range(count):
        yield {"company": f"Example Works {place}", "street": f"{place} Main St", "city": "Tampa", "zip": "33602"}


class Runs:
    """Batches of leads on one cluster."""

    def __init__(self, cluster: Cluster, mill: Mill) -> None:
        self._cluster, self._mill = cluster, mill
        self._admin = psycopg.connect(cluster.url, autocommit=True)
        self._agents: dict[str, Any] = {}

    def run(
        self, values: dict[str, Any], count: int, look: Callable[[psycopg.Connection, Any], None] = lambda *_: None
    ) -> tuple[float, float, dict[str, int]]:
        """(seconds from the first claim to the end, processor seconds, counts) of a batch; `look` is called again and
        again with its id while it runs.
        """
        from gristmill import agents, batches  # noqa: PLC0415 - after the environment is set

        organization_id, name = self._mill.organization_id, f"leads {time.monotonic_ns()}"
        database = self._mill._database
        with database.tx(organization_id) as tx:
            agent = agents.create(tx, organization_id, {"name": name, **values})
            order = batches.Order(origin={"kind": "items"}, mapping={})
            batch_id = batches.create(tx, organization_id, agent, order, leads(count)).id
        roots = [self._cluster.pid, *(process.pid for process in self._mill._workers)]
        before = cpu_s(*roots)

        def ended() -> Any:
            look(self._admin, batch_id)
            return self._admin.execute(
                "SELECT extract(epoch FROM finished_at - started_at)::float8, succeeded, failed, attempts FROM batch"
                " WHERE id = %s AND status NOT IN ('queued', 'running')",
                (batch_id,),
            ).fetchone()

        seconds, succeeded, failed, attempts = wait_for(ended, "the end", within_s=900)
        if succeeded != count:
            raise RuntimeError(f"{succeeded} of {count} leads succeeded, {failed} failed")
        return seconds, cpu_s(*roots) - before, {"attempts": attempts}


def bare(vendor: Vendor, count: int, in_flight: int) -> float:
    """Requests per second of a loop that does nothing else."""

    async def go() -> float:
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(connector=connector) as session:
            waiting = iter(range(count))

            async def one() -> None:
                for place in waiting:
                    url = f"http://127.0.0.1:{vendor.port}/find?company=Bare+{place}"
                    async with session.get(url) as answer:
                        await answer.read()

            begun = time.monotonic()
            await asyncio.gather(*(one() for _ in range(in_flight)))
            return count / (time.monotonic() - begun)

    return asyncio.run(go())


def rate(runs: Runs, count: int, in_flight: int) -> list[tuple[str, ...]]:
    """Cold, then remembered."""
    vendor = Vendor(0)
    agent = vendor.agent(in_flight)
    ideal = in_flight / (LATENCY_MS / 1000)
    beside = bare(vendor, max(count // 10, 50), in_flight)
    asked = vendor.counts()["answered"]
    lines: list[tuple[str, ...]] = []
    for title in ("asked", "remembered"):
        seconds, cpu, _ = runs.run(agent, count)
        got = count / seconds
        shares = (number(ideal), f"{got / ideal:.2f}", number(beside), f"{got / beside:.2f}")
        cells = shares if title == "asked" else ("", "", "", "")
        lines.append((f"{title}, {in_flight} in flight", number(got), *cells, f"{cpu / count * 1000:.2f}"))
    if vendor.counts()["answered"] - asked != count:
        raise RuntimeError(f"the vendor was asked {vendor.counts()['answered'] - asked} times for {count} leads")
    end(vendor.process)
    return lines


def throttled(runs: Runs, count: int, in_flight: int) -> tuple[str, ...]:
    """A vendor that serves half of what is in flight."""
    vendor = Vendor(in_flight // 2)
    seconds, _, facts = runs.run(vendor.agent(in_flight), count)
    served = (in_flight // 2) / (LATENCY_MS / 1000)
    refused, got = vendor.counts()["refused"], count / seconds
    end(vendor.process)
    return (f"serves {in_flight // 2} of {in_flight}", number(got), number(served), f"{got / served:.2f}",
            f"{refused} ({refused / facts['attempts']:.1%})")  # fmt: skip


@dataclass
class Slots:
    """How many leads the engine allows in flight at a vendor, over time; from the middle on the vendor serves all."""

    vendor: Vendor
    in_flight: int
    count: int
    seen: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """(moment, slots)."""
    lifted_at: float | None = None

    def look(self, admin: psycopg.Connection, batch_id: Any) -> None:
        """One look at a batch that runs."""
        query = "SELECT succeeded FROM batch WHERE id = %s AND status = 'running'"
        if (done := admin.execute(query, (batch_id,)).fetchone()) is None:
            return
        key = f"%127.0.0.1:{self.vendor.port}%"
        found = admin.execute("SELECT slots_limit FROM pace WHERE key LIKE %s", (key,)).fetchone()
        slots = found[0] if found and found[0] is not None else float(self.in_flight)
        self.seen.append((time.monotonic(), slots))
        if self.lifted_at is None and done[0] >= self.count // 2:
            self.vendor.serve_all()
            self.lifted_at = time.monotonic()

    def plot(self) -> str:
        """Slots from top to bottom, time from left to right; `^` is when the vendor began to serve all."""
        begun, ended = self.seen[0][0], self.seen[-1][0]

        def column(moment: float) -> int:
            return min(int((moment - begun) / (ended - begun) * PLOT_COLUMNS), PLOT_COLUMNS - 1)

        means: list[float] = [float(self.in_flight)] * PLOT_COLUMNS
        for place in range(PLOT_COLUMNS):
            inside = [slots for moment, slots in self.seen if column(moment) == place]
            means[place] = sum(inside) / len(inside) if inside else means[place - 1]
        step = self.in_flight / PLOT_LINES
        lines = [
            f"{level * step:5.0f} |" + "".join("#" if slots >= (level - 0.5) * step else " " for slots in means)
            for level in range(PLOT_LINES, 0, -1)
        ]
        mark = " " * column(self.lifted_at or ended) + "^"
        return "\n".join([*lines, f"    0 +{'-' * PLOT_COLUMNS} {ended - begun:.0f} s", f"       {mark}"])


def recovery(runs: Runs, count: int, in_flight: int) -> str:
    """The plot of a vendor that serves half of what is in flight, and all of it from the middle on."""
    vendor = Vendor(in_flight // 2)
    slots = Slots(vendor, in_flight, count)
    runs.run(vendor.agent(in_flight), count, slots.look)
    end(vendor.process)
    return slots.plot()


def quality(mill: Mill) -> list[tuple[str, ...]]:
    """A line for each case and field, without and with variants."""
    from gristmill import agents  # noqa: PLC0415 - after the environment is set
    from gristmill.agents import RuntimeContext  # noqa: PLC0415
    from gristmill.base.config import settings  # noqa: PLC0415
    from gristmill.enrich.runtime import PLUGIN  # noqa: PLC0415

    database, organization_id = mill._database, mill.organization_id
    lines: list[tuple[str, ...]] = []
    for case in enrich_quality.cases():
        with database.tx(organization_id) as tx:
            agent = agents.create(tx, organization_id, {"name": case.name, "runtime": "lead", "config": {}})
        add_dataset(mill, agent.id, case)
        context = RuntimeContext(settings(), organization_id, case.name, 4, False, agent.id, 0, database)
        config = PLUGIN.Config.model_validate({"region": case.region})
        for title in ("without", "with") if any(lead.variants for lead in case.leads) else ("without",):
            inputs = [
                {**lead.input, "search_variants": lead.variants if title == "with" else {}} for lead in case.leads
            ]
            results, seconds = asyncio.run(enrich_quality.hunt_all(PLUGIN, context, config, inputs))
            for wanted in case.leads[0].truth:
                found = enrich_quality.score(case, wanted, results)
                lines.append((
                    case.name, wanted, title, f"{found.leads} / {len(case.registry)}", f"{found.hidden}",
                    f"{found.precision:.3f}", f"{found.recall:.3f}",
                    f"{enrich_quality.calibration(found.confidences):.3f}" if found.confidences else "",
                    number(len(inputs) / seconds),
                ))  # fmt: skip
    return lines


def add_dataset(mill: Mill, agent_id: int, case: enrich_quality.Case) -> None:
    """The case's registry as a dataset of the agent, ready to be searched."""
    from gristmill.base.config import settings  # noqa: PLC0415 - after the environment is set
    from gristmill.datasets import files, service  # noqa: PLC0415
    from gristmill.datasets.analyze import analyze_file  # noqa: PLC0415
    from gristmill.datasets.model import Draft, TemplateOptions  # noqa: PLC0415

    database, scope = mill._database, service.Scope(mill.organization_id, agent_id)
    data = [enrich_quality.as_csv(case.registry)]
    sent = files.keep(settings(), scope.organization_id, agent_id, "registry.csv", "csv", data)
    analysis, sent = analyze_file(settings(), sent)
    template = analysis.templates[0].template
    draft = Draft(case.name, sent.type, template, TemplateOptions(), None, service.default_embedder(settings()))
    service.prepare(settings(), draft, sent)
    with database.tx(scope.organization_id) as tx:
        service.keep_file(tx, scope, sent)
        made = service.create(tx, scope, draft, sent)

    def done() -> bool:
        with database.tx(scope.organization_id) as tx:
            found = service.get(tx, scope, made.id)
        if found.ingest_status == "failed":
            raise RuntimeError(found.last_error)
        return found.ingest_status == "completed"

    wait_for(done, "the dataset", within_s=300)


def main() -> None:
    import os  # noqa: PLC0415 - only here

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its numbers mean nothing")
    parser.add_argument("--only", choices=("rate", "429", "quality"))
    parser.add_argument("--leads", type=int, default=10_000)
    options = parser.parse_args()
    count, sizes = (300, (16,)) if options.quick else (options.leads, (8, 16, 32))
    print(machine())
    with scratch() as folder:
        os.environ["GRISTMILL_EGRESS_ALLOW"] = "loopback"
        os.environ["GRISTMILL_DATA_DIR"] = str(folder / "data")
        os.environ["GRISTMILL_MASTER_KEY"] = MASTER_KEY
        cluster = Cluster(folder)
        mill = Mill(cluster, folder)
        mill._environment["GRISTMILL_EGRESS_ALLOW"] = "loopback"
        mill.workers(2)
        try:
            runs = Runs(cluster, mill)
            if options.only in {None, "rate"}:
                lines = [line for size in sizes for line in rate(runs, count, size)]
                head = ("leads", "per s", "ideal", f"share (goal {GOAL})", "bare loop", "share", "CPU ms a lead")
                print(table(head, lines))
            if options.only in {None, "429"}:
                lines = [throttled(runs, max(count // 4, 200), sizes[-1])]
                print(table(("a vendor that refuses", "per s", "it serves", "share", "refused"), lines))
                print(f"\nLeads allowed in flight at a vendor that serves {sizes[-1] // 2}, and from ^ on all:\n")
                print(recovery(runs, max(count // 4, 200), sizes[-1]))
            if options.only in {None, "quality"} and not options.quick:
                lines = quality(mill)
                head = (
                    "case", "field", "variants", "leads / records", "hidden", "precision", "recall",
                    "calibration error", "leads/s",
                )  # fmt: skip
                print(table(head, lines) if lines else "No public tables lie beside this project: no quality.")
        finally:
            mill.stop()
            cluster.stop()


if __name__ == "__main__":
    main()
