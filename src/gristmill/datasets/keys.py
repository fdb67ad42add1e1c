"""Who is a row? Its primary key, or its content and how often that came before; never its place in the file. Pure.

Identities are 128-bit hashes, held in arrays, so that a million rows are compared in tens of megabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.base import jsons
from gristmill.datasets.model import KEY_CHARS_MAX, storable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HASH_BYTES = 16
HASH_TYPE = "S16"
CONTENT_KEY = "#"
"""First character of a record key that was made of content."""


def digest(data: bytes, *, salt: bytes = b"") -> bytes:
    """128 bits of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES, key=salt).digest()


def text_hash(text: str) -> bytes:
    """What the cache of vectors knows a text by."""
    return digest(text.encode("utf-8", "surrogatepass"))


def key_hash(key: str) -> bytes:
    """Of a record key."""
    return digest(key.encode("utf-8", "surrogatepass"))


def content_key(content: bytes, occurrence: int) -> str:
    """Key of a row without a primary key: of its content, and a number where the same row came before."""
    return f"{CONTENT_KEY}{content.hex()}" + (f"-{occurrence}" if occurrence else "")


def shown_key(key: str) -> str:
    """A record key as it is kept and shown; a very long one is cut and told apart by its hash."""
    text = storable(key)
    if len(text) <= KEY_CHARS_MAX:
        return text
    return f"{text[: KEY_CHARS_MAX - 2 * HASH_BYTES - 1]}~{key_hash(key).hex()}"


class RowHasher:
    """Hashes rows, whatever the order of their columns."""

    def __init__(self, names: Sequence[str], key_index: int | None) -> None:
        """`names` are the columns; `key_index` is the column of the primary key."""
        self._order = sorted(range(len(names)), key=lambda index: names[index])
        self._salt = digest(_bytes([names[index] for index in self._order]))
        self._key_index = key_index

    def content(self, row: Sequence[str], value: Any) -> bytes:
        """Of a row's cells and their columns, or of a JSON value with its types where it is one."""
        if value is not None:
            return digest(_bytes(value))
        return digest(_bytes([row[index] for index in self._order]), salt=self._salt)

    def key(self, row: Sequence[str]) -> str | None:
        """The primary key's cell without blanks around it; None where there is none."""
        return None if self._key_index is None else row[self._key_index].strip() or None


def _bytes(value: Any) -> bytes:
    try:
        return jsons.dumps_sorted(value)
    except (TypeError, ValueError):  # halves of surrogate pairs
        return repr(value).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Identities:
    """Identity of each row of a file, in the file's order."""

    keys: NDArray[np.bytes_]
    """Hashes of the record keys."""
    contents: NDArray[np.bytes_]
    keep: NDArray[np.bool_]
    """False for a row whose key comes again further down."""
    occurrences: NDArray[np.int32]
    """Of rows without a primary key: how many equal rows came before."""
    keyed: NDArray[np.bool_]
    """Whether a row has a primary key."""


def identities(keys: bytes, keyed: bytes, contents: bytes) -> Identities:
    """Judge all rows together: the last row of a key counts; equal rows without a key are numbered.

    `keys` and `contents` are the rows' hashes, one after the other; `keyed` has a byte for each row, 1 where it has a
    primary key (else its 16 bytes in `keys` mean nothing).
    """
    import numpy as np  # noqa: PLC0415 - a tenth of a second that only builds need

    count = len(keyed)
    content_array = np.frombuffer(contents, HASH_TYPE)
    key_array = np.frombuffer(keys, HASH_TYPE).copy()
    has_key = np.frombuffer(keyed, np.uint8) > 0
    occurrences = np.zeros(count, np.int32)
    plain = np.flatnonzero(~has_key)
    occurrences[plain] = _occurrences(content_array[plain])
    for index in plain:
        place = int(index)
        key_array[place] = key_hash(content_key(whole(content_array, place), int(occurrences[place])))
    keep = np.zeros(count, bool)
    # The first of the reversed rows is the last of the file.
    _, firsts = np.unique(key_array[::-1], return_index=True)
    keep[count - 1 - firsts] = True
    return Identities(key_array, content_array, keep, occurrences, has_key)


def _occurrences(contents: NDArray[np.bytes_]) -> NDArray[np.int32]:
    """For each content how many equal ones stand before it."""
    import numpy as np  # noqa: PLC0415 - see identities

    order = np.argsort(contents, kind="stable")
    ordered = contents[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.int64)
    lengths = np.diff(np.r_[starts, len(ordered)])
    numbers = np.arange(len(ordered)) - np.repeat(starts, lengths)
    out = np.empty(len(contents), np.int32)
    out[order] = numbers
    return out


def whole(hashes: NDArray[np.bytes_], index: int) -> bytes:
    """One hash with all its bytes: NumPy drops zero bytes at the end of the scalar."""
    return bytes(hashes[index]).ljust(HASH_BYTES, b"\0")


def pairs(keys: NDArray[np.bytes_], contents: NDArray[np.bytes_]) -> NDArray[np.void]:
    """Key and content as one value that can be compared."""
    import numpy as np  # noqa: PLC0415 - see identities

    both = np.empty((len(keys), 2 * HASH_BYTES), np.uint8)
    if len(keys):
        both[:, :HASH_BYTES] = np.frombuffer(keys.tobytes(), np.uint8).reshape(-1, HASH_BYTES)
        both[:, HASH_BYTES:] = np.frombuffer(contents.tobytes(), np.uint8).reshape(-1, HASH_BYTES)
    return both.view(np.dtype((np.bytes_, 2 * HASH_BYTES))).ravel()


def locate(wanted: NDArray[Any], known: NDArray[Any]) -> NDArray[np.int64]:
    """Index in `known` of each wanted value, -1 where there is none."""
    import numpy as np  # noqa: PLC0415 - see identities

    if not len(known) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known, wanted, sorter=order)
    places[places == len(known)] = 0
    found = order[places]
    return np.where(known[found] == wanted, found, -1)
