"""Canaries: unique secrets that tests plant, use, and then look for everywhere, in every form that a leak might have.

Looked for: the value as it is, in Base64 at each of three positions, URL-encoded, in hexadecimal, escaped in JSON,
reversed, and its last twelve characters alone.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import psycopg
import structlog

from conftest import Caller
from gristmill.base.db import Database
from gristmill.base.log import RedactedRecord, configure_logging

TAIL_CHARS = 12


def forms(value: str) -> set[str]:
    """Every form that a leak might have."""
    raw = value.encode()
    found = {
        value,
        value[-TAIL_CHARS:],
        value[::-1],
        raw.hex(),
        raw.hex().upper(),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
    }
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + raw).decode()
        inside = coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        found |= {inside, inside.translate(str.maketrans("+/", "-_"))}
    return found


@dataclass
class Canaries:
    """Secrets that nobody else has, by where they were planted."""

    planted: dict[str, str] = field(default_factory=dict)

    def plant(self, where: str) -> str:
        value = f"canary+{where}/{secrets.token_urlsafe(18)}="
        self.planted[where] = value
        return value

    def add(self, where: str, value: str) -> None:
        """A secret that was made for us, such as a signing key."""
        self.planted[where] = value

    def found_in(self, text: str) -> list[str]:
        """Where the canaries came from that a text shows."""
        return [where for where, value in self.planted.items() for form in forms(value) if form in text]


@contextmanager
def all_logs() -> Generator[io.StringIO]:
    """All that is logged in this process meanwhile, by us and by libraries."""
    stream = io.StringIO()
    before, handlers = logging.getLogRecordFactory(), logging.getLogger().handlers[:]
    configure_logging(log_format="json", level="debug", role="test")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(stream), cache_logger_on_first_use=False)
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    for theirs in ("httpx", "httpcore"):  # the test's own client
        logging.getLogger(theirs).setLevel(logging.WARNING)
    assert logging.getLogRecordFactory() is RedactedRecord
    yield stream
    logging.setLogRecordFactory(before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(logging.WARNING)
    structlog.reset_defaults()


@dataclass
class Watched:
    """A caller whose every answer is kept, but for those that show a secret once."""

    caller: Caller
    seen: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, *, shows: bool = False, **more: Any) -> httpx.Response:
        answer = self.caller.client.request(method, f"/api/v1{path}", json=body, **more)
        if not shows:
            self.seen.append(f"{method} {path}: {answer.text} {answer.headers}")
        return answer


def dump(database: Database) -> str:
    """Every row of every table, as text."""
    parts: list[str] = []
    with psycopg.connect(database.url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'dbos')"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT") as copy:  # type: ignore[arg-type]
                parts += [bytes(chunk).decode("utf-8", "replace") for chunk in copy]
    return "\n".join(parts)
