"""Rows on their way into a batch: checked, hashed, numbered, and written in chunks with flat memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from uuid import UUID

from gristmill.agents import InputField, input_of
from gristmill.agents.model import check_input
from gristmill.base import jsons
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid, Malformed, TooLarge
from gristmill.batches import store
from gristmill.batches.model import ROW_INSERT_CHUNK

HASH_BYTES = 16
ERRORS_SHOWN_MAX = 20
EXTERNAL_ID_CHARS_MAX = 200
COLUMNS_MAX = 16_384

Refuse = Callable[[Mapping[str, Any]], str]
"""Why a row's input can't run, beyond what its fields say; empty when it can."""


@dataclass(slots=True)
class Intake:
    """How rows enter: what the agent needs, and which of them run."""

    mapping: Mapping[str, str]
    input_fields: Sequence[InputField]
    row_limit: int | None
    rows_max: int
    row_bytes_max: int
    columns: dict[str, None] = field(default_factory=dict)
    """The user's columns in the order they first came."""
    count: int = 0
    refuse: Refuse | None = None

    def take(
        self,
        tx: Tx,
        organization_id: int,
        batch_id: UUID,
        rows: Iterable[Mapping[str, Any]],
        external_ids: Sequence[str] | None,
    ) -> None:
        """Write all rows. Raises `TooLarge` over the limit of rows."""
        chunk, given = _Chunk(), external_ids or ()
        for row in rows:
            self.count += 1
            if self.count > self.rows_max:
                raise TooLarge(f"A batch takes at most {self.rows_max} rows.", limit=self.rows_max)
            self._add(chunk, row, given[self.count - 1] if self.count <= len(given) else None)
            if len(chunk.row_numbers) >= ROW_INSERT_CHUNK:
                chunk.write(tx, organization_id, batch_id)
                chunk = _Chunk()
        if chunk.row_numbers:
            chunk.write(tx, organization_id, batch_id)

    def _add(self, chunk: _Chunk, row: Mapping[str, Any], external_id: str | None) -> None:
        data = jsons.dumps(row)
        value = input_of(row, self.mapping, self.input_fields)
        if len(self.columns) < COLUMNS_MAX:
            self.columns.update(dict.fromkeys(row))
        status, code, message = "pending", None, None
        if self.row_limit is not None and self.count > self.row_limit:
            status = "skipped"
        elif len(data) > self.row_bytes_max:
            status, code = "failed", "row_too_large"
            message = f"The row has {len(data)} bytes; at most {self.row_bytes_max} are run."
        elif wrong := check_input(value, self.input_fields):
            status, code = "failed", "input_invalid"
            message = "; ".join(f"`{item.field}` {item.message}" for item in wrong)[:1000]
        elif self.refuse is not None and (reason := self.refuse(value)):
            status, code, message = "failed", "input_invalid", reason
        chunk.add(self.count, status, data.decode(), input_hash(value), external_id, code, message)


class _Chunk:
    """Columns of rows that are written by one statement."""

    def __init__(self) -> None:
        self.row_numbers: list[int] = []
        self.statuses: list[str] = []
        self.data: list[str] = []
        self.input_hashes: list[bytes] = []
        self.external_ids: list[str | None] = []
        self.error_codes: list[str | None] = []
        self.errors: list[str | None] = []

    def add(
        self,
        number: int,
        status: str,
        data: str,
        digest: bytes,
        external_id: str | None,
        code: str | None,
        message: str | None,
    ) -> None:
        self.row_numbers.append(number)
        self.statuses.append(status)
        self.data.append(data)
        self.input_hashes.append(digest)
        self.external_ids.append(external_id)
        self.error_codes.append(code)
        self.errors.append(message.replace("\x00", "\N{REPLACEMENT CHARACTER}") if message else None)

    def write(self, tx: Tx, organization_id: int, batch_id: UUID) -> None:
        store.insert_rows(
            tx,
            organization_id,
            batch_id,
            row_numbers=self.row_numbers,
            statuses=self.statuses,
            data=self.data,
            input_hashes=self.input_hashes,
            external_ids=self.external_ids,
            error_codes=self.error_codes,
            errors=self.errors,
        )


def input_hash(value: Mapping[str, Any]) -> bytes:
    """128 bits of BLAKE2b over the canonical JSON of a row's input: equal inputs, equal hashes."""
    return hashlib.blake2b(jsons.dumps_sorted(value), digest_size=HASH_BYTES).digest()


def rows_of_items(items: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Rows of a JSON array. Raises `Invalid` that names the first items that are no objects."""
    wrong = [
        FieldError(f"items.{index}", "must be a JSON object")
        for index, item in enumerate(items)
        if not isinstance(item, dict)
    ]
    if wrong:
        raise Invalid("Each item must be a JSON object.", errors=tuple(wrong[:ERRORS_SHOWN_MAX]))
    yield from items


def rows_of_ndjson(stream: BinaryIO, *, line_bytes_max: int) -> Iterator[dict[str, Any]]:
    """Rows of JSON lines, one at a time. Raises `Malformed` with the line for what is no JSON object."""
    for number, line in enumerate(_lines(stream, line_bytes_max), start=1):
        if not line.strip():
            continue
        try:
            row = jsons.loads(line)
        except ValueError as error:
            wrong = FieldError("", f"is not JSON: {error}"[:300], line=number)
            raise Malformed(f"Line {number} is not JSON.", errors=(wrong,)) from None
        if not isinstance(row, dict):
            wrong = FieldError("", "must be a JSON object", line=number)
            raise Malformed(f"Line {number} is not a JSON object.", errors=(wrong,))
        yield row


def _lines(stream: BinaryIO, line_bytes_max: int) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(line_bytes_max + 1):
        number += 1
        if len(line) > line_bytes_max:
            raise TooLarge(f"Line {number} is longer than {line_bytes_max} bytes.", limit=line_bytes_max, line=number)
        yield line
