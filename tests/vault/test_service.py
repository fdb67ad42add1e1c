"""What the vault keeps, who may open it, and what is left when the key is not there."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import vault
from gristmill.base import jsons
from gristmill.base.config import settings
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Invalid
from gristmill.base.ids import uuid7
from gristmill.vault import store
from gristmill.vault.key_sources.local import add_key, key_file, make_key_file
from gristmill.vault.model import REDACTED, Place, merge, redact_value
from gristmill.vault.seal import SealBroken, key_id, new_key, rewrap, seal, unseal
from gristmill.vault.service import forget_ended, is_rotating, rotate_master

KEYS = {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"}


def keep(database: Database, organization: int, **values: str) -> vault.Secret:
    with database.tx(organization) as tx:
        return vault.put(tx, organization, name="Bucket", values=values or KEYS)


def test_values_come_back_only_by_revealing(database: Database, organization: int) -> None:
    secret = keep(database, organization)
    assert secret.redacted == {"accessKeyId": "gm_byo_****MPLE", "secretAccessKey": "gm_byo_****fiCY"}
    with database.tx(organization) as tx:
        revealed = vault.reveal(tx, organization, secret.ref, purpose="connector:12")
    assert dict(revealed) == KEYS
    with database.tx(organization) as tx:
        after = vault.get(tx, organization, secret.id)
        uses = tx.rows("SELECT version, purpose FROM secret_use WHERE secret_id = %s", (secret.id,))
    assert after.last_used_at is not None
    assert uses == [{"version": 1, "purpose": "connector:12"}]


def test_nothing_of_a_value_is_in_the_database(database: Database, organization: int) -> None:
    secret = keep(database, organization, token="tok-canary-8861-abcdefgh")
    with database.system() as tx:
        rows = [
            *tx.rows("SELECT * FROM secret WHERE id = %s", (secret.id,)),
            *tx.rows("SELECT * FROM secret_version WHERE secret_id = %s", (secret.id,)),
        ]
    assert "canary" not in str(rows)


def test_revealed_values_do_not_print_pickle_copy_or_dump(database: Database, organization: int) -> None:
    secret = keep(database, organization)
    with database.tx(organization) as tx:
        revealed = vault.reveal(tx, organization, secret.ref, purpose="test")
    for text in (repr(revealed), str(revealed), f"{revealed}", jsons.dumps({"a": revealed}).decode()):
        assert "AKIA" not in text
        assert str(secret.id) in text
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            attempt(revealed)  # type: ignore[operator]
    assert revealed.redact(b'{"echo": "AKIAIOSFODNN7EXAMPLE"}') == b'{"echo": "[secret]"}'
    coded = base64.b64encode(b"x:" + KEYS["secretAccessKey"].encode())
    assert b"[secret]" in revealed.redact(b"Basic " + coded)


def test_another_organization_finds_nothing(database: Database, organization: int) -> None:
    from conftest import make_organization  # noqa: PLC0415 - only here

    secret, other = keep(database, organization), make_organization(database)
    with database.tx(other) as tx:
        for attempt in (
            lambda: vault.get(tx, other, secret.id),
            lambda: vault.reveal(tx, other, secret.id, purpose="x"),
            lambda: vault.refer(tx, other, secret.id, "agent:1"),
            lambda: vault.change(tx, other, secret.id, values={"token": "x"}),
            lambda: vault.delete(tx, other, secret.id),
        ):
            with pytest.raises(vault.SecretNotFound):
                attempt()
        for ref in ("nonsense", str(uuid7()), ""):
            with pytest.raises(vault.SecretNotFound):
                vault.reveal(tx, other, ref, purpose="x")


def test_sealed_values_open_in_their_place_only() -> None:
    master, place = new_key(), Place(1, uuid7(), 1)
    sealed = seal(KEYS, place, master)
    assert unseal(sealed, place, master) == KEYS
    elsewhere = [replace(place, organization_id=2), replace(place, secret_id=uuid7()), replace(place, version=2)]
    for other in elsewhere:
        with pytest.raises(SealBroken):
            unseal(sealed, other, master)
    with pytest.raises(SealBroken):
        unseal(sealed, place, new_key())
    with pytest.raises(SealBroken):
        unseal(replace(sealed, sealed=sealed.wrapped_key), place, master)
    for field in ("wrapped_key", "sealed"):
        data = bytearray(getattr(sealed, field))
        for spot in (0, 11, 12, len(data) - 1):
            bad = bytes([*data[:spot], data[spot] ^ 1, *data[spot + 1 :]])
            with pytest.raises(SealBroken):
                unseal(replace(sealed, **{field: bad}), place, master)
    assert "AKIA" not in repr(sealed)


def test_a_data_key_moves_to_another_master_key_alone() -> None:
    old, new, place = new_key(), new_key(), Place(1, uuid7(), 1)
    sealed = seal(KEYS, place, old)
    moved = replace(sealed, key_id=key_id(new), wrapped_key=rewrap(sealed.wrapped_key, place, old, new))
    assert unseal(moved, place, new) == KEYS
    with pytest.raises(SealBroken):
        unseal(moved, place, old)


def test_a_redaction_sent_back_changes_nothing(database: Database, organization: int) -> None:
    secret = keep(database, organization)
    with database.tx(organization) as tx:
        same = vault.change(tx, organization, secret.id, values=dict(secret.redacted))
        assert same.version == 1
        half = vault.change(
            tx, organization, secret.id, values={**secret.redacted, "secretAccessKey": "a-new-one-12345"}
        )
        assert half.version == 2
        assert dict(vault.reveal(tx, organization, secret.id, purpose="t")) == {
            "accessKeyId": KEYS["accessKeyId"],
            "secretAccessKey": "a-new-one-12345",
        }
        with pytest.raises(Invalid, match="is a redaction"):
            vault.change(tx, organization, secret.id, values={"accessKeyId": "gm_byo_****zzzz"})
        with pytest.raises(Invalid, match="is a redaction"):
            vault.put(tx, organization, name="x", values={"token": "gm_byo_****"})


values = st.dictionaries(
    st.text("ab_.-1", min_size=1, max_size=3), st.text(min_size=1, max_size=30), min_size=1, max_size=5
)


@given(values, values)
def test_a_change_keeps_what_was_not_sent(before: dict[str, str], given: dict[str, str]) -> None:
    try:
        after = merge(before, given)
    except Invalid:
        return
    for name in before.keys() | given.keys():
        sent = given.get(name)
        unchanged = sent is None or (name in before and sent == redact_value(before[name]))
        assert after[name] == (before[name] if unchanged else sent)
    assert merge(after, {name: redact_value(value) for name, value in after.items()}) == after


@given(st.text(max_size=40))
def test_a_redaction_shows_four_characters_of_long_values_only(value: str) -> None:
    shown = redact_value(value).removeprefix(REDACTED)
    assert shown == (value[-4:] if len(value) >= 12 else "")


def test_a_rotated_secret_is_valid_beside_its_successor_until_the_overlap_ends(
    database: Database, organization: int
) -> None:
    secret = keep(database, organization, token="first-token-0001")
    with database.tx(organization) as tx:
        rotated = vault.rotate(tx, organization, secret.id, values={"token": "second-token-0002"}, overlap_s=3600)
        assert rotated.overlap_until == tx.now + timedelta(hours=1)
        both = vault.reveal_all(tx, organization, secret.id, purpose="t")
        assert [item["token"] for item in both] == ["second-token-0002", "first-token-0001"]
        assert both[1].valid_until == rotated.overlap_until
        vault.rotate(tx, organization, secret.id, values={"token": "third-token-0003"}, overlap_s=60)
        assert [item["token"] for item in vault.reveal_all(tx, organization, secret.id, purpose="t")] == [
            "third-token-0003",
            "second-token-0002",
            "first-token-0001",
        ]
        tx.run("UPDATE secret_version SET valid_until = now() - interval '1 second' WHERE version < 3")
        assert [item["token"] for item in vault.reveal_all(tx, organization, secret.id, purpose="t")] == [
            "third-token-0003"
        ]
    with database.system() as tx:
        forget_ended(tx)
        left = tx.rows("SELECT version FROM secret_version WHERE secret_id = %s", (secret.id,))
    assert left == [{"version": 3}]


def test_a_secret_that_is_needed_is_not_deleted(database: Database, organization: int) -> None:
    secret = keep(database, organization)
    with database.tx(organization) as tx:
        vault.refer(tx, organization, secret.ref, "connector:7")
        vault.refer(tx, organization, secret.ref, "connector:7")
        vault.refer_only(tx, organization, [secret.ref], "agent:3")
        with pytest.raises(vault.SecretInUse, match="agent:3, connector:7"):
            vault.delete(tx, organization, secret.id)
        vault.unrefer(tx, organization, secret.ref, "connector:7")
        vault.refer_only(tx, organization, [], "agent:3")
        vault.delete(tx, organization, secret.id)
        with pytest.raises(vault.SecretNotFound):
            vault.get(tx, organization, secret.id)


def test_a_secret_of_an_object_is_changed_by_that_object_alone(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        secret = vault.put(tx, organization, name="x", values={"key": "0123456789abc"}, owner="webhook:1")
        for attempt in (
            lambda: vault.change(tx, organization, secret.id, values={"key": "other-value-000"}),
            lambda: vault.delete(tx, organization, secret.id),
        ):
            with pytest.raises(vault.SecretKept, match="webhook:1"):
                attempt()
        vault.delete(tx, organization, secret.id, owner="webhook:1")


@pytest.mark.parametrize(
    "values",
    [{}, {"": "x"}, {"a": ""}, {"a": "x" * 65_537}, {"a\n": "x"}, {"a": "\ud800"}, {str(n): "x" for n in range(21)}],
)
def test_what_is_no_secret(database: Database, organization: int, values: dict[str, str]) -> None:
    with database.tx(organization) as tx, pytest.raises(Invalid):
        vault.put(tx, organization, name="x", values=values)


# Master keys


class Keys:
    """The master keys of this process, as the test sets them."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch = patch
        self.folder = folder

    def set(self, *keys: bytes) -> None:
        self._patch.setenv("GRISTMILL_MASTER_KEY", ",".join(base64.b64encode(key).decode() for key in keys))
        self._patch.setenv("GRISTMILL_DATA_DIR", str(self.folder))
        settings.cache_clear()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Keys]:
    yield Keys(monkeypatch, tmp_path)
    monkeypatch.undo()
    settings.cache_clear()


def organization_of(database: Database) -> int:
    from conftest import make_organization  # noqa: PLC0415 - only here

    return make_organization(database)


def test_a_process_without_the_right_key_says_so_at_its_start(fresh_database: Database, keys: Keys) -> None:
    right = new_key()
    keys.set()
    with pytest.raises(vault.MasterKeyMissing, match="no master key"):
        vault.open_vault(fresh_database)
    keys.set(right)
    vault.open_vault(fresh_database)
    keep(fresh_database, organization_of(fresh_database))
    keys.set(new_key())
    with pytest.raises(vault.MasterKeyMissing, match=key_id(right)):
        vault.open_vault(fresh_database)
    keys.set(new_key(), right)
    vault.open_vault(fresh_database)


@pytest.mark.parametrize("text", ["short", "AAAA", "!" * 44, "A" * 44])
def test_what_is_no_master_key_is_refused(keys: Keys, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    keys.set()
    monkeypatch.setenv("GRISTMILL_MASTER_KEY", text)
    settings.cache_clear()
    from gristmill.vault.keyring import keyring  # noqa: PLC0415 - only here

    with pytest.raises(vault.MasterKeyMissing, match="no master key") as caught:
        keyring().ids()
    assert text not in caught.value.message.split("gristmill")[0] or text == "short"


def test_a_new_master_key_takes_over_and_goes_on_where_it_was_stopped(
    fresh_database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    keys.set(old)
    vault.open_vault(fresh_database)
    organization = organization_of(fresh_database)
    secrets = [keep(fresh_database, organization, token=f"token-number-{number:04}") for number in range(7)]

    def payloads(tx: Tx) -> dict[UUID, bytes]:
        return {row["secret_id"]: row["sealed"] for row in tx.rows("SELECT secret_id, sealed FROM secret_version")}

    with fresh_database.system() as tx:
        before = payloads(tx)
    keys.set(new, old)
    assert is_rotating(fresh_database)
    monkeypatch.setattr("gristmill.vault.service.REWRAP_CHUNK", 3)
    assert next(rotate_master(fresh_database)) == 3  # stopped here
    with fresh_database.system() as tx:
        assert sorted(store.list_needed_keys(tx)) == sorted([key_id(old), key_id(new)])
    late = keep(fresh_database, organization, token="made-while-rotating")
    assert list(rotate_master(fresh_database)) == [3, 4]
    assert not is_rotating(fresh_database)
    with fresh_database.system() as tx:
        after = payloads(tx)
        assert {secret_id: after[secret_id] for secret_id in before} == before, "payloads are not touched"
        assert store.list_needed_keys(tx) == [key_id(new)]
    keys.set(new)
    vault.open_vault(fresh_database)
    with fresh_database.tx(organization) as tx:
        for number, secret in enumerate(secrets):
            assert vault.reveal(tx, organization, secret.id, purpose="t")["token"] == f"token-number-{number:04}"
        assert vault.reveal(tx, organization, late.id, purpose="t")["token"] == "made-while-rotating"


def test_a_process_with_only_the_old_key_does_not_seal_with_it(fresh_database: Database, keys: Keys) -> None:
    old, new = new_key(), new_key()
    keys.set(old)
    organization = organization_of(fresh_database)
    keep(fresh_database, organization)
    keys.set(new, old)
    list(rotate_master(fresh_database))
    keys.set(old)
    with pytest.raises(vault.MasterKeyMissing, match=key_id(new)):
        keep(fresh_database, organization)


def test_the_key_file_is_made_once_for_its_owner_alone(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.set()
    monkeypatch.delenv("GRISTMILL_MASTER_KEY")
    settings.cache_clear()
    current = settings()
    first = new_key()
    assert make_key_file(current, first)
    assert not make_key_file(current, new_key())
    path = key_file(current)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["master.key"]
    from gristmill.vault.keyring import keyring  # noqa: PLC0415 - only here

    ring = keyring()
    assert ring.ids() == [key_id(first)]
    second = new_key()
    add_key(current, second)
    assert ring.get(key_id(second)) == second, "a key that came later is found without a restart"
    assert ring.ids() == [key_id(second), key_id(first)]
    assert path.stat().st_mode & 0o777 == 0o600
