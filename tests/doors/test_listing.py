"""Lists of the command line: for people in columns, for programs in lines."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen

import pytest

from gristmill.doors.listing import print_list

HEADS = ("id", "title", "records", "processed")
ROWS = [("1", "one\tor\ntwo [bold]", 1_234_567, datetime(2026, 11, 26, 9, 10, tzinfo=UTC)), ("2", "none", 0, None)]


def test_a_program_gets_a_heading_and_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(HEADS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "id\ttitle\trecords\tprocessed",
        "1\tone or two [bold]\t1234567\t2026-11-26 09:10",
        "2\tnone\t0\t",
    ]


def test_a_terminal_gets_aligned_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "show.py"
    script.write_text(
        "import datetime\nfrom gristmill.doors.listing import print_list\n"
        f"print_list({HEADS!r}, {[(*row[:3], None) for row in ROWS]!r})\n"
    )
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    lines = [line.rstrip() for line in on_terminal([sys.executable, str(script)]).splitlines()]
    assert lines == [
        "id  title                records  processed",
        "1   one or two [bold]  1,234,567",
        "2   none                       0",
    ]


def on_terminal(words: list[str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with Popen(words, stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the end of a terminal is an error on Linux
            while part := os.read(ours, 4096):
                said += part
        assert process.wait(30) == 0, said
    os.close(ours)
    return said.decode()
