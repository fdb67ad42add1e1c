"""Signatures: the published vectors, and what must not pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.signing import (
    BadKey,
    BadSignature,
    body_signature,
    new_private_key,
    new_shared_secret,
    public_key,
    sign,
    signed_headers,
    verify,
    verify_body,
)

ID, STAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SEED = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="


def headers(signature: str, *, message_id: str = ID, stamp: str = str(STAMP)) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def test_published_vectors() -> None:
    assert sign(SHARED, ID, STAMP, BODY) == V1
    assert sign(SEED, ID, STAMP, BODY) == V1A
    signed = body_signature("It's a Secret to Everybody", b"Hello, World!")
    assert signed == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


@pytest.mark.parametrize(
    ("key", "signature"), [(SHARED, V1), (SEED, V1A), (public_key(SEED), V1A), (SHARED, f"v1,AAAA {V1}")]
)
def test_what_was_signed_verifies(key: str, signature: str) -> None:
    assert verify([new_shared_secret(), key], headers(signature), BODY, now=STAMP + 299) == ID


@pytest.mark.parametrize(
    ("given", "body", "now"),
    [
        (headers(V1), BODY + b" ", STAMP),
        (headers(V1, message_id="msg_other"), BODY, STAMP),
        (headers(V1, stamp=str(STAMP + 1)), BODY, STAMP),
        (headers(V1), BODY, STAMP + 301),
        (headers(V1), BODY, STAMP - 301),
        (headers(V1.replace("v1,", "v1a,")), BODY, STAMP),
        (headers(V1A), BODY, STAMP),
        (headers(V1[:-2]), BODY, STAMP),
        (headers(V1.replace("g0", "g*0")), BODY, STAMP),
        (headers("v1"), BODY, STAMP),
        (headers("v1,a,b"), BODY, STAMP),
        (headers(""), BODY, STAMP),
        (headers(V1, stamp=f"{STAMP}.0"), BODY, STAMP),
        (headers(V1, stamp=f" {STAMP}"), BODY, STAMP),
        (headers(V1, stamp="١٦١٤٢٦٥٣٣٠"), BODY, STAMP),
        (headers(V1, message_id=""), BODY, STAMP),
        ({}, BODY, STAMP),
        (headers(" ".join(["v1,AAAA"] * 20 + [V1])), BODY, STAMP),
    ],
)
def test_what_must_not_pass(given: dict[str, str], body: bytes, now: int) -> None:
    with pytest.raises(BadSignature):
        verify([SHARED], given, body, now=now)


@given(st.text(), st.text(), st.text(), st.binary())
def test_whatever_is_sent_is_one_kind_of_error(message_id: str, stamp: str, signature: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify([SHARED, SEED], headers(signature, message_id=message_id, stamp=stamp), body, now=STAMP)


@given(st.binary(), st.sampled_from([new_shared_secret(), new_private_key(), "any text ü"]))
def test_any_bytes_can_be_signed(body: bytes, key: str) -> None:
    given = signed_headers([new_shared_secret(), key], "id", STAMP, body)
    assert verify([key], given, body, now=STAMP) == "id"
    with pytest.raises(BadSignature):
        verify([key], given, body + b"x", now=STAMP)


def test_a_signature_of_the_body_alone() -> None:
    verify_body(["old", "new"], body_signature("new", b"{}").upper().replace("SHA256", "sha256"), b"{}")
    for wrong in ("", "sha256=", body_signature("other", b"{}"), "sha256=ü"):
        with pytest.raises(BadSignature):
            verify_body(["old", "new"], wrong, b"{}")


@pytest.mark.parametrize("key", ["whsec_short", "whsec_" + "A" * 20, "whsk_AAAA", "whsec_!!!!"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(BadKey):
        sign(key, ID, STAMP, BODY)
