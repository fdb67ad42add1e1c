"""The egress guard, judged at the socket: what is connected to, whatever the URL, the name server or a redirect say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.egress import Egress, EgressRefused, is_public
from gristmill.base.fetch import http_session, request

ROOT = Path(__file__).parents[2]
CASES = ROOT.parent / "shared" / "data" / "security" / "ssrf_cases.jsonl"
CANARY = Path(__file__).with_name("egress_canary.py")
PUBLIC = Egress()
GOOD, GOOD6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"


def case(
    url: str, dns: dict[str, Any] | None = None, redirect: dict[str, str] | None = None, *, allow: bool = False
) -> dict[str, Any]:
    return {"id": url, "url": url, "dns": dns or {}, "redirect": redirect or {}, "allow": allow, "cat": "own"}


OK = {"ok.example.com": [GOOD]}
OWN: list[dict[str, Any]] = [
    case("https://ok.example.com/", OK, allow=True),
    case("https://ok.example.com./x?y=https://127.0.0.1/#@10.0.0.1", OK, allow=True),
    case("https://ok.example.com:/", OK, allow=True),
    case("https://ok.example.com/r", OK, {"https://ok.example.com/r": "/ok"}, allow=True),
    case(
        "https://ok.example.com/r",
        {**OK, "two.example.com": [GOOD]},
        {"https://ok.example.com/r": "https://two.example.com/x"},
        allow=True,
    ),
    case("https://bücher.example/", {"xn--bcher-kva.example": [GOOD]}, allow=True),
    case("https://faß.example/", {"xn--fa-hia.example": [GOOD]}, allow=True),
    case(f"https://{GOOD}/", allow=True),
    case(f"https://[{GOOD6}]:8443/", allow=True),
    # The first look is fine, the second is not: each connection is judged by its own look.
    case("https://rebind.example.com/", {"rebind.example.com": [[GOOD], ["127.0.0.1"]]}),
    case("https://rebind.example.com/", {"rebind.example.com": [["10.0.0.1"], [GOOD]]}),
    case("http://ok.example.com/", OK),
    case("https://ok.example.com:8080/", OK),
    case("https://ok.example.com:0/", OK),
    case("https://ok.example.com/r", OK, {"https://ok.example.com/r": "https://ok.example.com:6379/"}),
    case("https://ok.example.com/r", OK, {"https://ok.example.com/r": "https://user:pw@ok.example.com/"}),
    case("https://ok.example.com/r", OK, {"https://ok.example.com/r": "file:///etc/passwd"}),
    case("https://ok.example.com/r", OK, {"https://ok.example.com/r": "https://[::1/"}),
    case("https://ok.example.com../", OK),
    case("https://ok.example.com%2e/", OK),
    case("https://[::ffff:93.184.216.34]/"),
    case("https://intra.lan/", {"intra.lan": [GOOD]}),
    case("https://ok.example.com\ud800/", OK),
]


def cases() -> list[dict[str, Any]]:
    """Our own, and those that lie beside the project, where they do."""
    if not CASES.exists():
        return OWN
    return [*OWN, *(json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines())]


def run_in_namespace(folder: Path, redirects_max: int) -> dict[Any, dict[str, Any]]:
    """Every case, in a network where each address of the world is a canary of this machine."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip")
    routes = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo && exec "
    program = f"{routes}{sys.executable} {CANARY} {folder} {redirects_max}"
    lines = "\n".join(json.dumps(item) for item in cases())
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", program], input=lines, capture_output=True, text=True, check=False, timeout=150
    )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no network namespace: {done.stderr[:200]}")
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(cases())
    return dict(enumerate(outcomes))


def test_no_forbidden_address_is_reached_and_every_good_one_is(tmp_path: Path) -> None:
    wrong: list[str] = []
    for number, outcome in run_in_namespace(tmp_path, redirects_max=3).items():
        item = cases()[number]
        refused = outcome["error"] is not None
        good = set(outcome["reached"]) <= {GOOD, GOOD6}
        may_have_reached = item["allow"] or item["redirect"] or item["url"].startswith("https://rebind")
        fine = (outcome["status"] == 200 and not refused) if item["allow"] else refused
        if not fine or not good or (outcome["reached"] and not may_have_reached):
            wrong.append(f"{item['url']!r} ({item.get('why', '')}): {outcome}")
    assert wrong == []


def test_without_asking_for_it_no_redirect_is_followed(tmp_path: Path) -> None:
    for number, outcome in run_in_namespace(tmp_path, redirects_max=0).items():
        item = cases()[number]
        if item["redirect"]:
            assert outcome["status"] == 302, outcome
            assert set(outcome["reached"]) == {GOOD}, outcome


@pytest.mark.parametrize("item", cases(), ids=lambda item: str(item["id"])[:60].encode("ascii", "replace").decode())
def test_every_case_where_no_namespace_can_be_made(item: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without a network: each connection is noted and refused, so redirects can't be seen here."""
    reached: list[str] = []

    async def connect(self: Any, sock: Any, address: Any) -> None:
        reached.append(str(address[0]))
        raise ConnectionRefusedError

    async def lookup(host: str, port: int) -> list[str]:
        answers = item["dns"].get(host) or []
        found = answers[0] if answers and isinstance(answers[0], list) else answers
        if not found:
            raise OSError(f"{host}: no such name")
        return list(found)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    for name, value in item.get("opts", {}).get("env", {}).items():
        monkeypatch.setenv(name, value)

    async def go() -> None:
        async with http_session(PUBLIC, connections=1, lookup=lookup) as session:
            await request(session, PUBLIC, "GET", item["url"], headers={}, body=None, timeout_s=5, body_bytes_max=1000)

    with pytest.raises(Exception) as caught:  # noqa: PT011 - a refusal, or our own refused connection
        asyncio.run(go())
    assert not isinstance(caught.value, TimeoutError | AttributeError | TypeError)
    first_is_good = item["allow"] or item["redirect"] or item["dns"].get("rebind.example.com", [[]])[0] == [GOOD]
    assert set(reached) <= {GOOD, GOOD6}
    assert bool(reached) == bool(first_is_good), caught.value


def test_what_the_operator_named_is_reached_by_any_scheme_and_port() -> None:
    named = Egress.of("db.internal, files.example.com:9000, 10.0.0.5:9000, [fd00::1]:9000")
    for url in (
        "http://db.internal:1234/",
        "http://files.example.com:9000/",
        "http://10.0.0.5:9000/",
        "http://[fd00::1]:9000/",
    ):
        named.check_url(url)
    for url in ("http://files.example.com/", "http://10.0.0.5/", "http://10.0.0.6:9000/", "http://[fd00::1]:9001/"):
        with pytest.raises(EgressRefused):
            named.check_url(url)
    named.check_address("10.9.9.9", "db.internal", 5432)
    with pytest.raises(EgressRefused, match=r"ok\.example\.com is at 10\.9\.9\.9"):
        named.check_address("10.9.9.9", "ok.example.com", 443)


def test_plain_http_only_for_pages() -> None:
    Egress(plain=True).check_url("http://ok.example.com/")
    with pytest.raises(EgressRefused, match="https only"):
        PUBLIC.check_url("http://ok.example.com/")
    with pytest.raises(EgressRefused):
        Egress(plain=True).check_url("http://127.0.0.1/")


@given(st.ip_addresses())
def test_only_global_addresses_are_public(ip: Any) -> None:
    if is_public(ip):
        assert ip.is_global
        assert not ip.is_multicast


@given(st.text(max_size=60))
def test_any_text_is_judged_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://ok.example.com{text}", f"https://{text}.example.com/"):
        try:
            judged = PUBLIC.judge(url)
        except EgressRefused:
            continue
        assert judged.scheme == "https"
        assert judged.host
