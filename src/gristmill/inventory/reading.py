"""Reading files of the inventory: once when they come, and again whenever their rows are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from gristmill.base.config import Settings
from gristmill.base.objects import ObjectNotFound, ObjectStore
from gristmill.inventory.model import (
    Examined,
    FileColumn,
    FileReceipt,
    Format,
    InventoryNotFound,
    OpenedFile,
    StoredInventory,
    fits,
    format_of,
)
from gristmill.tables import Dialect, Table, Unreadable, UnsupportedFormat, read_table, write_jsonl

COPY_BYTES = 1024**2
SPOOL_MEMORY_BYTES = 8 * 1024**2
HEADER_BYTES_MAX = 64 * 1024


class WrongFormat(Unreadable):
    """The file is not what it was said to be."""


class Reader:
    """Reads one file after the other, often many of one kind.

    Files that come from one place mostly look alike. When one begins with the very line that an earlier one began with,
    it is read the same way without guessing again; if then any record is rejected, or the reader has a warning, it is
    looked at afresh.
    """

    def __init__(self, declared: Format | None = None) -> None:
        """`declared`: what files are said to be; one of another kind is refused."""
        self._declared: Format | None = declared
        self._known: dict[bytes, Dialect] = {}

    def examine(self, data: bytes | BinaryIO) -> Examined:
        """Read a whole file, an open one from where it stands. Raises `Unreadable` or `TooLargeToRead`."""
        head = _first_line(data)
        known = self._known.get(head) if head else None
        if known is not None:
            start = 0 if isinstance(data, bytes) else data.tell()
            found = _read(data, known)
            if not found.receipt.rejects and not found.receipt.warnings:
                return found
            if not isinstance(data, bytes):
                data.seek(start)
        found = _read(data, None)
        if not fits(self._declared, found.format):
            raise WrongFormat(f"The file is {found.format}; {self._declared} was expected.")
        if head and found.format == "CSV" and found.dialect.header and not found.dialect.preamble:
            self._known[head] = found.dialect
        return found


def _first_line(data: bytes | BinaryIO) -> bytes:
    """The first line of a file with its end; empty when it is packed, binary or very long."""
    if isinstance(data, bytes):
        head = data[:HEADER_BYTES_MAX]
    else:
        start = data.tell()
        head = data.read(HEADER_BYTES_MAX)
        data.seek(start)
    line, newline, _ = head.partition(b"\n")
    return line + newline if newline and line.strip() and b"\0" not in line else b""


def _read(data: bytes | BinaryIO, dialect: Dialect | None) -> Examined:
    try:
        table = read_table(data, dialect=dialect)
        for _group in table.groups():
            pass
    except UnsupportedFormat as error:
        raise Unreadable(error.message) from None
    found = table.receipt
    receipt = FileReceipt(
        lines=found.lines,
        header=found.header,
        preamble=found.preamble,
        rows=found.rows,
        rejects=found.rejects,
        footers=found.footers,
        blank=found.blank,
        warnings=list(found.warnings),
    )
    return Examined(format_of(table.dialect), table.dialect, _columns(table), receipt)


def _columns(table: Table) -> list[FileColumn]:
    return [FileColumn(column.name, column.type) for column in table.columns]


@contextmanager
def open_file(stored: StoredInventory, settings: Settings) -> Generator[BinaryIO]:
    """A local copy of a file's bytes. Raises `InventoryNotFound` when the object store has lost them."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES) as spool:
        file = cast("BinaryIO", spool)
        try:
            with ObjectStore.of(settings).open(stored.object_key) as source:
                while chunk := source.read(COPY_BYTES):
                    file.write(chunk)
        except ObjectNotFound:
            raise InventoryNotFound(f"The bytes of the file {stored.id} are gone.") from None
        file.seek(0)
        yield file


@contextmanager
def open_rows(stored: StoredInventory, settings: Settings) -> Generator[OpenedFile]:
    """All rows of a file, copied to this machine first, so that taking them inside a transaction touches no network."""
    with open_file(stored, settings) as file:
        table = read_table(file, dialect=stored.dialect)
        columns = [column.name for column in table.columns]
        yield OpenedFile(stored.inventory.name, columns, (dict(row) for row in table.rows()))


def write_rejects(stored: StoredInventory, settings: Settings) -> Iterator[bytes]:
    """The records of a file that are no rows, as JSON lines with line, reason and text."""
    with open_file(stored, settings) as file:
        table = read_table(file, dialect=stored.dialect)
        for _group in table.groups():
            pass
        yield from write_jsonl(
            {"line": item.line, "reason": item.reason, "kind": item.kind, "raw": item.raw.decode("utf-8", "replace")}
            for item in table.rejects
        )
