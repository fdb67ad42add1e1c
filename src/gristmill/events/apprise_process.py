"""One notification by Apprise, in a process whose every socket is judged before it is used.

Python raises an audit event before any of its sockets connects or sends, whichever library owns the socket, before any
file is opened and any program started. A hook can't be removed again, so what it refuses does not happen: names that
resolve to private addresses, redirects to them, files of this machine as templates, programs. The order comes as JSON
by standard input; exit code 0 says that it was sent.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import ssl
import sys
from contextlib import suppress
from typing import Any

from gristmill.base import jsons
from gristmill.base.conceal import conceal, redact
from gristmill.base.egress import Egress, EgressRefused

EXIT_NOT_SENT = 1
FORBIDDEN = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
)
SOCKET_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class JudgedSockets:
    """The audit hook."""

    def __init__(self, egress: Egress) -> None:
        self.refusal = ""
        """What was refused last: the library keeps that to itself."""
        self._egress = egress
        self._named = {address for host in egress.allow for address in _addresses(host.rsplit(":", 1)[0])}

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python before it does what `event` says; what this raises prevents it."""
        try:
            self._check(event, args)
        except EgressRefused as error:
            self.refusal = error.message
            raise

    def _check(self, event: str, args: tuple[Any, ...]) -> None:
        if event in SOCKET_EVENTS:
            self._judge(args[1])
        elif event == "open" and not _is_ours(args[0]):
            raise EgressRefused("A notification must not open a file of this machine.")
        elif event.startswith(FORBIDDEN):
            raise EgressRefused("A notification must not start a program.")

    def _judge(self, address: Any) -> None:
        if address is None:  # on a socket that was connected, and so judged, before
            return
        if not isinstance(address, tuple):
            raise EgressRefused("A notification must not use a socket of this machine.")
        host, port = str(address[0]), int(address[1])
        if (host, port) in self._named or (host, 0) in self._named:
            return
        self._egress.check_address(host, host, port)


def _is_ours(path: Any) -> bool:
    """Whether a file belongs to Python, its packages, or the certificates that TLS trusts."""
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))
    return real == os.devnull or any(real == item or real.startswith(item + os.sep) for item in _READABLE)


_trusted = ssl.get_default_verify_paths()
_READABLE = tuple(
    os.path.realpath(item)
    for item in (
        *(folder for folder in sys.path if folder),
        sys.prefix,
        sys.base_prefix,
        _trusted.cafile or _trusted.openssl_cafile,
        _trusted.capath or _trusted.openssl_capath,
        "/usr/share/zoneinfo",
    )
)


def _addresses(host: str) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    with suppress(OSError):
        found = {(str(info[4][0]), 0) for info in socket.getaddrinfo(host, None)}
    return found


def main() -> int:
    """Send what standard input orders."""
    order = jsons.loads(sys.stdin.buffer.read())
    conceal([order["url"], *(part for part in order["url"].replace(":", "/").split("/") if part)])
    import apprise  # noqa: PLC0415 - loads before anything is judged: it only reads files

    said = io.StringIO()
    logging.getLogger("apprise").addHandler(logging.StreamHandler(said))
    socket.setdefaulttimeout(order["seconds"])
    sender = apprise.Apprise()
    if not sender.add(order["url"]):
        print("Apprise does not know this URL.")  # noqa: T201 - the answer to the parent
        return EXIT_NOT_SENT
    sys.dont_write_bytecode = True
    judge = JudgedSockets(Egress(frozenset(order["allow"])))
    sys.addaudithook(judge)
    if sender.notify(title=order["title"], body=order["text"]):
        return 0
    print(redact(judge.refusal or said.getvalue() or "Apprise did not say why."))  # noqa: T201 - the same
    return EXIT_NOT_SENT


if __name__ == "__main__":
    sys.exit(main())
