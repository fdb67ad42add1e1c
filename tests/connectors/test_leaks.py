"""Canaries through every flow of connectors, with servers that say aloud what they were told: none gets out."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest

from canaries import Canaries, Watched, all_logs, dump
from conftest import Caller, make_agent, wait_for
from gristmill.base.db import Database
from gristmill.base.signing import signed_headers
from gristmill.connectors import push
from gristmill.connectors.kinds import https_webhook
from gristmill.connectors.s3 import client

pytestmark = pytest.mark.usefixtures("worker")

ENDED = {"COMPLETED", "FAILED", "DEAD"}
LISTING = (
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.csv</Key><Size>9</Size>"
    b"<ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>"
)


class Blabber(BaseHTTPRequestHandler):
    """Answers every request with all it was sent: in the body, in the reason, in a header, in a redirect."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = " ".join(f"{name}: {value}" for name, value in self.headers.items())
        opened = self.headers.get("Authorization", "").partition(" ")[2]
        said = f"<Error><Code>No</Code><Message>{told.replace('<', '')}</Message></Error>".encode()
        status = int(self.path.strip("/").partition("/")[0])
        if status == 200 and self.command == "GET":  # a file is kept as it is, whatever is in it
            said = LISTING if "list-type=2" in self.path else b"a,b\n1,2\n"
        self.send_response(status, f"Refused {opened}"[:300])
        self.send_header("Location", f"/?token={quote(told)[:1500]}")
        self.send_header("X-Told", told[:1500])
        self.send_header("ETag", f'"{opened[:200]}"')
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = do_GET  # noqa: N815 - the names that the library calls

    def log_message(self, *_: Any) -> None:
        """Be silent."""


class Deaf(ThreadingHTTPServer):
    """Says nothing of connections that break."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def blabber() -> Iterator[str]:
    server = Deaf(("127.0.0.1", 0), Blabber)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    with all_logs() as stream:
        yield stream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "WAITS_S", (0.05,))
    monkeypatch.setattr(https_webhook, "FETCH_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "PAUSE_S", 0.001)


def use(api: Watched, path: str, job: str) -> None:
    """Everything that can be done with a connector, and everything that shows it."""
    shown = api.ask("GET", path).json()
    api.ask("POST", f"{path}/test", {"write": True})
    if shown["role"] == "RESULTS_SINK":
        api.ask("GET", f"{path}/push/preview")
        made = api.ask("POST", f"{path}/push", {"jobId": job})
    else:
        made = api.ask("POST", f"{path}/pull")
    sync = f"{path}/syncs/{made.json()['id']}"
    wait_for(lambda: api.ask("GET", sync).json()["sync"]["status"] in ENDED, "the end of the sync")
    api.ask("GET", f"{path}/syncs")
    api.ask("PATCH", path, {"name": f"{shown['name']} again", "secret": shown["secret"]})
    api.ask("DELETE", f"/secrets/{shown['secretRef']}")


def bodies(canaries: Canaries, url: str) -> Iterator[dict[str, Any]]:
    """Connectors of every kind, role and scheme."""
    for role in ("INVENTORY_SOURCE", "RESULTS_SINK"):
        token, password, value = (canaries.plant(f"{name} {role}") for name in ("token", "password", "value"))
        signing, session, access = (canaries.plant(f"{name} {role}") for name in ("signing", "session", "access"))
        secrets: dict[str, dict[str, str]] = {
            "Bearer": {"token": token},
            "Basic": {"username": "ana", "password": password},
            "Header": {"value": value},
            "HmacSha256": {"key": signing},
        }
        for scheme, secret in secrets.items():
            config = {"url": f"{url}/200/r", "authScheme": scheme, "authHeader": "X-Own-Key"}
            yield {
                "name": f"{scheme} {role}", "role": role, "type": "HTTPS_WEBHOOK", "secret": secret, "config": config,
            }  # fmt: skip
        yield {
            "name": f"S3 {role}", "role": role, "type": "S3",
            "secret": {"accessKeyId": "AKIA0EXAMPLE", "secretAccessKey": access, "sessionToken": session},
            "config": {"bucket": "bucket", "endpointUrl": f"{url}/{200 if role == 'INVENTORY_SOURCE' else 412}"},
        }  # fmt: skip


def change_its_mind(database: Database, organization_id: int, connector_id: int, status: int) -> None:
    """From now on its server answers so."""
    with database.tx(organization_id) as tx:
        tx.run(
            "UPDATE connector SET config = regexp_replace(config::text, '/[0-9]{3}(/r)?\"', %s)::json WHERE id = %s",
            (f'/{status}\\1"', connector_id),
        )


def test_no_canary_of_a_connector_gets_out(database: Database, owner: Caller, blabber: str, logs: io.StringIO) -> None:
    canaries, api = Canaries(), Watched(owner)
    agent = make_agent(database, owner.organization_id).id
    batch = owner.post(f"/api/v1/agents/{agent}/batch_executions", {"items": [{"n": 1}]}).json()["id"]
    wait_for(lambda: owner.get(f"/api/v1/batch_executions/{batch}").json()["status"] == "completed", "completion")
    rules = {"data_sinks": {"retry_failed_push": 1}, "data_sources": {"pause_source_after_failures": 99}}
    api.ask("PATCH", f"/agents/{agent}", {"rules": rules})
    path = f"/agents/{agent}/data-sources"
    for body in bodies(canaries, blabber):
        made = api.ask("POST", path, body)
        assert made.status_code == 201, made.text
        one = f"{path}/{made.json()['id']}"
        for status in (200, 302, 500):
            change_its_mind(database, owner.organization_id, made.json()["id"], status)
            use(api, one, batch)
        refused = {**body, "name": f"{body['name']} refused", "config": {**body["config"]}}
        name = "url" if "url" in body["config"] else "endpointUrl"
        refused["config"][name] = f"{blabber}/403/r"
        assert api.ask("POST", path, refused).status_code == 422
    pushed_in(canaries, api, path)
    for look in (
        path,
        "/secrets?per_page=200",
        "/events?limit=1000",
        "/pending?status=all",
        f"/agents/{agent}/pending",
    ):
        assert api.ask("GET", look).status_code == 200, look
    leaks = [(canaries.found_in(text), text[:3000]) for text in api.seen if canaries.found_in(text)]
    assert leaks == [], "\n\n".join(f"{a} {b}" for a, b in leaks)
    assert canaries.found_in(logs.getvalue()) == [], "in the logs"
    assert canaries.found_in(dump(database)) == [], "in the database"
    assert sum("[secret]" in text for text in api.seen) > 10, "the servers were really heard"


def pushed_in(canaries: Canaries, api: Watched, path: str) -> None:
    """A key that senders sign with; what they send wrongly is not repeated either."""
    body = {"name": "Pushed in", "role": "INVENTORY_SOURCE", "type": "HTTPS_WEBHOOK", "config": {}}
    made = api.ask("POST", path, body).json()
    shown = api.ask("POST", f"{path}/{made['id']}/inbound", shows=True).json()
    key = shown["key"]
    canaries.add("inbound key", key.removeprefix("whsec_"))
    client, url = api.caller.client, made["inboundUrl"]
    data = b"a,b\n1,2\n"
    for headers in (
        signed_headers([key], "m1", int(time.time()), data),
        signed_headers([key], "m1", int(time.time()), b"another"),
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"Basic {base64.b64encode(f'ana:{key}'.encode()).decode()}"},
        {"X-Gristmill-Signature": key},
        {"webhook-id": key, "webhook-timestamp": key, "webhook-signature": key},
    ):
        answer = client.post(url, content=data, headers={"Content-Type": "text/csv", **headers})
        api.seen.append(f"{answer.text} {answer.headers}")
    answer = client.post(f"{url}?name={quote(key)}", content=data, headers={"Content-Type": "text/csv"})
    api.seen.append(f"{answer.text} {answer.headers}")
