"""Verbs of enrichment: upload, link, start, resume, change the mapping, look.

A job is a batch that waits until it is started. What people without a key upload lies with an organization of its own,
out of everybody's reach but the token's, and moves to whoever links it, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, BinaryIO
from uuid import UUID

from gristmill import agents, batches, identity, inventory, ledger, mapping, tables
from gristmill.agents import Agent
from gristmill.base import config
from gristmill.base.config import Settings
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.money import parse_usd, usd
from gristmill.base.paging import CursorPage, cursor_page, uuid_cursor
from gristmill.batches import Batch, WrongState
from gristmill.engine import SHARED_QUEUE
from gristmill.enrich import columns as leads
from gristmill.enrich import readiness, store
from gristmill.enrich.model import (
    HUNT_FIELDS,
    LEAD_FIELDS,
    Job,
    JobMapping,
    JobNotFound,
    JobQuote,
    JobStatus,
    Preview,
    TokenUnknown,
    TooManyUploads,
    UploadReceipt,
    UploadRefused,
)
from gristmill.inventory import Examined, StoredInventory
from gristmill.mapping import Mapping as Columns

AGENT_NAME = "Lead enricher"
RUNTIME = "lead"
WHAT_NEEDS = "Starting an enrichment"
"""What needs the minimum balance, for people."""
ORIGIN = "enrichment"
"""The `kind` of the origin of batches of leads."""
TOKEN_PREFIX = "gm_upload_"  # noqa: S105 - what stands before the random part
TOKEN_CHARS_MAX = 200
CONCURRENCY = 16
RETRY_AFTER_S = 3600
COLUMNS = ("contact_id", *HUNT_FIELDS, "search_variants", "chat_title")
"""Columns of a job's batch."""


Recall = Callable[[str], mapping.Memory | None]
"""Fingerprint of headers -> what is remembered of them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An upload that was read and can become a job."""

    examined: Examined
    columns: Columns


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the uploader asks for."""

    name: str = ""
    row_limit: int | None = None
    budget_micro_usd: int | None = None
    auto_start: bool = False
    """Start at once when the balance allows."""
    run_key: str | None = None
    """The same command again finds its job by it."""
    queue: str = SHARED_QUEUE


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A job just made."""

    id: UUID
    status: JobStatus
    stored_row_count: int
    row_count: int
    """Rows that will be run."""
    file_row_count: int
    mapping: JobMapping
    chat_label: dict[str, Any]
    receipt: UploadReceipt
    quote: JobQuote
    started: bool
    """It was started, since the uploader asked for it and the balance allowed it."""
    upload_token: str | None = None
    """Of an anonymous upload: opens this job, once links it, and is shown nowhere else."""
    expires_at: Any = None


def prepare(
    settings: Settings,
    file: BinaryIO,
    recall: Recall,
    *,
    row_limit: int | None,
    choose: Callable[[Columns], Columns] = lambda columns: columns,
) -> Prepared:
    """Read a whole upload and find out its columns. No transaction is open, since a model may be asked.

    `recall` gives what is remembered of tables with the same headers, `choose` what a person changes of the columns
    that were found, which may be none.

    Raises `Unreadable` for what is no table, `UploadRefused` for too many rows or none, and what the mapping raises
    when there is nothing to search by.
    """
    examined = inventory.Reader().examine(file)
    rows, rows_max = examined.receipt.rows, settings.batch_enrich_max_rows
    if rows > rows_max:
        message = f"The file has {rows} rows; at most {rows_max} are taken (BATCH_ENRICH_MAX_ROWS)."
        raise UploadRefused(message, errors=(FieldError("file", message),), limit=rows_max, size=rows)
    if rows == 0:
        raise UploadRefused("The file has no rows.", errors=(FieldError("file", "has no rows"),))
    file.seek(0)
    table = tables.read_table(file, dialect=examined.dialect)
    model = mapping.model_of(settings, row_limit=row_limit)
    columns = choose(mapping.propose_mapping(table, cache=recall(table.fingerprint), llm=model))
    columns.require_lead()
    file.seek(0)
    return Prepared(examined, columns)


def lead_agent(tx: Tx, organization_id: int, settings: Settings, *, agent_id: int | None) -> Agent:
    """The agent that enriches: the named one, or the organization's own, made when there is none."""
    if agent_id is not None:
        found = agents.get(tx, organization_id, agent_id)
        if found.runtime != RUNTIME:
            message = f"has the runtime `{found.runtime}`; a lead enricher is needed"
            raise Invalid(f"Agent {agent_id} {message}.", errors=(FieldError("agent", message),))
    else:
        found = agents.get_by_name(tx, organization_id, AGENT_NAME) or _make_agent(tx, organization_id, settings)
    if found.input_fields:
        return found
    # Without fields the whole row would be the input, and two rows of one lead with different ids two leads.
    return replace(found, input_fields=list(LEAD_FIELDS))


def _make_agent(tx: Tx, organization_id: int, settings: Settings) -> Agent:
    price = parse_usd(settings.enrich_price_usd, "GRISTMILL_ENRICH_PRICE_USD")
    values: dict[str, Any] = {
        "name": AGENT_NAME,
        "runtime": RUNTIME,
        "config": {"match_usd": usd(price)},
        "input_fields": [{"name": item.name, "type": item.type, "required": False, "description": item.description}
                         for item in LEAD_FIELDS],
        "concurrency": CONCURRENCY,
        "price_micro_usd": price,
        "timeout_s": 120.0,
    }  # fmt: skip
    return agents.create(tx, organization_id, values)


def admit_anonymous(tx: Tx, settings: Settings) -> int:
    """The tenant of an upload without a key (system transaction). Raises `TooManyUploads`."""
    organization_id = identity.anonymous_organization(tx)
    if store.count_waiting(tx, organization_id) >= settings.enrich_anonymous_jobs_max:
        raise TooManyUploads(retry_after_s=RETRY_AFTER_S)
    return organization_id


def create(
    tx: Tx,
    organization_id: int,
    settings: Settings,
    agent: Agent,
    prepared: Prepared,
    file: BinaryIO,
    draft: inventory.Draft,
    wishes: Wishes,
    *,
    anonymous: bool = False,
) -> Uploaded:
    """A job of an upload, with all its rows; nothing runs until it is started."""
    kept = inventory.add(tx, organization_id, agent.id, draft)
    file.seek(0)
    table = tables.read_table(file, dialect=prepared.examined.dialect)
    order = _order(kept.id, wishes, draft.name)
    batch = batches.create(tx, organization_id, agent, order, leads.lead_rows(prepared.columns, table.records()))
    if not anonymous:  # what strangers upload is remembered for nobody
        mapping.remember(tx, organization_id, prepared.columns, agent_id=agent.id)
    token = identity.new_secret(TOKEN_PREFIX) if anonymous else None
    expires_at = tx.now + timedelta(hours=settings.enrich_anonymous_hours) if anonymous else None
    store.insert_job(
        tx,
        organization_id,
        batch.id,
        inventory_id=kept.id,
        mapping=leads.to_json(prepared.columns),
        process_limit=wishes.row_limit,
        token_sha256=identity.digest(token) if token else None,
        token_expires_at=expires_at,
    )
    quote = quote_of(tx, organization_id, settings, batch)
    if not anonymous:
        told = readiness.warnings_of(tx, organization_id, agent.id, prepared.columns)
        quote = replace(quote, warnings=told)
    may_start = not anonymous and quote.missing_micro_usd == 0
    started = wishes.auto_start and may_start and not readiness.unread(tx, organization_id, agent.id)
    if started:
        batch = batches.resume(tx, organization_id, batch.id, gated=False)
    shown = leads.view(prepared.columns)
    receipt = receipt_of(batch, prepared.examined.receipt)
    return Uploaded(
        id=batch.id,
        status=status_of(batch),
        stored_row_count=batch.rows_in,
        row_count=receipt.pending,
        file_row_count=_file_rows(prepared.examined.receipt),
        mapping=shown,
        chat_label={
            "primary_column": shown.chat_label.primary_column,
            "location_columns": shown.chat_label.location_columns,
        },
        receipt=receipt,
        quote=quote,
        started=started,
        upload_token=token,
        expires_at=expires_at,
    )


def _order(inventory_id: UUID, wishes: Wishes, file_name: str) -> batches.Order:
    return batches.Order(
        origin={"kind": ORIGIN, "inventory_id": str(inventory_id), "name": file_name},
        mapping={},
        columns=COLUMNS,
        name=wishes.name or file_name[:200],
        row_limit=wishes.row_limit,
        budget_micro_usd=wishes.budget_micro_usd,
        run_key=wishes.run_key,
        queue=wishes.queue,
        refuse=leads.refuse,
        start=False,
    )


def link(tx: Tx, organization_id: int, settings: Settings, batch_id: UUID, token: str, *, agent_id: int | None) -> Job:
    """Give an anonymous upload to an organization and its agent (system transaction); the token is used up.

    Raises `JobNotFound` for an unknown job as for a wrong, used or expired token, so that nothing can be guessed; and
    `WrongState` when it is this organization's already.
    """
    found = _by_token(tx, batch_id, token, lock=True)
    if found is None:
        if store.find_job(tx, organization_id, batch_id):
            raise WrongState("This job is linked already.")
        raise JobNotFound(f"There is no upload {batch_id} that this token opens.")
    agent = lead_agent(tx, organization_id, settings, agent_id=agent_id)
    batches.move(
        tx,
        batch_id,
        from_organization_id=found["organization_id"],
        to_organization_id=organization_id,
        agent=agent,
    )
    mapping.remember(tx, organization_id, leads.from_json(found["mapping"]), agent_id=agent.id)
    inventory.move(tx, found["inventory_id"], to_organization_id=organization_id, agent_id=agent.id)
    store.update_owner(tx, batch_id, organization_id)
    return get(tx, organization_id, batch_id)


def organization_of_token(tx: Tx, batch_id: UUID, token: str) -> int:
    """The tenant that holds an anonymous upload (system transaction). Raises `TokenUnknown`."""
    found = _by_token(tx, batch_id, token, lock=False)
    if found is None:
        raise TokenUnknown
    return int(found["organization_id"])


def _by_token(tx: Tx, batch_id: UUID, token: str, *, lock: bool) -> dict[str, Any] | None:
    if len(token) > TOKEN_CHARS_MAX:
        return None
    return store.find_job_by_token(tx, batch_id, identity.digest(token), lock=lock)


def start(tx: Tx, organization_id: int, settings: Settings, batch_id: UUID) -> Job:
    """Let a job run, for the first time or on. A live one is left as it is.

    Raises `BalanceTooLow` when the free balance is under the minimum, `DatasetsPending` while all that could be asked
    is still being processed, `WrongState` for a job that has ended.
    """
    _job(tx, organization_id, batch_id)
    batch = batches.get(tx, organization_id, batch_id)
    if batch.status in {"paused", "failed"}:
        _check_start(tx, organization_id, settings, batch)
    batches.resume(tx, organization_id, batch_id, gated=False)
    return get(tx, organization_id, batch_id)


def _check_start(tx: Tx, organization_id: int, settings: Settings, batch: Batch) -> None:
    available, needed = ledger.balance(tx, organization_id).available_micro_usd, _minimum(settings)
    if available < needed:
        back = f"/batch/{batch.id}"
        raise ledger.too_low(settings, available=available, needed=needed, what=WHAT_NEEDS, url=None, back=back)
    readiness.need_somebody_to_ask(tx, organization_id, batch.agent_id)


def check_resume(tx: Tx, organization_id: int, batch: Batch) -> None:
    """The gate of a job that is resumed as the batch it is: raises as `start` does."""
    _check_start(tx, organization_id, config.settings(), batch)


batches.gates[ORIGIN] = check_resume


def _minimum(settings: Settings) -> int:
    return parse_usd(settings.batch_enrich_min_balance_usd, "BATCH_ENRICH_MIN_BALANCE_USD")


def get(tx: Tx, organization_id: int, batch_id: UUID) -> Job:
    """A job. Raises `JobNotFound`."""
    row = _job(tx, organization_id, batch_id)
    return _view(tx, organization_id, row)


def list_jobs(tx: Tx, organization_id: int, *, cursor: str | None, limit: int) -> CursorPage[Job]:
    """Jobs, newest first."""
    rows = store.list_jobs(tx, organization_id, before=uuid_cursor(cursor), limit=limit + 1)
    return cursor_page([_view(tx, organization_id, row) for row in rows], limit, lambda job: str(job.id))


def preview(tx: Tx, organization_id: int, batch_id: UUID) -> Preview:
    """What was found so far, in counts only."""
    _job(tx, organization_id, batch_id)
    batch = batches.get(tx, organization_id, batch_id)
    found = store.count_found(tx, organization_id, batch_id)
    return Preview(
        id=batch_id,
        status=status_of(batch),
        rows=batch.rows_in,
        processed=batch.succeeded + batch.empty + batch.failed,
        matched=batch.succeeded,
        empty=batch.empty,
        failed=batch.failed,
        skipped=batch.skipped,
        duplicate=batch.duplicate,
        people=found["contacts"],
        phones=found["phones"],
        emails=found["emails"],
        entities=found["entities"],
        addresses=found["addresses"],
        spent_usd=batch.spent_usd,
        spent_micro_usd=batch.spent_micro_usd,
    )


def quote(tx: Tx, organization_id: int, settings: Settings, batch_id: UUID) -> JobQuote:
    """What a job will cost at most."""
    row, batch = _job(tx, organization_id, batch_id), batches.get(tx, organization_id, batch_id)
    found = quote_of(tx, organization_id, settings, batch)
    if row["token_expires_at"] is not None:  # who will enrich it is not known yet
        return found
    told = readiness.warnings_of(tx, organization_id, batch.agent_id, leads.from_json(row["mapping"]))
    return replace(found, warnings=told)


def quote_of(tx: Tx, organization_id: int, settings: Settings, batch: Batch) -> JobQuote:
    """The same of a batch, without warnings."""
    price, available = batch.price_micro_usd, ledger.balance(tx, organization_id).available_micro_usd
    most, needed = price * batch.pending, _minimum(settings)
    missing = max(0, needed - available)
    return JobQuote(
        rows_to_run=batch.pending,
        price_usd=batch.price_usd,
        price_micro_usd=price,
        cost_usd_max=usd(most),
        cost_micro_usd_max=most,
        available_usd=usd(available),
        available_micro_usd=available,
        min_balance_usd=usd(needed),
        min_balance_micro_usd=needed,
        missing_usd=usd(missing),
        missing_micro_usd=missing,
        rows_covered=min(batch.pending, available // price) if price else batch.pending,
        topup_url=ledger.topup_url(f"/batch/{batch.id}"),
    )


def mapping_of(tx: Tx, organization_id: int, batch_id: UUID) -> JobMapping:
    """How a job's columns become leads, with evidence."""
    return leads.view(leads.from_json(_job(tx, organization_id, batch_id)["mapping"]))


def columns_of(tx: Tx, organization_id: int, batch_id: UUID) -> tuple[Columns, StoredInventory]:
    """A job's mapping and its file, for whoever reads the file anew."""
    row = _job(tx, organization_id, batch_id)
    return leads.from_json(row["mapping"]), inventory.get(tx, organization_id, row["inventory_id"])


def remap(tx: Tx, organization_id: int, batch_id: UUID, columns: Columns, file: BinaryIO) -> Job:
    """Read the file's rows anew by a person's mapping, which is remembered for files with the same headers.

    Raises `WrongState` once the job was started.
    """
    columns.require_lead()
    row = _job(tx, organization_id, batch_id)
    stored = inventory.get(tx, organization_id, row["inventory_id"])
    batch = batches.get(tx, organization_id, batch_id)
    agent = agents.get(tx, organization_id, batch.agent_id)
    if not agent.input_fields:
        agent = replace(agent, input_fields=list(LEAD_FIELDS))
    table = tables.read_table(file, dialect=stored.dialect)
    order = _order(stored.id, Wishes(batch.name, row["process_limit"]), stored.inventory.name)
    batches.replace_rows(tx, organization_id, batch_id, agent, order, leads.lead_rows(columns, table.records()))
    store.update_mapping(tx, organization_id, batch_id, leads.to_json(columns))
    if row["token_expires_at"] is None:
        chosen = {name: item.columns for name, item in columns.fields.items()}
        mapping.edit(
            tx, organization_id, columns.fingerprint, mapping.LEAD, chosen, columns.variants, agent_id=batch.agent_id
        )
    return get(tx, organization_id, batch_id)


def _job(tx: Tx, organization_id: int, batch_id: UUID) -> dict[str, Any]:
    row = store.find_job(tx, organization_id, batch_id)
    if row is None:
        raise JobNotFound(f"There is no enrichment job {batch_id}.")
    return row


def status_of(batch: Batch) -> JobStatus:
    """A job's status: that of its batch, or `uploaded` before its first start."""
    waits = batch.status == "paused" and batch.reason == "user" and batch.started_at is None
    return "uploaded" if waits else batch.status


def receipt_of(batch: Batch, file: inventory.FileReceipt) -> UploadReceipt:
    """Everything of a file accounted for, as it was stored."""
    return UploadReceipt(
        lines=file.lines,
        header=file.header,
        preamble=file.preamble,
        rows=file.rows,
        rejects=file.rejects,
        blank=file.blank,
        stored=batch.rows_in,
        pending=batch.pending,
        skipped=batch.skipped,
        duplicate=batch.duplicate,
        failed=batch.failed,
        warnings=file.warnings,
    )


def _file_rows(file: inventory.FileReceipt) -> int:
    """Records under the header, readable or not; totals and notes are none."""
    return file.rows + file.rejects - file.footers


def _view(tx: Tx, organization_id: int, row: dict[str, Any]) -> Job:
    batch = batches.get(tx, organization_id, row["batch_id"])
    file = inventory.get(tx, organization_id, row["inventory_id"]).inventory
    columns = leads.from_json(row["mapping"])
    copied = ("id", "message", "pending", "running", "succeeded", "empty", "failed", "skipped", "duplicate",
              "cancelled", "spent_usd", "spent_micro_usd", "held_usd", "held_micro_usd", "price_usd",
              "price_micro_usd", "budget_usd", "budget_micro_usd", "rate_per_s", "eta_s", "started_at",
              "finished_at")  # fmt: skip
    linked = row["token_expires_at"] is None
    return Job(
        **{name: getattr(batch, name) for name in copied},
        status=status_of(batch),
        reason=None if status_of(batch) == "uploaded" else batch.reason,
        file_name=file.name,
        agent_id=batch.agent_id if linked else None,
        linked=linked,
        expires_at=row["token_expires_at"],
        process_limit=row["process_limit"],
        file_row_count=_file_rows(file.receipt),
        stored_row_count=batch.rows_in,
        row_count=batch.rows_in - batch.skipped - batch.duplicate,
        mapping={name: [columns.columns[index] for index in item.columns] for name, item in columns.fields.items()},
        created_at=row["created_at"],
    )
