"""Outgoing requests: bounded in size and time, streamed both ways, redirected only when asked."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from gristmill.base.fetch import (
    BadAnswer,
    BodyTooLarge,
    Egress,
    EgressRefused,
    HeaderRefused,
    TooMuchSent,
    check_headers,
    http_session,
    look_up,
    reason,
    request,
    stream,
)

LOOPBACK = Egress.of("loopback")
T = TypeVar("T")


class Server:
    """A server that misbehaves in every way a request must survive."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Server:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.path, dict(request.headers), body))
        kind = request.path.strip("/").split("/")[0]
        if kind == "redirect":
            return web.Response(
                status=int(request.query.get("status", "302")), headers={"Location": request.query["to"]}
            )
        if kind == "packed":
            return web.Response(body=PACKED[request.query["how"]], headers={"Content-Encoding": request.query["as"]})
        if kind == "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(1000):
                await response.write(b"x" * int(request.query.get("size", "1")))
                await asyncio.sleep(float(request.query["every"]))
            return response
        if kind == "silent":
            await asyncio.sleep(30)
        if kind == "headers":
            return web.Response(headers={"X-Long": "x" * 20_000})
        if kind == "many-headers":
            return web.Response(headers=[(f"X-{number}", "1") for number in range(500)])  # type: ignore[arg-type]
        return web.Response(body=b"x" * int(request.query.get("size", "2")))


BOMB = zlib.compressobj(9, wbits=31)
PACKED = {
    "gzip": gzip.compress(b"plain text" * 20_000, mtime=0),
    "zlib": zlib.compress(b"plain text" * 20_000),
    "two": gzip.compress(b"one ", mtime=0) + gzip.compress(b"two", mtime=0),
    "bomb": BOMB.compress(bytes(64 * 1024**2)) + BOMB.flush(),
    "cut": gzip.compress(os.urandom(100_000), mtime=0)[:-20],
    "none": b"not packed at all",
    "empty": b"",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server().start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def clean(server: Server) -> None:
    server.seen.clear()


def ask(use: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, T]], egress: Egress = LOOPBACK, **more: Any) -> T:
    async def go() -> T:
        async with http_session(egress, connections=4, **more) as session:
            return await use(session)

    return asyncio.run(go())


def get(url: str, egress: Egress = LOOPBACK, **more: Any) -> Any:
    options = {"headers": {}, "body": None, "timeout_s": 5, "body_bytes_max": 1_000_000, **more}
    method = options.pop("method", "GET")
    return ask(lambda session: request(session, egress, method, url, **options), egress)


def test_only_what_is_allowed_is_reached(server: Server) -> None:
    assert get(server.url).status == 200
    assert get(server.url, Egress.of(f"127.0.0.1:{server.port}")).status == 200
    for egress in (Egress(), Egress.of("127.0.0.1:1"), Egress.of("localhost")):
        with pytest.raises(EgressRefused):
            get(server.url, egress)
    assert len(server.seen) == 2


def test_a_name_that_is_allowed_may_lie_in_a_private_network_and_opens_it_to_no_other_name(server: Server) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    egress = Egress.of(f"db.corp.example:{server.port}")
    options: dict[str, Any] = {"headers": {}, "body": None, "timeout_s": 5, "body_bytes_max": 100}

    async def both(session: aiohttp.ClientSession) -> int:
        answer = await request(session, egress, "GET", f"http://db.corp.example:{server.port}/", **options)
        for other in (f"http://127.0.0.1:{server.port}/", "https://evil.example.com/"):
            with pytest.raises(EgressRefused):
                await request(session, egress, "GET", other, **options)
        return answer.status

    assert ask(both, egress, lookup=lookup) == 200


def test_the_second_wall_is_at_the_socket_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a resolver that forgot to judge leads to no forbidden address."""
    monkeypatch.setattr("gristmill.base.fetch._JudgedResolver", lambda *_: aiohttp.ThreadedResolver())
    monkeypatch.setattr("gristmill.base.egress.PORTS", {"http": {server.port}, "https": set()})

    async def lie(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lie)
    with pytest.raises((EgressRefused, aiohttp.ClientError)):
        get(f"http://public.example.com:{server.port}/", Egress(plain=True))
    assert server.seen == []


def test_redirects_are_followed_only_when_asked(server: Server) -> None:
    url = f"{server.url}/redirect?to=/end"
    assert get(url).status == 302
    answer = get(url, redirects_max=1)
    assert (answer.status, answer.url) == (200, f"{server.url}/end")
    loop = f"{server.url}/redirect?to={server.url}/redirect%3Fto%3D/end"
    assert get(loop, redirects_max=2).status == 200
    with pytest.raises(BadAnswer, match="more than 1 times"):
        get(loop, redirects_max=1)
    assert get(url, method="POST", body=b"{}", redirects_max=3).status == 302


def test_another_host_sees_no_credentials(server: Server) -> None:
    headers = {"Authorization": "Bearer s", "X-Api-Key": "s", "Cookie": "s", "Accept": "text/csv"}
    get(f"{server.url}/redirect?to=http://localhost:{server.port}/other", headers=headers, redirects_max=1)
    first, second = (call[2] for call in server.seen)
    assert first["Authorization"] == "Bearer s"
    assert not {"Authorization", "X-Api-Key", "Cookie"} & set(second)
    assert second["Accept"] == "text/csv"
    get(f"{server.url}/redirect?to=/same", headers=headers, redirects_max=1)
    assert server.seen[-1][2]["X-Api-Key"] == "s"


@pytest.mark.parametrize(("how", "coding"), [("gzip", "gzip"), ("zlib", "deflate"), ("gzip", "X-GZIP")])
def test_packed_answers_are_unpacked(server: Server, how: str, coding: str) -> None:
    assert get(f"{server.url}/packed?how={how}&as={coding}").body == b"plain text" * 20_000


def test_files_one_behind_the_other_are_unpacked(server: Server) -> None:
    assert get(f"{server.url}/packed?how=two&as=gzip").body == b"one two"
    assert get(f"{server.url}/packed?how=empty&as=gzip").body == b""


@pytest.mark.parametrize(
    ("how", "coding", "says"),
    [("none", "gzip", "no gzip"), ("cut", "gzip", "ends too soon"), ("gzip", "br", "nobody asked for")],
)
def test_what_can_not_be_unpacked_is_told(server: Server, how: str, coding: str, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        get(f"{server.url}/packed?how={how}&as={coding}")


def test_a_bomb_is_cut_off_at_the_limit(server: Server) -> None:
    assert len(PACKED["bomb"]) < 100_000
    with pytest.raises(BodyTooLarge):
        get(f"{server.url}/packed?how=bomb&as=gzip", body_bytes_max=1_000_000)

    async def raw(session: aiohttp.ClientSession) -> bytes:
        url = f"{server.url}/packed?how=bomb&as=gzip"
        async with stream(session, LOOPBACK, "GET", url, headers={}, timeout_s=5, inflate=False) as reply:
            return await reply.read(1_000_000)

    assert ask(raw) == PACKED["bomb"]


def test_a_large_answer_is_cut_off_and_its_beginning_can_be_had(server: Server) -> None:
    with pytest.raises(BodyTooLarge):
        get(f"{server.url}/?size=500", body_bytes_max=499)
    assert len(get(f"{server.url}/?size=500", body_bytes_max=500).body) == 500

    async def begin(session: aiohttp.ClientSession) -> bytes:
        url = f"{server.url}/?size=50000000"
        async with stream(session, LOOPBACK, "GET", url, headers={}, timeout_s=5) as reply:
            return await reply.excerpt(4096)

    assert ask(begin) == b"x" * 4096


@pytest.mark.parametrize("path", ["/headers", "/many-headers"])
def test_headers_are_bounded(server: Server, path: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        get(server.url + path)


def test_time_is_bounded_whatever_the_server_does(server: Server) -> None:
    for path in ("/silent", "/drip?every=0.05"):
        with pytest.raises(TimeoutError):
            get(server.url + path, timeout_s=0.3)

    async def quiet(session: aiohttp.ClientSession) -> bytes:
        url = f"{server.url}/drip?every=5"
        async with stream(session, LOOPBACK, "GET", url, headers={}, timeout_s=30, silence_s=0.2) as reply:
            return await reply.read(1000)

    with pytest.raises(TimeoutError):
        ask(quiet)


def test_bodies_are_streamed_both_ways(server: Server) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"y" * 1000

    async def send(session: aiohttp.ClientSession, count: int) -> int:
        async with stream(
            session,
            LOOPBACK,
            "PUT",
            f"{server.url}/?size=300000",
            headers={"X-Own": "1"},
            body=pieces(count),
            body_bytes_max=10_000,
            timeout_s=5,
        ) as reply:
            return sum([len(chunk) async for chunk in reply.chunks(300_000)])

    assert ask(lambda session: send(session, 10)) == 300_000
    method, _, headers, body = server.seen[0]
    assert (method, len(body), headers["X-Own"]) == ("PUT", 10_000, "1")
    with pytest.raises((TooMuchSent, aiohttp.ClientError)):
        ask(lambda session: send(session, 11))


def test_reasons_are_told_in_words(server: Server) -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise OSError(f"no name server knows {host}:{port}")

    egress = Egress(plain=True)

    async def fail(session: aiohttp.ClientSession, url: str) -> str:
        options: dict[str, Any] = {"headers": {}, "body": None, "timeout_s": 5, "body_bytes_max": 1}
        try:
            await request(session, LOOPBACK if "127" in url else egress, "GET", url, **options)
        except (aiohttp.ClientError, TimeoutError, EgressRefused) as error:
            return reason(error)
        return ""

    said = ask(lambda session: fail(session, "https://gone.example.com/"), egress, lookup=nothing)
    assert said == "the name gone.example.com can't be resolved: no name server knows gone.example.com:443"
    assert "127.0.0.1:9 can't be connected to" in ask(lambda session: fail(session, "http://127.0.0.1:9/"))
    assert "not a public address" in ask(lambda session: fail(session, "https://10.0.0.1/"))
    assert reason(TimeoutError()) == "there was no answer in time"


def test_names_are_looked_up_as_this_machine_does() -> None:
    assert "127.0.0.1" in asyncio.run(look_up("localhost", 80))
    with pytest.raises(OSError, match=r"."):
        asyncio.run(look_up("no-such-host.invalid", 80))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "intranet"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"},
        {"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"": "b"}, {"X-A": "é"}, {"Expect": "100-continue"}, {"Upgrade": "h2c"},
    ],
)  # fmt: skip
def test_headers_that_frame_a_message_are_not_for_users(headers: dict[str, str]) -> None:
    with pytest.raises(HeaderRefused) as caught:
        check_headers(headers, "config.headers")
    assert caught.value.errors[0].field.startswith("config.headers")
    check_headers({"X-Team": "ops\tand more", "Authorization": "Bearer x"}, "config.headers")


def test_calls_at_the_same_time_share_one_lookup(server: Server) -> None:
    asked: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        del port
        asked.append(host)
        await asyncio.sleep(0.05)
        return ["127.0.0.1"]

    egress = Egress.of("slow.corp.example")
    url = f"http://slow.corp.example:{server.port}/"

    async def many(session: aiohttp.ClientSession) -> None:
        options: dict[str, Any] = {"headers": {"Connection": "close"}, "body": None, "timeout_s": 5}
        await asyncio.gather(*(request(session, egress, "GET", url, **options, body_bytes_max=100) for _ in range(4)))
        await request(session, egress, "GET", url, **options, body_bytes_max=100)

    ask(many, egress, lookup=lookup)
    assert len(asked) == 2
