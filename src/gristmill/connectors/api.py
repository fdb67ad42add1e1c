"""HTTP of connectors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from gristmill import agents, events, vault
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.http import CursorText, Id, Limit, PageNumber, PerPage, UuidId, problem_responses, shared
from gristmill.base.paging import CursorPage, FullList, Page, full_list
from gristmill.base.routes import LateRoute
from gristmill.connectors import service, sync_store, syncs
from gristmill.connectors.bodies import (
    ConnectorCreate,
    ConnectorPatch,
    ConnectorType,
    InboundBody,
    InboundKey,
    PullBody,
    PushBody,
    SecretValues,
    TryBody,
)
from gristmill.connectors.kinds import KINDS
from gristmill.connectors.ladder import ConnectorTest
from gristmill.connectors.model import SYNC_HELD, Connector, Role, StoredConnector, Sync, SyncDetail
from gristmill.connectors.preview import PushPreview, find_batch, preview_push
from gristmill.connectors.testing import try_connector
from gristmill.identity.api import AnyCall, Call, Once, OnceGuard, open_call

router = APIRouter(prefix="/api/v1", tags=["Connectors"], route_class=LateRoute)

WHERE = "/agents/{agent_id}/data-sources"
ONE = WHERE + "/{connector_id}"


def _may_write(call: Call, agent_id: int) -> None:
    call.actor.require_admin()
    _agent(call, agent_id)


def _agent(call: Call, agent_id: int) -> agents.Agent:
    call.actor.require_agent(agent_id)
    return agents.get(call.tx, call.organization_id, agent_id)


def _connector(call: Call, agent_id: int, connector_id: int) -> StoredConnector:
    _agent(call, agent_id)
    return service.get(call.tx, call.organization_id, connector_id, agent_id=agent_id)


@router.get("/data-source-types", summary="List types of connectors", responses=problem_responses())
def list_types(call: AnyCall) -> FullList[ConnectorType]:
    """Places that inventory comes from and results go to, with the JSON schema of their config."""
    del call
    return full_list(
        [
            ConnectorType(
                kind.kind, kind.title, kind.summary, kind.Config.model_json_schema(), dict(kind.secret_values)
            )
            for kind in KINDS.all().values()
        ]
    )


@router.get(WHERE, summary="List connectors", responses=problem_responses(403, 404))
def list_connectors(
    agent_id: Id,
    call: AnyCall,
    role: Annotated[Role | None, Query(description="Only sources, or only sinks.")] = None,
    page: PageNumber = 1,
    per_page: PerPage = 50,
) -> Page[Connector]:
    """An agent's sources and sinks, oldest first."""
    _agent(call, agent_id)
    return service.list_connectors(call.tx, call.organization_id, agent_id, role=role, page=page, per_page=per_page)


@router.post(
    WHERE,
    status_code=201,
    summary="Add a connector",
    responses=problem_responses(403, 404, 409),
    response_model=Connector,
)
async def create_connector(agent_id: Id, body: ConnectorCreate, request: Request, once: OnceGuard) -> Any:
    """Checked by one cheap request before it is saved. Secrets are moved to the vault at once and never shown again."""
    config, secret_ref = _without_ref(body.config, body.secret_ref)
    draft = service.Draft(
        body.name, body.role, body.type, config, body.schedule_cron, body.timezone or "UTC", body.format,
        body.status or "ACTIVE", secret_ref, _secret(body.secret),
    )  # fmt: skip
    if draft.secret is not None and draft.secret_ref is not None:
        raise _wrong("secret", "can't be sent beside secretRef")

    def look() -> tuple[Response | None, Mapping[str, str] | None]:
        with open_call(request) as call:
            _may_write(call, agent_id)
            kept = once.kept(call)
            if secret_ref is None or kept is not None:
                return kept, None
            purpose = f"agent:{agent_id} connector"
            return None, dict(vault.reveal(call.tx, call.organization_id, secret_ref, purpose=purpose))

    current = shared(request).settings
    kept, known = await asyncio.to_thread(look)
    if kept is not None:
        return kept
    prepared = service.prepare(draft, known, current)
    await service.ping(prepared, current)

    def save(once: Once) -> Response:
        with open_call(request) as call:
            _may_write(call, agent_id)
            return once.run(call, 201, lambda: service.create(call.tx, call.organization_id, agent_id, prepared))

    return await asyncio.to_thread(save, once)


def _without_ref(config: Mapping[str, Any], secret_ref: UUID | None) -> tuple[dict[str, Any], UUID | None]:
    """The config, and the secret that it or the body names."""
    rest = dict(config)
    named = rest.pop("secretRef", None)
    if named is None:
        return rest, secret_ref
    try:
        found = UUID(str(named))
    except ValueError:
        raise _wrong("config.secretRef", "must be the id of a secret") from None
    if secret_ref not in {None, found}:
        raise _wrong("config.secretRef", "is another secret than secretRef")
    return rest, found


def _secret(given: SecretValues | str | None) -> Mapping[str, str | None] | None:
    return {"value": given} if isinstance(given, str) else given


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


@router.get(ONE, summary="Show a connector", responses=problem_responses(403, 404))
def get_connector(agent_id: Id, connector_id: Id, call: AnyCall) -> Connector:
    """One connector, without secrets."""
    return _connector(call, agent_id, connector_id).connector


@router.patch(ONE, summary="Change a connector", responses=problem_responses(403, 404, 409))
async def update_connector(agent_id: Id, connector_id: Id, body: ConnectorPatch, request: Request) -> Connector:
    """Checked by one cheap request when what opens the other side changes. `status: ACTIVE` activates it again."""
    current = shared(request).settings
    sent = body.model_fields_set

    def look() -> tuple[StoredConnector, service.Draft, Mapping[str, str] | None]:
        with open_call(request) as call:
            _may_write(call, agent_id)
            before = _connector(call, agent_id, connector_id)
            draft = _changed(before, body)
            ref = draft.secret_ref
            known = None
            if ref is not None:
                purpose = f"connector:{connector_id}"
                known = dict(vault.reveal(call.tx, call.organization_id, ref, purpose=purpose))
            return before, draft, known

    before, draft, known = await asyncio.to_thread(look)
    prepared = service.prepare(draft, known, current)
    if sent & {"config", "secret", "secret_ref"}:
        await service.ping(prepared, current)

    def save() -> Connector:
        with open_call(request) as call:
            _may_write(call, agent_id)
            return service.update(call.tx, before, prepared)

    return await asyncio.to_thread(save)


def _changed(before: StoredConnector, body: ConnectorPatch) -> service.Draft:
    """The connector as the changes would have it."""
    shown, sent = before.connector, body.model_fields_set
    config, ref = dict(before.config), before.secret_id
    given_ref = body.secret_ref if "secret_ref" in sent else ref
    if body.config is not None:
        given, named = _without_ref(body.config, body.secret_ref)
        given_ref = named if named is not None else given_ref
        config = {name: value for name, value in {**config, **given}.items() if value is not None}
    secret = _secret(body.secret)
    if secret is not None and given_ref != ref:
        raise _wrong("secret", "can't be sent beside another secretRef")
    return service.Draft(
        body.name or shown.name,
        shown.role,
        shown.type,
        config,
        body.schedule_cron if "schedule_cron" in sent else shown.schedule_cron,
        body.timezone or shown.timezone,
        body.format if "format" in sent else shown.format,
        body.status or shown.status,
        given_ref,
        secret,
    )


@router.delete(ONE, status_code=204, summary="Delete a connector", responses=problem_responses(403, 404, 409))
def delete_connector(agent_id: Id, connector_id: Id, request: Request) -> None:
    """With its ledger and history. The inventory that it brought stays."""
    with open_call(request) as call:
        _may_write(call, agent_id)
        _connector(call, agent_id, connector_id)
        keys = service.delete(call.tx, call.organization_id, connector_id)
    service.delete_objects(keys, shared(request).settings)


@router.post(ONE + "/test", summary="Test a connector", responses=problem_responses(403, 404))
async def try_one(agent_id: Id, connector_id: Id, request: Request, body: TryBody | None = None) -> ConnectorTest:
    """Rung by rung: DNS, TLS, auth, list, get, decompress, sniff, parse 100 rows, what the next sync would bring.

    Nothing is moved and no sync is recorded. A green test activates a source that failures have paused.
    """

    def look() -> tuple[StoredConnector, Mapping[str, str], Mapping[str, Any]]:
        with open_call(request) as call:
            _may_write(call, agent_id)
            found = _connector(call, agent_id, connector_id)
            values = service.reveal(call.tx, found, f"test of connector:{connector_id}") or {}
            return found, values, sync_store.list_entries(call.tx, connector_id)

    connector, secret, ledger = await asyncio.to_thread(look)
    current = shared(request).settings
    write = body.write_probe if body else False
    result = await try_connector(connector, secret, ledger, current, write=write)

    def note() -> None:
        with open_call(request) as call:
            service.record_test(call.tx, connector, ok=result.ok)

    await asyncio.to_thread(note)
    return result


@router.post(
    ONE + "/inbound",
    summary="Make a key for the inbound URL",
    responses=problem_responses(403, 404),
    response_model=InboundKey,
)
def renew_inbound(
    agent_id: Id, connector_id: Id, call: AnyCall, once: OnceGuard, body: InboundBody | None = None
) -> Any:
    """The key signs files that are pushed in. It is shown once; the one before works on for a while."""
    _may_write(call, agent_id)
    connector = _connector(call, agent_id, connector_id)
    if connector.connector.role != "INVENTORY_SOURCE":
        raise Invalid("Nothing is pushed into a sink.")
    overlap_s = (body or InboundBody(overlap_s=86_400)).overlap_s

    def work() -> InboundKey:
        made = service.renew_inbound_secret(call.tx, connector, overlap_s=overlap_s)
        return InboundKey(made.inbound_url, made.key)

    return once.run(call, 200, work)


@router.post(
    ONE + "/pull",
    status_code=202,
    summary="Pull now",
    responses=problem_responses(403, 404, 409),
    response_model=Sync,
)
def pull(agent_id: Id, connector_id: Id, call: AnyCall, once: OnceGuard, body: PullBody | None = None) -> Any:
    """Bring what is new. 409 while a pull of this source is under way or held; there is never more than one."""
    connector = _connector(call, agent_id, connector_id)
    retry_failed = body.retry_failed if body else False
    return once.run(call, 202, lambda: syncs.start_pull(call.tx, connector, cause="MANUAL", retry_failed=retry_failed))


@router.post(
    ONE + "/push",
    status_code=202,
    summary="Push results",
    responses=problem_responses(403, 404, 409),
    response_model=Sync,
)
def push(agent_id: Id, connector_id: Id, body: PushBody, call: AnyCall, once: OnceGuard) -> Any:
    """Send a completed batch's results. A push can't be undone; look at the preview before."""
    call.actor.require_admin()
    connector = _connector(call, agent_id, connector_id)
    return once.run(call, 202, lambda: syncs.start_push(call.tx, connector, body.job_id))


@router.get(ONE + "/push/preview", summary="Preview a push", responses=problem_responses(403, 404))
def preview(
    agent_id: Id,
    connector_id: Id,
    request: Request,
    job_id: Annotated[UUID | None, Query(alias="jobId", description="The latest completed batch unless given.")] = None,
) -> PushPreview:
    """What would leave, and where to. Nothing is sent."""
    with open_call(request) as call:
        connector = _connector(call, agent_id, connector_id)
        rules = agents.read_rules(_agent(call, agent_id).rules)
        if connector.connector.role != "RESULTS_SINK":
            raise Invalid("Nothing leaves to a source.")
        batch = find_batch(call.tx, connector, job_id)
    auto_push = rules.data_sinks.auto_push_on_job_complete
    return preview_push(shared(request).database, connector, batch, auto_push=auto_push)


@router.get(ONE + "/syncs", summary="List syncs", responses=problem_responses(403, 404))
def list_syncs(
    agent_id: Id, connector_id: Id, call: AnyCall, cursor: CursorText = None, limit: Limit = 50
) -> CursorPage[Sync]:
    """Pulls and pushes of a connector, newest first. The last of them are kept for good."""
    _connector(call, agent_id, connector_id)
    return syncs.list_syncs(call.tx, call.organization_id, connector_id, cursor=cursor, limit=limit)


@router.get(ONE + "/syncs/{sync_id}", summary="Show a sync", responses=problem_responses(403, 404))
def get_sync(agent_id: Id, connector_id: Id, sync_id: UuidId, call: AnyCall) -> SyncDetail:
    """Its receipt, a line for each object, and the requests and answers worth keeping."""
    _connector(call, agent_id, connector_id)
    return syncs.get_sync(call.tx, call.organization_id, connector_id, sync_id)


@router.get(
    ONE + "/syncs/{sync_id}/file",
    summary="Download a file that was pushed in",
    responses={**problem_responses(403, 404), 200: {"content": {"application/octet-stream": {}}}},
    response_class=Response,
)
def download_pushed(agent_id: Id, connector_id: Id, sync_id: UuidId, request: Request) -> Response:
    """The bytes of a file that was pushed in, also when it could not be read."""
    with open_call(request) as call:
        _connector(call, agent_id, connector_id)
        key = syncs.raw_key(call.tx, call.organization_id, connector_id, sync_id)
    content = syncs.read_object(key, shared(request).settings)
    return StreamingResponse(content, media_type="application/octet-stream")


@router.post(
    ONE + "/syncs/{sync_id}/{decision}",
    summary="Decide on a sync",
    responses=problem_responses(403, 404, 409),
)
def decide(
    agent_id: Id,
    connector_id: Id,
    sync_id: UuidId,
    decision: Annotated[Literal["approve", "reject", "replay"], Path()],
    call: AnyCall,
) -> Sync:
    """`approve` or `reject` a held pull; `replay` a dead push, with the same bytes under the same ids."""
    _may_write(call, agent_id)
    connector = _connector(call, agent_id, connector_id)
    syncs.get_sync(call.tx, call.organization_id, connector_id, sync_id)
    action = {"approve": syncs.approve, "reject": syncs.reject, "replay": syncs.replay}[decision]
    action(call.tx, call.organization_id, sync_id)
    if decision != "replay":
        events.withdraw_pending(call.tx, call.organization_id, connector.agent_id, SYNC_HELD, key=f"sync:{sync_id}")
    return syncs.get_sync(call.tx, call.organization_id, connector_id, sync_id).sync
