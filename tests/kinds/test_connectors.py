"""One suite for every kind of connector: what pulls and pushes rely on."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from gristmill.base.config import settings
from gristmill.base.egress import EgressRefused
from gristmill.base.errors import Error
from gristmill.base.ids import uuid7
from gristmill.base.kinds import UnknownKind
from gristmill.connectors.kinds import KINDS, ConnectorKind, Remote
from gristmill.connectors.ladder import Ladder
from gristmill.connectors.model import Entry, Found, plan_pull
from gristmill.connectors.remote import Door, Exchange, Job, MemoryLanding, ObjectGone, Piece, PieceForm, RemoteFailed
from receiver import Receiver
from s3_server import REGION, S3Server

T = TypeVar("T")
DATA = b"a,b\n1,2\n"
SYNC = uuid7()


@dataclass
class Kit:
    """One kind on a real server."""

    kind: ConnectorKind
    config: dict[str, Any]
    secret: dict[str, str]
    wrong_secret: dict[str, str]
    put: Callable[[bytes], None]
    """Offer a file."""
    take_away: Callable[[], None]
    received: Callable[[], list[bytes]]
    """What was written, in order."""
    forbidden: dict[str, Any]
    """A config that leads to a forbidden address."""

    @property
    def parsed(self) -> BaseModel:
        return self.kind.Config.model_validate(self.config)


@pytest.fixture(params=sorted(KINDS.all()))
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    kind = KINDS.get(request.param)
    if request.param == "S3":
        server: S3Server = request.getfixturevalue("s3")
        bucket: str = request.getfixturevalue("bucket")
        config = {"bucket": bucket, "prefix": "in/", "region": REGION, "endpointUrl": server.url}
        yield Kit(
            kind, config,
            {"accessKeyId": "test", "secretAccessKey": "test"},
            {"accessKeyId": "AKIANOBODY", "secretAccessKey": "x"},
            lambda data: (server.put(bucket, "in/file.csv", data), None)[1],
            lambda: server.delete(bucket, "in/file.csv"),
            lambda: [server.get(bucket, item.key) for item in server.list(bucket)],
            {**config, "endpointUrl": "http://169.254.169.254"},
        )  # fmt: skip
        return
    if request.param == "HTTPS_WEBHOOK":
        receiver: Receiver = request.getfixturevalue("receiver")
        receiver.allow = lambda headers: headers.get("authorization") == "Bearer a-good-token"
        config = {"url": f"{receiver.url}/file.csv", "authScheme": "Bearer"}

        def put(data: bytes) -> None:
            receiver.file, receiver.other = data, 200

        def take_away() -> None:
            receiver.other = 404

        yield Kit(
            kind, config, {"token": "a-good-token"}, {"token": "a-wrong-token"}, put, take_away,
            lambda: [got.body for got in receiver.posts], {**config, "url": "http://10.0.0.1/"},
        )  # fmt: skip
        return
    pytest.fail(f"the kind {request.param} has no kit in this suite")


def opened(kit: Kit, work: Callable[[Remote], Awaitable[T]], secret: dict[str, str] | None = None) -> T:
    async def go() -> T:
        async with kit.kind.open(kit.parsed, secret or kit.secret, Door.of(settings())) as remote:
            return await work(remote)

    return asyncio.run(go())


async def listing(remote: Remote, ledger: dict[str, Entry] | None = None) -> list[Found]:
    return [item async for item in remote.list_objects(ledger or {})]


async def fetched(remote: Remote, item: Found, entry: Entry | None = None) -> tuple[bytes | None, Entry | None]:
    """What was fetched, and the ledger's line of it; None when nothing has changed."""
    landing = MemoryLanding(10**6)
    facts = await remote.fetch(item, entry, landing)
    if facts is None:
        return None, None
    data = landing.read()
    sha256 = hashlib.sha256(data).hexdigest()
    return data, Entry(item.key, facts.etag, facts.size, facts.version, "uploaded", 0, SYNC, sha256)


class Trail:
    """Keeps what a push leaves behind."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.recalled: str | None = None

    def note(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    async def remember(self, text: str | None) -> None:
        self.recalled = text


def job(rows: int = 2) -> Job:
    return Job(
        id=uuid7(),
        push_id=uuid7(),
        agent_id=1,
        organization_id=2,
        completed_at=datetime(2026, 5, 5, tzinfo=UTC),
        stats={"total": rows, "matched": rows, "unmatched": 0},
        receipt={"rows_in": rows},
        columns=["n"],
        results=lambda: ({"rowNumber": number} for number in range(1, rows + 1)),
        file=lambda form: [f"{form}\n".encode(), b"1\n" * rows],
    )


def packed(kit: Kit, wanted: Job) -> tuple[list[Piece], dict[str, bytes]]:
    bodies: dict[str, bytes] = {}

    def keep(name: str, form: PieceForm, content_type: str, data: Any, rows: int) -> Piece:
        body = b"".join(data)
        bodies[name] = body
        return Piece(name, form, content_type, len(body), hashlib.sha256(body).hexdigest(), rows, f"kept/{len(bodies)}")

    return list(kit.kind.pack(kit.parsed, wanted, kit.kind.push_formats[0], keep)), bodies


def test_it_describes_itself(kit: Kit) -> None:
    assert kit.kind.title
    assert kit.kind.summary
    assert kit.kind.secret_values
    assert kit.kind.Config.model_json_schema()["additionalProperties"] is False, "an unknown setting must be refused"
    saved = kit.parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert saved == kit.config, "what is saved is what was given"
    for role in ("INVENTORY_SOURCE", "RESULTS_SINK"):
        kit.kind.check(kit.parsed, role, kit.secret, Door.of(settings()))
        assert kit.kind.place(kit.parsed, role)
    assert kit.kind.pulls(kit.parsed)
    assert kit.kind.host_url(kit.parsed)


def test_it_refuses_addresses_that_nobody_may_reach(kit: Kit) -> None:
    config = kit.kind.Config.model_validate(kit.forbidden)
    with pytest.raises(EgressRefused):
        kit.kind.check(config, "INVENTORY_SOURCE", kit.secret, Door.of(settings()))
    with pytest.raises(Error):
        opened(replace(kit, config=kit.forbidden), lambda remote: remote.ping("INVENTORY_SOURCE"))


def test_it_needs_its_secret(kit: Kit) -> None:
    with pytest.raises(Error):
        kit.kind.check(kit.parsed, "INVENTORY_SOURCE", None, Door.of(settings()))
    for role in ("INVENTORY_SOURCE", "RESULTS_SINK"):
        opened(kit, lambda remote, role=role: remote.ping(role))  # type: ignore[misc]
        with pytest.raises(RemoteFailed) as caught:
            opened(kit, lambda remote, role=role: remote.ping(role), kit.wrong_secret)  # type: ignore[misc]
        assert caught.value.permanent
        assert caught.value.fix
        assert caught.value.raw
    assert kit.received() == [], "a ping writes nothing"


def test_an_object_is_listed_fetched_and_known(kit: Kit) -> None:
    async def work(remote: Remote) -> None:
        (item,) = await listing(remote)
        assert [found.key for found in plan_pull([item], {}).fetch] == [item.key]
        data, entry = await fetched(remote, item)
        assert data == DATA
        assert entry is not None
        ledger = {item.key: entry}
        (again,) = await listing(remote, ledger)
        plan = plan_pull([again], ledger)
        if plan.fetch:  # only asking can tell
            assert await fetched(remote, again, entry) == (None, None)
        kit.put(b"a,b\n3,4\n5,6\n")
        (changed,) = await listing(remote, ledger)
        assert plan_pull([changed], ledger).fetch
        assert (await fetched(remote, changed, entry))[0] == b"a,b\n3,4\n5,6\n"
        assert remote.requests > 2

    kit.put(DATA)
    opened(kit, work)


def test_an_object_that_is_gone_says_so(kit: Kit) -> None:
    async def work(remote: Remote) -> None:
        (item,) = await listing(remote)
        kit.take_away()
        with pytest.raises(ObjectGone):
            await fetched(remote, item)

    kit.put(DATA)
    opened(kit, work)


def test_a_landing_that_is_full_ends_it(kit: Kit) -> None:
    async def work(remote: Remote) -> None:
        (item,) = await listing(remote)
        with pytest.raises(RemoteFailed) as caught:
            await remote.fetch(item, None, MemoryLanding(100))
        assert caught.value.permanent

    kit.put(DATA * 100)
    opened(kit, work)


def test_its_ladder_reads_a_sample_and_writes_nothing(kit: Kit) -> None:
    async def climb(remote: Remote, role: Any) -> tuple[Ladder, str | None, bytes]:
        ladder, landing = Ladder(), MemoryLanding(10**6)
        key = await remote.climb(ladder, role, landing, write=False)
        return ladder, key, landing.read()

    kit.put(DATA)
    before = kit.received()
    ladder, key, sample = opened(kit, lambda remote: climb(remote, "INVENTORY_SOURCE"))
    assert ladder.ok
    assert key
    assert sample == DATA
    ladder, key, sample = opened(kit, lambda remote: climb(remote, "RESULTS_SINK"))
    assert (ladder.ok, key, sample) == (True, None, b"")
    assert kit.received() == before


def test_results_are_packed_with_all_that_a_receiver_needs(kit: Kit) -> None:
    wanted = job()
    pieces, bodies = packed(kit, wanted)
    assert sum(piece.rows for piece in pieces) == 2
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert str(wanted.id).encode() in b"".join(bodies.values())
    again, _ = packed(kit, wanted)
    assert [piece.name for piece in again] == [piece.name for piece in pieces], "the same for every try"
    facts = json.loads(bodies[pieces[-1].name])
    assert (facts["jobId"], facts["agentId"], facts["workspaceId"]) == (str(wanted.id), 1, 2)
    assert facts["stats"] == {"total": 2, "matched": 2, "unmatched": 0}
    assert facts["completedAt"].startswith("2026-05-05")


def test_no_results_are_results_too(kit: Kit) -> None:
    pieces, _ = packed(kit, job(0))
    assert pieces


def test_pieces_arrive_as_they_are_and_again_without_harm(kit: Kit) -> None:
    pieces, bodies = packed(kit, job())

    async def work(remote: Remote) -> None:
        for _ in range(2):
            for piece in pieces:
                assert await remote.send(piece, io.BytesIO(bodies[piece.name]), None, Trail())

    opened(kit, work)
    assert set(kit.received()) == set(bodies.values())


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="HTTPS_WEBHOOK, S3"):
        KINDS.get("FAX")
