"""PostgreSQL's binary form of an array, as `array_send` gives it, to NumPy. Pure.

A long list of numbers comes in one value this way, without a Python object or a message of its own for each.
Layout: number of dimensions, flags, type, length and lower bound of 4 bytes each, then each element's size and bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.datasets.keys import HASH_TYPE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEAD_BYTES = 20


def ints(data: bytes | None) -> NDArray[np.int32]:
    """Of an int[] without nulls."""
    import numpy as np  # noqa: PLC0415 - a tenth of a second that a server's start does not pay

    items = np.frombuffer((data or b"")[HEAD_BYTES:], np.dtype([("size", ">i4"), ("value", ">i4")]))
    return items["value"].astype(np.int32)


def hashes(data: bytes | None) -> NDArray[np.bytes_]:
    """Of a bytea[] whose elements are hashes of 16 bytes."""
    import numpy as np  # noqa: PLC0415 - see ints

    items = np.frombuffer((data or b"")[HEAD_BYTES:], np.dtype([("size", ">i4"), ("value", HASH_TYPE)]))
    return np.ascontiguousarray(items["value"])
