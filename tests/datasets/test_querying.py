"""The SQL door: exact answers with citations, and walls that hold without one another."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datasets_kit import Bench, Desk
from gristmill.base.db import Database
from gristmill.base.errors import Error
from gristmill.datasets import querying
from gristmill.datasets.querying import query
from gristmill.sources import SourceLimits

CASES = Path(os.environ.get("GRISTMILL_SECURITY_CASES", Path(__file__).parents[3] / "shared/data/security"))
ROWS = 800
LEADS = "id,name,email,amount,created,lead_id,total,at\n" + "".join(
    f"{number},n{number},p{number}@x.io,{number}.25,2026-11-{number % 28 + 1:02d}T10:00:00Z,{number % 5},{number * 20},"
    "2026-01-05\n"
    for number in range(1, ROWS + 1)
)


@pytest.fixture(scope="module")
def bench(own_database: Database) -> Bench:
    made = Bench.make(own_database)
    made.create(LEADS, "{{.name}}")
    made.build()
    return made


def ask(bench: Bench, text: str, **more: Any) -> Any:
    scope = bench.scope
    return query(bench.database, scope.organization_id, scope.agent_id, bench.dataset_id, text, **more)


def cases(*, allow: bool) -> list[Any]:
    path = CASES / "sql_cases.jsonl"
    if not path.is_file():
        return [pytest.param("", marks=pytest.mark.skip(reason="the security cases do not lie beside the project"))]
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        pytest.param(
            case["sql"].replace("s.leads", "records").replace("s.orders", "records"), id=f"{case['id']}-{case['cat']}"
        )
        for case in found
        if case["allow"] == allow
    ]


@pytest.mark.parametrize("text", cases(allow=True))
def test_harmless_queries_run(bench: Bench, text: str) -> None:
    ask(bench, text)


@pytest.mark.parametrize("text", cases(allow=False))
def test_attacks_end_without_effect_and_in_time(bench: Bench, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(querying, "LIMITS", SourceLimits(statement_ms=1_500, total_s=3.0))
    started = time.monotonic()
    with pytest.raises(Error):
        ask(bench, text)
    assert time.monotonic() - started < 8
    assert ask(bench, "SELECT count(*) FROM records").rows == [[ROWS]]


def test_counts_sums_and_groups_are_exact(desk: Desk) -> None:
    text = "city,price\n" + "".join(f"{'Rome' if number % 3 else 'Oslo'},0.1\n" for number in range(1_000))
    made = desk.make(text, template="{{.city}}")
    answer = desk.sql(made["id"], "SELECT city, count(*), sum(price) FROM records GROUP BY city ORDER BY 2 DESC")
    assert answer["rows"] == [["Rome", 666, "66.6"], ["Oslo", 334, "33.4"]]
    assert [column["name"] for column in answer["columns"]] == ["city", "count", "sum"]
    assert answer["citations"] is None
    assert (answer["records"], answer["version"], answer["truncated"]) == (1_000, 1, False)


def test_rows_are_cited(bench: Bench) -> None:
    found = ask(bench, 'SELECT name, amount FROM records AS "R" WHERE id < 4 ORDER BY 2 DESC')
    assert found.rows == [["n3", "3.25"], ["n2", "2.25"], ["n1", "1.25"]]
    assert [(item.record_key, item.row_number) for item in found.citations] == [("3", 3), ("2", 2), ("1", 1)]
    assert ask(bench, "SELECT upper(name) FROM records LIMIT 1").citations is not None
    assert ask(bench, "SELECT stddev(amount) FROM records").citations is None
    assert ask(bench, "SELECT DISTINCT lead_id FROM records").citations is None
    assert ask(bench, "SELECT a.id FROM records a JOIN records b ON a.id = b.lead_id LIMIT 1").citations is None
    assert ask(bench, "SELECT _key, _row FROM records WHERE _row = 7").rows == [["7", 7]]


def test_only_the_version_that_is_searched_is_seen(desk: Desk) -> None:
    made = desk.make("id,n\n1,1\n2,2\n3,3\n", template="{{.n}}", primary_key_field="id")
    desk.put(made["id"], "id,n\n3,3\n2,20\n4,4\n")
    answer = desk.sql(made["id"], "SELECT _key, n, _row FROM records ORDER BY _row")
    assert answer["rows"] == [["3", 3, 1], ["2", 20, 2], ["4", 4, 3]]


def test_answers_are_bounded(bench: Bench) -> None:
    found = ask(bench, "SELECT id FROM records ORDER BY id", rows_max=10)
    assert (len(found.rows), found.truncated) == (10, True)
    found = ask(bench, "SELECT id FROM records ORDER BY id LIMIT 10", rows_max=10)
    assert (len(found.rows), found.truncated) == (10, False)


def test_mistakes_are_told_with_their_place(desk: Desk) -> None:
    made = desk.make()
    path = f"{desk.path}/query"

    def ask_http(text: str) -> Any:
        return desk.caller.post(path, {"dataset_id": made["id"], "sql": text})

    wrong = ask_http("SELECT city,\n  nope FROM records")
    assert wrong.status_code == 422
    assert wrong.json()["code"] == "query_failed"
    assert wrong.json()["errors"] == [
        {"field": "sql", "message": 'column "nope" does not exist', "line": 2, "column": 3}
    ]
    assert ask_http("SELEC 1").json()["errors"][0]["field"] == "sql"
    assert ask_http("DELETE FROM records").json()["code"] == "query_refused"
    assert ask_http("SELECT * FROM dataset_record").json()["code"] == "query_refused"
    assert desk.caller.post(path, {"dataset_id": 999_999, "sql": "SELECT 1"}).status_code == 404


def test_a_dataset_without_a_version_can_not_be_asked(desk: Desk) -> None:
    made = desk.create(embedder={"kind": "quick", "config": {"pause_s": 1.0}})
    answer = desk.caller.post(f"{desk.path}/query", {"dataset_id": made["id"], "sql": "SELECT 1 FROM records"})
    assert answer.status_code == 409
    desk.done(made["id"])


def test_the_role_reads_one_dataset_and_nothing_else(own_database: Database, bench: Bench) -> None:
    """The second wall, without the guard in front of it."""
    other = Bench.make(own_database)
    other.create("id,name\n1,secret\n", "{{.name}}")
    other.build()
    sister = Bench(own_database, bench.scope)
    sister.create("id,name\n1,sister\n", "{{.name}}")
    sister.build()

    def table(of: Bench) -> str:
        with own_database.tx(of.scope.organization_id) as tx:
            row = tx.one("SELECT rows_table FROM dataset_version WHERE dataset_id = %s", (of.dataset_id,))
        return f"datasets.rows_{row['rows_table']}"

    tables = {name: table(item) for name, item in (("own", bench), ("other", other), ("sister", sister))}
    with psycopg.connect(own_database.url) as connection:
        connection.execute(
            "SELECT set_config('gristmill.organization_id', %s, true), set_config('gristmill.dataset_id', %s, true)",
            (str(bench.scope.organization_id), str(bench.dataset_id)),
        )
        connection.execute("SET LOCAL ROLE gristmill_query")
        for name, expected in (("own", ROWS), ("other", 0), ("sister", 0)):
            count = connection.execute(f"SELECT count(*) FROM {tables[name]}").fetchone()  # type: ignore[arg-type]
            assert count == (expected,), name
        for statement in (
            "SELECT * FROM dataset",
            "SELECT * FROM dataset_record",
            "SELECT * FROM api_key",
            "SELECT * FROM embedding",
            "SELECT * FROM organization",
            f"DELETE FROM {tables['own']}",
            f"INSERT INTO {tables['own']} (ordinal, record_key) VALUES (99999, 'x')",
            "CREATE TABLE datasets.mine (x int)",
            "CREATE TABLE mine (x int)",
            "SELECT app_make_rows_table(1, ARRAY['int'])",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)  # type: ignore[arg-type]
