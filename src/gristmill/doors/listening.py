"""The listening socket, which the supervisor opens and the server serves."""

from __future__ import annotations

import socket

from gristmill.base.errors import Error

LISTEN_FD = "GRISTMILL_LISTEN_FD"
"""Number of a listening socket that the supervisor holds open, so that a restart refuses no connection."""
BACKLOG = 1024


class PortTaken(Error):
    """The port is in use."""

    code = "conflict"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise PortTaken(f"Can't listen on {host}:{port}: {error.strerror}. Choose another with --port.") from error
    sock.listen(BACKLOG)
    return sock
