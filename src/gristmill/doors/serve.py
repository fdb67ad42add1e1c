"""The server process: the HTTP app under uvicorn."""

from __future__ import annotations

import os
import signal
import socket

import uvicorn

from gristmill import vault
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.log import configure_logging, get_log
from gristmill.doors.http import create_app
from gristmill.doors.listening import LISTEN_FD, listen
from gristmill.doors.process import database_url, keep_what_is_loaded, prepare_database, watch_parent

log = get_log("doors")

KEEP_ALIVE_S = 30
GRACE_S = 10
POOL_SIZE = 24


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure_logging(log_format=settings.log_format, level=settings.log_level, role="server")
    given = os.environ.get(LISTEN_FD)
    sock = socket.socket(fileno=int(given)) if given else listen(settings.host, settings.port)
    url = database_url(settings)
    prepare_database(url)
    database = Database(url, pool_size=POOL_SIZE, application="gristmill server")
    vault.open_vault(database)
    app = create_app(database, settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        lifespan="on",
    )
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    host, port = sock.getsockname()[:2]
    keep_what_is_loaded()
    log.info("listening", url=f"http://{host}:{port}")
    uvicorn.Server(config).run(sockets=[sock])
