"""Unpacking gzip and Zstandard as a stream, one layer, and the limits that end a bomb early."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from gristmill.tables.model import TooLargeToRead, Unreadable

CHUNK_BYTES = 1024 * 1024
"""Unpacked bytes handed out at a time."""
UNPACKED_BYTES_MAX = 16 * 1024**3
"""A file that unpacks to more is refused."""
UNPACK_RATIO_MAX = 300
"""Tables shrink 3 to 50 times; a file that shrinks more is a bomb."""
UNPACK_FREE_BYTES = 16 * 1024 * 1024
"""The ratio is looked at only beyond this many unpacked bytes."""
GZIP_PIECE_BYTES = 16 * 1024
"""Packed bytes unpacked at a time."""
ZSTD_PIECE_BYTES = 512
"""The same; a block of Zstandard has 4 bytes at least and gives 128 KiB at most."""
ZSTD_WINDOW_BYTES_MAX = 128 * 1024 * 1024
"""What Zstandard may keep in memory; its own tools refuse more by default."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Meter:
    """Counts what goes in and what comes out. Raises TooLargeToRead for what no table does."""

    def __init__(self) -> None:
        self.read = self.written = 0

    def count(self, written: int) -> None:
        """More bytes came out."""
        self.written += written
        if self.written > UNPACKED_BYTES_MAX:
            raise TooLargeToRead("The file unpacks to more than is allowed.", limit=UNPACKED_BYTES_MAX)
        if self.written > UNPACK_FREE_BYTES and self.written > self.read * UNPACK_RATIO_MAX:
            raise TooLargeToRead(
                f"The file unpacks to more than {UNPACK_RATIO_MAX} times its size.", limit=UNPACK_RATIO_MAX
            )


def gunzip(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip members one after the other; zlib's own buffer bounds the output of one step."""
    inflater, meter = zlib.decompressobj(wbits=31), Meter()
    for piece in _pieces(packed, GZIP_PIECE_BYTES):
        meter.read += len(piece)
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
            meter.count(len(out))
            if out:
                yield out
    if not inflater.eof:
        raise Unreadable("The gzip file ends too early.")


def unzstd(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack Zstandard frames one after the other. The size of a piece bounds the output of one step."""
    import zstandard  # noqa: PLC0415 - few files need it

    unpacker, meter = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX), Meter()
    inflater = unpacker.decompressobj()
    for piece in _pieces(packed, ZSTD_PIECE_BYTES):
        meter.read += len(piece)
        rest = piece
        while rest:
            if inflater.eof:
                inflater = unpacker.decompressobj()
            try:
                out = inflater.decompress(rest)
            except zstandard.ZstdError as error:
                raise Unreadable("The Zstandard file is damaged.") from error
            rest = inflater.unused_data if inflater.eof else b""
            meter.count(len(out))
            if out:
                yield out
    if not inflater.eof:
        raise Unreadable("The Zstandard file ends too early.")


def _pieces(packed: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Small pieces: what follows a member is copied, which is slow when a chunk has many tiny members."""
    for chunk in packed:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


UNPACKERS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {"gzip": gunzip, "zstd": unzstd}
"""Compression -> how it is undone."""
