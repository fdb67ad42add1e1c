"""The XML inside of workbooks, without anything that makes XML dangerous."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from xml.parsers import expat

from gristmill.tables.model import TooLargeToRead, Unreadable

TOKEN_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of one tag, text or row; more is refused."""

_DECLARED = re.compile(rb"<\?xml[^>]*?encoding=[\"']([\w.-]+)[\"']")
_REFERENCE = re.compile(rb"&(?:#(\d{1,7})|#x([0-9A-Fa-f]{1,6})|(amp|lt|gt|quot|apos));")
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_UNICODE_MAX = 0x10FFFF
_DOCTYPE = b"<!DOCTYPE"

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


def local(name: str) -> str:
    """A tag's name without its namespace prefix."""
    return name.rpartition(":")[2]


def scan(chunks: Iterable[bytes], start: Start, end: End | None = None, text: Text | None = None) -> None:
    """Call back for every start tag, end tag and piece of text. Raises Unreadable (also for a DTD) and TooLargeToRead.

    Names come as they are in the file, prefix included.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    fed = 0
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)
            fed += len(chunk)
            if fed - parser.CurrentByteIndex > TOKEN_BYTES_MAX:
                raise TooLargeToRead(f"The workbook has a tag of more than {TOKEN_BYTES_MAX} bytes.")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Unreadable(f"The workbook is damaged: {expat.errors.messages[error.code]}.") from error


def _refuse_doctype(*_: object) -> None:
    raise Unreadable("The workbook has a document type definition, which no table needs.")


def as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """XML in UTF-8 without its byte order mark, for those who look at the bytes themselves."""
    stream = iter(chunks)
    head = next(stream, b"")
    encoding = _encoding(head)
    if encoding == "utf-8":
        yield head.removeprefix(codecs.BOM_UTF8)
        yield from stream
        return
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        yield decoder.decode(head).lstrip("\ufeff").encode()
        for chunk in stream:
            yield decoder.decode(chunk).encode()
    except (LookupError, UnicodeError) as error:
        raise Unreadable("The workbook is damaged: its text can't be decoded.") from error


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    declared = _DECLARED.match(head.removeprefix(codecs.BOM_UTF8))
    name = declared[1].decode().lower() if declared else "utf-8"
    return "utf-8" if name in ("utf-8", "utf8", "ascii", "us-ascii") else name


def prefix_of(head: bytes, root: bytes) -> bytes:
    """`x:` when the root element `root` and so all tags have that prefix. Raises Unreadable for a DTD before it."""
    found = re.search(rb"<(?:([A-Za-z_][\w.-]*):)?%s\b" % root, head)
    if _DOCTYPE in head[: found.start() if found else len(head)]:
        _refuse_doctype()
    return found[1] + b":" if found and found[1] else b""


def unescape(raw: bytes) -> str:
    """Bytes of an element's text as text."""
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"&" in raw:
        raw = _REFERENCE.sub(_character, raw)
    return unescape_controls(raw.decode("utf-8", "replace"))


def unescape_controls(text: str) -> str:
    """Excel writes characters that XML can't hold as `_x000D_`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _character(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _NAMED[name]
    point = int(decimal) if decimal else int(hexadecimal, 16)
    return (chr(point) if point <= _UNICODE_MAX else "\ufffd").encode("utf-8", "replace")
