"""A bound on the memory of one server process of PostgreSQL, which has none of its own.

Sorts and hashes spill to disk at `work_mem`; values, arrays and aggregates grow until the machine has no memory left.
Linux lets a process lower the limits of another one of the same user, and a server process that reaches its limit ends
its statement with `out of memory`, as PostgreSQL does wherever an allocation fails. That needs the server on this
machine; of one elsewhere this module knows nothing and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})
_DATA_KB = re.compile(r"^VmData:\s*(\d+) kB$", re.MULTILINE)
_OWNER = re.compile(r"^Uid:\s*(\d+)", re.MULTILINE)


def bound_memory(connection: psycopg.Connection[Any], growth_bytes: int) -> bool:
    """Let the connection's server process have so much more memory than it has now, for as long as it lives.

    Answers whether that was possible. Memory that is shared by the server's processes does not count.
    """
    pid = connection.info.backend_pid
    if not hasattr(resource, "prlimit") or not _is_server_process(connection, pid):
        return False
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        present, owner = _DATA_KB.search(status), _OWNER.search(status)
        if present is None or owner is None:
            return False
        limit = int(present[1]) * 1024 + growth_bytes
        try:
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
        except PermissionError:
            return _bound_as(int(owner[1]), pid, limit)
    except OSError:  # it is gone
        return False
    return True


def _bound_as(owner: int, pid: int, limit: int) -> bool:
    """The same as the server's own user: root may become it, but in a container not bound the processes of others."""
    command = shutil.which("prlimit")
    if os.geteuid() != 0 or command is None:
        return False
    group = Path(f"/proc/{pid}").stat().st_gid
    done = subprocess.run(  # noqa: S603 - a fixed command with numbers
        [command, f"--pid={pid}", f"--data={limit}:{limit}"],
        user=owner, group=group, extra_groups=(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def _is_server_process(connection: psycopg.Connection[Any], pid: int) -> bool:
    """Whether the process of that number is what it is on the server: a container has numbers of its own."""
    info = connection.info
    if info.host not in LOCAL_HOSTS and not info.host.startswith("/"):
        return False
    with contextlib.suppress(OSError):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        return title.startswith("postgres:") and f" {info.dbname} " in title
    return False
