"""Nouns of identity and the rules of keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from gristmill.base.errors import Error

KEY_PREFIX = "gm_live_"
SECRET_BYTES = 32
LINK_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=14)
KEYS_MAX = 1000
"""Most API keys of one organization."""

Scope = Literal["admin", "usage"]


class Unauthenticated(Error):
    """Send a valid key as `Authorization: Bearer gm_live_...`."""

    code = "unauthenticated"


class Forbidden(Error):
    """This key's scope does not allow that."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class Organization:
    """The tenant; owns everything."""

    id: int
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a call, and what the call may do."""

    organization_id: int
    scope: Scope
    """`admin` may change everything; `usage` may read and run what is there."""
    agent_id: int | None = None
    """Set when the key is limited to one agent."""
    key_id: UUID | None = None
    csrf: str | None = None
    """Set for a browser session: what its forms must send."""

    def require_admin(self) -> None:
        """Raises `Forbidden` for a usage key."""
        if self.scope != "admin":
            raise Forbidden("This call needs an admin key; this one has the usage scope.")

    def require_agent(self, agent_id: int) -> None:
        """Raises `Forbidden` when the key is limited to another agent."""
        if self.agent_id is not None and self.agent_id != agent_id:
            raise Forbidden(f"This key is limited to agent {self.agent_id}.")

    def require_whole_organization(self) -> None:
        """Raises `Forbidden` when the key is limited to one agent."""
        if self.agent_id is not None:
            raise Forbidden(f"This key is limited to agent {self.agent_id}.")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as lists show it; the secret itself is never stored."""

    id: UUID
    name: str
    scope: Scope
    agent_id: int | None
    """The one agent that this key may touch, or null for all."""
    redacted: str
    """`gm_live_****` and the last four characters."""
    created_at: datetime
    last_used_at: datetime | None
    """To the minute."""
    expires_at: datetime | None
    rotated_at: datetime | None
    """When a successor took its place; it works until `expires_at`."""
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made. `secret` is shown this once."""

    key: ApiKey
    secret: str


def new_secret(prefix: str = "") -> str:
    """256 random bits in URL-safe text."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What is stored of a secret. The secret has 256 bits of entropy, so a plain SHA-256 can't be guessed back."""
    return hashlib.sha256(secret.encode()).digest()
