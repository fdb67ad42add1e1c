"""Fuzzing of the reader of tables, guided by coverage, from the shared files or a few of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = int(os.environ.get("GRISTMILL_FUZZ_SECONDS", "600"))
FILES = Path(__file__).parents[2] / ".." / "shared" / "data" / "csv"
SEED_BYTES_MAX = 8_000
RUNS_MIN = 5
"""A second; fewer would say that it hangs."""
SEEDS = (
    b'id,name\n1,Ana\n2,"Ben, Jr."\n',
    b"a;b;c\r\n1;2,5;x\r\n",
    b"Report\n\na\tb\n1\t2\nTotal\t2\n",
    b'[{"a": 1, "b": [2, {"c": null}]}]',
    b'{"a": 1}\n{"a": 2, "b": "x"}\n',
    b"\xe8\xec\xff,\xe3\xee\xf0\xee\xe4\n\xc0\xed\xed\xe0,\xcc\xee\xf1\xea\xe2\xe0\n",
    "id,name\n1,Zo\u00eb\n".encode("utf-16"),
)  # fmt: skip


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not there: uv sync --group bench")
def test_every_input_is_read_or_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    found = [path.read_bytes() for path in FILES.glob("**/files/*") if path.stat().st_size <= SEED_BYTES_MAX]
    for number, data in enumerate([*SEEDS, *found]):
        (corpus / str(number)).write_bytes(data)
    limits = ("-timeout=10", "-rss_limit_mb=2000", "-max_len=4096", "-print_final_stats=1")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("fuzz_tables.py"), corpus, f"-max_total_time={SECONDS}", *limits],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    told = done.stderr[-4000:]
    assert done.returncode == 0, told
    runs = next(int(line.split()[-1]) for line in told.splitlines() if "number_of_executed_units" in line)
    print(f"{runs} inputs from {len(found)} shared files, corpus of {len(list(corpus.iterdir()))}")  # noqa: T201
    assert runs >= RUNS_MIN * SECONDS
