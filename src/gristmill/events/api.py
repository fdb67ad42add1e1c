"""HTTP of events: the outbox, webhooks with their deliveries, the secret of callbacks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gristmill import vault
from gristmill.base.http import CursorText, Limit, PageNumber, PerPage, UuidId, problem_responses, shared
from gristmill.base.paging import CursorPage, FullList, Page, full_list
from gristmill.base.routes import LateRoute
from gristmill.events import callbacks, receivers, service, webhooks
from gristmill.events.channels.webhook import HEADERS_MAX
from gristmill.events.model import (
    EVENT_TYPES_MAX,
    KINDS,
    URL_CHARS_MAX,
    Delivery,
    DeliveryStatus,
    Event,
    Form,
    Sent,
)
from gristmill.events.receivers import OVERLAP_HOURS, Target
from gristmill.events.webhooks import DeliveryWithAttempts, NewWebhook, Replayed, Signing, Webhook, Which
from gristmill.identity.api import AdminCall, AnyCall, Call, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Events"], route_class=LateRoute)

OVERLAP_HOURS_MAX = 720


def storable(text: str) -> str:
    """A text that the database can hold."""
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


Text = Annotated[str, AfterValidator(storable)]
Headers = Annotated[dict[Text, Text], Field(max_length=HEADERS_MAX)]
EventTypes = Annotated[list[Text], Field(min_length=1, max_length=EVENT_TYPES_MAX)]


@router.get("/events", summary="List events", responses=problem_responses(403))
def list_events(call: AnyCall, cursor: CursorText = None, limit: Limit = 100) -> CursorPage[Event]:
    """Facts of the organization in the order they happened."""
    call.actor.require_whole_organization()
    return service.list_events(call.tx, call.organization_id, cursor=cursor, limit=limit)


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event."""

    kind: str
    meaning: str


@router.get("/event_types", summary="List event types", responses=problem_responses())
def list_event_types(call: AnyCall) -> FullList[EventType]:
    """What a webhook can subscribe to."""
    del call
    return full_list([EventType(kind, meaning) for kind, meaning in KINDS.items()])


# Webhooks


class WebhookPatch(BaseModel):
    """Changes of a webhook; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    url: Text | None = Field(None, min_length=1, max_length=URL_CHARS_MAX)
    event_types: EventTypes | None = None
    description: Text | None = Field(None, max_length=200, examples=["Nightly report"])
    headers: Headers | None = None
    ordered: bool | None = None
    status: Literal["active", "paused"] | None = Field(
        None, description="`active` also sends to a disabled one again, beginning with what it is owed."
    )


class WebhookCreate(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: Text = Field(min_length=1, max_length=URL_CHARS_MAX, examples=["https://hooks.example.com/gristmill"])
    event_types: EventTypes = Field(
        description="Kinds of events; a `*` at the end stands for all that begin so, alone for all.",
        examples=[["agent.batch.*", "connector.paused"]],
    )
    description: Text = Field("", max_length=200)
    headers: Headers = Field(
        default_factory=dict, description="Further headers. Not for secrets: they are shown to every reader."
    )
    ordered: bool = Field(
        default=True,
        description="Whether a delivery waits until the one before it was delivered or is dead. `false` lets later "
        "events pass one that fails.",
    )
    signing: Signing = Field(
        "v1", description="`v1` signs with a shared secret, `v1a` with a private key whose public half verifies."
    )


class RotateBody(BaseModel):
    """How to rotate."""

    model_config = ConfigDict(extra="forbid")

    overlap_hours: int = Field(
        OVERLAP_HOURS,
        ge=0,
        le=OVERLAP_HOURS_MAX,
        description="How long requests are signed with both secrets.",
        examples=[OVERLAP_HOURS],
    )


class ReplayBody(BaseModel):
    """Which events to deliver again."""

    model_config = ConfigDict(extra="forbid")

    since: datetime = Field(description="Events from then on.", examples=["2026-11-01T00:00:00Z"])
    until: datetime | None = Field(None, description="Events before then; up to now unless given.")
    which: Which = Field(
        "dead",
        description="`dead`: what could not be delivered. `missing`: what it was never owed, because it was made later "
        "or was disabled. `all`: both, and what was delivered.",
    )


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a test went."""

    ok: bool
    status: int | None
    """Of the answer; null when there was none, or it is no HTTP."""
    error: str | None
    duration_ms: int
    request: dict[str, Any]
    answer: str | None
    """Its beginning."""


@router.get("/webhooks", summary="List webhooks", responses=problem_responses(403))
def list_webhooks(call: AdminCall, page: PageNumber = 1, per_page: PerPage = 50) -> Page[Webhook]:
    """Newest first."""
    call.actor.require_whole_organization()
    return webhooks.list_webhooks(call.tx, call.organization_id, page=page, per_page=per_page)


@router.post(
    "/webhooks",
    status_code=201,
    summary="Make a webhook",
    responses=problem_responses(403, 409),
    response_model=NewWebhook,
)
def create_webhook(body: WebhookCreate, call: AdminCall, once: OnceGuard) -> Any:
    """Events from now on are POSTed to the URL, signed as Standard Webhooks has it. The secret is shown this once."""
    call.actor.require_whole_organization()
    return once.run(call, 201, lambda: webhooks.create_webhook(call.tx, call.organization_id, **body.model_dump()))


@router.get("/webhooks/{webhook_id}", summary="Show a webhook", responses=problem_responses(403, 404))
def get_webhook(webhook_id: UuidId, call: AdminCall) -> Webhook:
    """Its state, and how many deliveries it is owed."""
    call.actor.require_whole_organization()
    return webhooks.get_webhook(call.tx, call.organization_id, webhook_id)


@router.patch("/webhooks/{webhook_id}", summary="Change a webhook", responses=problem_responses(403, 404))
def update_webhook(webhook_id: UuidId, body: WebhookPatch, call: AdminCall) -> Webhook:
    """`status: active` sends again; what a disabled webhook missed can be replayed."""
    call.actor.require_whole_organization()
    sent = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
    return webhooks.update_webhook(call.tx, call.organization_id, webhook_id, sent)


@router.delete(
    "/webhooks/{webhook_id}", status_code=204, summary="Delete a webhook", responses=problem_responses(403, 404)
)
def delete_webhook(webhook_id: UuidId, call: AdminCall) -> None:
    """Its deliveries and its secret go with it."""
    call.actor.require_whole_organization()
    webhooks.delete_webhook(call.tx, call.organization_id, webhook_id)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    status_code=201,
    summary="Rotate a webhook's secret",
    responses=problem_responses(403, 404, 409),
    response_model=NewWebhook,
)
def rotate_webhook(webhook_id: UuidId, call: AdminCall, once: OnceGuard, body: RotateBody | None = None) -> Any:
    """The new secret is shown this once. Until the overlap has passed, each request carries both signatures."""
    call.actor.require_whole_organization()
    overlap = (body or RotateBody(overlap_hours=OVERLAP_HOURS)).overlap_hours
    return once.run(
        call,
        201,
        lambda: webhooks.rotate_webhook(call.tx, call.organization_id, webhook_id, overlap_hours=overlap),
    )


@router.post("/webhooks/{webhook_id}/test", summary="Test a webhook", responses=problem_responses(403, 404))
async def test_webhook(webhook_id: UuidId, request: Request) -> TestResult:
    """Sends one signed request of type `webhook.test` now; what went wrong stands in the answer."""
    return await run_test(request, webhook_id, form="webhook", agent_id=None)


@router.get("/webhooks/{webhook_id}/deliveries", summary="List deliveries", responses=problem_responses(403, 404))
def list_deliveries(
    webhook_id: UuidId,
    call: AdminCall,
    status: Annotated[DeliveryStatus | None, Query(description="Only these")] = None,
    cursor: CursorText = None,
    limit: Limit = 100,
) -> CursorPage[Delivery]:
    """Newest first. Those that have ended are kept for 30 days."""
    call.actor.require_whole_organization()
    return webhooks.list_deliveries(
        call.tx, call.organization_id, webhook_id, status=status, cursor=cursor, limit=limit
    )


@router.get(
    "/webhooks/{webhook_id}/deliveries/{event_id}", summary="Show a delivery", responses=problem_responses(403, 404)
)
def get_delivery(webhook_id: UuidId, event_id: UuidId, call: AdminCall) -> DeliveryWithAttempts:
    """With every attempt: the request, the beginning of the answer, and how long it took."""
    call.actor.require_whole_organization()
    return webhooks.get_delivery(call.tx, call.organization_id, webhook_id, event_id)


@router.post(
    "/webhooks/{webhook_id}/deliveries/{event_id}/replay",
    status_code=202,
    summary="Replay a delivery",
    responses=problem_responses(403, 404),
)
def replay_delivery(webhook_id: UuidId, event_id: UuidId, call: AdminCall) -> DeliveryWithAttempts:
    """Delivers the event again, with the same `webhook-id`, from the first step of the ladder."""
    call.actor.require_whole_organization()
    return webhooks.replay_delivery(call.tx, call.organization_id, webhook_id, event_id)


@router.post(
    "/webhooks/{webhook_id}/replay",
    status_code=202,
    summary="Replay a time",
    responses=problem_responses(403, 404, 409),
    response_model=Replayed,
)
def replay_range(webhook_id: UuidId, body: ReplayBody, call: AdminCall, once: OnceGuard) -> Any:
    """Delivers the events of a time again, in their order, each with the same `webhook-id` as before."""
    call.actor.require_whole_organization()
    return once.run(
        call,
        202,
        lambda: webhooks.replay(
            call.tx,
            call.organization_id,
            webhook_id,
            since=_utc(body.since),
            until=None if body.until is None else _utc(body.until),
            which=body.which,
        ),
    )


@dataclass(frozen=True, slots=True)
class CallbackSecret:
    """What the callbacks of batches are signed with."""

    redacted: str
    overlap_until: datetime | None
    """Until then callbacks are signed with the secret before the last rotation too."""
    secret: str | None = None
    """Shown once, in the answer to a rotation."""


@router.get("/callback_secret", summary="Show the callback secret", responses=problem_responses(403))
def get_callback_secret(call: AdminCall) -> CallbackSecret:
    """Its redaction. Rotate it to see one."""
    call.actor.require_whole_organization()
    return _callback_secret(callbacks.callback_secret(call.tx, call.organization_id))


@router.post(
    "/callback_secret/rotate",
    status_code=201,
    summary="Rotate the callback secret",
    responses=problem_responses(403, 409),
    response_model=CallbackSecret,
)
def rotate_callback_secret(call: AdminCall, once: OnceGuard, body: RotateBody | None = None) -> Any:
    """The new secret is shown this once. Until the overlap has passed, callbacks carry both signatures."""
    call.actor.require_whole_organization()
    overlap = (body or RotateBody(overlap_hours=OVERLAP_HOURS)).overlap_hours

    def rotate() -> CallbackSecret:
        return _callback_secret(*callbacks.rotate_callback_secret(call.tx, call.organization_id, overlap_hours=overlap))

    return once.run(call, 201, rotate)


def _callback_secret(secret: vault.Secret, value: str | None = None) -> CallbackSecret:
    return CallbackSecret(secret.redacted["key"], secret.overlap_until, value)


async def run_test(request: Request, receiver_id: UUID, *, form: Form, agent_id: int | None) -> TestResult:
    """Send one test message, outside any transaction."""

    def load() -> tuple[Target, int]:
        with open_call(request) as call:
            _require_admin(call, agent_id)
            found = receivers.target_of(call.tx, call.organization_id, receiver_id, form=form, agent_id=agent_id)
            return found, call.organization_id

    def keep(sent: Sent) -> None:
        with shared(request).database.tx(organization_id) as tx:
            receivers.keep_test(tx, organization_id, target, sent)

    target, organization_id = await asyncio.to_thread(load)
    started = asyncio.get_running_loop().time()
    sent = await receivers.test(target, shared(request).settings)
    elapsed = int((asyncio.get_running_loop().time() - started) * 1000)
    await asyncio.to_thread(keep, sent)
    return TestResult(sent.ok, sent.status, sent.error, elapsed, sent.request, sent.answer)


def _require_admin(call: Call, agent_id: int | None) -> None:
    call.actor.require_admin()
    if agent_id is None:
        call.actor.require_whole_organization()
    else:
        call.actor.require_agent(agent_id)


def _utc(moment: datetime) -> datetime:
    """A time without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
