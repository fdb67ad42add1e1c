"""`gristmill dataset` from a file to answers, with real processes and no server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHOPS = (
    "id,Company Name,what\n"
    "1,Haney Furniture,Oak tables and chairs made by hand\n"
    "2,Blue Door Bakery,Fresh bread and cakes every morning\n"
    "3,Smith Plumbing,Repairs of leaking pipes and boilers\n"
)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command() -> Iterator[Command]:
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRISTMILL_")}
    environment["GRISTMILL_DATA_DIR"] = str(folder / "data")

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "gristmill.doors.cli", "dataset", *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    yield run
    shutil.rmtree(folder, ignore_errors=True)


def test_from_a_file_to_answers(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "shops.csv"
    file.write_text(SHOPS)
    made = command("add", str(file), "--key", "id")
    assert "3 rows = 3 records + 0 duplicates + 0 empty + 0 failed" in made.stdout
    number = made.stderr.split("Dataset ", 1)[1].split(":", 1)[0]
    assert f"`gristmill dataset apply {number} FILE`" in command("add", str(file), code=2).stderr
    hits = json.loads(command("search", "something to eat for breakfast", "--top", "1", "--json").stdout)
    assert [hit["record_key"] for hit in hits] == ["2"]
    assert command("query", number, "SELECT count(*) AS n FROM records WHERE id > 1").stdout == "n\n2\n"
    file.write_text(SHOPS.replace("every morning", "on Sundays") + "4,New Leaf,House plants\n")
    planned = command("plan", number, str(file)).stdout
    assert planned.startswith("1 added, 1 changed, 0 removed, 2 unchanged; 2 texts to embed")
    assert "4 rows = 4 records" in command("apply", number, str(file)).stdout
    listed = json.loads(command("list", "--json").stdout)
    assert [(item["id"], item["version"], item["source_count"]) for item in listed] == [(int(number), 2, 4)]
    assert command("query", "shops", "SELECT count(*) AS n FROM records").stdout == "n\n4\n", "by its title"
    unknown = command("query", "99", "SELECT 1", code=1).stderr
    assert f"The agent `library` has no dataset `99`; it has: {number} (shops)." in unknown
    refused = command("query", number, "SELECT * FROM agent", code=1)
    assert "Error" in refused.stderr


def test_what_is_no_record_is_told_and_a_version_is_gone_back_to(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "shops.csv"
    file.write_text(SHOPS + "1,Haney Furniture,Twice in the file\n")
    made = command("add", str(file), "--key", "id")
    number = made.stderr.split("Dataset ", 1)[1].split(":", 1)[0]
    assert "4 rows = 3 records + 1 duplicates" in made.stdout
    assert f"gristmill dataset errors {number}" in made.stderr
    listed = command("errors", number).stdout.splitlines()
    assert len(listed) == 2
    assert "Oak tables and chairs made by hand" in listed[1]
    file.write_text(SHOPS.splitlines()[0] + "\n3,Smith Plumbing,Repairs of leaking pipes and boilers\n")
    assert "1 rows = 1 records" in command("apply", number, str(file), "--confirm").stdout
    shown = command("versions", number).stdout.splitlines()
    assert [line.split("\t")[0] for line in shown] == ["version", "2 *", "1"]
    assert shown[1].split("\t")[3:] == ["1", "0", "0", "2", "0"]
    assert f"Dataset {number} is at version 1: 3 records of shops.csv" in command("activate", number, "1").stdout
