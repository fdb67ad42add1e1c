"""Where the bytes come from: a path, bytes or a stream, unpacked, as often as wanted."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from gristmill.tables.model import TooLargeToRead, Unreadable, UnsupportedFormat

HEAD_BYTES = 256 * 1024
"""Bytes that guesses are made from."""
CHUNK_BYTES = 1024 * 1024
"""Bytes read at a time."""
SPOOL_MEMORY_BYTES = 8 * 1024 * 1024
"""A stream that can't seek is kept in memory up to here, then in a temporary file."""
UNPACKED_BYTES_MAX = 16 * 1024**3
"""An archive that unpacks to more is refused."""
UNPACK_RATIO_MAX = 300
"""Text tables shrink 3 to 50 times; a file that shrinks more is a bomb."""
UNPACK_FREE_BYTES = 64 * 1024 * 1024
"""The ratio is looked at only beyond this many unpacked bytes."""
GZIP_PIECE_BYTES = 16 * 1024
"""Packed bytes unpacked at a time."""

GZIP_MAGIC = b"\x1f\x8b"


class Source:
    """Bytes that can be read several times, always a chunk at a time.

    A stream is read from where it stands. One that can't seek is copied to a temporary file first.
    """

    def __init__(self, source: str | Path | bytes | BinaryIO) -> None:
        self._path: Path | None = None
        self._stream: BinaryIO | None = None
        self._start = 0
        if isinstance(source, (str, Path)):
            self._path = Path(source)
        elif isinstance(source, bytes):
            self._stream = io.BytesIO(source)
        elif source.seekable():
            self._stream, self._start = source, source.tell()
        else:
            self._stream = _spool(source)
        self.compression: Literal["", "gzip"] = "gzip" if self._packed_head() == GZIP_MAGIC else ""
        self.head, self.is_whole = self._read_head()

    @property
    def suffix(self) -> str:
        """The file name's suffix in lower case without `.gz`; empty where there is no name."""
        if self._path is None:
            return ""
        name = self._path.name.lower().removesuffix(".gz")
        return Path(name).suffix

    def chunks(self) -> Iterator[bytes]:
        """All bytes, unpacked. Raises Unreadable (broken archive) and TooLargeToRead (bomb)."""
        packed = self._packed_chunks()
        return _inflate(packed) if self.compression else packed

    def _packed_head(self) -> bytes:
        return next(self._packed_chunks(), b"")[: len(GZIP_MAGIC)]

    def _read_head(self) -> tuple[bytes, bool]:
        head = bytearray()
        for chunk in self.chunks():
            head += chunk
            if len(head) > HEAD_BYTES:
                return bytes(head[:HEAD_BYTES]), False
        return bytes(head), True

    def _packed_chunks(self) -> Iterator[bytes]:
        if self._path is not None:
            try:
                with self._path.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        yield chunk
            except OSError as error:
                raise Unreadable(f"The file can't be opened: {error.strerror}.") from error
        elif self._stream is not None:
            self._stream.seek(self._start)
            while chunk := self._stream.read(CHUNK_BYTES):
                if not isinstance(chunk, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] (text streams get here)
                    raise UnsupportedFormat("The stream must be opened in binary mode.")
                yield chunk


def _spool(stream: BinaryIO) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES)  # noqa: SIM115 (lives as long as the Table)
    while chunk := stream.read(CHUNK_BYTES):
        spool.write(chunk)
    return spool  # pyright: ignore[reportReturnType] (a BinaryIO in all but its declared bases)


def _inflate(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip members one after the other; zlib's own buffer bounds the output of one step."""
    inflater = zlib.decompressobj(wbits=31)
    read = written = 0
    for piece in _pieces(packed):
        read += len(piece)
        rest = piece
        while rest:
            if inflater.eof:
                if not rest.strip(b"\0"):  # padding after the last member is allowed
                    break
                inflater = zlib.decompressobj(wbits=31)
            try:
                out = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                raise Unreadable("The gzip file is damaged.") from error
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            written += len(out)
            _check_unpacked(read, written)
            if out:
                yield out
    if not inflater.eof:
        raise Unreadable("The gzip file ends too early.")


def _pieces(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces: what follows a member is copied, which is slow when a chunk has many tiny members."""
    for chunk in packed:
        for start in range(0, len(chunk), GZIP_PIECE_BYTES):
            yield chunk[start : start + GZIP_PIECE_BYTES]


def _check_unpacked(read: int, written: int) -> None:
    if written > UNPACKED_BYTES_MAX:
        raise TooLargeToRead("The file unpacks to more than is allowed.", limit=UNPACKED_BYTES_MAX)
    if written > UNPACK_FREE_BYTES and written > read * UNPACK_RATIO_MAX:
        raise TooLargeToRead(
            f"The file unpacks to more than {UNPACK_RATIO_MAX} times its size.", limit=UNPACK_RATIO_MAX
        )
