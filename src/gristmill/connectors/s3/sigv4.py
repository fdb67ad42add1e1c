"""AWS Signature Version 4 in the Authorization header, as S3 wants it.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference. S3 differs from other services in
that the path is encoded once and never normalised.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key. Its text form shows no secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def encode_path(key: str) -> str:
    """A key as a URL path, percent-encoded once; slashes stay."""
    return quote(key, safe="/~")


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """A query string in the canonical form, which is also the one that is sent."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(pairs))


class Signer:
    """Signs requests for one region and service; the day's signing key is derived once."""

    def __init__(self, keys: Keys, region: str, service: str = "s3") -> None:
        self._keys = keys
        self._region = region
        self._service = service
        self._day = ""
        self._day_key = b""

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        payload_sha256: str,
        now: datetime,
    ) -> dict[str, str]:
        """The request's headers with its signature; `path` and `query` are encoded already, `now` is UTC."""
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **{name.lower(): " ".join(value.split()) for name, value in headers.items()},
            "host": host,
            "x-amz-content-sha256": payload_sha256,
            "x-amz-date": stamp,
        }
        if self._keys.session_token:
            signed["x-amz-security-token"] = self._keys.session_token
        names = sorted(signed)
        listed = ";".join(names)
        canonical = "\n".join(
            [method, path, query, *(f"{name}:{signed[name]}" for name in names), "", listed, payload_sha256]
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._key_of(stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self._keys.access_key_id}/{scope}"
        signed["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={listed}, Signature={signature}"
        return signed

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = b"AWS4" + self._keys.secret_access_key.encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._day, self._day_key = day, key
        return self._day_key
