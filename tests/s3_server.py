"""A real S3 server in an environment of its own, users with policies, and a line that can be cut.

The server checks signatures and IAM policies. It is driven here by plain requests, signed with the server's root key.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from gristmill.connectors.s3.sigv4 import EMPTY_SHA256, Keys, Signer, encode_path, encode_query

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).with_name("ministack.txt")
TOOLS = ROOT / ".tools"
REGION = "us-east-1"
ROOT_KEY = Keys("test", "test")
READY_S = 60.0
STARTS_MAX = 3
"""Another process may take the port between the look and the start."""
BUILD_S = 120.0
NOT_AGAIN_S = 900.0
"""After a failed build nobody tries for so long: on a machine without a network every test process would wait."""
QUICK = {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "15", "PIP_RETRIES": "1"}
"""Has installers give up soon."""
PIECE = 64 * 1024
ODD_KEYS = [
    "a b+c%d&é/ü #?.csv", "../x/./y//z", "a'()!*$@:;=,[]{}|^~`\"<>\\", "tab\tnl\n", "日本/😀", "+", "%2F", "a/",
    "e\u0301", "x" * 1024,
]  # fmt: skip


class NoServer(Exception):
    """The server can't be had here."""


def build(name: str = "ministack", requirements: Path = REQUIREMENTS) -> Path:
    """The folder with the programs of a tool; its environment is made once, by whoever comes first."""
    home = TOOLS / name
    home.parent.mkdir(exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = requirements.read_text(encoding="utf-8")
        stamp = home / "installed.txt"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return home / "bin"
        failed = TOOLS / f"{name}.failed"
        if failed.exists() and time.time() - failed.stat().st_mtime < NOT_AGAIN_S:
            raise NoServer(failed.read_text(encoding="utf-8"))
        shutil.rmtree(home, ignore_errors=True)
        uv = shutil.which("uv") or str(TOOLS / "bin" / "uv")
        python = str(home / "bin" / "python")
        try:
            if Path(uv).exists():
                _run([uv, "venv", "--quiet", "--python", sys.executable, str(home)])
                _run([uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements)])
            else:
                _run([sys.executable, "-m", "venv", str(home)])
                _run([python, "-m", "pip", "install", "--quiet", "-r", str(requirements)])
        except (subprocess.SubprocessError, OSError) as error:
            reason = f"{name} can't be installed (no network?): {error}"[:300]
            failed.write_text(reason, encoding="utf-8")
            raise NoServer(reason) from error
        failed.unlink(missing_ok=True)
        stamp.write_text(wanted, encoding="utf-8")
    return home / "bin"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=BUILD_S, env={**os.environ, **QUICK})


@dataclass(frozen=True)
class Listed:
    """One object as the server lists it."""

    key: str
    etag: str
    size: int


class S3Server:
    """The server, with what tests do to it."""

    def __init__(self) -> None:
        program = build() / "ministack"
        self._client = httpx.Client(timeout=60)
        self._s3 = Signer(ROOT_KEY, REGION)
        self._iam = Signer(ROOT_KEY, REGION, "iam")
        for _ in range(STARTS_MAX):
            if self._start(program):
                return
        self._client.close()
        raise NoServer("the S3 server does not start")

    def _start(self, program: Path) -> bool:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "PATH": os.environ["PATH"],
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3,iam,sts",
            "LOG_LEVEL": "ERROR",
        }
        self._process = subprocess.Popen(
            [str(program)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if self._ask("GET", "/").status_code == 200 and self._process.poll() is None:
                    return True
            time.sleep(0.1)
        self._end()
        return False

    def stop(self) -> None:
        self._client.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(
        self, method: str, path: str, query: Iterable[tuple[str, str]] = (), body: bytes = b"", **headers: str
    ) -> httpx.Response:
        text = encode_query(query)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        signed = self._s3.headers(
            method, f"127.0.0.1:{self.port}", path, text, named, payload_sha256=digest, now=datetime.now(UTC)
        )
        return self._client.request(
            method, httpx.URL(f"{self.url}{path}?{text}" if text else self.url + path), content=body, headers=signed
        )

    def bucket(self, name: str) -> str:
        self._ask("PUT", f"/{name}").raise_for_status()
        return name

    def put(self, bucket: str, key: str, body: bytes, **headers: str) -> str:
        answer = self._ask("PUT", f"/{bucket}/{encode_path(key)}", (), body, **headers)
        answer.raise_for_status()
        return answer.headers["etag"].strip('"')

    def get(self, bucket: str, key: str) -> bytes:
        answer = self._ask("GET", f"/{bucket}/{encode_path(key)}")
        answer.raise_for_status()
        return answer.content

    def delete(self, bucket: str, key: str) -> None:
        self._ask("DELETE", f"/{bucket}/{encode_path(key)}").raise_for_status()

    def list(self, bucket: str, prefix: str = "") -> list[Listed]:
        found: list[Listed] = []
        query = [("list-type", "2"), ("prefix", prefix)]
        token: str | None = None
        while True:
            more = [("continuation-token", token)] if token else []
            root = ET.fromstring(self._ask("GET", f"/{bucket}", [*query, *more]).content)  # noqa: S314 - ours
            found += [
                Listed(
                    item.findtext("{*}Key") or "",
                    (item.findtext("{*}ETag") or "").strip('"'),
                    int(item.findtext("{*}Size") or 0),
                )
                for item in root.findall("{*}Contents")
            ]
            token = root.findtext("{*}NextContinuationToken")
            if not token:
                return found

    def uploads(self, bucket: str) -> list[str]:
        """Keys of multipart uploads that are neither complete nor aborted."""
        root = ET.fromstring(self._ask("GET", f"/{bucket}", [("uploads", "")]).content)  # noqa: S314 - ours
        return [item.findtext("{*}Key") or "" for item in root.findall("{*}Upload")]

    def begin_upload(self, bucket: str, key: str) -> str:
        """Start a multipart upload; answers its id."""
        answer = self._ask("POST", f"/{bucket}/{encode_path(key)}", [("uploads", "")])
        return ET.fromstring(answer.content).findtext("{*}UploadId") or ""  # noqa: S314 - ours

    def finish_upload(self, bucket: str, key: str, upload: str, parts: list[bytes]) -> str:
        """Send the parts of an upload and end it; answers the object's ETag."""
        path = f"/{bucket}/{encode_path(key)}"
        lines = ""
        for number, part in enumerate(parts, start=1):
            answer = self._ask("PUT", path, [("partNumber", str(number)), ("uploadId", upload)], part)
            lines += f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>".encode()
        done = self._ask("POST", path, [("uploadId", upload)], body)
        done.raise_for_status()
        return (ET.fromstring(done.content).findtext("{*}ETag") or "").strip('"')  # noqa: S314 - ours

    def put_in_parts(self, bucket: str, key: str, parts: list[bytes]) -> str:
        """A multipart upload; its ETag is no MD5 of the content."""
        return self.finish_upload(bucket, key, self.begin_upload(bucket, key), parts)

    def user(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """A user that may do what the statements say; answers its key as a connector's secret."""
        self._iam_call("CreateUser", UserName=name)
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        self._iam_call("PutUserPolicy", UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        root = ET.fromstring(self._iam_call("CreateAccessKey", UserName=name))  # noqa: S314 - ours
        key = root.find(".//{*}AccessKey")
        assert key is not None
        return {
            "accessKeyId": key.findtext("{*}AccessKeyId") or "",
            "secretAccessKey": key.findtext("{*}SecretAccessKey") or "",
        }

    def _iam_call(self, action: str, **values: str) -> bytes:
        body = urlencode({"Action": action, "Version": "2010-05-08", **values}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        signed = self._iam.headers(
            "POST",
            f"127.0.0.1:{self.port}",
            "/",
            "",
            headers,
            payload_sha256=hashlib.sha256(body).hexdigest(),
            now=datetime.now(UTC),
        )
        answer = self._client.post(f"{self.url}/", content=body, headers=signed)
        answer.raise_for_status()
        return answer.content


def allow(actions: list[str], *resources: str) -> dict[str, Any]:
    """A statement of a policy."""
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources)}


class BadLine:
    """A TCP line to a server that refuses, cuts and stalls as it is told; what passes is counted."""

    def __init__(self, port: int, *, seed: int = 1) -> None:
        self._target = port
        self._random = random.Random(seed)  # noqa: S311 - a test's dice
        self.busy_share = 0.0
        """Share of the connections that are answered 503."""
        self.cut_share = 0.0
        """Share of the connections that are cut somewhere in what the server says."""
        self.down = False
        """Every connection is closed at once."""
        self.on_request: Callable[[bytes], None] | None = None
        """Called with the head of every request before it goes on; it may wait."""
        self.connections = self.busy = self.cut = self.bytes_down = 0
        self.requests: list[str] = []
        """First lines of all requests."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._open = False
        self._listener.close()

    def count(self, method: str, part: str = "") -> int:
        """Requests so far whose first line has this in it."""
        return sum(line.startswith(method) and part in line for line in self.requests)

    def _accept(self) -> None:
        while self._open:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        self.connections += 1
        with line, contextlib.suppress(OSError):
            if self.down:
                return
            if self._random.random() < self.busy_share:
                self._refuse(line)
                return
            left = self._random.randrange(200, 30_000) if self._random.random() < self.cut_share else None
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                threading.Thread(target=self._up, args=(line, server), daemon=True).start()
                try:
                    self._down(server, line, left)
                finally:  # closing alone would wait for the thread that reads
                    line.shutdown(socket.SHUT_RDWR)

    def _refuse(self, line: socket.socket) -> None:
        self._note(line.recv(PIECE))
        self.busy += 1
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        line.sendall(
            b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )

    def _note(self, data: bytes) -> None:
        first = data.partition(b"\r\n")[0]
        if first.endswith(b" HTTP/1.1"):
            self.requests.append(first.decode("latin-1"))
            if self.on_request is not None:
                self.on_request(data)

    def _up(self, line: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            try:
                while data := line.recv(PIECE):
                    self._note(data)
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)
            except OSError:
                server.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, line: socket.socket, left: int | None) -> None:
        while data := server.recv(PIECE):
            if left is not None:
                data = data[:left]
                left -= len(data)
            line.sendall(data)
            self.bytes_down += len(data)
            if left == 0:
                self.cut += 1
                return


@contextlib.contextmanager
def bad_line(port: int, *, seed: int = 1) -> Generator[BadLine]:
    """A line that ends with the test."""
    line = BadLine(port, seed=seed)
    try:
        yield line
    finally:
        line.stop()
