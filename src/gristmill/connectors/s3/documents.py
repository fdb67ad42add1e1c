"""S3's XML documents, read by expat: no document type, no entities, no tree; at most a named number of bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.parsers import expat
from xml.sax.saxutils import escape

DOCUMENT_BYTES_MAX = 8 * 1024**2
"""A thousand of the longest keys, each character escaped, are about half of it."""
ENTRIES_MAX = 10_000
"""Of one page; S3 sends a thousand."""
DEPTH_MAX = 8
KEY_CHARS_MAX = 1024
"""S3 takes as many bytes."""
ETAG_CHARS_MAX = 200
SIZE_MAX = 2**50
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored before they can be read."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadDocument(ValueError):
    """The answer is not the XML that was expected."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    size: int
    etag: str
    """Without its quotes."""
    last_modified: datetime
    storage_class: str = ""

    @property
    def archived(self) -> bool:
        """Whether it must be restored before it can be read."""
        return self.storage_class in ARCHIVED


@dataclass(slots=True)
class ListPage:
    """One page of a listing."""

    objects: list[Listed] = field(default_factory=list[Listed])
    token: str | None = None
    """Where the next page starts; None on the last one."""


def read_list(data: bytes) -> ListPage:
    """A page of ListObjectsV2. Raises `BadDocument`.

    Keys are decoded only where the document says that they are encoded, and the way S3 encodes them: a space as `+`.
    """
    facts: dict[str, str] = {}
    entries: list[dict[str, str]] = []
    entry: dict[str, str] = {}

    def keep(path: tuple[str, ...], text: str) -> None:
        nonlocal entry
        if path[1:] == ("Contents",):
            if len(entries) >= ENTRIES_MAX:
                raise BadDocument(f"more than {ENTRIES_MAX} objects in one page")
            entries.append(entry)
            entry = {}
        elif path[1:2] == ("Contents",):
            entry[path[-1]] = text
        elif len(path) == 2:  # noqa: PLR2004 - a child of the root
            facts[path[1]] = text

    root = _walk(data, keep)
    if root != "ListBucketResult":
        raise BadDocument(f"<{root}> came where a listing was expected")
    decode = unquote_plus if facts.get("EncodingType") == "url" else str
    page = ListPage([_listed(item, decode) for item in entries])
    if facts.get("IsTruncated", "").lower() == "true":
        page.token = facts.get("NextContinuationToken") or None
        if page.token is None:
            raise BadDocument("a truncated listing without a continuation token")
    return page


def _listed(entry: dict[str, str], decode: Callable[[str], str]) -> Listed:
    try:
        found = Listed(
            key=decode(entry["Key"]),
            size=int(entry["Size"]),
            etag=entry.get("ETag", "").strip('"'),
            last_modified=_time(entry.get("LastModified", "")),
            storage_class=entry.get("StorageClass", ""),
        )
    except (KeyError, ValueError) as error:
        raise BadDocument(f"an object of the listing lacks or garbles {error}"[:200]) from None
    if len(found.key) > KEY_CHARS_MAX or len(found.etag) > ETAG_CHARS_MAX or not 0 <= found.size <= SIZE_MAX:
        raise BadDocument("an object of the listing has a key, size or ETag that none can have")
    return found


def _time(text: str) -> datetime:
    """A time as shown; it is never compared, so one that can't be read is no reason to lose the object."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return EPOCH
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def read_facts(data: bytes) -> tuple[str, dict[str, str]]:
    """Root and its direct children of a small document such as `<Error>`. Raises `BadDocument`."""
    facts: dict[str, str] = {}

    def keep(path: tuple[str, ...], text: str) -> None:
        if len(path) == 2:  # noqa: PLR2004 - children of the root
            facts[path[1]] = text

    return _walk(data, keep), facts


def _walk(data: bytes, ended: Callable[[tuple[str, ...], str], None]) -> str:
    """Call back at the end of every element with its path and text; answers the root's name."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise BadDocument(f"a document of more than {DOCUMENT_BYTES_MAX} bytes")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    path: list[str] = []
    texts: list[str] = []
    roots: list[str] = []

    def start(name: str, _attributes: object) -> None:
        if len(path) >= DEPTH_MAX:
            raise BadDocument("a document that is nested too deeply")
        path.append(name.rpartition(":")[2])
        if len(path) == 1:
            roots.append(path[0])
        texts.clear()

    def end(_name: str) -> None:
        ended(tuple(path), "".join(texts))
        path.pop()
        texts.clear()

    def refuse(*_: object) -> None:
        raise BadDocument("a document with a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadDocument(f"not XML: {error}") from None
    return roots[0]


def complete_document(parts: list[str]) -> bytes:
    """The body of CompleteMultipartUpload; `parts` are ETags in order."""
    lines = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"{escape(etag)}"</ETag></Part>'
        for number, etag in enumerate(parts, start=1)
    )
    return f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>".encode()
