"""Jobs over HTTP: what is refused, what is shown to whom, and what comes out."""

from __future__ import annotations

import base64
import csv
import io
import threading
import uuid
from typing import Any

import httpx
import pytest

from conftest import Caller, MakeCaller, fund, make_agent, serve, wait_for
from enrich.conftest import BASE, LEADS, add_dataset, await_job, job, lead_agent, upload
from gristmill import engine
from gristmill.base.config import Settings, settings
from gristmill.base.db import Database
from gristmill.datasets import Scope, files
from gristmill.datasets import service as datasets_service
from gristmill.datasets.model import Draft, TemplateOptions
from gristmill.enrich import expire, service
from gristmill.enrich.model import contact_id_of, lead_of
from lead_vendor import Vendor, record

PLAIN = LEADS.decode().replace('"100 Main St, Ste 2"', "100 Main St").replace('"Smith & Sons, LLC"', "Smith & Sons")
HEADER = b"contact_id,company,street,city,state,zip,number1,dm_name\n"


def send(client: httpx.Client, data: bytes, **form: Any) -> httpx.Response:
    return client.post(f"{BASE}/upload", files={"file": ("a.csv", data)}, data={k: str(v) for k, v in form.items()})


def vendor_agent(database: Database, organization: int, vendor: Vendor, **more: Any) -> int:
    passes = [{"provider": "http", "config": vendor.config(), "price_usd": "0.01"}]
    values = {"price_micro_usd": 50_000, "config": {"match_usd": "0.02"}, **more}
    return lead_agent(database, organization, passes, **values).id


def leads(count: int) -> bytes:
    return HEADER + b"".join(b"%d,Company %d,%d Main St,Tampa,FL,33602,,\n" % (n, n, n) for n in range(count))


def run(caller: Caller, job_id: str) -> dict[str, Any]:
    answer = caller.post(f"{BASE}/{job_id}/start")
    assert answer.status_code == 200, answer.text
    return await_job(caller, job_id)


def table(caller: Caller, job_id: str, **params: str) -> list[dict[str, str]]:
    answer = caller.get(f"{BASE}/{job_id}/download.csv", params=params)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


# What comes in


def test_every_row_is_stored_and_counted(owner: Caller) -> None:
    data = leads(12) + b"12,Company 11,11 Main St,Tampa,FL,33602,,\n,,,Tampa,FL,,,\n"
    made = upload(owner, data, row_limit=14)
    assert (made["file_row_count"], made["stored_row_count"], made["row_count"]) == (14, 14, 12)
    receipt = made["receipt"]
    assert receipt["rows"] == receipt["stored"] == 14
    assert receipt["stored"] == sum(receipt[name] for name in ("pending", "skipped", "duplicate", "failed"))
    assert (receipt["duplicate"], receipt["failed"]) == (1, 1)
    names = ("header", "preamble", "rows", "rejects", "blank")
    assert receipt["lines"] == sum(receipt[name] for name in names)
    limited = upload(owner, data, row_limit=5)
    assert (limited["row_count"], limited["receipt"]["skipped"]) == (5, 9)
    assert job(owner, limited["id"])["process_limit"] == 5
    assert limited["status"] == "uploaded"
    assert "upload_token" not in limited or limited["upload_token"] is None


def test_rows_are_called_by_their_title_from_the_start(owner: Caller) -> None:
    made = upload(owner)
    rows = owner.get(f"{BASE}/{made['id']}/rows").json()["data"]
    assert [row["chat_title"] for row in rows] == [
        "Haney Furniture Co · Pittsburgh, PA",
        "Smith & Sons, LLC · Tampa, FL",
    ]
    assert {row["status"] for row in rows} == {"pending"}


def test_a_missing_id_is_a_stable_hash(owner: Caller) -> None:
    made = upload(owner, LEADS.replace(b"81555753", b""))
    [first, second] = table(owner, made["id"])
    assert first["contact_id"] == contact_id_of(
        lead_of(
            {
                "company": "HANEY FURNITURE CO.",
                "street": "100 Main St",
                "city": "Pittsburgh",
                "state": "PA",
                "zip": "15213",
            }
        )
    )
    assert len(first["contact_id"]) == 16
    assert second["contact_id"] == "99201"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("semicolons", PLAIN.replace(",", ";").encode()),
        ("tabs", PLAIN.replace(",", "\t").encode()),
        ("utf-16", LEADS.decode().encode("utf-16")),
        ("latin-1", LEADS.decode().replace("Haney", "Hañey Möbel").encode("cp1252")),
        ("byte order mark", b"\xef\xbb\xbf" + LEADS),
        ("old Mac", LEADS.replace(b"\n", b"\r")),
        ("preamble", b"Export of 2026-11-01\n\n" + LEADS),
    ],
)  # fmt: skip
def test_any_form_of_file_is_read(name: str, data: bytes, owner: Caller) -> None:
    made = upload(owner, data)
    assert made["row_count"] == 2, name
    assert made["mapping"]["fields"]["company"]["columns"] == ["company"], name
    if name == "latin-1":
        assert owner.get(f"{BASE}/{made['id']}/rows").json()["data"][0]["chat_title"].startswith("Hañey Möbel")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "unreadable_file"),
        (b"company,city\n", 422, "invalid"),
        (b"sku,price,stock\nA-1,9.99,4\nA-2,1.99,9\n", 422, "invalid"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10, 415, "unsupported_type"),
        (b"PK\x03\x04" + b"\0" * 100, 422, "unreadable_file"),
    ],
)
def test_what_can_not_be_enriched_is_refused(data: bytes, status: int, code: str, owner: Caller) -> None:
    answer = send(owner.client, data)
    assert (answer.status_code, answer.json()["code"]) in {(status, code), (422, "unreadable_file")}, answer.text
    assert owner.get(BASE).json()["data"] == []


def test_columns_that_were_seen_are_named(owner: Caller) -> None:
    answer = send(owner.client, b"sku,price,stock\nA-1,9.99,4\nA-2,1.99,9\n")
    assert "`sku`, `price`, `stock`" in answer.json()["detail"]


def test_caps_come_from_the_environment(database: Database, monkeypatch: pytest.MonkeyPatch, owner: Caller) -> None:
    monkeypatch.setenv("BATCH_ENRICH_MAX_ROWS", "3")
    monkeypatch.setenv("BATCH_ENRICH_MAX_UPLOAD_BYTES", "2000")
    with serve(database, Settings()) as url, httpx.Client(base_url=url, headers=owner.client.headers) as client:
        assert send(client, leads(3)).status_code == 201
        many = send(client, leads(4))
        assert (many.status_code, many.json()["limit"], many.json()["size"]) == (422, 3, 4)
        large = send(client, leads(3) + b"\n" * 3000)
        assert (large.status_code, large.json()["limit"], large.json()["size"]) == (413, 2000, len(leads(3)) + 3000)
        huge = send(client, b"company\n" + b"x\n" * 100_000)
        assert huge.status_code == 413
        assert huge.json()["code"] == "too_large"


def test_a_file_may_also_be_the_body_or_stand_in_it(owner: Caller, anyone: httpx.Client) -> None:
    data, path = leads(3), f"{BASE}/upload"
    raw = owner.client.post(
        path, params={"row_limit": 2, "file_filename": "a/b.csv"}, content=data, headers={"Content-Type": "text/csv"}
    )
    packed = {"file_base64": base64.b64encode(data).decode(), "file_filename": "b.csv", "row_limit": 2}
    for answer in (raw, owner.post(path, packed)):
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["file_row_count"], made["stored_row_count"], made["row_count"]) == (3, 3, 2)
        assert owner.get(f"{BASE}/{made['id']}").json()["file_name"] == "b.csv"
    assert anyone.post(path, json=packed).json()["upload_token"]


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"{", 400, None),
        (b"[]", 422, ""),
        (b"{}", 422, "file_base64"),
        (b'{"file_base64": "%"}', 400, "file_base64"),
        (b'{"file_base64": null}', 422, "file_base64"),
        (b'{"file_base64": "YQ==", "more": 1}', 422, "more"),
        (b'{"file_base64": "YQ==", "row_limit": 0}', 422, "row_limit"),
    ],
)
def test_a_wrong_body_is_told_by_field(content: bytes, status: int, field: str | None, owner: Caller) -> None:
    answer = owner.client.post(f"{BASE}/upload", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert [item["field"] for item in answer.json()["errors"]] == ([] if field is None else [field])


def test_the_cap_is_the_same_for_every_kind_of_body(
    database: Database, monkeypatch: pytest.MonkeyPatch, owner: Caller
) -> None:
    monkeypatch.setenv("BATCH_ENRICH_MAX_UPLOAD_BYTES", "2000")
    whole, large = leads(2).ljust(2000, b"\n"), leads(2).ljust(2001, b"\n")
    with serve(database, Settings()) as url, httpx.Client(base_url=url, headers=owner.client.headers) as client:
        for data, status in ((whole, 201), (large, 413)):
            raw = client.post(f"{BASE}/upload", content=data, headers={"Content-Type": "text/csv"})
            packed = client.post(f"{BASE}/upload", json={"file_base64": base64.b64encode(data).decode()})
            assert [answer.status_code for answer in (send(client, data), raw, packed)] == [status] * 3
            assert status == 201 or {answer.json()["limit"] for answer in (raw, packed)} == {2000}


def test_ten_thousand_rows_and_not_one_more(owner: Caller) -> None:
    assert settings().batch_enrich_max_rows == 10_000
    assert upload(owner, leads(10_000))["row_count"] == 10_000
    answer = send(owner.client, leads(10_001))
    assert (answer.status_code, answer.json()["limit"], answer.json()["size"]) == (422, 10_000, 10_001)


@pytest.mark.parametrize(
    "form",
    [
        {"row_limit": "0"},
        {"row_limit": "x"},
        {"agent": "-1"},
        {"agent": "999999"},
        {"budget_usd": "-1"},
        {"nonsense": "1"},
        {"name": "x" * 300},
    ],
)  # fmt: skip
def test_nonsense_beside_the_file_is_refused(form: dict[str, str], owner: Caller) -> None:
    assert send(owner.client, LEADS, **form).status_code in {404, 422}


def test_a_body_without_a_file_is_refused(owner: Caller) -> None:
    assert owner.post(f"{BASE}/upload", {"file": "x"}).status_code == 422
    picture = owner.client.post(f"{BASE}/upload", content=b"x", headers={"Content-Type": "image/png"})
    assert (picture.status_code, picture.json()["code"]) == (415, "unsupported_type")
    assert owner.client.post(f"{BASE}/upload", data={"file": "x"}, files={"other": b"x"}).status_code == 422
    assert (
        owner.client.post(f"{BASE}/upload", content=b"x", headers={"Content-Type": "multipart/form-data"}).status_code
        == 400
    )


def test_another_runtime_enriches_nothing(database: Database, owner: Caller) -> None:
    other = make_agent(database, owner.organization_id)
    answer = send(owner.client, LEADS, agent=other.id)
    assert answer.status_code == 422
    assert "lead enricher is needed" in answer.json()["detail"]


def test_the_same_key_gets_the_first_answer(owner: Caller) -> None:
    headers = {"Idempotency-Key": "nightly-1"}
    first = owner.client.post(f"{BASE}/upload", files={"file": ("a.csv", LEADS)}, headers=headers)
    again = owner.client.post(f"{BASE}/upload", files={"file": ("a.csv", LEADS)}, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    other = owner.client.post(f"{BASE}/upload", files={"file": ("a.csv", LEADS + b"1,x,,,,,\n")}, headers=headers)
    assert other.status_code == 409
    assert len(owner.get(BASE).json()["data"]) == 1


def test_an_agent_with_nobody_to_ask_is_told_before_the_start(
    database: Database, worker: object, owner: Caller, anyone: httpx.Client, vendor: Vendor
) -> None:
    [warning] = upload(owner)["quote"]["warnings"]
    assert "`Lead enricher` asks only its own datasets and has none" in warning
    asks_a_vendor = upload(owner, agent=vendor_agent(database, owner.organization_id, vendor))
    assert asks_a_vendor["quote"]["warnings"] == []
    agent = lead_agent(database, owner.organization_id).id
    waiting = upload(owner, agent=agent)
    assert len(waiting["quote"]["warnings"]) == 1
    add_dataset(owner, agent, LEADS, "{{.company}}, {{.city}}")
    assert owner.get(f"{BASE}/{waiting['id']}/quote").json()["warnings"] == []
    assert upload(anyone)["quote"]["warnings"] == [], "who will enrich it is not known yet"


def test_a_start_waits_until_the_datasets_can_be_searched(database: Database, owner: Caller) -> None:
    """Started a moment too soon, a job would end with nothing found and nobody would know why."""
    current, agent = settings(), lead_agent(database, owner.organization_id).id
    scope = Scope(owner.organization_id, agent)
    sent = files.keep(current, scope.organization_id, agent, "registry.csv", "csv", io.BytesIO(LEADS))
    embedder = datasets_service.default_embedder(current)
    draft = Draft("Registry", "csv", "{{.company}}", TemplateOptions(), None, embedder)
    with database.tx(scope.organization_id) as tx:
        datasets_service.keep_file(tx, scope, sent)
        datasets_service.create(tx, scope, draft, sent, queue=engine.LOCAL_QUEUE)  # no worker looks there
    fund(database, owner.organization_id, 20_000_000)
    made = upload(owner, agent=agent)
    answer = owner.post(f"{BASE}/{made['id']}/start")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "`Registry`. No lead would match yet. Start again" in answer.json()["detail"]
    as_batch = owner.post(f"/api/v1/batch_executions/{made['id']}/resume")
    assert (as_batch.status_code, as_batch.json()["detail"]) == (409, answer.json()["detail"])
    assert not upload(owner, agent=agent, auto_start="true")["started"]
    assert owner.get(f"{BASE}/{made['id']}").json()["status"] == "uploaded"


# Without a key


def test_nobodys_upload_opens_by_its_token_only(anyone: httpx.Client, owner: Caller, stranger: Caller) -> None:
    made = upload(anyone)
    path = f"{BASE}/{made['id']}"
    token = made["upload_token"]
    assert len(token) >= 43
    assert made["expires_at"]
    bearer = {"Authorization": f"Batch {token}"}
    for part in ("", "/preview", "/quote", "/mapping", "/rejects"):
        assert anyone.get(path + part, headers=bearer).status_code == 200, part
        assert anyone.get(path + part).status_code == 401, part
        assert owner.get(path + part).status_code == 404, part
    for part in ("/download.csv", "/rows", "/rows/1", "/rows/1/events"):
        assert anyone.get(path + part, headers=bearer).status_code == 401, part
    for part in ("/start", "/resume"):
        assert anyone.post(path + part, headers=bearer).status_code == 401, part
        assert owner.post(path + part).status_code == 404, part
    other = upload(anyone)
    assert anyone.get(f"{BASE}/{other['id']}", headers=bearer).status_code == 401, "a token opens its own job"
    assert stranger.get(f"/api/v1/batch_executions/{made['id']}").status_code == 404


GUESSES = ["", "x", "gm_upload_", "A" * 43, "gm_upload_" + "A" * 43, "\u0394", "x" * 150]


def test_tokens_can_not_be_guessed_and_guesses_tell_nothing(anyone: httpx.Client, owner: Caller) -> None:
    made = upload(anyone)
    real, unknown = f"{BASE}/{made['id']}", f"{BASE}/{uuid.uuid4()}"
    for guess in GUESSES[1:]:
        if guess.isascii():
            header = {"Authorization": f"Batch {guess}"}
            answers = [anyone.get(path, headers=header) for path in (real, unknown)]
            assert {answer.status_code for answer in answers} == {401}
        links = [owner.post(f"{path}/link", {"upload_token": guess}) for path in (real, unknown)]
        assert [answer.status_code for answer in links] == [404, 404]
        texts = [
            answer.json()["detail"].replace(made["id"], "ID").replace(unknown[len(BASE) + 1 :], "ID")
            for answer in links
        ]
        assert texts[0] == texts[1]
    assert owner.post(f"{real}/link", {"upload_token": ""}).status_code == 422
    assert anyone.get(real, headers={"Authorization": f"Batch {made['upload_token']}"}).status_code == 200


def test_a_token_links_once_and_to_one(anyone: httpx.Client, owner: Caller, stranger: Caller) -> None:
    made = upload(anyone)
    body = {"upload_token": made["upload_token"]}
    answers: list[int] = []
    callers = [owner, stranger] * 4
    threads = [
        threading.Thread(target=lambda c=caller: answers.append(c.post(f"{BASE}/{made['id']}/link", body).status_code))
        for caller in callers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 1
    assert set(answers) <= {200, 404, 409}
    holders = [caller for caller in (owner, stranger) if caller.get(f"{BASE}/{made['id']}").status_code == 200]
    assert len(holders) == 1
    assert holders[0].post(f"{BASE}/{made['id']}/link", body).status_code == 409
    assert job(holders[0], made["id"])["linked"]


def test_a_lost_answer_to_a_link_is_given_again(anyone: httpx.Client, owner: Caller, stranger: Caller) -> None:
    made = send(anyone, LEADS).json()
    path, body = f"{BASE}/{made['id']}/link", {"upload_token": made["upload_token"]}
    first, again = (owner.client.post(path, json=body, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert owner.post(path, body).status_code == 409, "without the key it is another try"
    assert stranger.client.post(path, json=body, headers={"Idempotency-Key": "once"}).status_code == 404


def test_what_is_linked_is_wholly_the_new_owners(database: Database, anyone: httpx.Client, owner: Caller) -> None:
    made = upload(anyone, LEADS)
    owner.post(f"{BASE}/{made['id']}/link", {"upload_token": made["upload_token"]})
    of_job = "(SELECT inventory_id FROM batch_enrich_job WHERE batch_id = %s)"
    with database.system() as tx:
        for query in (
            "SELECT organization_id FROM batch WHERE id = %s",
            "SELECT DISTINCT organization_id FROM batch_row WHERE batch_id = %s",
            "SELECT organization_id FROM batch_enrich_job WHERE batch_id = %s AND token_sha256 IS NULL",
            f"SELECT organization_id FROM inventory WHERE id = {of_job}",
        ):
            assert [row["organization_id"] for row in tx.rows(query, (made["id"],))] == [owner.organization_id], query
    assert owner.get(f"{BASE}/{made['id']}/mapping").status_code == 200
    assert len(table(owner, made["id"], layout="original")) == 2


def test_nobody_waits_for_ever(database: Database, anyone: httpx.Client, owner: Caller) -> None:
    made = upload(anyone)
    with database.system() as tx:
        tx.run(
            "UPDATE batch_enrich_job SET token_expires_at = now() - interval '1 second' WHERE batch_id = %s",
            (made["id"],),
        )
    bearer = {"Authorization": f"Batch {made['upload_token']}"}
    assert anyone.get(f"{BASE}/{made['id']}", headers=bearer).status_code == 401
    assert owner.post(f"{BASE}/{made['id']}/link", {"upload_token": made["upload_token"]}).status_code == 404
    with database.system() as tx:
        key = tx.one(
            "SELECT object_key FROM inventory i JOIN batch_enrich_job j ON j.inventory_id = i.id WHERE j.batch_id = %s",
            (made["id"],),
        )["object_key"]
    expire.forget(database, settings(), uuid.UUID(made["id"]))
    with database.system() as tx:
        for name in ("batch", "batch_row", "batch_enrich_job", "inventory"):
            column = {"batch": "id", "inventory": "object_key"}.get(name, "batch_id")
            value = key if name == "inventory" else made["id"]
            assert tx.rows(f"SELECT 1 AS one FROM {name} WHERE {column} = %s", (value,)) == [], name  # type: ignore[arg-type]


def test_uploads_without_a_key_are_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.system() as tx:
        waiting = (
            service.admit_anonymous(tx, settings())
            and tx.one("SELECT count(*) AS n FROM batch_enrich_job WHERE token_expires_at > now()")["n"]
        )
    monkeypatch.setenv("GRISTMILL_ENRICH_ANONYMOUS_JOBS_MAX", str(waiting + 1))
    with serve(database, Settings()) as url, httpx.Client(base_url=url) as client:
        assert send(client, LEADS).status_code == 201
        refused = send(client, LEADS)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"]


def test_a_bad_key_is_no_upload_without_one(anyone: httpx.Client) -> None:
    for header in ("Bearer gm_live_wrong", "Batch x", "Basic x", ""):
        answer = anyone.post(f"{BASE}/upload", files={"file": ("a.csv", LEADS)}, headers={"Authorization": header})
        assert answer.status_code == 401, header


# The mapping


def test_a_mapping_is_changed_before_the_start_and_remembered(owner: Caller, teammate: Caller) -> None:
    data = b"Name A,Name B,Ort,PLZ\nAcme,Beta,Tampa,33602\nGamma,Delta,Austin,78701\n"
    made = upload(owner, data)
    path = f"{BASE}/{made['id']}/mapping"
    answer = owner.patch(path, {"fields": {"company": ["Name B"]}, "variants": ["Name A"],
                                "chat_label": {"primary_column": "Name B", "location_columns": ["Ort"]}})  # fmt: skip
    assert answer.status_code == 200, answer.text
    company = answer.json()["fields"]["company"]
    assert (company["columns"], company["stage"], company["confidence"]) == (["Name B"], "person", 1.0)
    assert company["samples"] == ["Beta", "Delta"]
    assert answer.json()["variants"] == ["Name A"]
    rows = owner.get(f"{BASE}/{made['id']}/rows").json()["data"]
    assert [row["chat_title"] for row in rows] == ["Beta · Tampa", "Delta · Austin"]
    lead = owner.get(f"{BASE}/{made['id']}/rows/1").json()["lead"]
    assert (lead["company"], lead["search_variants"]) == ("Beta", {"Name A": "Acme"})
    assert job(owner, made["id"])["mapping"]["company"] == ["Name B"]
    again = upload(owner, data.replace(b"Acme", b"Zeta"))
    assert again["mapping"]["fields"]["company"]["columns"] == ["Name B"]
    assert again["mapping"]["fields"]["company"]["stage"] == "person"


def test_edits_that_make_no_sense_are_refused(owner: Caller) -> None:
    made = upload(owner)
    path = f"{BASE}/{made['id']}/mapping"
    for body in (
        {"fields": {"nonsense": ["company"]}},
        {"fields": {"company": ["nonsense"]}},
        {"variants": ["nonsense"]},
        {"chat_label": {"primary_column": "nonsense"}},
        {"fields": {"company": [], "street": []}},
        {"other": 1},
    ):
        answer = owner.patch(path, body)
        assert answer.status_code == 422, f"{body}: {answer.text}"
    assert owner.get(path).json() == made["mapping"]


def test_the_mapping_is_fixed_once_it_runs(database: Database, worker: object, owner: Caller, vendor: Vendor) -> None:
    made = upload(owner, agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 10_000_000)
    run(owner, made["id"])
    assert owner.patch(f"{BASE}/{made['id']}/mapping", {"fields": {"company": ["city"]}}).status_code == 409
    assert owner.post(f"{BASE}/{made['id']}/start").status_code == 409


# Running and money


def test_it_starts_by_itself_when_asked_and_when_the_balance_allows(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    agent = vendor_agent(database, owner.organization_id, vendor)
    poor = upload(owner, agent=agent, auto_start="true")
    assert (poor["started"], poor["status"], poor["quote"]["missing_usd"]) == (False, "uploaded", "10.000000")
    fund(database, owner.organization_id, 10_000_000)
    rich = upload(owner, agent=agent, auto_start="true")
    assert rich["started"]
    await_job(owner, rich["id"])
    assert job(owner, poor["id"])["status"] == "uploaded"


def test_a_match_costs_its_fee_and_calls_and_nothing_found_costs_nothing(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co", city="Pittsburgh", zip="15213")]
    made = upload(owner, agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 20_000_000)
    done = run(owner, made["id"])
    assert (done["succeeded"], done["empty"], done["spent_micro_usd"]) == (1, 1, 30_000)
    first = owner.get(f"{BASE}/{made['id']}/rows/1").json()["receipt"]
    assert (first["charged_usd"], first["held_usd"], first["refunded_usd"]) == ("0.030000", "0.050000", "0.020000")
    assert (first["refund_reason"], first["provider_calls"], first["provider_cost_usd"]) == (
        "below_ceiling",
        1,
        "0.010000",
    )
    assert len(first["input_hash"]) == 32
    second = owner.get(f"{BASE}/{made['id']}/rows/2").json()["receipt"]
    assert (second["charged_usd"], second["refund_reason"], second["provider_calls"]) == ("0.000000", "no_match", 1)
    again = upload(owner, agent=job(owner, made["id"])["agent_id"])
    run(owner, again["id"])
    third = owner.get(f"{BASE}/{again['id']}/rows/1").json()["receipt"]
    assert (third["charged_usd"], third["cache_hits"], third["provider_calls"]) == ("0.020000", 1, 0)
    assert vendor.asked.total() == 2
    body = {"batch_id": made["id"], "row_number": 1, "key": "wrong number"}
    assert owner.post("/api/v1/billing/refunds", body).status_code == 201
    returned = owner.get(f"{BASE}/{made['id']}/rows/1").json()["receipt"]
    assert (returned["refunded_usd"], returned["refund_reason"]) == ("0.050000", "refunded")


def test_identical_leads_are_asked_for_and_billed_once(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    vendor.records["Acme"] = [record("Acme")]
    data = HEADER + b"".join(b"%d,Acme,100 Main St,Tampa,FL,33602,,\n" % n for n in range(20))
    made = upload(owner, data, agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 10_000_000)
    done = run(owner, made["id"])
    assert (made["row_count"], done["succeeded"], done["duplicate"], done["spent_micro_usd"]) == (1, 1, 19, 30_000)
    assert vendor.asked.total() == 1
    lines = table(owner, made["id"])
    assert len({line["phones.0.e164"] for line in lines}) == 1
    assert [line["contact_id"] for line in lines] == [str(n) for n in range(20)]
    assert owner.get(f"{BASE}/{made['id']}/rows/2").json()["receipt"]["refund_reason"] == "duplicate"


def test_a_budget_stops_it_and_is_told_of_before(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    for number in range(20):
        vendor.records[f"Company {number}"] = [record(f"Company {number}", street=f"{number} Main St")]
    agent = vendor_agent(database, owner.organization_id, vendor, concurrency=1)
    made = upload(owner, leads(20), agent=agent, budget_usd="0.31")
    fund(database, owner.organization_id, 10_000_000)
    owner.post(f"{BASE}/{made['id']}/start")
    paused = await_job(owner, made["id"], "paused")
    assert (paused["reason"], paused["spent_micro_usd"], paused["succeeded"]) == ("budget", 270_000, 9)
    told = [event for event in owner.get("/api/v1/events", params={"limit": 1000}).json()["data"]
            if event["kind"] == "billing.threshold"]  # fmt: skip
    assert [event["data"]["spent_usd"] for event in told] == ["0.270000"]


def test_a_daily_budget_holds_over_all_jobs_of_the_agent(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    for number in range(20):
        vendor.records[f"Company {number}"] = [record(f"Company {number}", street=f"{number} Main St")]
    agent = vendor_agent(database, owner.organization_id, vendor, concurrency=1, daily_budget_micro_usd=100_000)
    fund(database, owner.organization_id, 20_000_000)
    made = upload(owner, leads(20), agent=agent, auto_start="true")
    paused = await_job(owner, made["id"], "paused")
    assert (paused["reason"], paused["spent_micro_usd"]) == ("budget", 60_000)
    other = upload(owner, leads(5), agent=agent, auto_start="true")
    assert await_job(owner, other["id"], "paused")["spent_micro_usd"] == 0


def test_a_quote_says_what_it_costs_at_most(database: Database, owner: Caller, vendor: Vendor) -> None:
    fund(database, owner.organization_id, 120_000)
    made = upload(owner, leads(7), agent=vendor_agent(database, owner.organization_id, vendor))
    quote = owner.get(f"{BASE}/{made['id']}/quote").json()
    assert quote == made["quote"]
    assert (quote["rows_to_run"], quote["price_usd"], quote["cost_usd_max"]) == (7, "0.050000", "0.350000")
    assert (quote["rows_covered"], quote["missing_usd"]) == (2, "9.880000")


# What comes out


PII = ("Jordan", "Example", "Haney", "724", "654", "813-555", "+1813", "owner@", "Ann Lee")


def test_counts_show_no_name_no_number_and_no_address(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    """Every byte of what pages are made of, before and after."""
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co", city="Pittsburgh", zip="15213")]
    data = HEADER + b"1,Haney Furniture Co,100 Main St,Pittsburgh,PA,15213,7246547732,Ann Lee\n"
    made = upload(owner, data, name="leads.csv", agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 10_000_000)
    path = f"{BASE}/{made['id']}"
    before = [owner.get(path).text, owner.get(f"{path}/preview").text, owner.get(f"{path}/quote").text]
    run(owner, made["id"])
    after = [owner.get(path).text, owner.get(f"{path}/preview").text, owner.get(BASE).text]
    assert owner.get(f"{path}/preview").json()["phones"] == 1
    for text in [*before, *after]:
        assert [word for word in PII if word in text] == []
    assert "Jordan Example" in owner.get(f"{path}/download.csv").text


def test_no_formula_leaves_in_the_download(database: Database, worker: object, owner: Caller, vendor: Vendor) -> None:
    evil = "=HYPERLINK(1)"
    people = [{"name": "Jordan Example", "role": "@SUM(A1)"}]
    vendor.records[evil] = [record(evil, legal_name="=cmd|'/c calc'!A1", people=people)]
    data = HEADER + b"+1,=HYPERLINK(1),100 Main St,Tampa,FL,33602,,\n"
    made = upload(owner, data, agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 10_000_000)
    run(owner, made["id"])
    for layout in ("flat", "original"):
        text = owner.get(f"{BASE}/{made['id']}/download.csv", params={"layout": layout}).text
        cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
        assert [cell for cell in cells if cell.startswith(("=", "@"))] == [], layout
        assert any(cell == "'=cmd|'/c calc'!A1" for cell in cells), layout


def test_a_result_that_the_files_encoding_lacks_is_not_lost(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    people = [{"name": "Łukasz Żak", "role": "Owner"}]
    vendor.records["Möbel"] = [record("Möbel", people=people)]
    data = HEADER.decode() + "1,Möbel,100 Main St,Tampa,FL,33602,,\n" * 3 + "2,Café,1 Elm St,Tampa,FL,33602,,\n"
    made = upload(owner, data.encode("cp1252"), agent=vendor_agent(database, owner.organization_id, vendor))
    path = f"{BASE}/{made['id']}/download.csv"
    unrun = owner.get(path, params={"layout": "original"})
    assert "Möbel" in unrun.content.decode("cp1252")
    assert "cp1252" in unrun.headers["Content-Type"]
    fund(database, owner.organization_id, 10_000_000)
    run(owner, made["id"])
    answer = owner.get(path, params={"layout": "original"})
    assert answer.content.startswith(b"\xef\xbb\xbf")
    text = answer.content.decode("utf-8-sig")
    assert "Łukasz Żak" in text
    assert "Möbel" in text


def test_rejects_can_be_downloaded(owner: Caller) -> None:
    made = upload(owner, LEADS + b"1,2,3,4,5,6,7,8,9,10,11,12\n")
    if made["receipt"]["rejects"]:
        assert b'"line":' in owner.get(f"{BASE}/{made['id']}/rejects").content
    assert made["file_row_count"] == 3


def test_a_hunt_can_be_watched_while_it_runs_and_read_after(
    database: Database, worker: object, owner: Caller, vendor: Vendor
) -> None:
    vendor.records["Haney Furniture Co"] = [record("Haney Furniture Co", city="Pittsburgh", zip="15213")]
    vendor.latency_s = 1.5
    made = upload(owner, LEADS, agent=vendor_agent(database, owner.organization_id, vendor))
    fund(database, owner.organization_id, 10_000_000)
    path = f"{BASE}/{made['id']}/rows/1"
    owner.post(f"{BASE}/{made['id']}/start")
    wait_for(lambda: owner.get(path).json()["row"]["status"] == "running", "the row")
    seen: list[str] = []
    with owner.client.stream("GET", f"{path}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
            if "step" in seen and "live" not in seen and owner.get(path).json()["row"]["status"] == "running":
                assert owner.get(path).json()["steps"], "what can be seen so far"
                seen.append("live")
    assert seen[0] == "state"
    assert "live" in seen, seen
    assert seen[-2:] == ["trace", "done"]
    text = owner.get(f"{path}/events").text
    assert "Jordan Example" in text
    assert '"step":"answered"' in text
    assert owner.get(f"{path}/events").text.count("event: done") == 1
    bad = owner.client.get(f"{path}/events", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 400


def test_a_key_limited_to_another_agent_sees_nothing(
    database: Database, owner: Caller, make_caller: MakeCaller, vendor: Vendor
) -> None:
    mine = vendor_agent(database, owner.organization_id, vendor)
    other = vendor_agent(database, owner.organization_id, vendor)
    made = upload(owner, agent=mine)
    limited = make_caller(owner.organization_id, agent_id=other)
    path = f"{BASE}/{made['id']}"
    for part in (
        "",
        "/preview",
        "/quote",
        "/mapping",
        "/rows",
        "/rows/1",
        "/rows/1/events",
        "/download.csv",
        "/rejects",
    ):
        assert limited.get(path + part).status_code == 404, part
    assert limited.post(f"{path}/start").status_code == 404
    assert limited.patch(f"{path}/mapping", {"fields": {}}).status_code == 404
    assert send(limited.client, LEADS, agent=mine).status_code == 403
    assert job(limited, upload(limited)["id"])["agent_id"] == other


@pytest.mark.parametrize("path", ["x", "0", "6f1c2e64-3f0e-4d8e-9a53-6a3d1f1f0c11", "../upload"])
def test_ids_that_are_none(path: str, owner: Caller) -> None:
    assert owner.get(f"{BASE}/{path}").status_code in {400, 404, 405}
    assert owner.get(f"{BASE}/{path}/rows/1").status_code in {400, 404}
    assert owner.get(f"{BASE}/{path}/rows/0").status_code in {400, 404}
    assert owner.get(f"{BASE}/{path}/rows/99999999999").status_code in {400, 404}
