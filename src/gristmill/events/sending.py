"""One attempt at one delivery, by whatever kind the receiver is of, and what it means for the delivery."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
from pydantic import BaseModel, ValidationError

from gristmill.base.conceal import redact_cut
from gristmill.base.errors import Error, FieldError, Invalid
from gristmill.base.fetch import reason
from gristmill.base.log import get_log
from gristmill.events.channels import Channel, Tools, channels
from gristmill.events.delivery_store import Outcome, Owed
from gristmill.events.model import ANSWER_BYTES_MAX, DeliveryStatus, Message, Sent, message_of, wait_s

log = get_log("events")

NUL_SHOWN = "\N{REPLACEMENT CHARACTER}"


def parse_config(channel: Channel, config: dict[str, Any]) -> BaseModel:
    """A receiver's config from JSON. Raises `Invalid` with one error per field."""
    try:
        return channel.Config.model_validate(config)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(["config", *(str(part) for part in item["loc"])]), item["msg"])
            for item in error.errors(include_url=False, include_input=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong), errors=wrong) from None


async def send(
    kind: str, config: dict[str, Any], message: Message, secrets: Sequence[Mapping[str, str]], tools: Tools
) -> Sent:
    """One attempt. Never raises: what goes wrong is told in the answer, without secrets."""
    try:
        channel = channels.get(kind)
        sent = await channel.send(message, parse_config(channel, config), secrets, tools)
    except (Error, aiohttp.ClientError, TimeoutError, OSError) as error:
        sent = Sent(ok=False, error=reason(error))
    except Exception as error:
        log.exception("a kind of channel broke", kind=kind, message=message.id)
        sent = Sent(ok=False, error=f"a defect of the channel {kind}: {type(error).__name__}")
    return Sent(
        sent.ok,
        sent.request,
        sent.status,
        _storable(sent.answer, ANSWER_BYTES_MAX),
        _storable(sent.error, ANSWER_BYTES_MAX),
        sent.retry_after_s,
    )


async def attempt(
    owed: Owed, kind: str, config: dict[str, Any], secrets: Sequence[Mapping[str, str]], tools: Tools
) -> tuple[Outcome, Sent]:
    """Send what is owed, once, and judge what comes next."""
    sent_at, started = datetime.now(UTC), time.monotonic()
    sent = await send(kind, config, message_of(owed.event), secrets, tools)
    return outcome_of(owed.event.id, owed.tries, sent, sent_at, time.monotonic() - started), sent


def outcome_of(event_id: UUID, tries: int, sent: Sent, sent_at: datetime, elapsed_s: float) -> Outcome:
    """What an attempt means after `tries` failed ones: delivered, dead, or due again after a pause."""
    pause = None if sent.ok else wait_s(tries + 1, sent.retry_after_s)
    state: DeliveryStatus = "delivered" if sent.ok else "pending" if pause is not None else "dead"
    return Outcome(
        event_id,
        sent_at,
        int(elapsed_s * 1000),
        sent.request,
        sent.status,
        sent.answer,
        sent.error,
        sent.ok,
        state,
        pause or 0.0,
    )


def _storable(text: str | None, chars_max: int) -> str | None:
    return None if text is None else redact_cut(text)[:chars_max].replace("\x00", NUL_SHOWN)
