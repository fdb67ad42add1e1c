"""What kind of file is this, when it is no text? By its first bytes, never by its name."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection

from gristmill.tables.archive import ZIP_MAGIC
from gristmill.tables.model import Format, UnsupportedFormat
from gristmill.tables.unpack import GZIP_MAGIC, ZSTD_MAGIC

ODS_TYPE = b"application/vnd.oasis.opendocument.spreadsheet"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PARQUET_MAGIC = b"PAR1"
# Magic, what it is, and whether it could also be the first words of a text.
_OTHERS = (
    (GZIP_MAGIC, "packed twice", False),
    (ZSTD_MAGIC, "packed twice", False),
    (b"BZh", "a bzip2 archive", True),
    (b"\xfd7zXZ", "an xz archive", False),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", False),
    (b"Rar!\x1a", "a rar archive", False),
    (b"%PDF-", "a PDF document", False),
    (b"{\\rtf", "a text document", False),
    (b"\x89PNG\r\n", "an image", False),
    (b"\xff\xd8\xff", "an image", False),
    (b"GIF8", "an image", True),
    (b"\x7fELF", "a program", False),
    (b"MZ", "a program", True),
    (b"SQLite format 3\0", "a SQLite database", False),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1b\x7f]")
_LOCAL_SIZES = struct.Struct("<HH")
_LOCAL_SIZES_AT = 26
_LOCAL_BYTES = 30


def binary_format(head: bytes, names: Collection[str] | None = None) -> Format | None:
    """The format of a file that starts with `head`; None when it seems to be text.

    `names` are the files of the archive that it is, taken from `head` unless given. Raises UnsupportedFormat.
    """
    if head.startswith(ZIP_MAGIC):
        return _document_format(head, names or _names_in(head))
    if head.startswith(_OLE_MAGIC):
        return "xls"
    # A table may be headed `PAR1`; the formats themselves have control characters at once.
    has_controls = _CONTROL.search(head) is not None
    if has_controls and head.startswith(_PARQUET_MAGIC):
        return "parquet"
    for magic, what, is_word in _OTHERS:
        if head.startswith(magic) and (has_controls or not is_word):
            raise UnsupportedFormat(f"The file is {what}, which is not read here.")
    return None


def _document_format(head: bytes, names: Collection[str]) -> Format:
    if ODS_TYPE in head[: _LOCAL_BYTES + 100]:
        return "ods"
    lower = {name.casefold() for name in names}
    if "xl/workbook.bin" in lower:
        return "xlsb"
    if any(name.startswith("xl/") or name.endswith("workbook.xml") for name in lower):
        return "xlsx"
    if any(name.startswith("word/") for name in lower):
        raise UnsupportedFormat("The file is a text document, which is not read here.")
    if any(name.startswith("ppt/") for name in lower):
        raise UnsupportedFormat("The file is a presentation, which is not read here.")
    if "content.xml" in lower:  # OpenDocument by a program that does not say which
        return "ods"
    raise UnsupportedFormat("The file is a zip archive inside of another, which is not read here.")


def _names_in(head: bytes) -> set[str]:
    """Names of the files whose entries lie in the first bytes of an archive."""
    names: set[str] = set()
    at = head.find(ZIP_MAGIC)
    while 0 <= at <= len(head) - _LOCAL_BYTES:
        size, _ = _LOCAL_SIZES.unpack_from(head, at + _LOCAL_SIZES_AT)
        names.add(head[at + _LOCAL_BYTES : at + _LOCAL_BYTES + size].decode("utf-8", "replace").replace("\\", "/"))
        at = head.find(ZIP_MAGIC, at + 1)
    return names
