"""Where the bytes come from: a path, bytes or a stream, unpacked, as often as wanted."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gristmill.tables.archive import ZIP_MAGIC, Archive, Member
from gristmill.tables.model import Compression, NoSuchSheet, Unreadable, UnsupportedFormat
from gristmill.tables.unpack import GZIP_MAGIC, UNPACKERS, ZSTD_MAGIC

HEAD_BYTES = 256 * 1024
"""Bytes that guesses are made from."""
CHUNK_BYTES = 1024 * 1024
"""Bytes read at a time."""
SPOOL_MEMORY_BYTES = 8 * 1024 * 1024
"""What has to be copied is kept in memory up to here, then in a temporary file."""
MEMBERS_NAMED = 5
"""Files of an archive that a message names."""
WORKBOOK_PARTS = ("[Content_Types].xml", "mimetype")
"""An archive that holds one of these is a document and no archive of files."""
TABLE_SUFFIXES = frozenset((
    ".csv", ".tsv", ".tab", ".psv", ".txt", ".json", ".geojson", ".jsonl", ".ndjson",
    ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".parquet",
))  # fmt: skip
_ABOUT = frozenset(("readme", "read_me", "read me", "license", "licence", "copying", "notice", "changelog", "about"))
_PACKED_SUFFIXES = (".gz", ".zst", ".zip")


class Source:
    """Bytes that can be read several times, always a chunk at a time.

    A stream is read from where it stands. One that can't seek is copied to a temporary file first. Gzip, Zstandard and
    a zip archive of files are unpacked, one layer of them. Of an archive with several tables the largest is read,
    unless `member` names one (or counts them, from 0).
    """

    def __init__(self, source: str | Path | bytes | BinaryIO, member: str | int | None = None) -> None:
        """Raises Unreadable, TooLargeToRead and NoSuchSheet."""
        self._path: Path | None = None
        self._stream: BinaryIO | None = None
        self._start = 0
        self._unpacked: BinaryIO | None = None
        if isinstance(source, (str, Path)):
            self._path = Path(source)
        elif isinstance(source, bytes):
            self._stream = io.BytesIO(source)
        elif source.seekable():
            self._stream, self._start = source, source.tell()
        else:
            self._stream = _spool(_read_on(source))
        self.warnings: list[str] = []
        self.member = ""
        """Name of the file of an archive that is read."""
        self.tables: list[str] = []
        """Names of the files of an archive that may be read."""
        self.member_was_named = False
        """Whether `member` chose the file, so that it is no name of a sheet inside of it."""
        self.compression = self._find_compression(member)
        self.head, self.is_whole = self._read_head()

    @property
    def suffix(self) -> str:
        """The file name's suffix in lower case without `.gz`; empty where there is no name."""
        if self.member:
            return PurePosixPath(self.member.lower()).suffix
        if self._path is None:
            return ""
        name = self._path.name.lower()
        for packed in _PACKED_SUFFIXES:
            name = name.removesuffix(packed) if self.compression else name
        return Path(name).suffix

    def chunks(self) -> Iterator[bytes]:
        """All bytes, unpacked. Raises Unreadable (broken archive) and TooLargeToRead (bomb)."""
        if self._unpacked is not None:
            self._unpacked.seek(0)
            return _read_on(self._unpacked)
        if self.compression == "zip":
            return self._member_chunks()
        packed = self._packed_chunks()
        return UNPACKERS[self.compression](packed) if self.compression else packed

    @contextmanager
    def open(self) -> Generator[BinaryIO]:
        """All bytes, unpacked, as a file that can seek; what is packed is unpacked to a temporary file once."""
        if self.compression:
            if self._unpacked is None:
                self._unpacked = _spool(self.chunks())
            yield self._unpacked
        else:
            with self._packed_file() as file:
                yield file

    @contextmanager
    def _packed_file(self) -> Generator[BinaryIO]:
        if self._path is not None:
            with _open(self._path) as file:
                yield file
        elif self._stream is not None:
            window = _Window(self._stream, self._start) if self._start else self._stream
            yield window  # pyright: ignore[reportReturnType] (a BinaryIO in all but its declared bases)

    def _find_compression(self, member: str | int | None) -> Compression:
        magic = next(self._packed_chunks(), b"")[: len(ZIP_MAGIC)]
        if magic.startswith(GZIP_MAGIC):
            return "gzip"
        if magic == ZSTD_MAGIC:
            return "zstd"
        if magic == ZIP_MAGIC:
            with self._packed_file() as file:
                members = Archive(file).members
            if not any(part in members for part in WORKBOOK_PARTS):
                self._choose(list(members.values()), member)
                return "zip"
        return ""

    def _choose(self, members: list[Member], wanted: str | int | None) -> None:
        files = [item for item in members if item.size and not _is_litter(item.name)]
        named = [item for item in files if PurePosixPath(item.name.lower()).suffix in TABLE_SUFFIXES]
        files = [item for item in named if not _is_about(item.name)] or named or files
        self.tables = [item.name for item in files]
        names = ", ".join(self.tables[:MEMBERS_NAMED]) + (", ..." if len(files) > MEMBERS_NAMED else "")
        if not files:
            raise Unreadable("The zip archive has no files.")
        if isinstance(wanted, int) and len(files) > 1:
            if not 0 <= wanted < len(files):
                raise NoSuchSheet(f"The archive has no file {wanted}; it has {len(files)}, counted from 0: {names}.")
            wanted = self.tables[wanted]
        for name in self.tables:
            if wanted in (name, PurePosixPath(name).name):
                self.member, self.member_was_named = name, True
                return
        chosen = max(files, key=lambda item: item.size)
        self.member = chosen.name
        if len(files) > 1:
            self.warnings.append(f"The archive has {len(files)} files ({names}). The largest is read: {chosen.name}.")
        elif len(members) > 1:
            self.warnings.append(f"Of the archive {chosen.name} is read.")

    def _member_chunks(self) -> Iterator[bytes]:
        with self._packed_file() as file:
            archive = Archive(file)
            yield from archive.chunks(archive.members[self.member])

    def _read_head(self) -> tuple[bytes, bool]:
        head = bytearray()
        for chunk in self.chunks():
            head += chunk
            if len(head) > HEAD_BYTES:
                return bytes(head[:HEAD_BYTES]), False
        return bytes(head), True

    def _packed_chunks(self) -> Iterator[bytes]:
        if self._path is not None:
            with _open(self._path) as file:
                yield from _read_on(file)
        elif self._stream is not None:
            self._stream.seek(self._start)
            yield from _read_on(self._stream)


def _is_litter(name: str) -> bool:
    """What operating systems put beside one's files."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def _is_about(name: str) -> bool:
    """What people put beside their tables."""
    path = PurePosixPath(name.lower())
    return path.suffix == ".txt" and path.stem in _ABOUT


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable(f"The file can't be opened: {error.strerror}.") from error


def _read_on(file: BinaryIO) -> Iterator[bytes]:
    """From where it stands to its end."""
    while chunk := file.read(CHUNK_BYTES):
        if not isinstance(chunk, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] (text streams get here)
            raise UnsupportedFormat("The stream must be opened in binary mode.")
        yield chunk


def _spool(chunks: Iterator[bytes]) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES)  # noqa: SIM115 (lives as long as the Table)
    for chunk in chunks:
        spool.write(chunk)
    return spool  # pyright: ignore[reportReturnType] (a BinaryIO in all but its declared bases)


class _Window(io.RawIOBase):
    """The rest of a stream as a file that starts at 0."""

    def __init__(self, stream: BinaryIO, start: int) -> None:
        super().__init__()
        self._stream = stream
        self._start = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = self._start if whence == io.SEEK_SET else 0
        return self._stream.seek(offset + base, whence) - self._start

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)
