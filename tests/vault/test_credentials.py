"""What a secret becomes on the wire."""

from __future__ import annotations

import base64
import time

import pytest

from gristmill.base.signing import verify, verify_body
from gristmill.vault.credentials import SecretUnfit, auth_headers


def test_each_scheme() -> None:
    assert auth_headers("Bearer", {"token": "t-1"}) == {"Authorization": "Bearer t-1"}
    assert auth_headers("Bearer", {"whatever": "t-1"}) == {"Authorization": "Bearer t-1"}
    assert auth_headers("Bearer", {"token": "t-1", "other": "x"}) == {"Authorization": "Bearer t-1"}
    coded = base64.b64encode("ana:pä:ss".encode()).decode()
    assert auth_headers("Basic", {"username": "ana", "password": "pä:ss"}) == {"Authorization": f"Basic {coded}"}
    assert auth_headers("Header", {"value": "k"}, header="X-Key") == {"X-Key": "k"}


@pytest.mark.parametrize("key", ["any words", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_hmac_signs_the_message_and_the_body(key: str) -> None:
    headers = auth_headers("HmacSha256", {"key": key}, message_id="row-1", body=b'{"n":1}')
    assert verify([key], headers, b'{"n":1}', now=time.time()) == "row-1"
    verify_body([key], headers["X-Gristmill-Signature"], b'{"n":1}')


@pytest.mark.parametrize(
    ("scheme", "values", "says"),
    [
        ("Basic", {"token": "x"}, "`username` and `password`"),
        ("Bearer", {"a": "x", "b": "y"}, "has a, b"),
        ("Bearer", {"token": "a\r\nX-Evil: 1"}, "no header can carry"),
        ("Header", {"value": "ü"}, "no header can carry"),
        ("Basic", {"username": "a:b", "password": "c"}, "colon"),
        ("HmacSha256", {"key": "whsec_AAAA"}, "can't sign"),
    ],
)
def test_a_secret_that_does_not_fit_says_what_is_missing(scheme: object, values: dict[str, str], says: str) -> None:
    with pytest.raises(SecretUnfit, match=says):
        auth_headers(scheme, values)  # type: ignore[arg-type]
