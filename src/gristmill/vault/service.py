"""Verbs of the vault."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from gristmill import engine
from gristmill.base import jsons
from gristmill.base.conceal import conceal
from gristmill.base.db import Database, Tx
from gristmill.base.errors import Malformed
from gristmill.base.ids import uuid7
from gristmill.base.paging import CursorPage, Page, cursor_page, decode_cursor, page_of
from gristmill.vault import store
from gristmill.vault.keyring import keyring
from gristmill.vault.model import (
    MasterKeyMissing,
    Place,
    Revealed,
    Secret,
    SecretInUse,
    SecretKept,
    SecretNotFound,
    SecretUse,
    check_values,
    merge,
    redact_value,
)
from gristmill.vault.seal import rewrap, seal, unseal

REWRAP_CHUNK = 500
PURPOSE_CHARS_MAX = 200
FORGET_EVERY_S = 600.0
Ref = str | UUID
"""A secret's id, as text or not."""
Referrers = Callable[[Tx, int, UUID], list[str]]
"""Called with (tx, organization id, secret id); answers what else needs the secret."""

_also_needed: list[Referrers] = []


def put(tx: Tx, organization_id: int, *, name: str, values: Mapping[str, str], owner: str | None = None) -> Secret:
    """Keep values; from now on only their `secret_ref` goes around.

    `owner` names an object that keeps the secret by itself: nobody else can change or delete it then, and it keeps one
    secret only. Raises `Invalid`.
    """
    check_values(values)
    conceal(values.values())
    secret_id = uuid7()
    store.insert_secret(tx, organization_id, secret_id, name=name, owner=owner, redacted=_redacted(values))
    _seal(tx, Place(organization_id, secret_id, 1), values)
    return get(tx, organization_id, secret_id)


def get(tx: Tx, organization_id: int, secret_ref: Ref, *, lock: bool = False) -> Secret:
    """A secret without its values. Raises `SecretNotFound`."""
    found = store.find_secret(tx, organization_id, _id(secret_ref), lock=lock)
    if found is None:
        raise SecretNotFound(f"There is no secret {str(secret_ref)[:80]}.")
    return found


def find_owned(tx: Tx, organization_id: int, owner: str) -> Secret | None:
    """The one secret that an object keeps, or None."""
    return store.find_owned(tx, organization_id, owner)


def list_secrets(tx: Tx, organization_id: int, *, page: int, per_page: int) -> Page[Secret]:
    """One page of secrets, newest first."""
    data, total = store.list_secrets(tx, organization_id, limit=per_page, offset=(page - 1) * per_page)
    return page_of(data, page=page, per_page=per_page, total=total)


def reveal(tx: Tx, organization_id: int, secret_ref: Ref, *, purpose: str) -> Revealed:
    """The values, to be used now and kept nowhere. `purpose`, such as `agent:12`, is noted with the time.

    Raises `SecretNotFound`, or `MasterKeyMissing`.
    """
    return reveal_all(tx, organization_id, secret_ref, purpose=purpose)[0]


def reveal_all(tx: Tx, organization_id: int, secret_ref: Ref, *, purpose: str) -> list[Revealed]:
    """The current values, and after them those of before a rotation for as long as they are accepted."""
    secret_id = _id(secret_ref)
    versions = store.list_valid_versions(tx, organization_id, secret_id)
    if not versions:
        raise SecretNotFound(f"There is no secret {str(secret_ref)[:80]}.")
    revealed: list[Revealed] = []
    for place, sealed, valid_until in versions:
        values = unseal(sealed, place, keyring().get(sealed.key_id))
        conceal(values.values())
        revealed.append(Revealed(values, secret_id=secret_id, version=place.version, valid_until=valid_until))
    store.insert_use(
        tx, organization_id, secret_id, version=versions[0][0].version, purpose=purpose[:PURPOSE_CHARS_MAX]
    )
    return revealed


def change(
    tx: Tx,
    organization_id: int,
    secret_ref: Ref,
    *,
    name: str | None = None,
    values: Mapping[str, str | None] | None = None,
    owner: str | None = None,
) -> Secret:
    """Another name, or other values from now on. A value that is absent, or equals its own redaction, stays.

    Raises `SecretNotFound`, `SecretKept` or `Invalid`.
    """
    return _change(tx, organization_id, secret_ref, name=name, values=values or {}, overlap_s=0.0, owner=owner)


def rotate(
    tx: Tx,
    organization_id: int,
    secret_ref: Ref,
    *,
    values: Mapping[str, str | None],
    overlap_s: float,
    owner: str | None = None,
) -> Secret:
    """Other values from now on; those of before stay valid for `reveal_all` until the overlap has passed."""
    return _change(tx, organization_id, secret_ref, name=None, values=values, overlap_s=overlap_s, owner=owner)


def _change(
    tx: Tx,
    organization_id: int,
    secret_ref: Ref,
    *,
    name: str | None,
    values: Mapping[str, str | None],
    overlap_s: float,
    owner: str | None,
) -> Secret:
    secret = _lock_own(tx, organization_id, secret_ref, owner)
    version, redacted = secret.version, secret.redacted
    if values:
        place, sealed, _ = store.list_valid_versions(tx, organization_id, secret.id)[0]
        before = unseal(sealed, place, keyring().get(sealed.key_id))
        after = merge(before, values)
        if after != before:
            conceal(after.values())
            version, redacted = version + 1, _redacted(after)
            _seal(tx, Place(organization_id, secret.id, version), after)
            ends = tx.now + timedelta(seconds=overlap_s)
            store.end_versions(tx, organization_id, secret.id, before=version, at=ends)
    store.update_secret(tx, organization_id, secret.id, name=name or secret.name, redacted=redacted, version=version)
    return get(tx, organization_id, secret.id)


def delete(tx: Tx, organization_id: int, secret_ref: Ref, *, owner: str | None = None) -> None:
    """Forget a secret. Raises `SecretInUse` that names what needs it, `SecretKept` or `SecretNotFound`."""
    secret = _lock_own(tx, organization_id, secret_ref, owner)
    needed = [*secret.referrers, *(item for ask in _also_needed for item in ask(tx, organization_id, secret.id))]
    if needed:
        raise SecretInUse(f"The secret `{secret.name}` is needed by {', '.join(dict.fromkeys(needed))}.")
    store.delete_secret(tx, organization_id, secret.id)


def refer(tx: Tx, organization_id: int, secret_ref: Ref, referrer: str) -> None:
    """Note that `referrer`, such as `connector:12`, needs a secret, which then can't be deleted.

    Raises `SecretNotFound`.
    """
    if not store.insert_reference(tx, organization_id, _id(secret_ref), referrer):
        raise SecretNotFound(f"There is no secret {str(secret_ref)[:80]}.")


def unrefer(tx: Tx, organization_id: int, secret_ref: Ref, referrer: str) -> None:
    """`referrer` needs that secret no more."""
    store.delete_reference(tx, organization_id, _id(secret_ref), referrer)


def refer_only(tx: Tx, organization_id: int, secret_refs: Iterable[Ref], referrer: str) -> None:
    """`referrer` needs these secrets and no others. Raises `SecretNotFound`."""
    wanted = [_id(item) for item in secret_refs]
    store.delete_other_references(tx, organization_id, referrer, wanted)
    for secret_id in wanted:
        refer(tx, organization_id, secret_id, referrer)


def also_needed(ask: Referrers) -> Referrers:
    """Register a higher room's answer to what needs a secret, where a line of reference would be too coarse."""
    _also_needed.append(ask)
    return ask


def record_test(tx: Tx, organization_id: int, secret_ref: Ref, *, ok: bool) -> None:
    """Note that the secret was tried, and whether it opened what it should."""
    store.update_test(tx, organization_id, _id(secret_ref), ok=ok)


def fingerprint(facts: Any) -> bytes:
    """32 bytes that are equal for equal JSON values, and tell nothing about them without the master key."""
    ring = keyring()
    return hmac.digest(ring.get(ring.ids()[0]), b"fingerprint:" + jsons.dumps_sorted(facts), hashlib.sha256)


def list_uses(
    tx: Tx, organization_id: int, secret_ref: Ref, *, cursor: str | None, limit: int
) -> CursorPage[SecretUse]:
    """When the values were revealed inside and what for, newest first. Raises `SecretNotFound`."""
    secret = get(tx, organization_id, secret_ref)
    before = decode_cursor(cursor) if cursor else None
    if not isinstance(before, int | None):
        raise Malformed("The cursor is not one of ours.")
    rows = store.list_uses(tx, organization_id, secret.id, before=before, limit=limit + 1)
    page = cursor_page(rows, limit, lambda row: row[0])
    return CursorPage([use for _, use in page.data], page.meta)


def open_vault(database: Database) -> None:
    """Make sure at start that this process has every master key it will need.

    Raises `MasterKeyMissing` for one that is missing, is no key, or is another one than sealed the secrets.
    """
    ring = keyring()
    with database.system() as tx:  # the keys serve all tenants
        ids = ring.ids()
        needed = store.list_needed_keys(tx) or [ids[0]]
        for wanted in needed:
            ring.get(wanted)
        store.insert_first_key(tx, ids[0])


def rotate_master(database: Database) -> Iterator[int]:
    """Seal everything with the newest master key instead; yields how many versions are done after each step.

    Only data keys are sealed anew, in transactions of their own: stopped anywhere, the next call goes on. Every process
    must have the new key before. Raises `MasterKeyMissing`, `SealBroken`.
    """
    ring = keyring()
    newest = ring.ids()[0]
    with database.system() as tx:  # the keys serve all tenants
        store.update_current_key(tx, newest)
    done = 0
    while True:
        with database.system() as tx:
            claimed = store.claim_wrapped(tx, newest, REWRAP_CHUNK)
            for place, sealed in claimed:
                wrapped = rewrap(sealed.wrapped_key, place, ring.get(sealed.key_id), ring.get(newest))
                store.update_wrapped(tx, place, newest, wrapped)
        if not claimed:
            return
        done += len(claimed)
        yield done


def is_rotating(database: Database) -> bool:
    """Whether a master key is half way to take another's place: a rotation was stopped, or a new key is there."""
    with database.system() as tx:
        needed = store.list_needed_keys(tx)
    return len(needed) > 1 or bool(needed and needed[0] != keyring().ids()[0])


@engine.every(FORGET_EVERY_S)
def forget_ended(tx: Tx) -> None:
    """Values that a rotation has ended are erased."""
    store.delete_ended_versions(tx)


def _seal(tx: Tx, place: Place, values: Mapping[str, str]) -> None:
    ring = keyring()
    current = store.find_current_key(tx)
    if current is None:
        store.insert_first_key(tx, ring.ids()[0])
        current = store.find_current_key(tx)
    if current is None:
        raise MasterKeyMissing
    store.insert_version(tx, place, seal(values, place, ring.get(current)))


def _lock_own(tx: Tx, organization_id: int, secret_ref: Ref, owner: str | None) -> Secret:
    secret = get(tx, organization_id, secret_ref, lock=True)
    if secret.owner is not None and secret.owner != owner:
        raise SecretKept(f"The secret `{secret.name}` belongs to {secret.owner}, which keeps it: change it there.")
    return secret


def _redacted(values: Mapping[str, str]) -> dict[str, str]:
    return {name: redact_value(value) for name, value in values.items()}


def _id(secret_ref: Ref) -> UUID:
    if isinstance(secret_ref, UUID):
        return secret_ref
    try:
        return UUID(secret_ref)
    except ValueError:
        raise SecretNotFound(f"There is no secret {secret_ref[:80]}.") from None
