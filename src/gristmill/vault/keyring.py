"""The master keys that this process has."""

from __future__ import annotations

import threading

from gristmill.base.config import Settings, settings
from gristmill.vault.key_sources import key_sources
from gristmill.vault.model import MasterKeyMissing
from gristmill.vault.seal import key_id

HOW_TO_SET = (
    "Set GRISTMILL_MASTER_KEY or GRISTMILL_MASTER_KEY_FILE; `gristmill up` keeps its own in the data folder, and"
    " `gristmill vault new-key` makes one."
)


class Keyring:
    """Master keys by id, loaded on first use, and again when one is asked for that is not among them."""

    def __init__(self, current: Settings) -> None:
        self.settings = current
        self._keys: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, wanted: str) -> bytes:
        """A key. Raises `MasterKeyMissing` that says which one is missing and which are there."""
        with self._lock:
            if wanted not in self._keys:
                self._load()
            found = self._keys.get(wanted)
        if found is None:
            known = ", ".join(self._keys) or "none"
            raise MasterKeyMissing(
                f"This database's secrets are sealed with the master key {wanted}, and this process has {known}."
                f" {HOW_TO_SET}"
            )
        return found

    def ids(self) -> list[str]:
        """Ids of all keys as they are now, newest first. Raises `MasterKeyMissing` when there is none."""
        with self._lock:
            self._load()
            if not self._keys:
                raise MasterKeyMissing(f"There is no master key for the vault. {HOW_TO_SET}")
            return list(self._keys)

    def _load(self) -> None:
        source = key_sources.get(self.settings.master_key_from)
        self._keys = {key_id(key): key for key in source.load(self.settings)}


_rings: list[Keyring] = []


def keyring() -> Keyring:
    """The keys of this process's settings."""
    current = settings()
    ring = next((item for item in _rings if item.settings is current), None)
    if ring is None:
        ring = Keyring(current)
        _rings[:] = [ring]
    return ring
