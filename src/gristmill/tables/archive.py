"""Zip archives, read so that none of their numbers has to be believed.

The directory at the end is read and checked: few entries, none over another, no password. A member is unpacked from its
own bytes and counted as it comes out; sizes and checksum must then be what the directory says.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gristmill.tables.model import TooLargeToRead, Unreadable
from gristmill.tables.unpack import CHUNK_BYTES, Meter

ZIP_MAGIC = b"PK\x03\x04"
ENTRIES_MAX = 10_000
"""Entries of an archive; a workbook has one for each sheet and picture."""
DIRECTORY_BYTES_MAX = 4 * 1024 * 1024
"""Size of the directory."""
PACKED_CHUNK_BYTES = 64 * 1024
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MANY = 0xFFFF
"""Stands for a number that is in the wider record of a large archive."""
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive, as its directory has it."""

    name: str
    size: int
    """Unpacked bytes, which reading it proves or refutes."""
    packed: int
    offset: int
    crc: int
    method: int


class Archive:
    """A zip archive in a file that can seek. Safe to read members one after the other, not at the same time."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises Unreadable for a damaged or locked archive and TooLargeToRead for one beyond its limits."""
        self._file = file
        self.members = {member.name: member for member in _directory(file)}

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The unpacked bytes of one file. Raises Unreadable and TooLargeToRead, also in the middle."""
        self._file.seek(member.offset)
        head = self._file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or not head.startswith(ZIP_MAGIC):
            raise Unreadable("The zip archive is damaged.")
        *_, name_size, extra_size = _LOCAL.unpack(head)
        position = member.offset + _LOCAL.size + name_size + extra_size
        meter, written, crc = Meter(), 0, 0
        for out in self._inflate(member, position, meter):
            written += len(out)
            if written > member.size:
                raise TooLargeToRead(f"`{member.name[:100]}` unpacks to more than the archive says.", limit=member.size)
            crc = zlib.crc32(out, crc)
            meter.count(len(out))
            yield out
        if written != member.size or crc != member.crc:
            raise Unreadable(f"`{member.name[:100]}` in the archive is damaged.")

    def _inflate(self, member: Member, position: int, meter: Meter) -> Iterator[bytes]:
        inflater = zlib.decompressobj(wbits=-15)
        left = member.packed
        while left:
            self._file.seek(position)  # somebody else may read the same file in between
            piece = self._file.read(min(left, PACKED_CHUNK_BYTES))
            if not piece:
                raise Unreadable("The zip archive ends too early.")
            position += len(piece)
            left -= len(piece)
            meter.read += len(piece)
            if member.method == _STORED:
                yield piece
                continue
            try:
                # Output may wait inside when all input is used up.
                while not inflater.eof and ((out := inflater.decompress(piece, CHUNK_BYTES)) or piece):
                    yield out
                    piece = inflater.unconsumed_tail
            except zlib.error as error:
                raise Unreadable("The zip archive is damaged.") from error


def _directory(file: BinaryIO) -> list[Member]:
    size = _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            start = archive.start_dir
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
        raise Unreadable("The zip archive is damaged.") from error
    members: list[Member] = []
    for info in infos:
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("The zip archive has a password.")
        if info.compress_type not in (_STORED, _DEFLATED):
            raise Unreadable(f"`{info.filename[:100]}` is packed in a way that is not read here.")
        members.append(
            Member(
                info.filename.replace("\\", "/"),
                info.file_size,
                info.compress_size,
                info.header_offset,
                info.CRC,
                info.compress_type,
            )
        )
    _check_apart(members, min(start, size))
    return members


def _check_end(file: BinaryIO) -> int:
    """Size of the file. Refuses a directory that would take long to read, before it is read."""
    size = file.seek(0, 2)
    tail_size = min(size, _END.size + 0xFFFF)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or at + _END.size > len(tail):
        raise Unreadable("The zip archive is damaged or incomplete.")
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
    if _MANY in (entries, directory & _MANY) and at >= _LOCATOR.size:
        entries, directory = _wide_end(file, _LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2], (entries, directory))
    if entries > ENTRIES_MAX or directory > DIRECTORY_BYTES_MAX:
        raise TooLargeToRead(f"The archive has more than {ENTRIES_MAX} entries.", limit=ENTRIES_MAX)
    return size


def _wide_end(file: BinaryIO, offset: int, narrow: tuple[int, int]) -> tuple[int, int]:
    """(entries, bytes of the directory) of an archive with 64-bit numbers; `narrow` where there is none."""
    try:
        file.seek(offset)
        record = file.read(_END64.size)
    except (OSError, ValueError, OverflowError):
        return narrow
    if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
        return narrow
    values = _END64.unpack(record)
    return values[7], values[8]


def _check_apart(members: list[Member], end: int) -> None:
    """Refuse members that share bytes, which is how a small archive unpacks to a huge one."""
    ordered = sorted(members, key=lambda member: member.offset)
    for member, following in zip(ordered, [*(other.offset for other in ordered[1:]), end], strict=True):
        if member.offset + _LOCAL.size + member.packed > following:
            raise Unreadable("Files in the zip archive overlap.")
