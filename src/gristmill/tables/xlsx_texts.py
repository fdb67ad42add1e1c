"""The shared texts of an XLSX workbook: cells refer to them by number."""

from __future__ import annotations

import mmap
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator

from gristmill.tables.model import TooLargeToRead, Unreadable
from gristmill.tables.xml_parts import (
    TOKEN_BYTES_MAX,
    as_utf8,
    local,
    prefix_of,
    scan,
    unescape,
    unescape_controls,
)

TEXTS_MAX = 8_000_000
"""Different texts of a workbook."""


class SharedTexts:
    """All texts, in a temporary file, so that a workbook of any length is read with flat memory."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Raises Unreadable and TooLargeToRead."""
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the workbook)
        for text in _texts(as_utf8(chunks)):
            raw = text.encode("utf-8", "replace")
            self._file.write(raw)
            self._ends.append(self._ends[-1] + len(raw))
            if len(self._ends) > TEXTS_MAX:
                raise TooLargeToRead(f"The workbook has more than {TEXTS_MAX} texts.", limit=TEXTS_MAX)
        self._file.flush()
        empty = not self._ends[-1]
        self._bytes = b"" if empty else mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __getitem__(self, number: bytes) -> str:
        """The text of a number as the cell has it. Raises Unreadable for one that is not there."""
        try:
            index = abs(int(number))
            return self._bytes[self._ends[index] : self._ends[index + 1]].decode()
        except (ValueError, IndexError) as error:
            raise Unreadable("The workbook is damaged: a cell refers to a text that is not there.") from error


def _texts(chunks: Iterator[bytes]) -> Iterator[str]:
    """In order. An item that is no plain text (several runs, reading aids, CDATA) goes through the XML parser."""
    prefix, buffer = b"", b""
    run: re.Pattern[bytes] | None = None
    for chunk in chunks:
        buffer += chunk
        if run is None:
            prefix = prefix_of(buffer, b"sst")
            run = re.compile(rb"<%st(?: [^>]*)?>([^<]*)</%st>" % (prefix, prefix))
        buffer = buffer.replace(b"<%ssi/>" % prefix, b"<%ssi></%ssi>" % (prefix, prefix))
        *items, buffer = buffer.split(b"</%ssi>" % prefix)
        if len(buffer) > TOKEN_BYTES_MAX:
            raise TooLargeToRead(f"The workbook has a text of more than {TOKEN_BYTES_MAX} bytes.")
        for item in items:
            found: list[bytes] = run.findall(item)
            if len(found) == 1 == item.count(b"<%st" % prefix) and b"<!" not in item:
                yield unescape(found[0])
            else:
                yield _rich(item[item.rfind(b"<%ssi" % prefix) :] + b"</%ssi>" % prefix)


def _rich(item: bytes) -> str:
    texts: list[str] = []
    path: list[str] = []

    def on_text(text: str) -> None:
        if path[-1] == "t" and "rPh" not in path:
            texts.append(text)

    def on_end(_: str) -> None:
        path.pop()

    scan([item], lambda name, _: path.append(local(name)), on_end, on_text)
    return unescape_controls("".join(texts))
