"""From the first bytes of a file to its dialect: format, encoding, separators, preamble, header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from gristmill.base import jsons
from gristmill.tables import delimiters, encodings
from gristmill.tables.archive import ZIP_MAGIC
from gristmill.tables.delimited import decode_head, without_comments
from gristmill.tables.formats import binary_format
from gristmill.tables.formulas import are_guards
from gristmill.tables.layout import detect_comment, detect_layout
from gristmill.tables.model import Compression, Dialect, Format, Hints, Unreadable, UnsupportedFormat
from gristmill.tables.records import Grammar, split_records
from gristmill.tables.source import HEAD_BYTES, Source
from gristmill.tables.unpack import GZIP_MAGIC, UNPACKERS, ZSTD_MAGIC

CONTROL_SHARE_MAX = 0.05
"""Text has hardly any control characters; a file with more is no text ..."""
CONTROLS_FREE = 16
"""... but for a few: in a short file they are a large share."""
SEPARATOR_SHARE_MAX = 0.6
"""Of a file of many empty cells most are separators."""

BINARY_FORMATS = frozenset(("xlsx", "xls", "xlsb", "ods", "parquet"))
"""Formats that are no text."""
FIRST_LINES = 20
"""Lines looked through for the first ones with text, which tell JSON Lines from JSON."""
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1b\x7f]")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t| )"?[ \t]*\n', re.IGNORECASE)
"""A first line that tells Excel the delimiter."""
_TOP_COMMENTS = re.compile(r"\A(?:[ \t]*(?:#|//)[^\n]*\n)+")
_MARKUP = re.compile(r"[\ufeff\s]*<(?:(\?xml\s)|!doctype html|html[\s>]|table[\s>]|head>)", re.IGNORECASE)
_JSON_START = re.compile(rb'\s*(?:\{\s*["}]|\[\s*(?:[\[{"\]]|-?(?:\d|Infinity)|NaN|true|false|null))')


def sniff(data: bytes, hints: Hints | None = None, *, is_whole: bool | None = None) -> Dialect:
    """The dialect of a file that starts with `data`; a head of HEAD_BYTES is enough.

    What `hints` says is taken as given and everything else is guessed under it. `is_whole` tells whether `data` is the
    complete file (by default, when it is no longer than HEAD_BYTES). Of a workbook only its format is told: its layout
    is found when it is read. Raises UnsupportedFormat for a format that is not read and Unreadable for bytes that are
    no text.
    """
    is_archive = data.startswith(ZIP_MAGIC)  # its directory is at its end
    whole = (is_archive or len(data) <= HEAD_BYTES) if is_whole is None else is_whole
    compression = compression_of(data)
    if compression:
        inner = sniff(_unpacked_head(data, compression), hints, is_whole=False)
        return replace(inner, compression=compression)
    if is_archive and whole:
        archive = Source(data)
        inner = sniff_head(archive.head, hints or Hints(), is_whole=archive.is_whole)
        return replace(inner, compression=archive.compression, sheet=archive.member)
    return sniff_head(data[:HEAD_BYTES], hints or Hints(), is_whole=whole and len(data) <= HEAD_BYTES)


def sniff_head(head: bytes, known: Hints, *, is_whole: bool, names: Collection[str] | None = None) -> Dialect:
    """The same for an unpacked head. `names` are the files of the archive that a workbook is."""
    form = known.get("format") or binary_format(head, names)
    if form in BINARY_FORMATS:
        return Dialect(format=form, confidence={"format": 1.0})
    encoding = known.get("encoding")
    guess = encodings.Guess(encoding, 1.0) if encoding else encodings.detect(head, is_whole=is_whole)
    if "format" not in known:
        _check_is_text(head, guess.encoding)
    text = decode_head(head, guess.encoding, is_whole=is_whole)
    form = form or _detect_format(text)
    if "format" not in known:
        _check_no_markup(text)
    if form != "delimited":
        confidence = {"format": 0.95, "encoding": guess.confidence}
        return Dialect(format=form, encoding=guess.encoding, header=known.get("header", True), confidence=confidence)
    return _sniff_delimited(text, known, guess, is_whole=is_whole)


def compression_of(head: bytes) -> Compression:
    """How a file that starts with `head` is packed. A workbook is no archive."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC):
        return "zstd"
    return ""


def _unpacked_head(data: bytes, compression: str) -> bytes:
    """As much as a head needs; a file that stops in the middle is no error here."""
    head = bytearray()
    with suppress(Unreadable):
        for chunk in UNPACKERS[compression](iter([data])):
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    if not head:
        raise Unreadable(f"The {compression} file is damaged.")
    return bytes(head)


def _check_is_text(head: bytes, encoding: str) -> None:
    """Refuse what is no text. A given format is believed, so this is skipped for it."""
    if encoding.startswith(("utf-16", "utf-32")):
        return
    counts = Counter(_CONTROLS.findall(head))
    # One control character may separate the cells, and another the records.
    separators = sum(sorted(count for char, count in counts.items() if char != b"\0")[-2:])
    text = head.rstrip(b"\0")
    padding = len(head) - len(text) if text.endswith(b"\n") else 0  # of a file that was written in blocks
    others = counts.total() - separators - padding
    crowded = others > CONTROL_SHARE_MAX * len(head) + CONTROLS_FREE or separators > SEPARATOR_SHARE_MAX * len(head)
    if crowded or head.startswith(b"\0"):
        raise Unreadable("The file is not text.")


def _check_no_markup(text: str) -> None:
    """Refuse web pages and XML, which many programs write when they are asked for a workbook."""
    found = _MARKUP.match(text)
    if found:
        what = "an XML document" if found[1] else "a web page"
        raise UnsupportedFormat(f"The file is {what}, which is not read here; save it as a workbook or as CSV.")


def _detect_format(text: str) -> Format:
    start = text.lstrip("\ufeff\x1e").encode("utf-8", "replace").replace(b"\n\x1e", b"\n")
    if not _JSON_START.match(start):
        return "delimited"
    lines = [line.strip() for line in start.split(b"\n", FIRST_LINES)[:FIRST_LINES] if line.strip()]
    return "jsonl" if _are_values(lines[:3]) else "json"


def _are_values(lines: list[bytes]) -> bool:
    """Whether each line is a value of its own, a damaged one or a comma behind it aside."""
    if len(lines) < 2 or any(line[:1] not in (b"{", b"[") for line in lines[:2]):  # noqa: PLR2004 (one line is JSON, too)
        return False
    ends = [line[-1:] in (b"}", b"]") for line in lines]
    if all(ends[:2]) or _is_value(lines[0].removesuffix(b",")):
        return True
    # An array that is torn has commas behind its elements.
    return len(lines) > 2 and all(map(_is_value, lines[1:]))  # noqa: PLR2004 (two whole ones below)


def _is_value(line: bytes) -> bool:
    try:
        jsons.loads(line)
    except ValueError:
        return False
    return True


def _sniff_delimited(text: str, known: Hints, encoding: encodings.Guess, *, is_whole: bool) -> Dialect:
    sample = text.lstrip("\ufeff")[: delimiters.SAMPLE_CHARS]
    newline = known.get("newline")
    if newline is None:
        newline = delimiters.detect_newline(sample)
    sample = delimiters.normalize_newlines(sample, newline)
    if not (is_whole and len(text) <= delimiters.SAMPLE_CHARS):
        sample = sample[: sample.rfind("\n") + 1] or sample
    sample = delimiters.first_lines(sample, delimiters.SAMPLE_LINES)
    comment = known.get("comment", "")
    said = _SEPARATOR_LINE.match(sample)
    bare = sample[said.end() :] if said else sample
    bare = _without_lines(bare, comment) if comment else _without_top_comments(bare)
    delimiter = known.get("delimiter", said[1] if said else None)
    found = delimiters.detect_separators(bare, delimiter, known.get("quote"))
    escape = known.get("escape", found.escape)
    skip = known.get("skip_initial_space", found.skip_initial_space)
    records = split_records(sample, Grammar(found.delimiter, found.quote, escape, skip), is_last=True).rows
    if "comment" not in known:
        comment = detect_comment(records)
    records = without_comments(records, comment)
    guarded = known.get("guarded", are_guards(records))
    layout = detect_layout(records, known.get("preamble"), header=known.get("header"))
    return Dialect(
        format="delimited",
        encoding=encoding.encoding,
        delimiter=found.delimiter,
        quote=found.quote,
        escape=escape,
        skip_initial_space=skip,
        comment=comment,
        newline=newline,
        preamble=layout.preamble,
        header=layout.header,
        guarded=guarded,
        confidence={
            "format": 0.9,
            "encoding": encoding.confidence,
            "delimiter": 1.0 if delimiter else found.confidence,
            "quote": 1.0 if "quote" in known else found.confidence,
            "preamble": layout.preamble_confidence,
            "header": layout.header_confidence,
        },
    )


def _without_lines(sample: str, comment: str) -> str:
    return "\n".join(line for line in sample.split("\n") if not line.lstrip().startswith(comment))


def _without_top_comments(sample: str) -> str:
    """What is below lines that start as comments do in most languages; they say nothing about the separators."""
    below = _TOP_COMMENTS.sub("", sample)
    return below if below.strip() else sample
