"""SQL of the dashboard."""

from __future__ import annotations

from gristmill.base.db import Tx


def delete_session(tx: Tx, token_sha256: bytes) -> None:
    """Close a browser session for good (system transaction)."""
    tx.run("DELETE FROM login WHERE token_sha256 = %s AND kind = 'session'", (token_sha256,))
