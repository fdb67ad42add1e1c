"""`gristmill run` killed again and again over many rows; the flow test of the same name is the short form."""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path

import pytest

from flows.processes import Shell, agent_process, environment, open_folder, wait_for

ROWS = 20_000
KILLS = 12
SLOTS = 32

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_every_row_has_one_result_after_many_kills(tmp_path: Path) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - no secret
    chance = random.Random(seed)  # noqa: S311 - the same
    print(f"seed {seed}")  # noqa: T201 - repeats a failure
    with open_folder() as folder, agent_process(tmp_path) as agent:
        shell = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATA_DIR=str(folder / "data")))
        shell.write("n.csv", "n\n" + "".join(f"{n}\n" for n in range(ROWS)))
        shell.write(
            "agent.yaml",
            f"runtime: http\nconcurrency: {SLOTS}\nretry: {{max_attempts: 20, backoff: 0.1}}\n"
            f"config: {{url: '{agent.url}/slow/30'}}\n",
        )
        command = ["run", "n.csv", "--agent", "agent.yaml", "-o", "out.csv"]
        for _ in range(KILLS):
            before = agent.calls().total()
            running = shell.start(*command)
            wait_for(lambda before=before: agent.calls().total() > before, "a first call", 60)
            time.sleep(chance.uniform(0.0, 2.0))
            running.kill()
        code, said = shell(*command, within_s=600)
        assert code == 0, said.text
        with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["echo.n"] for row in rows] == [str(n) for n in range(ROWS)]
        assert {row["status"] for row in rows} == {"succeeded"}
        calls = agent.calls()
        assert len(calls) == ROWS
        assert calls.total() - ROWS <= KILLS * 4 * SLOTS, "only rows in flight at a kill are called again"
