"""Sealing: AES-256-GCM, values under a data key of their own, the data key under a master key.

What is sealed is bound to its place: organization, secret, version and purpose are authenticated with it (as associated
data, each part with its length before it), so a row that was moved elsewhere does not open. NIST SP 800-38D; random
nonces of 96 bits, of which one master key may use 2^32 before they might repeat.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping

from gristmill.base import jsons
from gristmill.base.errors import Error
from gristmill.vault.model import Place, Sealed

SCHEME = b"gristmill.vault.1"
KEY_BYTES = 32
NONCE_BYTES = 12
ID_BYTES = 8


class SealBroken(Error):
    """A sealed value does not open: it was changed, or moved here from another place."""

    code = "internal"


def key_id(master: bytes) -> str:
    """The name of a master key: a check value that tells whether a key is the right one, and nothing about the key."""
    return hmac.digest(master, SCHEME + b" id", hashlib.sha256)[:ID_BYTES].hex()


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def seal(values: Mapping[str, str], place: Place, master: bytes) -> Sealed:
    """Seal values for one place."""
    data_key = new_key()
    return Sealed(
        key_id(master),
        _encrypt(master, data_key, _bind(b"key", place)),
        _encrypt(data_key, jsons.dumps(dict(values)), _bind(b"values", place)),
    )


def unseal(sealed: Sealed, place: Place, master: bytes) -> dict[str, str]:
    """The values. Raises `SealBroken`."""
    data_key = _decrypt(master, sealed.wrapped_key, _bind(b"key", place))
    return jsons.loads(_decrypt(data_key, sealed.sealed, _bind(b"values", place)))


def rewrap(wrapped: bytes, place: Place, before: bytes, after: bytes) -> bytes:
    """The same data key under another master key; the values are not touched. Raises `SealBroken`."""
    return _encrypt(after, _decrypt(before, wrapped, _bind(b"key", place)), _bind(b"key", place))


def _bind(part: bytes, place: Place) -> bytes:
    parts = (SCHEME, part, str(place.organization_id).encode(), place.secret_id.bytes, str(place.version).encode())
    return b"".join(len(item).to_bytes(4, "big") + item for item in parts)


def _encrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - a start needs no cipher

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, bound)


def _decrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise SealBroken from None
