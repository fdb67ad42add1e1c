"""SQL of the tables `datasets.rows_<id>`: records' cells as typed columns, for filters and for users' own SELECTs.

The tables are made while the system runs, so their names and columns are put into the text as quoted identifiers;
everything else travels as parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import tuple_row

from gristmill.base.db import Tx
from gristmill.datasets import packed
from gristmill.datasets.filters import Comparison, Condition
from gristmill.datasets.model import DatasetColumn, Kind
from gristmill.datasets.packed import Packed

SCHEMA = "datasets"
_ARRAYS: dict[Kind, LiteralString] = {
    "int": "bigint[]",
    "number": "numeric[]",
    "bool": "boolean[]",
    "date": "date[]",
    "moment": "timestamptz[]",
    "text": "text[]",
}
_RANGES: dict[str, LiteralString] = {"gt": " > ", "gte": " >= ", "lt": " < ", "lte": " <= "}
_TYPES: dict[Kind, LiteralString] = {
    "int": "numeric",
    "number": "numeric",
    "bool": "boolean",
    "date": "date",
    "moment": "timestamptz",
    "text": "text",
}
"""What a value of a filter is sent as; whole numbers are compared with decimals, too."""


def table_name(kind: LiteralString, table_id: int) -> sql.Identifier:
    """The quoted name of a table of the schema."""
    return sql.Identifier(SCHEMA, f"{kind}_{table_id}")


def make(tx: Tx, table_id: int, kinds: Sequence[Kind]) -> None:
    """Make the table of a registered line, one column for each kind."""
    tx.row("SELECT app_make_rows_table(%s, %s)", (table_id, list(kinds)))


def insert(
    tx: Tx,
    table_id: int,
    kinds: Sequence[Kind],
    *,
    ordinals: Sequence[int],
    keys: Sequence[str],
    cells: Sequence[Sequence[Any]],
) -> None:
    """Some rows; `cells` are columns of values."""
    arrays = sql.SQL(", ").join(sql.SQL("%b::") + sql.SQL(_ARRAYS[kind]) for kind in kinds)
    statement = sql.SQL("INSERT INTO {} SELECT t.* FROM unnest(%b::int[], %b::text[]{}{}) AS t").format(
        table_name("rows", table_id), sql.SQL(", " if kinds else ""), arrays
    )
    columns = [_packed(kind, column) for kind, column in zip(kinds, cells, strict=True)]
    packed.run(tx, statement, [packed.ints(ordinals), packed.texts(keys), *columns])


def _packed(kind: Kind, column: Sequence[Any]) -> Packed | list[Any]:
    if kind == "int":
        return packed.bigints(column)
    return packed.texts(column) if kind == "text" else list(column)


def read_ordinals(tx: Tx, kind: LiteralString, table_id: int) -> bytes | None:
    """Which ordinals a table of either kind has, as a binary array."""
    statement = sql.SQL("SELECT array_send(array_agg(ordinal)) FROM {}")
    return _one(tx, statement.format(table_name(kind, table_id)))


def delete_ordinals(tx: Tx, kind: LiteralString, table_id: int, ordinals: Sequence[int]) -> None:
    """Remove rows of either kind of table."""
    statement = sql.SQL("DELETE FROM {} WHERE ordinal = ANY(%b::int[])").format(table_name(kind, table_id))
    tx.raw.execute(statement, [list(ordinals)])


def analyze(tx: Tx, table_id: int) -> None:
    """Fresh statistics of either kind of table."""
    tx.row("SELECT app_analyze_dataset_table(%s)", (table_id,))


def read_matching(tx: Tx, table_id: int, columns: Sequence[DatasetColumn], condition: Condition) -> bytes | None:
    """Ordinals of the records, of any version, that fulfil a condition, as a binary array."""
    params: list[Any] = []
    where = _condition(condition, columns, params)
    statement = sql.SQL("SELECT array_send(array_agg(ordinal)) FROM {} WHERE {}")
    return _one(tx, statement.format(table_name("rows", table_id), where), params)


def _one(tx: Tx, statement: sql.Composed, params: Sequence[Any] = ()) -> bytes | None:
    with tx.raw.cursor(row_factory=tuple_row, binary=True) as cursor:
        row = cursor.execute(statement, params).fetchone()
    return row[0] if row else None


def _condition(condition: Condition, columns: Sequence[DatasetColumn], params: list[Any]) -> sql.Composable:
    """The condition with two truth values: a null is never the reason for a third."""
    if isinstance(condition, Comparison):
        return _comparison(condition, columns[condition.column].kind, params)
    parts = [_condition(part, columns, params) for part in condition.parts]
    if condition.word == "not":
        return sql.SQL("NOT ({})").format(parts[0])
    if not parts:
        return sql.SQL("true" if condition.word == "and" else "false")
    word = sql.SQL(") AND (") if condition.word == "and" else sql.SQL(") OR (")
    return sql.SQL("({})").format(word.join(parts))


def _comparison(item: Comparison, kind: Kind, params: list[Any]) -> sql.Composable:
    column = sql.Identifier(f"c{item.column + 1}")
    if item.operator in _RANGES:
        params.append(item.values[0])
        order = sql.SQL(' COLLATE "C"') if kind == "text" else sql.SQL("")
        return sql.SQL("coalesce({}{}{}%s::{}, false)").format(
            column, order, sql.SQL(_RANGES[item.operator]), sql.SQL(_TYPES[kind])
        )
    wanted = [value for value in item.values if value is not None]
    params.append(wanted)
    equal = sql.SQL("coalesce({} = ANY(%s::{}[]), false)").format(column, sql.SQL(_TYPES[kind]))
    if None in item.values:
        equal = sql.SQL("({} OR {} IS NULL)").format(equal, column)
    return sql.SQL("NOT {}").format(equal) if item.operator in {"ne", "nin"} else equal


def records_query(
    tx: Tx, table_id: int, columns: Sequence[DatasetColumn], members: bytes | None, positions: bytes | None
) -> str:
    """A SELECT of a version's records with the columns' own names, `_key` and `_row`, to stand in a WITH.

    `members` is None where the table holds nothing else; `positions` is None where `_row` is not asked for.
    """
    shown: list[sql.Composable] = [
        sql.SQL("{} AS {}").format(sql.Identifier(f"c{index}"), sql.Identifier(column.sql_name))
        for index, column in enumerate(columns, start=1)
        if column.sql_name is not None
    ]
    shown.append(sql.SQL("record_key AS _key"))
    if positions is not None:
        row = "get_byte({p}, 4*ordinal) + (get_byte({p}, 4*ordinal+1)<<8) + (get_byte({p}, 4*ordinal+2)<<16)"
        template: LiteralString = row + " + (get_byte({p}, 4*ordinal+3)<<24) AS _row"
        shown.append(sql.SQL(template).format(p=sql.Literal(positions)))
    where = sql.SQL("")
    if members is not None:
        where = sql.SQL(" WHERE CASE WHEN ordinal < {} THEN get_bit({}, ordinal) = 1 END").format(
            8 * len(members), sql.Literal(members)
        )
    statement = sql.SQL("SELECT {} FROM {}{}").format(sql.SQL(", ").join(shown), table_name("rows", table_id), where)
    return statement.as_string(tx.raw)
