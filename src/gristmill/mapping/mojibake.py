"""Text that was decoded by the wrong encoding before it got here: `StraÃŸe`, `MÃ¼nchen`.

Only what is looked at is mended; the values of a mapped row stay as they are in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SAMPLE_TEXTS = 400
"""Texts with other than ASCII letters that are tried."""
EAST_MIN, STRANGE_MIN = 0.5, 0.3
"""Shares of the mended letters that must be Japanese, and of the letters before that must not be ASCII: most bytes can
be read as Shift JIS, those of `Município` too."""
_EAST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]")


def mended(
    headers: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> tuple[Sequence[str] | None, Sequence[Sequence[str]]]:
    """The same headers and rows, mended where all of them were UTF-8 or Shift JIS that was read as Windows-1252."""
    texts = [text for text in (*(headers or ()), *(cell for row in rows for cell in row)) if not text.isascii()]
    for encoding in ("utf-8", "cp932"):
        if _was(texts[:SAMPLE_TEXTS], encoding):
            fixed = [[_mend(cell, encoding) for cell in row] for row in rows]
            return None if headers is None else [_mend(text, encoding) for text in headers], fixed
    return headers, rows


def _was(texts: Sequence[str], encoding: str) -> bool:
    after = ""
    for text in texts:
        fixed = _decode(text, encoding)
        if fixed is None or fixed == text:
            return False
        after += fixed
    if encoding == "utf-8":
        return bool(after)
    wide = [char for char in after if not char.isascii()]
    before = "".join(texts)
    strange = sum(not char.isascii() for char in before) >= STRANGE_MIN * len(before)
    return bool(wide) and strange and sum(map(bool, map(_EAST.match, wide))) >= EAST_MIN * len(wide)


def _mend(text: str, encoding: str) -> str:
    return text if text.isascii() else _decode(text, encoding) or text


def _decode(text: str, encoding: str) -> str | None:
    try:
        return b"".join(map(_byte, text)).decode(encoding)
    except UnicodeError:
        return None


def _byte(char: str) -> bytes:
    try:
        return char.encode("cp1252")
    except UnicodeEncodeError:
        return char.encode("latin-1")
