"""Connectors over HTTP: made, tested, changed and deleted; secrets go in and never come out."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from conftest import Caller, make_agent, wait_for
from connector_world import Place, csv, make_place, s3_body, user_of
from gristmill.base.db import Database
from receiver import Receiver
from s3_server import S3Server, bad_line

SECRET = "canary-4c6b1f2e9d-secret-value"


@pytest.fixture
def path(database: Database, owner: Caller) -> str:
    return f"/api/v1/agents/{make_agent(database, owner.organization_id).id}/data-sources"


def https_body(url: str | None = None, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"authScheme": "Bearer", **({} if url is None else {"url": url})}
    return {
        "name": "In", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK",
        "config": {**config, **more.pop("config", {})}, "secret": {"token": SECRET}, **more,
    }  # fmt: skip


def test_a_source_is_made_shown_changed_and_deleted(owner: Caller, path: str, s3: S3Server, bucket: str) -> None:
    body = s3_body(s3, bucket, scheduleCron="*/10 * * * *", timezone="Europe/Berlin", format="CSV")
    made = owner.post(path, body)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert {name: shown[name] for name in ("name", "role", "type", "format", "status", "scheduleCron", "timezone")} == {
        "name": body["name"], "role": "INVENTORY_SOURCE", "type": "S3", "format": "CSV", "status": "ACTIVE",
        "scheduleCron": "*/10 * * * *", "timezone": "Europe/Berlin",
    }  # fmt: skip
    assert shown["config"] == {**body["config"], "secretRef": shown["secretRef"]}
    assert shown["inboundUrl"].startswith("/hooks/")
    assert owner.get(f"{path}/{shown['id']}").json() == shown
    assert [item["id"] for item in owner.get(path).json()["data"]] == [shown["id"]]
    assert owner.get(f"{path}?role=RESULTS_SINK").json()["data"] == []
    patched = owner.patch(f"{path}/{shown['id']}", {"name": "New", "scheduleCron": None, "config": {"prefix": "b/"}})
    assert patched.status_code == 200, patched.text
    after = patched.json()
    assert (after["name"], after["scheduleCron"], after["format"]) == ("New", None, "CSV")
    assert after["config"]["prefix"] == "b/"
    assert after["config"]["bucket"] == bucket
    assert owner.delete(f"{path}/{shown['id']}").status_code == 204
    assert owner.get(path).json()["data"] == []


def test_a_secret_goes_into_the_vault_and_never_comes_back(
    database: Database, owner: Caller, path: str, s3: S3Server, bucket: str
) -> None:
    secret = user_of(s3, bucket)
    shown = owner.post(path, s3_body(s3, bucket, secret=secret)).json()
    assert shown["secret"]["secretAccessKey"] == "gm_byo_****" + secret["secretAccessKey"][-4:]
    kept = owner.get(f"/api/v1/secrets/{shown['secretRef']}").json()
    assert kept["owner"] == f"connector:{shown['id']}"
    assert owner.delete(f"/api/v1/secrets/{shown['secretRef']}").status_code == 409
    with database.tx(owner.organization_id) as tx:
        for table in ("connector", "secret", "secret_version", "event"):
            rows = tx.rows(f"SELECT * FROM {table}")  # type: ignore[arg-type]
            assert secret["secretAccessKey"] not in str(rows)
    one = f"{path}/{shown['id']}"
    same = owner.patch(one, {"secret": shown["secret"]}).json()
    assert same["secret"] == shown["secret"], "what is only shown is not stored"
    assert owner.post(f"{one}/test").json()["ok"]
    wrong = owner.patch(one, {"secret": {"secretAccessKey": SECRET}})
    assert wrong.status_code == 422
    assert SECRET not in wrong.text
    assert owner.post(f"{one}/test").json()["ok"], "a change that is refused changes nothing"


def test_a_shared_secret_is_named_and_kept(
    owner: Caller, stranger: Caller, path: str, s3: S3Server, bucket: str
) -> None:
    values = user_of(s3, bucket)
    secret = owner.post("/api/v1/secrets", {"name": "S3", "values": values}).json()
    body = {**s3_body(s3, bucket), "secretRef": secret["id"]}
    both = owner.post(path, body)
    assert both.status_code == 422
    del body["secret"]
    shown = owner.post(path, body).json()
    assert shown["secretRef"] == secret["id"]
    inside = {**body, "name": "B", "config": {**body["config"], "secretRef": secret["id"]}}
    del inside["secretRef"]
    assert owner.post(path, inside).json()["secretRef"] == secret["id"]
    refused = owner.delete(f"/api/v1/secrets/{secret['id']}")
    assert refused.status_code == 409
    assert f"connector:{shown['id']}" in refused.json()["detail"]
    foreign = stranger.post("/api/v1/secrets", {"name": "S3", "values": values}).json()
    assert owner.post(path, {**body, "name": "C", "secretRef": foreign["id"]}).status_code == 404
    for item in owner.get(path).json()["data"]:
        owner.delete(f"{path}/{item['id']}")
    assert owner.delete(f"/api/v1/secrets/{secret['id']}").status_code == 204


def test_saving_asks_the_other_side(owner: Caller, path: str, s3: S3Server, bucket: str, receiver: Receiver) -> None:
    wrong = owner.post(path, s3_body(s3, bucket, secret={"accessKeyId": "AKIANOBODY", "secretAccessKey": SECRET}))
    assert wrong.status_code == 422
    assert "InvalidAccessKeyId" in wrong.json()["remote_error"]
    assert SECRET not in wrong.text
    no_bucket = owner.post(path, s3_body(s3, bucket, config={"bucket": "no-such-bucket"}, secret=user_of(s3, "*")))
    assert (no_bucket.status_code, "NoSuchBucket" in no_bucket.text) == (422, True), no_bucket.text
    put_only = user_of(s3, bucket, "s3:PutObject")
    assert owner.post(path, s3_body(s3, bucket, secret=put_only)).status_code == 422, "a source must list"
    assert owner.post(path, s3_body(s3, bucket, secret=put_only, role="RESULTS_SINK")).status_code == 201
    get_only = user_of(s3, bucket, "s3:ListBucket", "s3:GetObject")
    refused = owner.post(path, s3_body(s3, bucket, secret=get_only, role="RESULTS_SINK"))
    assert (refused.status_code, "AccessDenied" in refused.text) == (422, True)
    assert s3.list(bucket) == [], "asking writes nothing"
    receiver.allow = lambda headers: headers.get("authorization") == f"Bearer {SECRET}"
    assert owner.post(path, https_body(f"{receiver.url}/f")).status_code == 201
    bad = owner.post(path, {**https_body(f"{receiver.url}/f"), "name": "B", "secret": {"token": "wrong-token-123"}})
    assert (bad.status_code, "401" in bad.json()["detail"]) == (422, True)
    assert {got.method for got in receiver.got} == {"OPTIONS"}
    receiver.other, receiver.headers = 302, {"Location": "http://169.254.169.254/"}
    moved = owner.post(path, https_body(f"{receiver.url}/f", name="C"))
    assert (moved.status_code, "not followed" in moved.json()["detail"]) == (422, True)
    receiver.other = 405
    assert owner.post(path, https_body(f"{receiver.url}/f", name="D")).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "BOTH"}, "role"),
        ({"type": "FTP"}, "type"),
        ({"name": " "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"config": {"bucket": "b"}}, "config.bucket"),
        ({"config": {"bucket": "../x"}}, "config.bucket"),
        ({"config": {"bucket": "bucket", "depth": 1}}, "config.depth"),
        ({"config": {"bucket": "bucket", "endpointUrl": "ftp://x"}}, "config.endpointUrl"),
        ({"config": {"bucket": "bucket", "globs": ["*" * 20]}}, "config.globs.0"),
        ({"config": {"bucket": "bucket", "secretRef": "no-uuid"}}, "config.secretRef"),
        ({"secret": None}, "secret"),
        ({"secret": {"accessKeyId": "AKIA"}}, "secret.secretAccessKey"),
        ({"secret": {"accessKeyId": "AKIA", "secretAccessKey": "x", "pin": "1"}}, "secret.pin"),
        ({"secret": {"accessKeyId": "AKIA", "secretAccessKey": "ä\n"}}, "secret"),
        ({"secret": "just a text"}, "secret.value"),
        ({"scheduleCron": "* * * * *"}, "scheduleCron"),
        ({"scheduleCron": "every day"}, "scheduleCron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"format": "DOCX"}, "format"),
        ({"status": "BROKEN"}, "status"),
        ({"owner": 1}, "owner"),
    ],
)
def test_what_can_not_be_saved(owner: Caller, path: str, change: dict[str, Any], field: str) -> None:
    config = {"bucket": "bucket", "endpointUrl": "http://127.0.0.1:1"}
    body = {
        "name": "N", "role": "INVENTORY_SOURCE", "type": "S3", "config": config,
        "secret": {"accessKeyId": "AKIA", "secretAccessKey": "x" * 20}, **change,
    }  # fmt: skip
    answer = owner.post(path, body)
    assert answer.status_code == 422, answer.text
    assert field in {item["field"] for item in answer.json()["errors"]}, answer.text
    assert owner.get(path).json()["data"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "RESULTS_SINK"}, "config.url"),
        ({"config": {"url": "http://169.254.169.254/"}}, "config.url"),
        ({"config": {"url": "https://user:pw@example.com/"}}, "config.url"),
        ({"config": {"url": "file:///etc/passwd"}}, "config.url"),
        ({"config": {"authScheme": "Digest"}}, "config.authScheme"),
        ({"config": {"authScheme": "Bearer"}, "secret": None}, "secret"),
        ({"config": {"authScheme": None}}, "config.authScheme"),
        ({"config": {"headers": {"Authorization": "Bearer x"}}}, "config.headers.Authorization"),
        ({"config": {"headers": {"Host": "intranet"}}}, "config.headers.Host"),
        ({"config": {"headers": {"content-length": "5"}}}, "config.headers.content-length"),
        ({"config": {"headers": {"Transfer-Encoding": "chunked"}}}, "config.headers.Transfer-Encoding"),
        ({"config": {"headers": {"Expect": "100-continue"}}}, "config.headers.Expect"),
        ({"config": {"authScheme": "Header", "authHeader": "Content-Length"}}, "config.authHeader.Content-Length"),
        ({"config": {"headers": {"X A": "1"}}}, None),
        ({"config": {"headers": {"X-A": "1\r\nX-B: 2"}}}, None),
        ({"config": {"authScheme": "Basic"}}, None),
        ({"config": {"authScheme": "HmacSha256"}, "secret": {"key": "whsec_%%%"}}, None),
    ],
)
def test_what_https_can_not_be_saved(
    owner: Caller, path: str, receiver: Receiver, change: dict[str, Any], field: str | None
) -> None:
    base = https_body()
    body = {**base, **change, "config": {**base["config"], **change.get("config", {})}}
    answer = owner.post(path, body)
    assert answer.status_code == 422, answer.text
    assert field is None or field in {item["field"] for item in answer.json()["errors"]}, answer.text


def test_names_are_taken_once(owner: Caller, path: str) -> None:
    assert owner.post(path, https_body()).status_code == 201
    assert owner.post(path, https_body()).status_code == 409
    other = owner.post(path, https_body(name="Other")).json()
    assert owner.patch(f"{path}/{other['id']}", {"name": "In"}).status_code == 409


def test_making_one_is_safe_to_repeat(owner: Caller, path: str) -> None:
    headers = {"Idempotency-Key": "make-1"}
    first = owner.client.post(path, json=https_body(), headers=headers)
    assert owner.client.post(path, json=https_body(), headers=headers).json() == first.json()
    assert len(owner.get(path).json()["data"]) == 1


def test_an_agent_with_connectors_stays(owner: Caller, path: str) -> None:
    made = owner.post(path, https_body()).json()
    agent = path.removesuffix("/data-sources")
    refused = owner.delete(agent)
    assert (refused.status_code, "connectors" in refused.json()["detail"]) == (409, True)
    owner.delete(f"{path}/{made['id']}")
    assert owner.delete(agent).status_code == 204


def test_the_types_say_what_they_take(owner: Caller) -> None:
    types = {item["type"]: item for item in owner.get("/api/v1/data-source-types").json()["data"]}
    assert set(types) == {"S3", "HTTPS_WEBHOOK"}
    assert "endpointUrl" in types["S3"]["configSchema"]["properties"]
    assert "secretAccessKey" in types["S3"]["secretValues"]


def rungs(test: dict[str, Any]) -> dict[str, bool]:
    return {rung["name"]: rung["ok"] for rung in test["rungs"]}


def test_the_ladder_of_a_source(database: Database, owner: Caller, s3: S3Server, bucket: str, worker: object) -> None:
    place = make_place(database, owner, s3_body(s3, bucket))
    empty = owner.post(f"{place.path}/test").json()
    assert empty["ok"]
    assert list(rungs(empty)) == ["dns", "tls", "auth", "list", "get", "next sync"]
    s3.put(bucket, "in/a.csv", csv(5000))
    test = owner.post(f"{place.path}/test").json()
    assert list(rungs(test)) == [
        "dns", "tls", "auth", "list", "get", "decompress", "sniff", "parse", "next sync",
    ]  # fmt: skip
    assert test["ok"]
    details = {rung["name"]: rung["detail"] for rung in test["rungs"]}
    assert details["parse"].startswith("100 rows of 3 columns: sku, name, price")
    assert "1 files" in details["next sync"]
    assert all(rung["durationMs"] >= 0 for rung in test["rungs"])
    assert {statement["Action"][0] for statement in test["policy"]["Statement"]} == {"s3:ListBucket", "s3:GetObject"}
    assert place.syncs() == [], "no sync record"
    assert place.inventory() == [], "no data moved"
    assert place.show()["lastTestOk"] is True
    place.pull()
    details = {rung["name"]: rung["detail"] for rung in owner.post(f"{place.path}/test").json()["rungs"]}
    assert "0 files" in details["next sync"]
    assert "1 are known" in details["next sync"]


def test_the_minimal_policy_is_enough(
    database: Database, owner: Caller, s3: S3Server, bucket: str, worker: object
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket))
    statements = owner.post(f"{place.path}/test").json()["policy"]["Statement"]
    secret = s3.user(f"least-{bucket}", *statements)
    assert owner.patch(place.path, {"secret": secret}).status_code == 200
    s3.put(bucket, "in/a.csv", csv(3))
    assert owner.post(f"{place.path}/test").json()["ok"]
    assert place.pull()["sync"]["receipt"]["uploaded"] == 1
    sink = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK", config={"prefix": "out"}))
    statements = owner.post(f"{sink.path}/test").json()["policy"]["Statement"]
    assert owner.patch(sink.path, {"secret": s3.user(f"put-{bucket}", *statements)}).status_code == 200
    batch = owner.post(f"/api/v1/agents/{sink.agent}/batch_executions", {"items": [{"n": 1}]}).json()
    where = f"/api/v1/batch_executions/{batch['id']}"
    wait_for(lambda: owner.get(where).json()["status"] == "completed", "completion")
    assert sink.push(batch["id"])["sync"]["status"] == "COMPLETED"
    assert sink.push(batch["id"])["sync"]["status"] == "COMPLETED"


def test_a_ladder_ends_at_the_rung_that_breaks_and_says_what_to_do(
    database: Database, owner: Caller, s3: S3Server, bucket: str
) -> None:
    with bad_line(s3.port) as line:
        place = make_place(database, owner, s3_body(s3, bucket, url=line.url, secret=user_of(s3, "*")))
        s3.put(bucket, "in/a.csv", b"\x1f\x8b" + bytes(range(3)) * 300)
        damaged = owner.post(f"{place.path}/test").json()
        assert list(rungs(damaged))[-1] == "decompress"
        s3.put(bucket, "in/a.csv", bytes(range(3)) * 300)
        unreadable = owner.post(f"{place.path}/test").json()
        assert (rungs(unreadable)["sniff"], list(rungs(unreadable))[-1]) == (False, "sniff")
        with database.tx(owner.organization_id) as tx:
            tx.run("UPDATE connector SET config = jsonb_set(config::jsonb, '{bucket}', '\"gone-bucket\"')::json")
        gone = owner.post(f"{place.path}/test").json()
        last = gone["rungs"][-1]
        assert (gone["ok"], last["name"], last["ok"]) == (False, "list", False)
        assert "NoSuchBucket" in last["remoteError"]
        assert "bucket" in last["fix"]
        line.down = True
        down = owner.post(f"{place.path}/test").json()
        assert (rungs(down)["auth"], down["rungs"][-1]["fix"] != "") == (False, True)
        assert place.show()["lastTestOk"] is False


def test_the_ladder_of_a_sink_writes_only_when_asked(
    database: Database, owner: Caller, s3: S3Server, bucket: str, receiver: Receiver
) -> None:
    place = make_place(database, owner, s3_body(s3, bucket, role="RESULTS_SINK", config={"prefix": "out"}))
    test = owner.post(f"{place.path}/test").json()
    assert list(rungs(test)) == ["dns", "tls", "auth", "destination"]
    with_write = owner.post(f"{place.path}/test", {"writeProbe": True}).json()
    assert list(rungs(with_write)) == ["dns", "tls", "auth", "write", "destination"]
    assert with_write["ok"]
    assert s3.list(bucket) == []
    put_only = make_place(
        database, owner, s3_body(s3, bucket, role="RESULTS_SINK", secret=user_of(s3, bucket, "s3:PutObject"))
    )
    left = owner.post(f"{put_only.path}/test", {"writeProbe": True}).json()
    write = next(rung for rung in left["rungs"] if rung["name"] == "write")
    assert (left["ok"], write["warning"], len(s3.list(bucket))) == (True, True, 1)
    body = https_body(f"{receiver.url}/r", role="RESULTS_SINK")
    hook = make_place(database, owner, body)
    assert list(rungs(owner.post(f"{hook.path}/test").json())) == ["dns", "tls", "auth", "destination"]
    assert receiver.posts == []
    assert owner.post(f"{hook.path}/test", {"writeProbe": True}).json()["ok"]
    (got,) = receiver.posts
    assert json.loads(got.body) == {"type": "connector.test", "results": []}


def test_the_ladder_of_a_url(database: Database, owner: Caller, receiver: Receiver) -> None:
    receiver.file = csv(500)
    place = make_place(database, owner, https_body(f"{receiver.url}/f"))
    test = owner.post(f"{place.path}/test").json()
    assert list(rungs(test)) == ["dns", "tls", "auth", "get", "decompress", "sniff", "parse", "next sync"]
    assert test["ok"]
    heads = ",".join(f"c{number}" for number in range(14))
    numbers = ",".join(str(number) for number in range(14))
    packed = gzip.compress(f"{heads}\n{numbers}\n{numbers}".encode())
    for body, parsed in (
        (b"sku,name\n1,Oak\n2,Elm", "2 rows of 2 columns: sku, name."),
        (b'[\n  {"sku": 1},\n  {"sku": 2}\n]', "2 rows of 1 columns: sku."),
        ("sku,name\n1,Bücher\n2,Elm".encode("utf-16"), "2 rows of 2 columns: sku, name."),
        (packed, "2 rows of 14 columns: " + ", ".join(heads.split(",")[:12]) + " and 2 more."),
    ):
        receiver.file = body
        test = owner.post(f"{place.path}/test").json()
        assert test["ok"], test
        assert test["rungs"][-2]["detail"] == parsed, "a file without a line's end at its own"
    pushed_only = make_place(database, owner, https_body(name="B"))
    assert rungs(owner.post(f"{pushed_only.path}/test").json()) == {"inbound": True}
    receiver.allow = lambda _: False
    refused = owner.post(f"{place.path}/test").json()
    assert refused["rungs"][-1]["name"] == "auth"
    assert "authScheme" in refused["rungs"][-1]["fix"]


def test_no_secret_is_in_any_answer(database: Database, owner: Caller, receiver: Receiver, worker: object) -> None:
    place = make_place(database, owner, https_body(f"{receiver.url}/f"))
    receiver.other = 500
    seen = [place.show(), owner.get(place.path.rsplit("/", 1)[0]).json(), owner.post(f"{place.path}/test").json()]
    seen.append(place.pull(within_s=60))
    seen += [place.syncs(), place.pending(), owner.get("/api/v1/events?limit=1000").json()]
    assert SECRET not in json.dumps(seen)
    assert SECRET[:-4] not in json.dumps(seen)


def test_places_of_others_are_not_there(database: Database, owner: Caller, stranger: Caller, path: str) -> None:
    made = owner.post(path, https_body()).json()
    other = Place(owner, make_agent(database, owner.organization_id).id, made["id"])
    assert owner.get(other.path).status_code == 404, "of another agent"
    assert stranger.get(f"{path}/{made['id']}").status_code == 404
    assert stranger.post(f"{path}/{made['id']}/test").status_code == 404
