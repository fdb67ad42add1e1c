"""Keys and logins: shown once, stored as hashes, ended for good."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from conftest import Caller, MakeCaller
from gristmill import identity
from gristmill.base.db import Database
from gristmill.base.errors import Conflict


def test_a_secret_is_shown_once_and_stored_as_a_hash(database: Database, owner: Caller) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Import", "scope": "usage"}).json()
    secret = made["secret"]
    assert secret.startswith("gm_live_")
    assert made["key"]["redacted"] == f"gm_live_****{secret[-4:]}"
    assert secret not in owner.get("/api/v1/api_keys").text
    with database.system() as tx:
        row = tx.one("SELECT * FROM api_key WHERE id = %s", (made["key"]["id"],))
    assert secret not in str(row)


def test_a_refused_call_is_a_use_of_its_key(owner: Caller, organization: int, make_caller: MakeCaller) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Prying", "scope": "usage"}).json()
    other = make_caller(organization)
    other.client.headers["Authorization"] = f"Bearer {made['secret']}"
    assert other.get("/api/v1/api_keys").status_code == 403
    listed = {key["id"]: key["last_used_at"] for key in owner.get("/api/v1/api_keys").json()["data"]}
    assert listed[made["key"]["id"]] is not None


def test_a_revoked_key_stops_working_at_once(owner: Caller, organization: int, make_caller: MakeCaller) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Short", "scope": "usage"}).json()
    other = make_caller(organization)
    other.client.headers["Authorization"] = f"Bearer {made['secret']}"
    assert other.get("/api/v1/agents").status_code == 200
    assert owner.delete(f"/api/v1/api_keys/{made['key']['id']}").status_code == 204
    refused = other.get("/api/v1/agents")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"


def test_a_rotated_key_works_beside_its_successor_until_the_overlap_ends(
    database: Database, owner: Caller, organization: int
) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Rolling", "scope": "usage"}).json()
    new = owner.post(f"/api/v1/api_keys/{made['key']['id']}/rotate", {"overlap_hours": 2}).json()
    with database.system() as tx:
        assert identity.authenticate_key(tx, made["secret"]).organization_id == organization
        assert identity.authenticate_key(tx, new["secret"]).scope == "usage"
        row = tx.one("SELECT expires_at FROM api_key WHERE id = %s", (made["key"]["id"],))
        assert row["expires_at"] - tx.now < timedelta(hours=2, minutes=1)
        tx.run("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE id = %s", (made["key"]["id"],))
    with pytest.raises(identity.Unauthenticated), database.system() as tx:
        identity.authenticate_key(tx, made["secret"])


def test_a_revoked_key_is_not_rotated(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        key = identity.issue_key(tx, organization, name="x", scope="usage").key
        identity.revoke_key(tx, organization, key.id)
        with pytest.raises(Conflict):
            identity.rotate_key(tx, organization, key.id, overlap_hours=1)


def test_the_successor_of_a_key_that_expires_expires_too(owner: Caller) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Guest", "scope": "usage", "expires_in_days": 30}).json()["key"]
    rotated = owner.post(f"/api/v1/api_keys/{made['id']}/rotate", {}).json()["key"]
    lives = [datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
             for key in (made, rotated)]  # fmt: skip
    assert lives == [timedelta(days=30)] * 2


def test_a_key_is_rotated_once(owner: Caller) -> None:
    made = owner.post("/api/v1/api_keys", {"name": "Once", "scope": "usage"}).json()["key"]
    path = f"/api/v1/api_keys/{made['id']}/rotate"
    successor = owner.post(path, {"overlap_hours": 2}).json()["key"]
    assert successor["expires_at"] is None
    assert owner.post(path, {"overlap_hours": 700}).status_code == 409
    listed = {key["id"]: key for key in owner.get("/api/v1/api_keys").json()["data"]}
    assert listed[made["id"]]["rotated_at"] is not None
    assert owner.post(f"/api/v1/api_keys/{successor['id']}/rotate", {}).status_code == 201


def test_an_expired_key_is_not_rotated(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        key = identity.issue_key(tx, organization, name="x", scope="usage", lifetime=timedelta(days=1)).key
        tx.run("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE id = %s", (key.id,))
        with pytest.raises(Conflict, match="expired"):
            identity.rotate_key(tx, organization, key.id, overlap_hours=1)


def test_a_login_link_works_once(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        token = identity.create_login_link(tx, organization)
    with database.system() as tx:
        session = identity.open_session(tx, token)
        assert identity.authenticate_session(tx, session).organization_id == organization
    with pytest.raises(identity.Unauthenticated, match="used already"), database.system() as tx:
        identity.open_session(tx, token)


def test_an_old_login_link_is_refused(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        token = identity.create_login_link(tx, organization)
        tx.run("UPDATE login SET expires_at = now() - interval '1 second'")
    with pytest.raises(identity.Unauthenticated), database.system() as tx:
        identity.open_session(tx, token)


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "Bearer gm_live_wrong", "bearer " + "x" * 5000])
def test_bad_credentials_are_401(owner: Caller, header: str) -> None:
    answer = owner.client.get("/api/v1/agents", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
