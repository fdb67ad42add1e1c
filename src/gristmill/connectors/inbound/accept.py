"""Files that are pushed in: who sends them, whether they came before, and what becomes of them.

An unknown URL and a wrong signature get the same answer. A message is taken once: the same again answers that it was
taken, another under the same id is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from uuid import UUID

from gristmill import vault
from gristmill.base.config import Settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Conflict, Error, Malformed, TooLarge
from gristmill.base.ids import uuid7
from gristmill.base.objects import ObjectStore
from gristmill.base.signing import (
    BODY_SIGNATURE_HEADER,
    ID_HEADER,
    SIGNATURE_HEADER,
    BadKey,
    BadSignature,
    new_shared_secret,
    verify,
    verify_body,
)
from gristmill.connectors import service, store, sync_store
from gristmill.connectors.model import ConnectorPaused, StoredConnector
from gristmill.vault.credentials import DEFAULT_HEADER, VALUES_OF

PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content codings, and how zlib is told of them."""
CHUNK_BYTES = 256 * 1024
MESSAGES_PER_MINUTE = 120
DELIVERY_ID_CHARS_MAX = 200
BODY_SIGNATURES = (BODY_SIGNATURE_HEADER.lower(), "x-hub-signature-256")
GITHUB_ID = "x-github-delivery"
REFUSED = "There is no such inbound URL, or the request is not signed as it should be."


class TooManyMessages(Error):
    """Too many files were pushed to this URL in the last minute."""

    code = "rate_limited"


class OtherMessage(Conflict):
    """Another message came under this id before."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request to an inbound URL, received whole."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: BinaryIO
    """As it came over the wire."""
    sha256: str
    name: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message."""

    sync_id: UUID
    is_duplicate: bool


def accept(database: Database, settings: Settings, hook_id: str, message: Message) -> Taken:
    """Take a file: it is kept, and read by a worker. Raises `BadSignature`, `TooManyMessages`, `OtherMessage`."""
    with database.system() as tx:  # whose URL it is is not known yet
        connector = store.find_by_hook(tx, hook_id)
        if connector is not None:
            tx.enter(connector.organization_id)
        delivery_id = _authenticate(tx, connector, message)
        if connector is None:
            raise BadSignature(REFUSED)
        if connector.connector.status == "PAUSED":
            raise ConnectorPaused
        if sync_store.count_deliveries(tx, connector.id, 60.0) >= MESSAGES_PER_MINUTE:
            raise TooManyMessages(
                f"At most {MESSAGES_PER_MINUTE} files a minute are taken here; try again soon.", retry_after_s=30
            )
        earlier = sync_store.find_delivery(tx, connector.id, delivery_id)
        if earlier is not None:
            return _again(earlier, message)
    sync_id = uuid7()
    key = f"inventory/{connector.organization_id}/connector-{connector.id}/{sync_id}/pushed"
    message.body.seek(0)
    coding = message.headers.get("content-encoding", "").strip().lower()
    stored = ObjectStore.of(settings).put_stream(key, _content(message.body, coding, settings.hook_bytes_max))
    parcel = {
        "raw": stored.key,
        "size": stored.size_bytes,
        "sha256": stored.sha256,
        "delivery_id": delivery_id,
        "name": message.name or delivery_id,
    }
    try:
        with database.tx(connector.organization_id) as tx:
            taken = _record(tx, connector, sync_id, parcel, message)
    except BaseException:
        service.delete_objects([key], settings)
        raise
    if taken.is_duplicate:
        service.delete_objects([key], settings)
    return taken


def _record(tx: Tx, connector: StoredConnector, sync_id: UUID, parcel: Mapping[str, Any], message: Message) -> Taken:
    organization_id, delivery_id = connector.organization_id, str(parcel["delivery_id"])
    earlier = sync_store.insert_delivery(tx, organization_id, connector.id, delivery_id, message.sha256, sync_id)
    if earlier is not None:
        return _again(earlier, message)
    sync_store.insert_sync(tx, organization_id, sync_id, connector.id, direction="INBOUND", cause="HOOK", parcel=parcel)
    return Taken(sync_id, is_duplicate=False)


def _again(earlier: Mapping[str, Any], message: Message) -> Taken:
    if earlier["body_sha256"] != message.sha256:
        raise OtherMessage
    return Taken(earlier["sync_id"], is_duplicate=True)


def _content(body: BinaryIO, coding: str, bytes_max: int) -> Iterator[bytes]:
    """The content, unpacked. Raises `TooLarge` as soon as it is more than is taken, however small it came."""
    size = 0
    for chunk in _unpacked(body, coding):
        size += len(chunk)
        if size > bytes_max:
            raise TooLarge(f"The body unpacks to more than {bytes_max} bytes.", limit=bytes_max)
        yield chunk


def _unpacked(body: BinaryIO, coding: str) -> Iterator[bytes]:
    if coding in {"", "identity"}:
        while chunk := body.read(CHUNK_BYTES):
            yield chunk
        return
    if coding not in PACKED:
        raise Malformed(f"The body is packed as `{coding[:40]}`; gzip and deflate are read.")
    inflater = zlib.decompressobj(PACKED[coding])
    try:
        while (packed := body.read(CHUNK_BYTES)) and not inflater.eof:
            full = True
            while packed or full:  # it may hold more than there was room for
                chunk = inflater.decompress(packed, CHUNK_BYTES)
                packed, full = inflater.unconsumed_tail, len(chunk) == CHUNK_BYTES
                yield chunk
    except zlib.error as error:
        raise Malformed(f"The body is no {coding}: {error}.") from None
    if not inflater.eof:
        raise Malformed(f"The {coding} of the body ends too soon.")


def _authenticate(tx: Tx, connector: StoredConnector | None, message: Message) -> str:
    """The message's id, once somebody has proved that they may send it. Raises `BadSignature`."""
    config = connector.config if connector else {}
    keys = [new_shared_secret()] if connector is None else _signing_keys(tx, connector)
    plain = [] if connector is None else _revealed(tx, connector, connector.secret_id)
    scheme = config.get("authScheme")
    if scheme in {"Bearer", "Basic", "Header"} and any(_opens(scheme, config, item, message) for item in plain):
        return _id_of(message)
    return _verify(keys, message)


def _signing_keys(tx: Tx, connector: StoredConnector) -> list[str]:
    keys = [item[service.INBOUND_KEY] for item in _revealed(tx, connector, connector.inbound_secret_id)]
    if connector.config.get("authScheme") == "HmacSha256":
        keys += [_only(item, "key") for item in _revealed(tx, connector, connector.secret_id)]
    return keys or [new_shared_secret()]


def _revealed(tx: Tx, connector: StoredConnector, secret_id: UUID | None) -> list[vault.Revealed]:
    if secret_id is None:
        return []
    return vault.reveal_all(tx, connector.organization_id, secret_id, purpose=f"inbound:{connector.id}")


def _only(values: Mapping[str, str], name: str) -> str:
    """A value by its name, or the only one there is."""
    return values[name] if name in values else next(iter(values.values()))


def _verify(keys: list[str], message: Message) -> str:
    """The id of a message that one of the keys signed: as Standard Webhooks, or its body alone as GitHub does.

    Where nothing but the body is signed, whoever has seen a message could send it again under another id: there the
    content is the id.
    """
    message.body.seek(0)
    body = message.body.read()
    given = next((message.headers[name] for name in BODY_SIGNATURES if name in message.headers), "")
    try:
        if SIGNATURE_HEADER in message.headers or not given:
            verify(keys, message.headers, body, now=time.time())
        else:
            verify_body(keys, given, body)
            return _content_id(message)
    except (BadSignature, BadKey):
        raise BadSignature(REFUSED) from None
    return _id_of(message)


def _opens(scheme: str, config: Mapping[str, Any], values: Mapping[str, str], message: Message) -> bool:
    """Whether the request shows the secret of the connector."""
    if scheme == "Header":
        shown = message.headers.get(str(config.get("authHeader") or DEFAULT_HEADER).lower(), "")
        return _same(shown, _only(values, "value"))
    kind, _, shown = message.headers.get("authorization", "").partition(" ")
    if kind.lower() != scheme.lower():
        return False
    if scheme == "Bearer":
        return _same(shown.strip(), _only(values, "token"))
    pair = ":".join(values.get(name, "") for name in VALUES_OF["Basic"])
    return _same(shown.strip(), base64.b64encode(pair.encode()).decode())


def _same(shown: str, expected: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _id_of(message: Message) -> str:
    """What makes a message one: its id, or else its content."""
    for name in (ID_HEADER, GITHUB_ID, "idempotency-key"):
        given = message.headers.get(name, "")
        if given:
            if len(given) > DELIVERY_ID_CHARS_MAX or not given.isprintable():
                raise Malformed(f"The header {name} is not an id of at most {DELIVERY_ID_CHARS_MAX} characters.")
            return given
    return _content_id(message)


def _content_id(message: Message) -> str:
    return f"sha256:{message.sha256}"


@dataclass(slots=True)
class Receiver:
    """A body on its way in, hashed as it comes."""

    file: BinaryIO
    digest: Any

    @classmethod
    def new(cls, memory_bytes: int) -> Receiver:
        """An empty one; small bodies stay in memory."""
        return cls(cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=memory_bytes)), hashlib.sha256())

    def write(self, chunk: bytes) -> None:
        """The next bytes."""
        self.digest.update(chunk)
        self.file.write(chunk)
