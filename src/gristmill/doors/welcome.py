"""What `gristmill up` prints, and its life."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request

import typer

from gristmill import identity, vault
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.log import configure_logging
from gristmill.doors.process import prepare_database
from gristmill.doors.up import Supervisor, install_signals

READY_WAIT_S = 60.0
READY_LOOK_S = 0.05


def start_and_watch() -> None:
    """Start everything, say where it is, keep it running until Ctrl-C."""
    current = settings()
    configure_logging(log_format=current.log_format, level=current.log_level, role="supervisor")
    started = time.monotonic()
    supervisor = Supervisor(current)
    install_signals(supervisor)
    typer.echo(f"Starting on {current.data_dir} ...", err=True)
    supervisor.start()
    greeter = Greeter(supervisor, started)
    greeter.start()
    try:
        supervisor.watch()
    finally:
        typer.echo("Stopping: rows in flight finish, nothing new starts.", err=True)
        supervisor.shut_down()
    if greeter.failure is not None:
        raise greeter.failure


class Greeter(threading.Thread):
    """Waits for the database and the server and says where they are, while the supervisor watches its children."""

    def __init__(self, supervisor: Supervisor, started: float) -> None:
        super().__init__(name="greeter", daemon=True)
        self.failure: Exception | None = None
        self._supervisor = supervisor
        self._began = started

    def run(self) -> None:
        """Greet; what goes wrong ends the supervisor, unless that is ending already."""
        try:
            prepare_database(self._supervisor.database)
            _greet(self._supervisor, self._began)
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            if not self._supervisor.stopping:
                self.failure = error
                self._supervisor.stop()


def _greet(supervisor: Supervisor, started: float) -> None:
    database = Database(supervisor.database, pool_size=1)
    vault.open_vault(database)
    with database.system() as tx:
        organization = identity.ensure_default_organization(tx)
        first_key = identity.issue_first_key(tx, organization.id)
        link = identity.create_login_link(tx, organization.id)
    database.close()
    ready = _wait_until_ready(supervisor.url)
    state = f"ready in {time.monotonic() - started:.1f} s" if ready else "still starting; see the log above"
    typer.echo(f"\n  Gristmill is {state}\n")
    typer.echo(f"  URL         {supervisor.url}")
    if first_key is not None:
        typer.echo(f"  API key     {first_key.secret}   (shown this once; make more with `gristmill key`)")
    else:
        typer.echo("  API key     made before; `gristmill key` makes another")
    typer.echo(f"  Login link  {supervisor.url}/login?token={link}   (works once, for 15 minutes)")
    typer.echo(f"  Data        {supervisor.settings.data_dir}")
    typer.echo("\n  Ctrl-C stops everything.\n")


def _wait_until_ready(url: str) -> bool:
    deadline = time.monotonic() + READY_WAIT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - our own server
                if answer.status == 200:  # noqa: PLR2004 - OK
                    return True
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(READY_LOOK_S)
    return False
