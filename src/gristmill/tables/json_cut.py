"""Cutting a long JSON array into its elements without parsing it, a megabyte at a time."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from gristmill.tables.model import TooLargeToRead

ELEMENT_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of one element."""

# A string (without its end when the buffer stops inside it) or a character that changes the depth.
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*(?P<end>"?)|[\[\]{},]', re.DOTALL)
_QUOTE, _COMMA = ord('"'), ord(",")


class Piece(NamedTuple):
    """Some whole elements of the array, as they lie in the file."""

    raw: bytes
    """With the commas between them."""
    ends: list[int]
    """Index in `raw` behind each element."""
    fault: str = ""
    """What is wrong with the last one, or with the end of the array where there is none; empty when all is well."""

    def elements(self) -> Iterator[bytes]:
        """One by one."""
        start = 0
        for end in self.ends:
            yield self.raw[start:end].strip()
            start = end + 1


def cut_array(chunks: Iterator[bytes], place: int = 0) -> Iterator[Piece]:
    """The elements of an array of objects in a JSON text, or of the array that it is.

    `place` counts the arrays of objects from 0; nothing where there is no such array. What an object has before or
    behind its array is not looked at; what stands behind an array that is the text itself is a fault. Raises
    TooLargeToRead for an element beyond its limit.
    """
    found = _find_array(chunks)
    for _ in range(place):
        rest = None if found is None else _count(found[0], chunks)[1]
        found = None if rest is None else _find_array(chain([rest], chunks))
    if found is None:
        return
    buffer, is_wrapped = found
    rest = yield from _elements(buffer, chunks)
    if rest is not None and not is_wrapped:
        yield from _behind(rest, chunks)


def longest_array(chunks: Iterator[bytes]) -> int:
    """The `place` of the array of objects that has the most elements; of equals the first."""
    counts: list[int] = []
    found = _find_array(chunks)
    while found is not None and found[1]:
        count, rest = _count(found[0], chunks)
        counts.append(count)
        found = None if rest is None else _find_array(chain([rest], chunks))
    return max(range(len(counts)), key=counts.__getitem__, default=0)


def _count(buffer: bytes, chunks: Iterator[bytes]) -> tuple[int, bytes | None]:
    """(elements of the array whose inside starts with `buffer`, what follows it)."""
    elements, count = _elements(buffer, chunks), 0
    while True:
        try:
            count += len(next(elements).ends)
        except StopIteration as end:
            return count, end.value


def _elements(buffer: bytes, chunks: Iterator[bytes]) -> Generator[Piece, None, bytes | None]:
    """The elements of the array whose inside starts with `buffer`; returns what follows it, None at the file's end."""
    enough = 0
    while True:
        if len(buffer) >= enough:
            piece, rest, is_over = _cut(buffer)
            if piece.ends:
                yield piece
            if is_over:
                return rest
            # A long element is looked at again only when twice as much is there: linear, not quadratic.
            enough = 0 if piece.ends else 2 * len(rest)
            buffer = rest
        if len(buffer) > ELEMENT_BYTES_MAX:
            raise TooLargeToRead(f"An element is longer than {ELEMENT_BYTES_MAX} bytes.", limit=ELEMENT_BYTES_MAX)
        chunk = next(chunks, None)
        if chunk is None:
            break
        buffer += chunk
    piece, rest, is_over = _cut(buffer)
    if piece.ends:
        yield piece
    if is_over:
        return rest
    if rest.strip():
        yield Piece(rest, [len(rest)], "The file ends in the middle of this element.")
    else:
        yield Piece(b"", [], "The file ends before its array of rows does.")
    return None


def _behind(buffer: bytes, chunks: Iterator[bytes]) -> Iterator[Piece]:
    """The beginning of what stands behind the array, when that is not blank."""
    while not buffer.strip():
        chunk = next(chunks, None)
        if chunk is None:
            return
        buffer = chunk
    yield Piece(buffer, [len(buffer)], "It stands behind the array of rows and is not read.")


def _find_array(chunks: Iterator[bytes]) -> tuple[bytes, bool] | None:
    """(what follows the opening bracket, whether an object has it); None without one."""
    buffer, position, opened = b"", 0, -1
    is_first = True
    for chunk in chunks:
        buffer += chunk
        if is_first and buffer.strip():
            is_first = False
            if buffer.lstrip().startswith(b"["):
                return buffer.lstrip()[1:], False
        for match in _TOKEN.finditer(buffer, position):
            if match["end"] == b"":
                break
            position = match.end()
            token = match[0]
            if token == b"{" and opened >= 0:
                return buffer[opened:], True
            opened = match.end() if token == b"[" else -1
        keep = opened if opened >= 0 else position
        buffer, position = buffer[keep:], position - keep
        opened = 0 if opened >= 0 else -1
        if len(buffer) > ELEMENT_BYTES_MAX:
            raise TooLargeToRead(f"A value is longer than {ELEMENT_BYTES_MAX} bytes.", limit=ELEMENT_BYTES_MAX)
    return None


def _cut(buffer: bytes) -> tuple[Piece, bytes, bool]:
    """(whole elements, what follows them, whether the array ends) of text that starts between two elements."""
    # Escaped quotes are no quotes; both replacements keep every place.
    plain = buffer.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in buffer else buffer
    data = np.frombuffer(plain, np.uint8)
    is_inside = np.bitwise_xor.accumulate(data == _QUOTE)
    marks = np.flatnonzero(_MARKS[data] & ~is_inside)
    kinds = data[marks]
    depth = np.cumsum(_STEPS[kinds])
    commas = marks[(kinds == _COMMA) & (depth == 0)]
    closing = marks[depth < 0]
    if closing.size:
        end = int(closing[0])
        ends = [*(int(place) for place in commas[commas < end])]
        last = ends[-1] + 1 if ends else 0
        if buffer[last:end].strip():
            ends.append(end)
        return Piece(buffer[:end], ends), buffer[end + 1 :], True
    if not commas.size:
        return Piece(b"", []), buffer, False
    end = int(commas[-1])
    return Piece(buffer[:end], commas.tolist()), buffer[end + 1 :], False


def _table(values: dict[str, int], kind: type) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    table = np.zeros(256, kind)
    for char, value in values.items():
        table[ord(char)] = value
    return table


_MARKS = _table(dict.fromkeys("[]{},", 1), np.bool_)
_STEPS = _table({"[": 1, "{": 1, "]": -1, "}": -1}, np.int8)
