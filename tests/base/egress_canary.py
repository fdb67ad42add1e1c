"""Runs cases of the egress guard where every address of the world ends at a local canary that notes who was reached.

A program for a network namespace of its own, in which `ip route add local 0.0.0.0/0 dev lo` makes every address local:
`python egress_canary.py FOLDER < cases.jsonl` prints one line of JSON for each case.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TLS_PORTS = (443, 8443)
OTHER_PORTS = (22, 25, 80, 3128, 5432, 6379, 8000, 8080, 11211)


def make_certificate(folder: Path, names: set[str]) -> Path:
    """A certificate of these names and addresses, which signs itself, with its key in one file."""
    from cryptography import x509  # noqa: PLC0415 - a program of its own
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "canary")])
    alternatives: list[x509.GeneralName] = []
    for name in sorted(names):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "canary.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


class Canary:
    """Accepts every connection, notes its address, and answers 200 or the redirect of the case."""

    def __init__(self, certificate: Path) -> None:
        self.reached: list[str] = []
        self.redirects: dict[str, str] = {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for port in (*TLS_PORTS, *OTHER_PORTS):
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - in a namespace
                sock = socket.socket(family)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((host, port))
                sock.listen(64)
                sock.setblocking(False)
                self._keep(self._accept(sock, tls=port in TLS_PORTS))

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket, *, tls: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listening)
            self.reached.append(str(sock.getsockname()[0]))
            self._keep(self._serve(sock, tls=tls))

    async def _serve(self, sock: socket.socket, *, tls: bool) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), sock, ssl=self._tls if tls else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            host = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
            location = self.redirects.get(f"https://{host}{path}")
            status = f"302 Found\r\nLocation: {location}" if location else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
            await writer.drain()
            writer.close()


async def run_case(canary: Canary, case: dict[str, Any], *, redirects_max: int) -> dict[str, Any]:
    """What came of one case: a status or the error, and every address that was connected to."""
    from gristmill.base.egress import Egress  # noqa: PLC0415 - after the certificate is named in the environment
    from gristmill.base.fetch import http_session, reason, request  # noqa: PLC0415

    looked: dict[str, int] = {}

    async def lookup(host: str, port: int) -> list[str]:
        del port
        answers = case["dns"].get(host) or []
        if answers and isinstance(answers[0], list):  # another answer for each look
            looked[host] = looked.get(host, -1) + 1
            answers = answers[min(looked[host], len(answers) - 1)]
        if not answers:
            raise OSError(f"{host}: no such name")
        return list(answers)

    canary.reached, canary.redirects = [], case["redirect"]
    outcome: dict[str, Any] = {"id": case["id"], "status": None, "error": None}
    before = dict(os.environ)
    os.environ.update(case.get("opts", {}).get("env", {}))
    try:
        async with http_session(Egress(), connections=4, lookup=lookup) as session:
            for _ in range(2 if any(isinstance(item, list) for v in case["dns"].values() for item in v) else 1):
                answer = await request(
                    session,
                    Egress(),
                    "GET",
                    case["url"],
                    headers={"Authorization": "Bearer canary"},
                    body=None,
                    timeout_s=10,
                    body_bytes_max=1000,
                    redirects_max=redirects_max,
                )
                outcome["status"] = answer.status
    except Exception as error:  # noqa: BLE001 - every kind of refusal is an outcome
        outcome["error"] = f"{type(error).__name__}: {reason(error)}"
    finally:
        os.environ.clear()
        os.environ.update(before)
    await asyncio.sleep(0)
    outcome["reached"] = canary.reached
    return outcome


async def main(folder: Path, cases: list[dict[str, Any]], redirects_max: int) -> None:
    names = {host for case in cases for host in case["dns"] if host.isascii() and len(host) < 64}
    for case in cases:
        with contextlib.suppress(ValueError):
            host = urlsplit(case["url"]).hostname or ""
            if case["allow"] and host.isascii():
                names.add(host)
    certificate = make_certificate(folder, names)
    os.environ["SSL_CERT_FILE"] = str(certificate)
    canary = Canary(certificate)
    canary.start()
    for case in cases:
        print(json.dumps(await run_case(canary, case, redirects_max=redirects_max)), flush=True)  # noqa: T201


if __name__ == "__main__":
    lines = [json.loads(line) for line in sys.stdin if line.strip()]
    asyncio.run(main(Path(sys.argv[1]), lines, int(sys.argv[2])))
