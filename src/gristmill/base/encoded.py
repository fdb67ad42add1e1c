"""Files inside of JSON: Base64, as the clients of the world write it."""

from __future__ import annotations

import base64
import binascii
import re

from gristmill.base.errors import FieldError, Malformed

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
"""What browsers put in front of a file that they read as a data URL."""
_SPACE = b" \t\r\n"
"""Many encoders wrap their lines."""


def decode_file(text: str) -> bytes:
    """What a body has as `file_base64`. Raises `Malformed` that names the field."""
    try:
        return decode(text)
    except binascii.Error:
        raise Malformed("`file_base64` is not Base64.", errors=(FieldError("file_base64", "is not Base64"),)) from None


def decode(text: str) -> bytes:
    """The bytes of a Base64 text, wrapped or not, a data URL or not. Raises `binascii.Error` for any other."""
    found = _DATA_URL.match(text)
    try:
        plain = text[found.end() if found else 0 :].encode("ascii")
    except UnicodeEncodeError:
        raise binascii.Error("not ASCII") from None
    return base64.b64decode(plain.translate(None, _SPACE), validate=True)
