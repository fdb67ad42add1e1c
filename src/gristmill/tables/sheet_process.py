"""XLS, XLSB and ODS workbooks, read by calamine in a child process that has little memory and little time.

calamine keeps a sheet in memory as a whole and ends its process on some hostile files. So it works in a process of its
own, which writes the sheet's cells to a temporary file once; every reading is one of that file.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gristmill.tables.archive import ZIP_MAGIC, Archive
from gristmill.tables.grid import GridRow
from gristmill.tables.model import Format, NoSuchSheet, Sheet, TooLargeToRead, Unreadable
from gristmill.tables.source import Source
from gristmill.tables.table import Log

MEMORY_BYTES_BASE = 192 * 1024**2
"""Address space of the child, whose program takes a fifth of it."""
MEMORY_PER_BYTE = 24
"""More of it for each byte of the unpacked workbook."""
MEMORY_BYTES_MAX = 4 * 1024**3
CPU_S_BASE = 5
BYTES_PER_CPU_S = 4 * 1024**2
"""One more second for so much of the unpacked workbook."""
CPU_S_MAX = 300
WAIT_FACTOR = 4
"""A child on a busy machine may take so many times its CPU time."""
OUTPUT_BYTES_MAX = 8 * 1024**3
WORKBOOK_BYTES_MAX = 2 * 1024**3
"""Unpacked size of a workbook that is read this way."""
_SIGNS_OF_SIZE = (b"MemoryError", b"memory allocation", b"limit exceeded", b"failed to map")
_MERGED = "Cells are merged; their text stands in the first of them."


class ProcessGrid:
    """One sheet of a workbook, converted by a child process."""

    def __init__(self, source: Source, form: Format, wanted: str | int | None) -> None:
        """Raises Unreadable, TooLargeToRead and NoSuchSheet."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the Table)
        size = _weigh(source)
        # Without the right ending calamine tries all formats and hides why the right one failed.
        with tempfile.NamedTemporaryFile(prefix="gristmill-", suffix=f".{form}") as copy, source.open() as file:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            self._run(copy.name, wanted, size)
        self._output.seek(0)
        head = self._load(self._output.readline())
        if "error" in head:
            raise (NoSuchSheet if head["code"] == NoSuchSheet.code else Unreadable)(head["error"])
        self.sheets = tuple(Sheet(name, visible) for name, visible in head["sheets"])
        self.sheet: str = head["sheet"]
        self._merged: bool = head["merged"]
        self._width: int = head["width"]
        self._start = self._output.tell()

    def rows(self, log: Log) -> Iterator[list[GridRow]]:
        """See grid.Grid."""
        position = self._start
        while True:
            self._output.seek(position)  # another reading may have been here
            line = self._output.readline()
            if not line:
                break
            position = self._output.tell()
            rows = [GridRow(number, cells) for number, cells in self._load(line)]
            if rows:
                yield rows
        if self._merged:
            log.note(_MERGED)

    def outer_column(self) -> int:
        """See grid.Grid."""
        return self._width

    def _load(self, line: bytes) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Unreadable("The workbook is damaged.") from error

    def _run(self, path: str, wanted: str | int | None, size: int) -> None:
        memory = min(MEMORY_BYTES_BASE + MEMORY_PER_BYTE * size, MEMORY_BYTES_MAX)
        cpu_s = min(CPU_S_BASE + size // BYTES_PER_CPU_S, CPU_S_MAX)
        limits = [str(memory), str(cpu_s), str(OUTPUT_BYTES_MAX)]
        command = [sys.executable, "-m", "gristmill.tables.sheet_child", path, orjson.dumps(wanted).decode(), *limits]
        # Nothing of our environment is its business.
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=Path(path).parent,
                timeout=cpu_s * WAIT_FACTOR,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TooLargeToRead("Reading the workbook takes too long.", limit=cpu_s) from error
        if done.returncode:
            raise _explain(done.returncode, done.stderr, memory)


def _explain(code: int, told: bytes, memory: int) -> Unreadable | TooLargeToRead:
    """Why the child ended."""
    if code == -signal.SIGXCPU:
        return TooLargeToRead("Reading the workbook takes too long.")
    if code < 0 or any(sign in told for sign in _SIGNS_OF_SIZE):
        return TooLargeToRead("Reading the workbook takes too much memory.", limit=memory)
    if b"PasswordError" in told or b"password" in told.lower():
        return Unreadable("The workbook has a password.")
    return Unreadable("The workbook is damaged, or no workbook.")


def _weigh(source: Source) -> int:
    """Unpacked size. Raises Unreadable and TooLargeToRead for an archive that is not what it says."""
    size = 0
    with source.open() as file:
        if source.head.startswith(ZIP_MAGIC):
            archive = Archive(file)
            chunks = (chunk for member in archive.members.values() for chunk in archive.chunks(member))
        else:
            chunks = source.chunks()
        for chunk in chunks:
            size += len(chunk)
            if size > WORKBOOK_BYTES_MAX:
                raise TooLargeToRead("The workbook is too large for its format.", limit=WORKBOOK_BYTES_MAX)
    return size
