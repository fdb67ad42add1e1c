"""Nouns and pure rules of the vault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn
from uuid import UUID

from gristmill.base.conceal import CHARS_MIN, HIDDEN, forms_of
from gristmill.base.errors import Conflict, Error, FieldError, Invalid, NotFound

REDACTED = "gm_byo_****"
SHOWN_CHARS = 4
SHOWN_FROM_CHARS = 12
"""Of a value this long the last four characters are shown; of a shorter one they would give too much away."""
VALUES_MAX = 20
VALUE_CHARS_MAX = 65_536
NAME_CHARS_MAX = 100
_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{NAME_CHARS_MAX}}}", re.ASCII)
"""Names of values are shown, so they can't be just any text: somebody might put the value there."""
OVERLAP_HOURS_MAX = 720


class SecretNotFound(NotFound):
    """There is no such secret."""


class SecretInUse(Conflict):
    """Something still needs this secret."""


class SecretKept(Conflict):
    """This secret belongs to another object, which keeps it."""


class MasterKeyMissing(Error):
    """The master key that sealed this database's secrets is not here."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Secret:
    """An entry of the vault, without its values."""

    id: UUID
    """What others write as `secretRef` or `secret_ref`."""
    name: str
    redacted: dict[str, str]
    """Name of each value -> `gm_byo_****` and, for 12 characters or more, the last four."""
    owner: str | None
    """The object that made and keeps it, such as `webhook:0198...`; null when a person does."""
    version: int
    """Goes up whenever values change."""
    referrers: list[str]
    """What needs it, such as `agent:12`; it can't be deleted while there is any."""
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    """To the minute."""
    last_tested_at: datetime | None
    last_test_ok: bool | None
    overlap_until: datetime | None = None
    """Until then the values before the last rotation are still accepted where that is possible."""

    @property
    def ref(self) -> str:
        """The id as text."""
        return str(self.id)


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One time that the values were revealed inside."""

    version: int
    purpose: str
    used_at: datetime


class Revealed(Mapping[str, str]):
    """The values of a secret, by name. Printing, formatting, pickling or dumping one shows none of them."""

    __slots__ = ("_values", "secret_id", "valid_until", "version")

    def __init__(
        self, values: Mapping[str, str], *, secret_id: UUID, version: int, valid_until: datetime | None = None
    ) -> None:
        """`valid_until` is set for values that others have followed."""
        self._values = dict(values)
        self.secret_id = secret_id
        self.version = version
        self.valid_until = valid_until

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<secret {self.secret_id}: {', '.join(self._values)}>"

    def __reduce__(self) -> NoReturn:
        """Neither pickles nor copies: the values stay where they were revealed."""
        raise TypeError("the values of a secret can't be pickled or copied")

    def redact(self, data: bytes) -> bytes:
        """The bytes without any of these values, in any form they usually travel in; quick for bytes of any length."""
        for value in self._values.values():
            for form in forms_of(value) if len(value) >= CHARS_MIN else ():
                coded = form.encode("utf-8", "surrogatepass")
                if coded in data:
                    data = data.replace(coded, HIDDEN.encode())
        return data


@dataclass(frozen=True, slots=True)
class Place:
    """Where sealed values belong. They open nowhere else."""

    organization_id: int
    secret_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """Values under a data key, and the data key under a master key."""

    key_id: str
    wrapped_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def redact_value(value: str) -> str:
    """How a value is shown."""
    return REDACTED + (value[-SHOWN_CHARS:] if len(value) >= SHOWN_FROM_CHARS else "")


def merge(before: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    """The values after a change: what is absent, or given as its own redaction, stays; null removes.

    Raises `Invalid` when nothing is left, or for the redaction of some other value, which is no value.
    """
    after = dict(before)
    for name, value in given.items():
        if value is None:
            after.pop(name, None)
        elif name not in before or value != redact_value(before[name]):
            after[name] = value
    check_values(after)
    return after


def check_values(values: Mapping[str, str]) -> None:
    """Raises `Invalid` that names each value that can't be kept."""
    if not 1 <= len(values) <= VALUES_MAX:
        raise Invalid(
            f"A secret has 1 to {VALUES_MAX} values.", errors=(FieldError("values", f"must be 1 to {VALUES_MAX}"),)
        )
    wrong = tuple(
        FieldError(f"values.{name}" if _NAME.fullmatch(name) else "values", fault)
        for name, value in values.items()
        if (fault := _fault(name, value)) is not None
    )
    if wrong:
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong), errors=wrong)


def _fault(name: str, value: str) -> str | None:
    if not _NAME.fullmatch(name):
        return f"must have a name of 1 to {NAME_CHARS_MAX} letters, digits, `_`, `.` and `-`"
    if not 1 <= len(value) <= VALUE_CHARS_MAX:
        return f"must have 1 to {VALUE_CHARS_MAX} characters"
    if value.startswith(REDACTED) and len(value) <= len(REDACTED) + SHOWN_CHARS:
        return "is a redaction, not a value"
    if any("\ud800" <= char <= "\udfff" for char in value):
        return "has half a character in it"
    return None
