"""An agent's tab `channels`: who is told of it, and a form that adds one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from gristmill.agents import Agent
from gristmill.base.errors import Error, Invalid
from gristmill.base.http import Id, UuidId, shared
from gristmill.doors.dashboard.addresses import link
from gristmill.doors.dashboard.agent_tabs import show_tab
from gristmill.doors.dashboard.door import PageRoute, Visit, open_visit
from gristmill.events import agent_channels, receivers
from gristmill.events.agent_channels import ChannelDraft, KeptChannel
from gristmill.events.channels import channels
from gristmill.events.model import TOPICS, Topic

router = APIRouter(include_in_schema=False, route_class=PageRoute)

REFUSALS = frozenset({"invalid", "conflict", "egress_refused", "too_many", "unavailable"})
"""What a person can mend in the form, or must have somebody else mend."""
EMAIL, WEBHOOK = "EMAIL", "WEBHOOK"

FormText = Annotated[str, Form(max_length=2048)]
TopicLines = Annotated[list[str], Form(max_length=20)]
Change = Literal["pause", "resume", "test", "delete"]


def values(visit: Visit, agent: Agent, request: Request) -> Mapping[str, Any]:
    """The agent's channels, and an empty form."""
    del request
    found = agent_channels.list_channels(visit.tx, visit.organization_id, agent.id)
    return {
        "channels": found,
        "addresses": {kept.receiver.id: _address(kept) for kept in found},
        "kinds": {kind: item.title for kind, item in channels.all().items()},
        "topics": {topic: meaning for topic, (meaning, _) in TOPICS.items()},
        "typed": {"kind": "SLACK", "name": "", "target": "", "topics": list(TOPICS)},
        "signing_secret": "",
        "tried": None,
    }


def _address(kept: KeptChannel) -> str:
    """Where a channel's messages go, as far as that is no secret."""
    config = kept.receiver.config
    if kept.receiver.kind == EMAIL:
        return ", ".join(config["to"])
    if kept.receiver.kind == WEBHOOK:
        return str(config["url"])
    return ", ".join(kept.secret.redacted.values()) if kept.secret else ""


@router.post("/dashboard/agents/{agent_id}/channels")
def create_channel(
    agent_id: Id, request: Request, csrf: FormText = "", kind: FormText = "", name: FormText = "",
    target: FormText = "", topic: TopicLines = [],  # noqa: B006 - FastAPI copies it
) -> Response:  # fmt: skip
    """Have somebody told. What is refused is told, and what was typed stays, but for an address that is secret."""
    typed = {"kind": kind, "name": name, "target": target if kind in {EMAIL, WEBHOOK} else "", "topics": topic}
    try:
        with open_visit(request, csrf) as visit:
            draft = _draft(kind, name.strip(), target.strip(), topic)
            made = agent_channels.create_channel(visit.tx, visit.organization_id, agent_id, kind, draft)
            if made.new_key:
                return show_tab(visit, agent_id, "channels", request, signing_secret=made.new_key)
    except Error as problem:
        if problem.code not in REFUSALS:
            raise
        with open_visit(request, csrf) as visit:
            return show_tab(
                visit, agent_id, "channels", request, problem=problem.message, http_status=problem.status, typed=typed
            )
    return _back(agent_id)


def _draft(kind: str, name: str, target: str, topics: list[str]) -> ChannelDraft:
    """The form's lines as a channel. Raises `Invalid`."""
    if not target:
        raise Invalid("Say where messages go.")
    chosen = _topics(topics)
    if not chosen:
        raise Invalid("Choose at least one kind of news.")
    if kind == EMAIL:
        addresses = [part.strip() for part in target.replace(";", ",").split(",") if part.strip()]
        return ChannelDraft(name, {"to": addresses}, chosen)
    if kind == WEBHOOK:
        return ChannelDraft(name, {"url": target}, chosen)
    return ChannelDraft(name, {}, chosen, secret={"url": target})


def _topics(names: Sequence[str]) -> list[Topic]:
    return [topic for topic in TOPICS if topic in names]


@router.post("/dashboard/agents/{agent_id}/channels/{channel_id}/{change}")
def change_channel(agent_id: Id, channel_id: UuidId, change: Change, request: Request, csrf: FormText = "") -> Response:
    """Pause, resume, one test message now, or the end."""
    if change == "test":
        return _test(agent_id, channel_id, request, csrf)
    with open_visit(request, csrf) as visit:
        tx, organization_id = visit.tx, visit.organization_id
        if change == "delete":
            agent_channels.delete_channel(tx, organization_id, agent_id, channel_id)
        else:
            kept = agent_channels.get_channel(tx, organization_id, agent_id, channel_id).receiver
            topics = _topics(kept.topics)
            status = "paused" if change == "pause" else "active"
            draft = ChannelDraft(kept.name, kept.config, topics, status=status)
            agent_channels.update_channel(tx, organization_id, agent_id, channel_id, draft)
    return _back(agent_id)


def _test(agent_id: int, channel_id: UUID, request: Request, csrf: str) -> Response:
    """One message, outside any transaction; its outcome is shown."""
    with open_visit(request, csrf) as visit:
        target = receivers.target_of(visit.tx, visit.organization_id, channel_id, form="channel", agent_id=agent_id)
    sent = asyncio.run(receivers.test(target, shared(request).settings))
    with open_visit(request, csrf) as visit:
        receivers.keep_test(visit.tx, visit.organization_id, target, sent)
        return show_tab(visit, agent_id, "channels", request, tried=sent)


@router.get("/dashboard/agents/{agent_id}/channels/{channel_id}/{change}")
def after_change(agent_id: Id, channel_id: str, change: str) -> Response:
    """Where a test was shown: loading it again leads back."""
    del channel_id, change
    return _back(agent_id)


def _back(agent_id: int) -> Response:
    return RedirectResponse(link(f"/dashboard/agents/{agent_id}", tab="channels"), status_code=303)
