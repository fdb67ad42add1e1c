"""Small commands on the local installation: money, keys, login links."""

from __future__ import annotations

import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import cast

import typer

from gristmill import identity, ledger
from gristmill.base import jsons
from gristmill.base.config import setting_lines, settings
from gristmill.base.db import Database
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.ids import uuid7
from gristmill.base.money import parse_usd
from gristmill.doors.process import prepare_database
from gristmill.doors.shared_postgres import SharedPostgres
from gristmill.doors.up import running_url
from gristmill.vault.key_sources.local import add_key, encode, key_file, make_key_file
from gristmill.vault.keyring import keyring
from gristmill.vault.seal import new_key
from gristmill.vault.service import is_rotating, rotate_master

WIDTH = 78
"""Characters of a line for reading."""


@contextmanager
def local_database() -> Generator[Database]:
    """The installation's database: the outside one, or the embedded one, started when it does not run."""
    current = settings()
    postgres = None
    if current.database_url is None:
        postgres = SharedPostgres(current.data_dir)
        url = postgres.start().url
        make_key_file(current, new_key())
    else:
        url = current.database_url.get_secret_value()
    try:
        prepare_database(url)
        database = Database(url)
        yield database
        database.close()
    finally:
        if postgres is not None:
            postgres.stop()


def default_organization(database: Database) -> int:
    """Id of the organization that a single-machine installation uses."""
    with database.system() as tx:
        return identity.ensure_default_organization(tx).id


def add_money(amount: str, note: str) -> None:
    """`gristmill topup`."""
    micro_usd = parse_usd(amount, "amount")
    with local_database() as database:
        organization_id = default_organization(database)
        with database.tx(organization_id) as tx:
            balance = ledger.top_up(tx, organization_id, micro_usd, key=str(uuid7()), note=note)
    typer.echo(f"Added. Free balance: {balance.available_usd} USD.")


def print_settings(*, as_json: bool) -> None:
    """`gristmill config`. One line for each setting and one for its meaning, which fits any terminal."""
    lines = setting_lines(settings())
    if as_json:
        typer.echo(jsons.dumps([asdict(line) for line in lines]).decode())
        return
    for line in lines:
        typer.echo(f"{line.env}={line.value}" + ("" if line.source == "default" else f"   ({line.source})"))
        typer.echo(textwrap.fill(line.meaning, WIDTH, initial_indent="    ", subsequent_indent="    "))


def print_login() -> None:
    """`gristmill login`."""
    current = settings()
    with local_database() as database:
        organization_id = default_organization(database)
        with database.tx(organization_id) as tx:
            token = identity.create_login_link(tx, organization_id)
    running = running_url(current.data_dir)
    typer.echo(f"{running or f'http://{current.host}:{current.port}'}/login?token={token}")
    if running is None:
        typer.secho(f"No `gristmill up` runs on {current.data_dir}: start one first.", fg="yellow", err=True)


def print_key(name: str, scope: str) -> None:
    """`gristmill key`."""
    if scope not in {"admin", "usage"}:
        raise Invalid("The scope is `admin` or `usage`.", errors=(FieldError("scope", "must be admin or usage"),))
    with local_database() as database:
        organization_id = default_organization(database)
        with database.tx(organization_id) as tx:
            made = identity.issue_key(tx, organization_id, name=name, scope=cast("identity.Scope", scope))
    typer.echo(made.secret)


def print_master_key() -> None:
    """`gristmill vault new-key`."""
    typer.echo(encode(new_key()))


def replace_master_key() -> None:
    """`gristmill vault rotate-master`."""
    current = settings()
    with local_database() as database:
        if not is_rotating(database):
            if current.master_key is not None or current.master_key_from != "local":
                raise Invalid(
                    "The newest master key is in use already. Give every process a new one first, before the present"
                    " one: GRISTMILL_MASTER_KEY=NEW,OLD. `gristmill vault new-key` makes one."
                )
            typer.echo(f"A new master key is the first in {add_key(current, new_key())} now.")
        for done in rotate_master(database):
            typer.echo(f"{done} sealed anew.")
        old = keyring().ids()[1:]
    typer.echo("Everything is sealed with the newest master key.")
    if old:
        where = key_file(current) if current.master_key is None else "GRISTMILL_MASTER_KEY"
        typer.echo(
            f"Older keys in {where} open nothing of this database any more ({', '.join(old)}); remove them once no"
            " backup needs them."
        )
