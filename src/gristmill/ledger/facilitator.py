"""The facilitator of x402 payments, over our own guarded requests: the SDK's client would follow redirects.

A settlement is not done or refused only: a timeout, a broken connection, a server error, or an answer that makes no
sense leave it unknown whether money has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.errors import Error
from gristmill.base.fetch import Answer, Egress, http_session, request

VERIFY_TIMEOUT_S = 20.0
SETTLE_TIMEOUT_S = 60.0
ANSWER_BYTES_MAX = 65_536
REASON_CHARS_MAX = 300
PENDING_REASON = "settlement_pending"


class FacilitatorUnreachable(Error):
    """The payment service can't be reached just now; nothing was paid. Try again in a moment."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a payment would go through."""

    valid: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a settlement ended, as far as can be known."""

    outcome: Literal["settled", "refused", "unsent", "unknown"]
    """`unsent`: the service was not reached, so nothing can have moved."""
    transaction: str
    reason: str


async def verify(settings: Settings, payload: dict[str, Any], requirements: dict[str, Any]) -> Verdict:
    """Ask whether a payment is good. Raises `FacilitatorUnreachable`; nothing moves here."""
    try:
        answer = await _post(settings, "verify", payload, requirements, VERIFY_TIMEOUT_S)
    except (TimeoutError, aiohttp.ClientError, Error) as error:
        raise FacilitatorUnreachable from error
    body = _object(answer.body)
    if body is None or not isinstance(body.get("isValid"), bool):
        raise FacilitatorUnreachable(f"The payment service answered {answer.status} to a verification.")
    return Verdict(body["isValid"], _text(body.get("invalidReason")) or _text(body.get("invalidMessage")))


async def settle(settings: Settings, payload: dict[str, Any], requirements: dict[str, Any]) -> Settlement:
    """Have a payment made. Asking again with the same payment never moves money twice: its nonce is used up."""
    try:
        answer = await _post(settings, "settle", payload, requirements, SETTLE_TIMEOUT_S)
    except aiohttp.ClientConnectorError as error:
        return Settlement("unsent", "", _text(str(error)))
    except (TimeoutError, aiohttp.ClientError, Error) as error:
        return Settlement("unknown", "", _text(str(error)) or type(error).__name__)
    body = _object(answer.body)
    if body is None or not isinstance(body.get("success"), bool):
        return Settlement("unknown", "", f"The payment service answered {answer.status}.")
    return _judge(body, answer.status, requirements["network"])


def _judge(body: dict[str, Any], status: int, network: str) -> Settlement:
    transaction, reason = _text(body.get("transaction")), _text(body.get("errorReason"))
    if body["success"]:
        if not transaction or body.get("network") != network:
            return Settlement("unknown", transaction, "The payment service named no transaction on this network.")
        return Settlement("settled", transaction, "")
    if transaction or reason == PENDING_REASON or status >= 500:  # noqa: PLR2004 - server errors
        return Settlement("unknown", transaction, reason)
    return Settlement("refused", "", reason or "refused")


async def _post(
    settings: Settings, verb: str, payload: dict[str, Any], requirements: dict[str, Any], timeout_s: float
) -> Answer:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gristmill"}
    if settings.x402_facilitator_token is not None:
        headers["Authorization"] = f"Bearer {settings.x402_facilitator_token.get_secret_value()}"
    body = {"x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements}
    egress = Egress.of(settings.egress_allow)
    async with http_session(egress, connections=1) as session:
        return await request(
            session,
            egress,
            "POST",
            f"{settings.x402_facilitator_url.rstrip('/')}/{verb}",
            headers=headers,
            body=jsons.dumps(body),
            timeout_s=timeout_s,
            body_bytes_max=ANSWER_BYTES_MAX,
        )


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = jsons.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str:
    return value[:REASON_CHARS_MAX] if isinstance(value, str) else ""
