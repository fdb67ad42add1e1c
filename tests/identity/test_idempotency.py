"""Calls that are safe to repeat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from conftest import Caller, make_agent
from gristmill.base.db import Database

AGENT = {"name": "Once", "runtime": "http", "config": {"url": "https://agents.example.com/"}}


def keyed(caller: Caller, path: str, body: object, key: str) -> tuple[int, dict[str, object], bool]:
    answer = caller.client.post(path, json=body, headers={"Idempotency-Key": key})
    return answer.status_code, answer.json(), answer.headers.get("idempotency-replayed") == "true"


def test_the_same_call_again_gets_the_first_answer(owner: Caller) -> None:
    first = keyed(owner, "/api/v1/agents", AGENT, "k1")
    again = keyed(owner, "/api/v1/agents", AGENT, "k1")
    assert (first[0], first[2]) == (201, False)
    assert again == (201, first[1], True)
    assert owner.get("/api/v1/agents").json()["meta"]["total"] == 1


def test_another_body_or_path_under_the_same_key_is_409(owner: Caller) -> None:
    keyed(owner, "/api/v1/agents", AGENT, "k2")
    assert keyed(owner, "/api/v1/agents", AGENT | {"name": "Other"}, "k2")[0] == 409
    status, body, _ = keyed(owner, "/api/v1/billing/topups", {"amount_usd": 1, "key": "x"}, "k2")
    assert (status, body["code"]) == (409, "idempotency_conflict")


def test_a_call_that_failed_may_be_repeated_with_its_key(owner: Caller) -> None:
    assert keyed(owner, "/api/v1/agents", AGENT | {"runtime": "telepathy"}, "k3")[0] == 422
    assert keyed(owner, "/api/v1/agents", AGENT, "k3")[0] == 201


def test_keys_of_two_organizations_do_not_meet(owner: Caller, stranger: Caller) -> None:
    assert keyed(owner, "/api/v1/agents", AGENT, "k4")[0] == 201
    status, _, replayed = keyed(stranger, "/api/v1/agents", AGENT, "k4")
    assert (status, replayed) == (201, False)


def test_ten_at_once_make_one_batch(database: Database, owner: Caller) -> None:
    agent = make_agent(database, owner.organization_id)
    path = f"/api/v1/agents/{agent.id}/batch_executions"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: keyed(owner, path, {"items": [{"n": 1}]}, "k5"), range(10)))
    assert {answer[0] for answer in answers} == {202}
    assert len({str(answer[1]["id"]) for answer in answers}) == 1
    assert sum(not answer[2] for answer in answers) == 1
    assert len(owner.get(path).json()["data"]) == 1


def test_a_streamed_body_is_compared_too(database: Database, owner: Caller) -> None:
    agent = make_agent(database, owner.organization_id)
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k6"}
    path = f"/api/v1/agents/{agent.id}/batch_executions"
    first = owner.client.post(path, content=b'{"n":1}\n', headers=headers)
    again = owner.client.post(path, content=b'{"n":1}\n', headers=headers)
    other = owner.client.post(path, content=b'{"n":2}\n', headers=headers)
    assert (first.status_code, again.json()["id"], other.status_code) == (202, first.json()["id"], 409)


def test_a_kept_answer_is_opened_by_its_key_alone(database: Database, owner: Caller) -> None:
    first = keyed(owner, "/api/v1/api_keys", {"name": "Once"}, "k-secret")
    assert keyed(owner, "/api/v1/api_keys", {"name": "Once"}, "k-secret")[1]["secret"] == first[1]["secret"]
    with database.system() as tx:
        kept = str(tx.rows("SELECT * FROM idempotency WHERE organization_id = %s", (owner.organization_id,)))
    assert str(first[1]["secret"]) not in kept
    assert "k-secret" not in kept


def test_a_repetition_asks_nobody(database: Database, owner: Caller) -> None:
    """A connector is tried before it is saved; when the other side has gone since, the first answer still counts."""
    path = f"/api/v1/agents/{make_agent(database, owner.organization_id).id}/data-sources"
    config = {"url": f"{str(owner.client.base_url).rstrip('/')}/healthz"}
    body = {"name": "In", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "config": config}
    first = keyed(owner, path, body, "k9")
    before = requests_of(owner, "/healthz")
    assert keyed(owner, path, body, "k9") == (201, first[1], True)
    assert keyed(owner, path, body | {"name": "Other"}, "k9")[0] == 409
    assert requests_of(owner, "/healthz") == before
    assert keyed(owner, path, body | {"name": "Other"}, "k10")[0] == 201
    assert requests_of(owner, "/healthz") > before


def requests_of(caller: Caller, route: str) -> float:
    lines = caller.client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("gristmill_http_requests_total") and f'"{route}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counted)
