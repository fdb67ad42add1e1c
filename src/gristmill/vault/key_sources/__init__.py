"""Where master keys come from: the plug-in family `key_sources`, one file each.

A source is asked once when a process first needs the vault, and again when it meets a key that it does not know. So a
KMS plug-in decrypts the master keys at start, as an auto-unseal does, and no transaction ever waits for it. Others add
theirs by an entry point of the group `gristmill.key_sources` that loads an instance.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from gristmill.base.config import Settings
from gristmill.base.kinds import Family


class KeySource(Protocol):
    """A place that master keys are kept in."""

    kind: ClassVar[str]

    def load(self, settings: Settings) -> list[bytes]:
        """All keys there are, 32 bytes each, newest first. Raises `Error` for what can't be read."""
        ...


key_sources: Family[KeySource] = Family("key_sources", "gristmill.vault.key_sources", "GRISTMILL_MASTER_KEY_FROM")
