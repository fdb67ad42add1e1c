"""`gristmill payments`: payments whose end is not known, and what a person saw on the chain."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: `gristmill payments 0198... --as settled --transaction 0xabc...`"
SHOWN_MAX = 1000


class Ending(StrEnum):
    """How a payment ended."""

    SETTLED = "settled"
    FAILED = "failed"


def payments(
    payment: Annotated[
        str | None, typer.Argument(help="A payment to end; all that are open are listed without.")
    ] = None,
    ending: Annotated[
        Ending | None,
        typer.Option("--as", help="What the chain says: settled credits the balance, failed credits nothing."),
    ] = None,
    transaction: Annotated[str, typer.Option(help="The transaction that moved the money.")] = "",
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of database and files.", envvar="GRISTMILL_DATA_DIR")
    ] = None,
) -> None:
    """List payments that were sent and neither settled nor refused; end one by hand."""
    if data_dir is not None:
        os.environ["GRISTMILL_DATA_DIR"] = str(data_dir.absolute())
    if payment is None:
        _list_open()
    else:
        _end(payment, ending, transaction)


def _list_open() -> None:
    from gristmill.base.money import usd  # noqa: PLC0415 - keeps --help quick
    from gristmill.doors.desk import local_database  # noqa: PLC0415
    from gristmill.ledger.payments import open_payments  # noqa: PLC0415

    with local_database() as database, database.system() as tx:
        found = open_payments(tx, SHOWN_MAX)
    if not found:
        typer.echo("No payment is open.")
        return
    for item in found:
        again = f"asked again at {item.next_try_at:%H:%M}" if item.next_try_at else "asked no more"
        typer.echo(f"{item.id}  {usd(item.amount_micro_usd)} USD, sent {item.created_at:%Y-%m-%d %H:%M} UTC, {again}")
        sent = f"by {item.payer}" + (f", transaction {item.transaction}" if item.transaction else "")
        typer.echo(f"    organization {item.organization_id}, {sent}")
        if item.reason:
            typer.echo(f"    {item.reason}")
    typer.echo("Those that are asked again end by themselves. For the others look at the chain, then use --as.")


def _end(text: str, ending: Ending | None, transaction: str) -> None:
    from gristmill.base.errors import FieldError, Invalid, NotFound  # noqa: PLC0415 - keeps --help quick
    from gristmill.base.ids import parse_uuid  # noqa: PLC0415
    from gristmill.doors.desk import local_database  # noqa: PLC0415
    from gristmill.ledger.payments import open_payments, resolve  # noqa: PLC0415

    if ending is None:
        raise Invalid("Say how it ended.", errors=(FieldError("--as", "must be settled or failed"),))
    if ending is Ending.SETTLED and not transaction:
        raise Invalid("Say which transaction moved the money.", errors=(FieldError("--transaction", "is missing"),))
    payment_id = parse_uuid(text, "payment")
    with local_database() as database:
        with database.system() as tx:
            found = [item for item in open_payments(tx, SHOWN_MAX) if item.id == payment_id]
        if not found:
            raise NotFound(f"No open payment is {payment_id}.")
        with database.tx(found[0].organization_id) as tx:
            settled = ending is Ending.SETTLED
            ended = resolve(tx, found[0].organization_id, payment_id, settled=settled, transaction=transaction)
    typer.echo(f"{ended.status}: {ended.amount_usd} USD{' were credited' if settled else ' were not credited'}.")
