"""The egress guard, judged by what it lets through."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from agent_server import AgentServer
from gristmill.base.fetch import BodyTooLarge, Egress, EgressRefused, http_session, request

PUBLIC = Egress()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://10.1.2.3/", "http://169.254.169.254/latest/meta-data",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://0x7f000001/", "http://2130706433/", "http://127.1/", "http://0177.0.0.1/", "http://192.0.0.192/",
        "http://168.63.129.16/", "http://user:pw@example.com/", "http://example.com%2f@127.0.0.1/", "ftp://example.com/",
        "file:///etc/passwd", "http://example.com:22/", "http://intranet/", "http://db.internal/", "http://x.local/",
        "http://exa mple.com/", "http://example.com\\@127.0.0.1/", "http:///", "http://[fe80::1]/", "http://[fec0::1]/",
        "http://224.0.0.1/", "gopher://example.com/", "http://" + "a" * 3000 + ".com/",
    ],
)  # fmt: skip
def test_forbidden_urls_are_refused_by_their_text(url: str) -> None:
    with pytest.raises(EgressRefused):
        PUBLIC.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/", "http://example.com:8080/x?y=z", "https://93.184.216.34/", "https://bücher.example/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/", "https://example.com:8443/a",
    ],
)  # fmt: skip
def test_public_urls_pass(url: str) -> None:
    PUBLIC.check_url(url)


def fetch(egress: Egress, url: str, *, limit: int = 10_000) -> int:
    async def go() -> int:
        async with http_session(egress, connections=2) as session:
            answer = await request(
                session, egress, "POST", url, headers={}, body=b"{}", timeout_s=5, body_bytes_max=limit
            )
            return answer.status

    return asyncio.run(go())


def test_an_allowed_address_is_reached_and_an_unallowed_one_never(agent_server: AgentServer) -> None:
    assert fetch(Egress.of("loopback"), f"{agent_server.url}/echo") == 200
    port = agent_server.url.rsplit(":", 1)[1]
    assert fetch(Egress.of(f"127.0.0.1:{port}"), f"{agent_server.url}/echo") == 200
    with pytest.raises(EgressRefused):
        fetch(Egress.of("127.0.0.1:1"), f"{agent_server.url}/echo")
    assert len(agent_server.calls.bodies) == 2


def test_a_name_that_resolves_to_a_private_address_is_refused_at_the_socket(
    agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(agent_server.url.rsplit(":", 1)[1])

    async def lie(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lie)
    monkeypatch.setattr("gristmill.base.fetch.PORTS_PUBLIC", frozenset({port}))
    with pytest.raises((EgressRefused, aiohttp.ClientError)):
        fetch(PUBLIC, f"http://public.example:{port}/echo")
    assert agent_server.calls.bodies == []


def test_redirects_are_not_followed(agent_server: AgentServer) -> None:
    assert fetch(Egress.of("loopback"), f"{agent_server.url}/status/302") == 302


def test_an_answer_over_the_limit_is_cut_off(agent_server: AgentServer) -> None:
    with pytest.raises(BodyTooLarge):
        fetch(Egress.of("loopback"), f"{agent_server.url}/raw?body={'x' * 500}", limit=100)
