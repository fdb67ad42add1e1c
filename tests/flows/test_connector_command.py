"""`gristmill connector` against a real HTTP server, with real processes and no server of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

FILE = b"sku,name\n1,Oak table\n2,Elm chair\n"
TOKEN = "token-of-the-file-server"
Command = Callable[..., subprocess.CompletedProcess[str]]


class Files(BaseHTTPRequestHandler):
    """One CSV behind a bearer token."""

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        same = self.headers.get("If-None-Match") == '"one"'
        self.send_response((304 if same else 200) if allowed else 401)
        self.send_header("Content-Type", "text/csv")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(FILE) if allowed and not same else 0))
        self.end_headers()
        if allowed and not same and self.command == "GET":
            self.wfile.write(FILE)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def files_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/stock.csv"
    server.shutdown()
    server.server_close()


@pytest.fixture
def command() -> Iterator[Command]:
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRISTMILL_")}
    environment["GRISTMILL_DATA_DIR"] = str(folder / "data")

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "gristmill.doors.cli", *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    yield run
    shutil.rmtree(folder, ignore_errors=True)


def test_a_source_is_added_tested_and_pulled(command: Command, files_url: str) -> None:
    command("dataset", "list")  # makes the agent `library`
    place = ("--agent", "library", "--type", "HTTPS_WEBHOOK", "--set", f"url={files_url}", "--set", "authScheme=Bearer")
    refused = command("connector", "add", "stock", *place, "--secret", "token=wrong", code=2)
    assert "401" in refused.stderr
    made = command("connector", "add", "stock", *place, "--secret", f"token={TOKEN}")
    number = made.stdout.split()[1].rstrip(":")
    assert TOKEN not in command("connector", "list", "--agent", "library", "--json").stdout
    tried = command("connector", "test", number)
    assert "FAIL" not in tried.stdout
    assert "parse" in tried.stdout
    pulled = json.loads(command("connector", "pull", number, "--json").stdout)
    assert [(line["status"], line["rows"]) for line in pulled["manifest_json"]] == [("uploaded", 2)]
    again = json.loads(command("connector", "pull", number, "--json").stdout)
    assert again["sync"]["receipt"]["uploaded"] == 0
    assert again["sync"]["receipt"]["unchanged"] == 1
    heads, latest, first = command("connector", "syncs", number).stdout.splitlines()
    assert heads.split("\t")[-1] == "what became of them"
    assert latest.endswith("\t1 unchanged")
    assert first.endswith("\t1 uploaded")
    heads, line = command("connector", "list").stdout.splitlines()
    assert heads.startswith("id\tname\tagent\t")
    assert line.startswith(f"{number}\tstock\tlibrary\tinbound\t")
    assert "Error" in command("connector", "pull", "999", code=1).stderr
