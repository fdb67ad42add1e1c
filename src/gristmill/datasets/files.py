"""Files of datasets: into the object store, and out of it as tables."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from gristmill.base.config import Settings
from gristmill.base.errors import FieldError, Invalid, TooLarge
from gristmill.base.ids import uuid7
from gristmill.base.objects import ObjectNotFound, ObjectStore
from gristmill.datasets.model import FileNotKept, FileType, Sent
from gristmill.tables import Table, read_table

NAME_CHARS_MAX = 200
UNUSED_HOURS = 24
"""How long a file is kept that no dataset uses."""
SUFFIXES: dict[str, FileType] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".psv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".geojson": "json",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
_FORMATS: dict[FileType, frozenset[str]] = {
    "csv": frozenset({"delimited"}),
    "json": frozenset({"json", "jsonl"}),
    "excel": frozenset({"xlsx", "xlsb", "xls", "ods"}),
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


def type_of_name(name: str) -> FileType | None:
    """What a file's name says about its type."""
    path = PurePosixPath(name.lower().removesuffix(".gz"))
    return SUFFIXES.get(path.suffix)


def keep(
    settings: Settings, organization_id: int, agent_id: int, name: str, kind: FileType, data: Iterable[bytes] | BinaryIO
) -> Sent:
    """Put a file into the object store; memory stays flat. Raises `TooLarge`."""
    file_id = uuid7()
    shown = name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1][:NAME_CHARS_MAX] or "file"
    plain = _UNSAFE.sub("_", shown).strip("._")[-80:] or "file"
    key = f"datasets/{organization_id}/{agent_id}/{file_id}-{plain}"
    stored = ObjectStore.of(settings).put_stream(key, _limited(data, settings.dataset_file_bytes_max))
    return Sent(file_id, stored.key, shown, kind, stored.size_bytes, stored.sha256)


def _limited(data: Iterable[bytes] | BinaryIO, limit: int) -> Iterable[bytes]:
    size = 0
    read = getattr(data, "read", None)
    chunks: Iterable[bytes] = iter(lambda: read(1024**2), b"") if read else data
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"The file has more than {limit} bytes.", limit=limit)
        yield chunk


def discard(settings: Settings, file: Sent) -> None:
    """Remove a file that was put for nothing."""
    ObjectStore.of(settings).delete(file.object_key)


@contextmanager
def open_stream(settings: Settings, file: Sent) -> Generator[BinaryIO]:
    """A file's bytes. Raises `FileNotKept`."""
    try:
        stream = ObjectStore.of(settings).open(file.object_key)
    except ObjectNotFound:
        raise FileNotKept(f"The file {file.object_key} is not there any more.") from None
    with stream:
        yield stream


@contextmanager
def open_table(settings: Settings, file: Sent) -> Generator[Table]:
    """A file as a table, to be read as often as needed while it is open.

    Raises `FileNotKept`, `Invalid` when it is not of its type, and what `read_table` raises.
    """
    with open_stream(settings, file) as stream:
        yield checked_table(stream, file)


def checked_table(stream: BinaryIO, file: Sent) -> Table:
    """The table in a stream. Raises `Invalid` when it is not of the type that it is said to be."""
    table = named_table(stream, file.name)
    found = table.dialect.format
    if found not in _FORMATS[file.type]:
        real = next((name for name, formats in _FORMATS.items() if found in formats), found)
        message = f"is `{file.type}`, but the file looks like {real}"
        raise Invalid(f"`type` {message}.", errors=(FieldError("type", message),))
    return table


def named_table(stream: BinaryIO, name: str) -> Table:
    """The table in a stream; a name that says JSON is believed, since damaged JSON looks like anything."""
    plain = PurePosixPath(name.lower().removesuffix(".gz"))
    if plain.suffix in {".jsonl", ".ndjson"}:
        return read_table(stream, format="jsonl")
    table = read_table(stream)
    if type_of_name(name) == "json" and type_of_table(table) == "csv":
        stream.seek(0)
        return read_table(stream, format="json")
    return table


def type_of_table(table: Table) -> FileType | None:
    """The type of a file by its content."""
    found = table.dialect.format
    return next((name for name, formats in _FORMATS.items() if found in formats), None)
