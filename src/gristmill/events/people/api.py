"""HTTP of channels and pending items. Names are in camelCase here, as in the connectors that they lie beside."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gristmill.base.errors import Invalid
from gristmill.base.http import CursorText, Id, Limit, UuidId, problem_responses
from gristmill.base.paging import CursorMeta, CursorPage, FullList, full_list
from gristmill.base.routes import LateRoute
from gristmill.events import agent_channels, service
from gristmill.events.agent_channels import ChannelDraft, KeptChannel
from gristmill.events.api import TestResult, Text, run_test
from gristmill.events.channels import channels
from gristmill.events.model import TOPICS, PendingItem, Status, Topic
from gristmill.events.service import Decision
from gristmill.identity.api import AdminCall, AnyCall, Call, OnceGuard

router = APIRouter(prefix="/api/v1", tags=["Channels and pending items"], route_class=LateRoute)


class CamelModel(BaseModel):
    """A body or answer with names in camelCase."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
    )


class ChannelView(CamelModel):
    """How the people behind an agent are told."""

    id: UUID
    agent_id: int
    type: str
    name: str
    config: dict[str, Any]
    secret_ref: UUID | None
    secret: dict[str, str] | None = Field(description="The values' names and redactions.")
    event_subscriptions: list[Topic]
    status: Status
    reason: str | None = Field(description="Why it was disabled.")
    failing_since: datetime | None
    last_delivered_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class NewChannelView(ChannelView):
    """A channel just made."""

    signing_secret: str | None = Field(
        None, description="Only `WEBHOOK` without a secret of its own: what verifies the signatures, shown this once."
    )


class ChannelPatch(CamelModel):
    """Changes of a channel; what is absent stays. The type can't be changed."""

    name: Text | None = Field(None, max_length=200)
    config: dict[str, Any] | None = None
    secret: dict[Text, str | None] | None = Field(
        None,
        max_length=20,
        description="Values to keep in the vault. One that equals its redaction stays as it is.",
        examples=[{"url": "https://hooks.slack.com/services/..."}],
    )
    secret_ref: UUID | None = Field(None, description="Instead of `secret`: one that is in the vault already.")
    event_subscriptions: list[Topic] | None = Field(None, max_length=len(TOPICS))
    status: Literal["active", "paused"] | None = None


class ChannelCreate(ChannelPatch):
    """A new channel."""

    type: Text = Field(max_length=40, description="`EMAIL`, `SLACK`, `WEBHOOK` or `APPRISE`.", examples=["SLACK"])
    name: Text = Field("", max_length=200)  # pyright: ignore[reportIncompatibleVariableOverride]
    config: dict[str, Any] = Field(default_factory=dict)  # pyright: ignore[reportIncompatibleVariableOverride]
    event_subscriptions: list[Topic] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=lambda: list[Topic](TOPICS),
        max_length=len(TOPICS),
        description=" ".join(f"`{topic}`: {meaning}" for topic, (meaning, _) in TOPICS.items()),
    )


class ChannelType(CamelModel):
    """A kind of channel."""

    type: str
    title: str
    config_schema: dict[str, Any]
    secret_names: list[str] = Field(description="Values that its secret must have.")


@router.get("/channel_types", summary="List channel types", responses=problem_responses())
def list_channel_types(call: AnyCall) -> FullList[ChannelType]:
    """Ways to tell people, with the JSON schema of their config."""
    del call
    found = [
        ChannelType(
            type=kind,
            title=item.title,
            config_schema=item.Config.model_json_schema(),
            secret_names=list(item.secret_names),
        )
        for kind, item in channels.all().items()
    ]
    return full_list(found)


@router.get("/agents/{agent_id}/channels", summary="List channels", responses=problem_responses(403, 404))
def list_channels(agent_id: Id, call: AdminCall) -> FullList[ChannelView]:
    """All channels of an agent."""
    call.actor.require_agent(agent_id)
    found = agent_channels.list_channels(call.tx, call.organization_id, agent_id)
    return full_list([ChannelView(**_channel(item)) for item in found])


@router.post(
    "/agents/{agent_id}/channels",
    status_code=201,
    summary="Make a channel",
    responses=problem_responses(403, 404, 409),
    response_model=NewChannelView,
)
def create_channel(agent_id: Id, body: ChannelCreate, call: AdminCall, once: OnceGuard) -> Any:
    """It is told of this agent's events, and of those of the whole organization."""
    call.actor.require_agent(agent_id)
    draft = ChannelDraft(
        body.name,
        body.config,
        _unique(body.event_subscriptions),
        *_secret_of(body),
        body.status or "active",
    )

    def create() -> NewChannelView:
        kept = agent_channels.create_channel(call.tx, call.organization_id, agent_id, body.type, draft)
        return NewChannelView(**_channel(kept), signing_secret=kept.new_key)

    return once.run(call, 201, create)


@router.get("/agents/{agent_id}/channels/{channel_id}", summary="Show a channel", responses=problem_responses(403, 404))
def get_channel(agent_id: Id, channel_id: UuidId, call: AdminCall) -> ChannelView:
    """One channel."""
    call.actor.require_agent(agent_id)
    return ChannelView(**_channel(agent_channels.get_channel(call.tx, call.organization_id, agent_id, channel_id)))


@router.patch(
    "/agents/{agent_id}/channels/{channel_id}", summary="Change a channel", responses=problem_responses(403, 404)
)
def update_channel(agent_id: Id, channel_id: UuidId, body: ChannelPatch, call: AdminCall) -> ChannelView:
    """`status: active` tells a disabled one again."""
    call.actor.require_agent(agent_id)
    before = agent_channels.get_channel(call.tx, call.organization_id, agent_id, channel_id).receiver
    secret, secret_ref = _secret_of(body)
    draft = ChannelDraft(
        before.name if body.name is None else body.name,
        before.config if body.config is None else body.config,
        _unique(body.event_subscriptions) if body.event_subscriptions is not None else before.topics,  # pyright: ignore[reportArgumentType]  # a channel has no others
        secret,
        secret_ref,
        body.status or before.status,
    )
    kept = agent_channels.update_channel(call.tx, call.organization_id, agent_id, channel_id, draft)
    return ChannelView(**_channel(kept))


@router.delete(
    "/agents/{agent_id}/channels/{channel_id}",
    status_code=204,
    summary="Delete a channel",
    responses=problem_responses(403, 404),
)
def delete_channel(agent_id: Id, channel_id: UuidId, call: AdminCall) -> None:
    """The secret that it kept goes with it."""
    call.actor.require_agent(agent_id)
    agent_channels.delete_channel(call.tx, call.organization_id, agent_id, channel_id)


@router.post(
    "/agents/{agent_id}/channels/{channel_id}/test", summary="Test a channel", responses=problem_responses(403, 404)
)
async def test_channel(agent_id: Id, channel_id: UuidId, request: Request) -> TestResult:
    """Sends one message that says that it is a test; what went wrong stands in the answer."""
    return await run_test(request, channel_id, form="channel", agent_id=agent_id)


def _secret_of(body: ChannelPatch) -> tuple[dict[str, str | None] | None, str | None]:
    if body.secret is not None and body.secret_ref is not None:
        raise Invalid("Send `secret` or `secretRef`, not both.")
    return body.secret, None if body.secret_ref is None else str(body.secret_ref)


def _unique(topics: list[Topic]) -> list[Topic]:
    return list(dict.fromkeys(topics))


def _channel(kept: KeptChannel) -> dict[str, Any]:
    receiver = kept.receiver
    return {
        "id": receiver.id,
        "agent_id": receiver.agent_id,
        "type": receiver.kind,
        "name": receiver.name,
        "config": receiver.config,
        "secret_ref": receiver.secret_id,
        "secret": None if kept.secret is None else kept.secret.redacted,
        "event_subscriptions": receiver.topics,
        "status": receiver.status,
        "reason": receiver.reason,
        "failing_since": receiver.failing_since,
        "last_delivered_at": receiver.last_delivered_at,
        "last_error": receiver.last_error,
        "created_at": receiver.created_at,
        "updated_at": receiver.updated_at,
    }


class PendingView(CamelModel):
    """Something that a person must look at."""

    id: UUID
    agent_id: int | None = Field(description="Null for one of the whole organization.")
    kind: str = Field(examples=["DATA_SOURCE_PULL_FAILED"])
    message: str
    facts: dict[str, Any]
    times: int = Field(description="How often it was filed while it was open.")
    created_at: datetime
    seen_at: datetime = Field(description="When it was filed last.")
    resolved_at: datetime | None
    resolution: dict[str, Any] | None = Field(description="`decision` and `note` of whoever resolved it.")


class ResolveBody(CamelModel):
    """What was decided."""

    decision: Decision = Field(
        "done",
        description="`approve` or `reject` what waits for it, such as a sync that is held; `done` where there is "
        "nothing to decide.",
    )
    note: Text = Field("", max_length=2000, examples=["The key was renewed."])


State = Annotated[Literal["open", "resolved", "all"], Query(description="Which items")]
IS_OPEN = {"open": True, "resolved": False, "all": None}


@router.get("/agents/{agent_id}/pending", summary="List pending items", responses=problem_responses(403, 404))
def list_pending(
    agent_id: Id, call: AnyCall, status: State = "open", cursor: CursorText = None, limit: Limit = 100
) -> CursorPage[PendingView]:
    """What of this agent waits for a person, newest first."""
    call.actor.require_agent(agent_id)
    service.require_agent(call.tx, call.organization_id, agent_id)
    return _page(call, agent_id, status, cursor, limit)


@router.post(
    "/agents/{agent_id}/pending/{item_id}/resolve",
    summary="Resolve a pending item",
    responses=problem_responses(403, 404, 409),
)
def resolve_pending(agent_id: Id, item_id: UuidId, call: AdminCall, body: ResolveBody | None = None) -> PendingView:
    """What waits for the decision goes on, or is given up, in the same moment."""
    call.actor.require_agent(agent_id)
    return _resolve(call, item_id, agent_id, body)


@router.get("/pending", summary="List all pending items", responses=problem_responses(403))
def list_all_pending(
    call: AnyCall, status: State = "open", cursor: CursorText = None, limit: Limit = 100
) -> CursorPage[PendingView]:
    """What waits for a person: of the organization and of all its agents, newest first."""
    call.actor.require_whole_organization()
    return _page(call, None, status, cursor, limit)


@router.post(
    "/pending/{item_id}/resolve", summary="Resolve any pending item", responses=problem_responses(403, 404, 409)
)
def resolve_any_pending(item_id: UuidId, call: AdminCall, body: ResolveBody | None = None) -> PendingView:
    """The same for an item of any agent, or of the organization."""
    call.actor.require_whole_organization()
    return _resolve(call, item_id, None, body)


def _page(call: Call, agent_id: int | None, status: str, cursor: str | None, limit: int) -> CursorPage[PendingView]:
    found = service.list_pending(
        call.tx, call.organization_id, agent_id=agent_id, is_open=IS_OPEN[status], cursor=cursor, limit=limit
    )
    return CursorPage([_view(item) for item in found.data], CursorMeta(found.meta.next_cursor))


def _resolve(call: Call, item_id: UUID, agent_id: int | None, body: ResolveBody | None) -> PendingView:
    given = body or ResolveBody(decision="done", note="")
    return _view(
        service.resolve_pending(
            call.tx,
            call.organization_id,
            item_id,
            decision=given.decision,
            note=given.note,
            agent_id=agent_id,
        )
    )


def _view(item: PendingItem) -> PendingView:
    return PendingView(**asdict(item))
