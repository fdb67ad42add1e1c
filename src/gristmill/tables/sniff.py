"""From the first bytes of a file to its dialect: format, encoding, separators, preamble, header."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

from gristmill.tables import delimiters, encodings
from gristmill.tables.delimited import decode_head
from gristmill.tables.layout import detect_layout
from gristmill.tables.model import Dialect, Format, Hints, Unreadable, UnsupportedFormat
from gristmill.tables.records import Grammar, split_records
from gristmill.tables.source import GZIP_MAGIC, HEAD_BYTES

CONTROL_SHARE_MAX = 0.1
"""Text has hardly any control characters; a file with more is no text."""

_MAGIC = (
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"PAR1", "a Parquet file"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1b\x7f]")
_JSON_START = re.compile(rb'\s*(?:\{\s*["}]|\[\s*(?:[\[{"\]]|-?\d|true|false|null))')


def sniff(data: bytes, hints: Hints | None = None, *, is_whole: bool | None = None) -> Dialect:
    """The dialect of a file that starts with `data`; a head of HEAD_BYTES is enough.

    What `hints` says is taken as given and everything else is guessed under it. `is_whole` tells whether
    `data` is the complete file (by default, when it is no longer than HEAD_BYTES). Raises
    UnsupportedFormat for a format that is not read and Unreadable for bytes that are no text.
    """
    known = hints or Hints()
    whole = len(data) <= HEAD_BYTES if is_whole is None else is_whole
    if data.startswith(GZIP_MAGIC):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, HEAD_BYTES)
        except zlib.error as error:
            raise Unreadable("The gzip file is damaged.") from error
        return _with_compression(sniff(data, hints, is_whole=False))
    head = data[:HEAD_BYTES]
    whole = whole and len(head) == len(data)
    encoding = known.get("encoding")
    guess = encodings.Guess(encoding, 1.0) if encoding else encodings.detect(head, is_whole=whole)
    if "format" not in known:
        _check_is_text(head, guess.encoding)
    text = decode_head(head, guess.encoding, is_whole=whole)
    form = known.get("format") or _detect_format(text)
    if form != "delimited":
        return Dialect(format=form, encoding=guess.encoding, confidence={"format": 0.95, "encoding": guess.confidence})
    return _sniff_delimited(text, known, guess, is_whole=whole)


def _with_compression(dialect: Dialect) -> Dialect:
    return replace(dialect, compression="gzip")


def _check_is_text(head: bytes, encoding: str) -> None:
    """Refuse what is no text. A given format is believed, so this is skipped for it."""
    controls = 0 if encoding.startswith(("utf-16", "utf-32")) else len(_CONTROLS.findall(head))
    for magic, what in _MAGIC:
        # A table may be headed `PAR1`; the formats themselves have control characters at once.
        if controls and head.startswith(magic):
            raise UnsupportedFormat(f"The file is {what}, which is not read here.")
    if controls > CONTROL_SHARE_MAX * len(head):
        raise Unreadable("The file is not text.")


def _detect_format(text: str) -> Format:
    start = text.lstrip("\ufeff").encode("utf-8", "replace")
    if not _JSON_START.match(start):
        return "delimited"
    lines = [line for line in start.split(b"\n")[:3] if line.strip()]
    complete = [line.strip()[-1:] in (b"}", b"]") and line.strip()[:1] in (b"{", b"[") for line in lines[:2]]
    return "jsonl" if len(lines) > 1 and all(complete) else "json"


def _sniff_delimited(text: str, known: Hints, encoding: encodings.Guess, *, is_whole: bool) -> Dialect:
    sample = text.lstrip("\ufeff")[: delimiters.SAMPLE_CHARS]
    newline = known.get("newline")
    if newline is None:
        newline = delimiters.detect_newline(sample)
    sample = delimiters.normalize_newlines(sample, newline)
    if not (is_whole and len(text) <= delimiters.SAMPLE_CHARS):
        sample = sample[: sample.rfind("\n") + 1] or sample
    found = delimiters.detect_separators(sample, known.get("delimiter"), known.get("quote"))
    escape = known.get("escape", found.escape)
    skip = known.get("skip_initial_space", found.skip_initial_space)
    records = split_records(sample, Grammar(found.delimiter, found.quote, escape, skip), is_last=True).rows
    layout = detect_layout(records, known.get("preamble"), header=known.get("header"))
    return Dialect(
        format="delimited",
        encoding=encoding.encoding,
        delimiter=found.delimiter,
        quote=found.quote,
        escape=escape,
        skip_initial_space=skip,
        newline=newline,
        preamble=layout.preamble,
        header=layout.header,
        confidence={
            "format": 0.9,
            "encoding": encoding.confidence,
            "delimiter": 1.0 if "delimiter" in known else found.confidence,
            "quote": 1.0 if "quote" in known else found.confidence,
            "preamble": layout.preamble_confidence,
            "header": layout.header_confidence,
        },
    )
