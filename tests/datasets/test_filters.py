"""Filters: what SQL finds is what Python finds, for any condition; and what is refused is told with its place."""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from datasets_kit import Bench
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.datasets import arrays, rows_store, store
from gristmill.datasets.columns import reader
from gristmill.datasets.filters import Combination, Condition, UnknownColumn, parse
from gristmill.datasets.model import DatasetColumn, columns_from

CITIES = ["Rome", "Paris", "Oslo", "Zürich", "rome", "", "Rome ", "100%", "O'Hare", "東京"]


def holds(condition: Condition, row: Sequence[Any]) -> bool:
    """Whether a row of values fulfils a condition, in Python."""
    if isinstance(condition, Combination):
        results = [holds(part, row) for part in condition.parts]
        if condition.word == "not":
            return not results[0]
        return all(results) if condition.word == "and" else any(results)
    value, wanted = row[condition.column], condition.values
    if condition.operator in {"eq", "in"}:
        return value in wanted
    if condition.operator in {"ne", "nin"}:
        return value not in wanted
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}[condition.operator]
    return value is not None and compare(value, wanted[0])


def random_rows() -> list[list[str]]:
    dice = random.Random(11)  # noqa: S311 - no secret

    def maybe(value: str) -> str:
        return "" if dice.random() < 0.1 else value

    return [
        [
            str(number),
            dice.choice(CITIES),
            maybe(str(dice.randrange(-5, 20))),
            maybe(f"{dice.randrange(-300, 300) / 100:.2f}" if dice.random() > 0.05 else "n/a"),
            maybe(dice.choice(["yes", "no"])),
            maybe(f"2024-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"),
            maybe(f"2024-01-{dice.randrange(1, 9):02d}T{dice.randrange(24):02d}:30:00Z"),
        ]
        for number in range(150)
    ]


@pytest.fixture(scope="module")
def table(own_database: Database) -> tuple[Bench, int, list[DatasetColumn], dict[int, list[Any]]]:
    bench = Bench.make(own_database)
    rows = random_rows()
    text = "id,city,whole,price,ok,day,moment\n" + "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    bench.create(text, "{{.id}}")
    bench.build()
    organization_id = bench.scope.organization_id
    with own_database.tx(organization_id) as tx:
        version = store.find_version(tx, organization_id, bench.dataset_id, 1)
        assert version is not None
        columns = columns_from(version["columns"])
        ordinals = {
            row["record_key"]: row["ordinal"]
            for row in store.list_records(tx, organization_id, bench.dataset_id, list(range(len(rows))))
        }
    readers = [reader(column) for column in columns]
    values = {ordinals[row[0]]: [read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows}
    return bench, version["rows_table"], columns, values


def test_the_kinds_are_what_they_look_like(table: Any) -> None:
    assert [column.kind for column in table[2]] == ["int", "text", "int", "number", "bool", "date", "moment"]
    assert table[2][3].unfit > 0


numbers = st.one_of(st.integers(-6, 21), st.decimals(-4, 4, places=2).map(float), st.just(1e3))
texts = st.one_of(st.sampled_from(CITIES), st.text(max_size=3).filter(lambda text: "\x00" not in text))
days = st.dates(min_value=date(2024, 1, 1), max_value=date(2024, 12, 31))
moments = st.tuples(st.integers(1, 9), st.integers(0, 23)).map(
    lambda it: f"2024-01-{it[0]:02d}T{it[1]:02d}:30:00+00:00"
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": numbers,
    "city": texts,
    "whole": numbers,
    "price": numbers,
    "ok": st.booleans(),
    "day": days.map(str),
    "moment": moments,
}


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    column = draw(st.sampled_from(sorted(VALUES)))
    value = VALUES[column]
    nullable = st.one_of(value, st.none())
    word = draw(st.sampled_from(["plain", "eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]))
    if word == "plain":
        return {column: draw(nullable)}
    if word in {"in", "nin"}:
        return {column: {word: draw(st.lists(nullable, max_size=4))}}
    written = draw(st.sampled_from([word, f"${word}"]))
    return {column: {written: draw(nullable if word in {"eq", "ne"} else value)}}


conditions = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(value=conditions)
def test_sql_and_python_agree(table: Any, value: dict[str, Any]) -> None:
    bench, rows_table, columns, values = table
    condition = parse(value, columns)
    with bench.database.tx(bench.scope.organization_id) as tx:
        found = set(arrays.ints(rows_store.read_matching(tx, rows_table, columns, condition)).tolist())
    assert found == {ordinal for ordinal, row in values.items() if holds(condition, row)}


def test_a_search_finds_just_what_passes(table: Any) -> None:
    bench, _, columns, values = table
    from datasets_kit import ask_bench  # noqa: PLC0415

    for value in ({"whole": {"gte": 3, "lt": 9}}, {"not": {"city": {"in": ["Rome", ""]}}}, {"price": None}):
        condition = parse(value, columns)
        expected = {str(row[0]) for row in values.values() if holds(condition, row)}
        for mode in ("vector", "hybrid"):
            hits = ask_bench(bench, "1 2 3", top_k=100, mode=mode, filter=value)
            assert {hit.record_key for hit in hits} <= expected
            assert len(hits) == min(100, len(expected))


COLUMNS = [
    DatasetColumn("city", "text", "city", 1, 0),
    DatasetColumn("price", "number", "price", 1, 0),
    DatasetColumn("and", "int", "and", 1, 0),
    DatasetColumn("far", "text", None, 1, 0),
]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "filter"),
        ("x", "filter"),
        ({"nope": 1}, "filter.nope"),
        ({"far": "1"}, "filter.far"),
        ({"price": {"about": 1}}, "filter.price.about"),
        ({"price": {}}, "filter.price"),
        ({"price": "cheap"}, "filter.price"),
        ({"price": {"in": 1}}, "filter.price.in"),
        ({"price": {"gt": None}}, "filter.price.gt"),
        ({"price": {"eq": [1]}}, "filter.price.eq"),
        ({"city": {"eq": {"a": 1}}}, "filter.city.eq"),
        ({"or": {"price": 1}}, "filter.or"),
        ({"$and": [{"price": 1}, 2]}, "filter.$and.1"),
        ({"not": [1]}, "filter.not"),
    ],
)
def test_what_is_refused(value: Any, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(value, COLUMNS)
    assert caught.value.errors[0].field == place


def test_a_column_may_have_the_name_of_an_operator() -> None:
    assert parse({"and": 3}, COLUMNS).column == 2  # type: ignore[union-attr]
    assert isinstance(parse({"$and": []}, COLUMNS), Combination)


def test_limits() -> None:
    deep: Any = {"price": 1}
    for _ in range(30):
        deep = {"not": deep}
    with pytest.raises(Invalid, match="levels deep"):
        parse(deep, COLUMNS)
    with pytest.raises(Invalid, match="too many"):
        parse({"price": {"in": list(range(2_000))}}, COLUMNS)
    with pytest.raises(UnknownColumn, match="there are: city, price, and"):
        parse({"x": 1}, COLUMNS)


def test_values_are_read_as_the_column_is() -> None:
    condition = parse({"price": "1,250.50"}, COLUMNS)
    assert condition.values == (Decimal("1250.50"),)  # type: ignore[union-attr]
