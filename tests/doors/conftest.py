"""What tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from conftest import Caller
from gristmill import identity
from gristmill.base.db import Database


@pytest.fixture
def browser(database: Database, owner: Caller, base_url: str) -> Iterator[httpx.Client]:
    """The owner's session, opened by a login link."""
    with database.tx(owner.organization_id) as tx:
        token = identity.create_login_link(tx, owner.organization_id)
    with httpx.Client(base_url=base_url, timeout=60) as client:
        client.get("/login", params={"token": token})
        yield client
