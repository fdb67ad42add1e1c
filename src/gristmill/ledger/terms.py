"""x402 terms: what a payment must look like, and what one that came looks like. The official SDK does the forms.

The SDK takes seconds to import, so this module is imported on first use only. No network in here.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from x402.http.constants import PAYMENT_REQUIRED_HEADER, PAYMENT_RESPONSE_HEADER
from x402.http.utils import decode_payment_signature_header, encode_payment_required_header, safe_base64_encode
from x402.mechanisms.evm.default_assets import find_default_asset
from x402.mechanisms.evm.exact.server import ExactEvmScheme
from x402.schemas import PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo

from gristmill.base import jsons
from gristmill.base.config import Settings
from gristmill.base.errors import Invalid, Malformed
from gristmill.base.money import MICRO, usd

SCHEME = "exact"
TIMEOUT_S = 300
"""How long a signed payment is good, as asked of the payer."""
MICRO_DECIMALS = 6
HEADER_BYTES_MAX = 16_384
INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Offer:
    """A signed payment as it came, checked against our terms but not verified."""

    payload: dict[str, Any]
    requirements: dict[str, Any]
    network: str
    asset: str
    payer: str
    nonce: str
    amount_micro_usd: int
    valid_before: datetime


def requirements(settings: Settings, amount_micro_usd: int) -> PaymentRequirements:
    """What one payment of this amount must look like. Raises `Invalid` for a network that the SDK has no dollar of."""
    try:
        asked = ExactEvmScheme().parse_price(f"${usd(amount_micro_usd)}", settings.x402_network)
        known = find_default_asset(asked.asset, settings.x402_network)
    except ValueError as error:
        raise Invalid(f"GRISTMILL_X402_NETWORK: {error}") from error
    if known is None or known["decimals"] < MICRO_DECIMALS:
        raise Invalid("The network's dollar has fewer than six decimal places.")
    return PaymentRequirements(
        scheme=SCHEME,
        network=settings.x402_network,
        asset=asked.asset,
        amount=str(amount_micro_usd * 10 ** (known["decimals"] - MICRO_DECIMALS)),
        pay_to=settings.x402_pay_to,
        max_timeout_seconds=TIMEOUT_S,
        extra=dict(asked.extra or {}),
    )


def payment_required_headers(
    settings: Settings, amount_micro_usd: int, *, url: str, description: str, error: str
) -> dict[str, str]:
    """The header that tells a client what to pay."""
    required = PaymentRequired(
        error=error,
        resource=ResourceInfo(url=url, description=description, mime_type="application/json"),
        accepts=[requirements(settings, amount_micro_usd)],
    )
    return {PAYMENT_REQUIRED_HEADER: encode_payment_required_header(required)}


def offer_of(settings: Settings, header: str) -> Offer:
    """Read a PAYMENT-SIGNATURE header. Raises `Malformed` for what can't be read, `Invalid` for other terms than ours.

    Any amount will do here: the balance is credited by what was paid.
    """
    payload = _decoded(header)
    accepted, authorization = payload.accepted, payload.payload.get("authorization")
    if not isinstance(authorization, dict):
        raise Malformed("The payment has no authorization; only EIP-3009 transfers are taken.")
    own = requirements(settings, MICRO)
    same = (
        accepted.scheme == own.scheme
        and accepted.network == own.network
        and accepted.asset.lower() == own.asset.lower()
        and accepted.pay_to.lower() == own.pay_to.lower()
    )
    if not same:
        raise Invalid("The payment is for another wallet, token or chain than was asked for.")
    units_per_micro = int(own.amount) // MICRO
    units = _whole(accepted.amount, "amount")
    if units % units_per_micro or units == 0 or units // units_per_micro > INT64_MAX:
        raise Invalid("The payment is no whole number of micro-dollars.")
    agreed = own.model_copy(update={"amount": str(units)})
    payee = str(authorization.get("to", "")).lower()
    if _whole(authorization.get("value"), "value") != units or payee != own.pay_to.lower():
        raise Invalid("What was signed is not what was accepted.")
    return Offer(
        payload=payload.model_dump(mode="json", by_alias=True, exclude_none=True),
        requirements=agreed.model_dump(mode="json", by_alias=True, exclude_none=True),
        network=own.network,
        asset=own.asset.lower(),
        payer=_hex(authorization.get("from"), "from", 20),
        nonce=_hex(authorization.get("nonce"), "nonce", 32),
        amount_micro_usd=units // units_per_micro,
        valid_before=_moment(authorization.get("validBefore")),
    )


def response_header(*, success: bool, payer: str, transaction: str, network: str, reason: str) -> dict[str, str]:
    """The header that tells a client how its payment went."""
    body = {"success": success, "payer": payer, "transaction": transaction, "network": network}
    if reason:
        body["errorReason"] = reason
    return {PAYMENT_RESPONSE_HEADER: safe_base64_encode(jsons.dumps(body).decode())}


def _decoded(header: str) -> PaymentPayload:
    if len(header) > HEADER_BYTES_MAX:
        raise Malformed("The payment header is too long.")
    try:
        payload = decode_payment_signature_header(header)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise Malformed("The payment header can't be read: base64 of an x402 payload is expected.") from None
    if not isinstance(payload, PaymentPayload):
        raise Malformed("Only version 2 of x402 is spoken here.")
    return payload


def _whole(value: object, name: str) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) <= 40):  # noqa: PLR2004 - 128 bits, well above any money
        raise Malformed(f"The payment's `{name}` is no whole number.")
    return int(text)


def _hex(value: object, name: str, size_bytes: int) -> str:
    text = str(value).lower()
    try:
        if text.startswith("0x") and len(bytes.fromhex(text[2:])) == size_bytes:
            return text
    except ValueError:
        pass
    raise Malformed(f"The payment's `{name}` is not {size_bytes} bytes in hexadecimal.")


def _moment(value: object) -> datetime:
    seconds = _whole(value, "validBefore")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)
