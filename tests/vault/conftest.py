"""Fixtures of the vault's tests."""

from __future__ import annotations

from events.conftest import receiver

__all__ = ["receiver"]
