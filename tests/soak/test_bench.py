"""The benchmarks run: a smoke run of each, whose numbers mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("engine.py", "--quick"), "gristmill, no-op agent, 2 workers"),
        (("startup.py", "--quick"), "gristmill up, warm"),
        (("api.py", "--quick"), "no-op agent at full speed"),
        (("events.py", "--quick"), "one webhook, in order"),
        (("connectors.py", "--quick"), "unchanged re-sync of 200 keys"),
        (("enrich.py", "--quick"), "a vendor that refuses"),
        (("datasets.py", "--quick"), "hybrid p99 in ms"),
        (("gotemplate.py", "--quick"), "faster than Jinja2"),
        (("memory.py", "--rows", "20000"), "'closed': True"),
    ],
    ids=["engine", "startup", "api", "events", "connectors", "enrich", "datasets", "gotemplate", "memory"],
)
def test_benchmark_runs(arguments: tuple[str, ...], shown: str) -> None:
    command = (sys.executable, BENCH / arguments[0], *arguments[1:])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert shown in done.stdout
