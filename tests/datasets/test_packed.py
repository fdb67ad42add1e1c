"""What is packed arrives as it was."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill.base.db import Database
from gristmill.datasets import packed


@pytest.mark.parametrize(
    ("made", "kind", "values"),
    [
        (packed.ints, "int[]", [0, 1, -1, 2**31 - 1, -(2**31)]),
        (packed.bigints, "bigint[]", [0, None, 2**63 - 1, -(2**63)]),
        (packed.bigints, "bigint[]", [7, 8]),
        (packed.blobs, "bytea[]", [b"", b"\0", b"x" * 70_000]),
        (packed.texts, "text[]", ["", "plain", None, "Ünï\n🦄", "NULL", '{"a"}']),
        (packed.texts, "text[]", ["a"]),
        (packed.documents, "json[]", ['{"a": 1}', "[]", '"ü"']),
        (packed.ints, "int[]", []),
        (packed.texts, "text[]", []),
    ],
)
def test_it_arrives_as_it_was(database: Database, made: Any, kind: str, values: list[Any]) -> None:
    with database.system() as tx:
        cast = f"(SELECT array_agg(x::text) FROM unnest(%b::{kind}) x)" if kind == "json[]" else f"%b::{kind}"
        found = packed.tuples(tx, f"SELECT coalesce({cast}, '{{}}')", [made(values)])  # type: ignore[arg-type]
    assert found[0][0] == values


def test_a_wrong_type_is_refused_by_the_server(database: Database) -> None:
    with database.system() as tx, pytest.raises(Exception, match="element type"):
        packed.tuples(tx, "SELECT %b::text[]", [packed.ints([1])])
