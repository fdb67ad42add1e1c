"""Signed messages, as Standard Webhooks 1.0 has them: sign what goes out, verify what comes in.

What is signed is `id.timestamp.body`, byte for byte. `v1` is HMAC-SHA256 with a shared secret (`whsec_` and Base64 of
24 to 64 bytes), `v1a` is Ed25519, whose receiver only has the public key (`whsk_` and Base64 of the seed signs,
`whpk_` verifies). https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping

from gristmill.base.errors import Error

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
BODY_SIGNATURE_HEADER = "X-Gristmill-Signature"
TOLERANCE_S = 300
"""How far the sender's clock may be from ours, and how old a message may be."""
SECRET_BYTES = 32
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
SEED_BYTES = 32
SIGNATURES_MAX = 16
"""Signatures looked at in one header; a sender that rotates its secret sends two."""
SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
_INTEGER = re.compile(r"[0-9]{1,11}")


class BadSignature(Error):
    """The message is not signed as it should be."""

    code = "unauthenticated"


class BadKey(ValueError):
    """A text is no key that can sign or verify."""


def new_shared_secret() -> str:
    """A new secret for `v1`."""
    return SHARED + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_private_key() -> str:
    """A new private key for `v1a`."""
    return PRIVATE + base64.b64encode(secrets.token_bytes(SEED_BYTES)).decode()


def public_key(private: str) -> str:
    """What a receiver needs to verify `v1a`."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - few messages are signed so
        Encoding,
        PublicFormat,
    )

    raw = _ed25519(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return PUBLIC + base64.b64encode(raw).decode()


def sign(key: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,...` or `v1a,...` by the kind of key. Raises `BadKey`."""
    content = f"{message_id}.{timestamp}.".encode() + body
    if key.startswith(PRIVATE):
        return "v1a," + base64.b64encode(_ed25519(key).sign(content)).decode()
    return "v1," + base64.b64encode(hmac.digest(shared_bytes(key), content, hashlib.sha256)).decode()


def signed_headers(keys: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message, signed with every key that is valid now."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(sign(key, message_id, timestamp, body) for key in keys),
    }


def body_signature(key: str, body: bytes) -> str:
    """`sha256=` and the HMAC of the body alone, in hexadecimal, as GitHub signs; without a time it can be replayed."""
    return "sha256=" + hmac.digest(shared_bytes(key), body, hashlib.sha256).hex()


def verify(keys: Iterable[str], headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """The id of a message that one of the keys signed, within the tolerance. `headers` have names in lower case.

    Raises `BadSignature` and nothing else, whatever was sent.
    """
    message_id = headers.get(ID_HEADER, "")
    stamp = headers.get(TIMESTAMP_HEADER, "")
    given = headers.get(SIGNATURE_HEADER, "").split(" ")
    if not message_id or not message_id.isprintable() or not _INTEGER.fullmatch(stamp):
        raise BadSignature(f"The headers {ID_HEADER}, {TIMESTAMP_HEADER} and {SIGNATURE_HEADER} are needed.")
    if abs(now - int(stamp)) > TOLERANCE_S:
        raise BadSignature(f"{TIMESTAMP_HEADER} is more than {TOLERANCE_S} s from now.")
    content = f"{message_id}.{stamp}.".encode("utf-8", "surrogatepass") + body
    matches = [
        _matches(key, version, signature, content)
        for key in keys
        for item in given[:SIGNATURES_MAX]
        for version, _, signature in [item.partition(",")]
    ]
    if not any(matches):
        raise BadSignature("The signature does not fit the message.")
    return message_id


def verify_body(keys: Iterable[str], given: str, body: bytes) -> None:
    """Check a `sha256=...` signature of the body alone. Raises `BadSignature`."""
    expected = [body_signature(key, body).encode() for key in keys]
    text = given.strip().lower().encode("utf-8", "surrogatepass")
    if not any([hmac.compare_digest(item, text) for item in expected]):  # noqa: C419 - every key takes its time
        raise BadSignature("The signature does not fit the body.")


def shared_bytes(key: str) -> bytes:
    """The bytes of a shared secret: what its Base64 says after `whsec_`, otherwise the text itself.

    Raises `BadKey` for a `whsec_` that is none.
    """
    if not key.startswith(SHARED):
        return key.encode("utf-8", "surrogatepass")
    raw = _decode(key.removeprefix(SHARED))
    if raw is None or not SECRET_BYTES_MIN <= len(raw) <= SECRET_BYTES_MAX:
        raise BadKey(f"a {SHARED} secret is Base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return raw


def _matches(key: str, version: str, signature: str, content: bytes) -> bool:
    raw = _decode(signature)
    if raw is None:
        return False
    if key.startswith((PUBLIC, PRIVATE)):
        return version == "v1a" and _verifies(key, raw, content)
    return version == "v1" and hmac.compare_digest(hmac.digest(shared_bytes(key), content, hashlib.sha256), raw)


def _verifies(key: str, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few messages are signed so
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    if key.startswith(PRIVATE):
        public = _ed25519(key).public_key()
    else:
        raw = _decode(key.removeprefix(PUBLIC)) or b""
        if len(raw) != SEED_BYTES:
            raise BadKey(f"a {PUBLIC} key is Base64 of {SEED_BYTES} bytes")
        public = Ed25519PublicKey.from_public_bytes(raw)
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _ed25519(private: str):  # noqa: ANN202 - its type would have to be imported
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - few messages are signed so
        Ed25519PrivateKey,
    )

    raw = _decode(private.removeprefix(PRIVATE)) or b""
    if len(raw) not in {SEED_BYTES, 2 * SEED_BYTES}:  # some libraries keep the public key behind the seed
        raise BadKey(f"a {PRIVATE} key is Base64 of {SEED_BYTES} bytes")
    return Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if text else None
    except (binascii.Error, ValueError):
        return None
