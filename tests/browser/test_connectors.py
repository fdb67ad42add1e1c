"""Connectors in a real browser: made, tested, pulled from a real HTTP server, their manifest read."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.chrome import Chrome, find_chromium
from conftest import Caller, make_agent, wait_for
from gristmill import identity
from gristmill.base.db import Database

PROGRAM = find_chromium()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]
SHOTS = os.environ.get("GRISTMILL_TEST_SHOTS")
FILE = b"sku,name\n1,Oak table\n2,Elm chair\n"


class Files(BaseHTTPRequestHandler):
    """One CSV behind a bearer token."""

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == "Bearer token-of-the-file-server"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "text/csv")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(FILE) if allowed else 0))
        self.end_headers()
        if allowed and self.command == "GET":
            self.wfile.write(FILE)

    do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the names are the library's

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def files_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stock.csv"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    assert PROGRAM
    with Chrome(PROGRAM) as running:
        yield running


def shown(chrome: Chrome) -> str:
    return str(chrome.evaluate("document.querySelector('main')?.innerText ?? ''"))


def click(chrome: Chrome, label: str) -> None:
    found = f"document.querySelector('button[aria-label=' + {json.dumps(json.dumps(label))} + ']')"
    wait_for(lambda: chrome.evaluate(f"Boolean({found}) && !{found}.disabled"), f"the button {label}")
    chrome.evaluate(f"{found}.click()")


def fill(chrome: Chrome, name: str, value: str) -> None:
    box = f"document.getElementById({json.dumps(name)})"
    wait_for(lambda: chrome.evaluate(f"Boolean({box})"), name)
    chrome.evaluate(f"{box}.value = {json.dumps(value)}; {box}.dispatchEvent(new Event('change'))")


def test_a_source_is_made_tested_and_pulled(
    database: Database, owner: Caller, base_url: str, chrome: Chrome, worker: object, files_url: str
) -> None:
    agent = make_agent(database, owner.organization_id).id
    with database.tx(owner.organization_id) as tx:
        link = identity.create_login_link(tx, owner.organization_id)
    cookie = httpx.get(f"{base_url}/login", params={"token": link}).cookies["gristmill_session"]
    chrome.set_cookie(base_url, "gristmill_session", cookie)
    chrome.look_like(width=1440, theme="light")
    chrome.open(f"{base_url}/dashboard/agents/{agent}?tab=data-sources")
    fill(chrome, "add-type", "HTTPS_WEBHOOK")
    fill(chrome, "new-name", "Stock list")
    fill(chrome, "new-config.url", files_url)
    fill(chrome, "new-config.authScheme", "Bearer")
    fill(chrome, "new-secret.token", "token-of-the-file-server")
    chrome.evaluate("document.querySelector('#add button[type=submit]').click()")
    wait_for(lambda: "gm_byo_****rver" in shown(chrome), "the saved connector, its secret redacted")
    assert "token-of-the-file-server" not in chrome.evaluate("document.documentElement.outerHTML")
    click(chrome, "Test Stock list")
    wait_for(lambda: "Test of Stock list: passed" in shown(chrome), "the test")
    assert owner.get(f"/api/v1/agents/{agent}/inventories").json()["data"] == []
    click(chrome, "Pull Stock list")
    wait_for(lambda: "Completed" in shown(chrome), "the pull")
    click(chrome, "Show the manifest")
    wait_for(lambda: "uploaded" in shown(chrome), "the manifest")
    if SHOTS:
        chrome.screenshot(Path(SHOTS) / "connectors.png", whole=True)
    assert chrome.complaints == []
    assert chrome.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    click(chrome, "Delete Stock list")
    wait_for(lambda: chrome.evaluate("document.activeElement.innerText") == "Keep it", "the question")
    chrome.evaluate("document.activeElement.click()")
    click(chrome, "Delete Stock list")
    wait_for(lambda: chrome.evaluate("Boolean(document.querySelector('dialog .btn--bad'))"), "the question again")
    chrome.evaluate("document.querySelector('dialog .btn--bad').click()")
    wait_for(lambda: not owner.get(f"/api/v1/agents/{agent}/data-sources").json()["data"], "the end of the connector")
    wait_for(lambda: shown(chrome).count("None yet") == 2, "the end of its line")
    assert chrome.complaints == []
