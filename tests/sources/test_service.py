"""What a batch takes from a source: rows of a CSV, rows of a snapshot, and changes that meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from gristmill import sources
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Error
from gristmill.base.objects import ObjectStore
from gristmill.sources.model import SNAPSHOTS_MAX, DefaultMapping, Draft, SourceChanged, SourceConfig

CSV = "email,name\nana@example.com,Ana\nbo@example.com,Bo\n"
CONFIG = SourceConfig(DefaultMapping({"to": "email"}))


@pytest.fixture
def current(tmp_path: Path) -> Settings:
    return Settings(object_store_url=tmp_path.as_uri())


def save(database: Database, organization: int, current: Settings, text: str = CSV) -> sources.StoredSource:
    prepared = sources.prepare(Draft("Leads", "csv", CONFIG, text), sources.host_of(current))
    with database.tx(organization) as tx:
        made = sources.create(tx, organization, prepared)
        return sources.get(tx, organization, made.id)


def snapshot(database: Database, source: sources.StoredSource, current: Settings) -> UUID:
    draft = sources.take_snapshot(source, 1, sources.host_of(current))
    with database.tx(source.organization_id) as tx:
        _preview, old = sources.keep_snapshot(tx, source, draft)
    sources.delete_objects(old, current)
    return draft.id


def objects(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.jsonl"))


def test_rows_of_a_csv(database: Database, organization: int, current: Settings) -> None:
    source = save(database, organization, current)
    with sources.open_rows(source, current) as opened:
        assert opened.name == "Leads"
        assert opened.columns == ["email", "name"]
        assert opened.mapping == {"to": "email"}
        assert list(opened.rows) == [
            {"email": "ana@example.com", "name": "Ana"},
            {"email": "bo@example.com", "name": "Bo"},
        ]


def test_all_rows_that_were_counted_are_read(database: Database, organization: int, current: Settings) -> None:
    text = "email;name\n" + "".join(f'u{n}@x.io;"a\nb{n}"\n' for n in range(30_000)) + "Total;30000\n"
    source = save(database, organization, current, text)
    with sources.open_rows(source, current) as opened:
        assert sum(1 for _row in opened.rows) == source.source.row_count


def test_another_organization_finds_no_source(database: Database, organization: int, current: Settings) -> None:
    source = save(database, organization, current)
    taken = snapshot(database, source, current)
    with database.tx(organization + 1_000_000) as tx:
        with pytest.raises(sources.SourceNotFound):
            sources.get(tx, organization + 1_000_000, source.id)
        with pytest.raises(sources.SourceNotFound):
            sources.get(tx, organization, source.id)  # the second wall: row-level security
        with pytest.raises(sources.SnapshotNotFound):
            sources.find_snapshot(tx, organization, source.id, taken)


def test_a_snapshot_outlives_a_change_of_the_text(database: Database, organization: int, current: Settings) -> None:
    source = save(database, organization, current)
    taken = snapshot(database, source, current)
    changed = sources.prepare(Draft("Leads", "csv", SourceConfig(), "other\n1\n"), sources.host_of(current), source)
    with database.tx(organization) as tx:
        sources.update(tx, source, changed)
        now = sources.get(tx, organization, source.id)
        found = sources.find_snapshot(tx, organization, source.id, taken)
    with sources.open_rows(now, current, snapshot=found) as opened:
        assert opened.columns == ["email", "name"]
        assert [row["name"] for row in opened.rows] == ["Ana", "Bo"]
    with sources.open_rows(now, current) as opened:
        assert list(opened.rows) == [{"other": "1"}]


def test_the_oldest_snapshots_go(database: Database, organization: int, current: Settings, tmp_path: Path) -> None:
    source = save(database, organization, current)
    taken = [snapshot(database, source, current) for _ in range(SNAPSHOTS_MAX + 2)]
    assert objects(tmp_path) == sorted(str(item) for item in taken[2:])
    with database.tx(organization) as tx:
        with pytest.raises(sources.SnapshotNotFound):
            sources.find_snapshot(tx, organization, source.id, taken[0])
        found = sources.find_snapshot(tx, organization, source.id, taken[-1])
        keys = sources.delete(tx, organization, source.id)
    sources.delete_objects(keys, current)
    assert objects(tmp_path) == []
    with pytest.raises(sources.SnapshotNotFound), sources.open_rows(source, current, snapshot=found):
        pass


def test_a_snapshot_belongs_to_its_source(database: Database, organization: int, current: Settings) -> None:
    one, two = save(database, organization, current), save(database, organization, current)
    taken = snapshot(database, one, current)
    with database.tx(organization) as tx:
        for source_id, snapshot_id in ((two.id, taken), (one.id, uuid4())):
            with pytest.raises(sources.SnapshotNotFound):
                sources.find_snapshot(tx, organization, source_id, snapshot_id)


def test_a_snapshot_of_a_source_that_went_meanwhile(database: Database, organization: int, current: Settings) -> None:
    source = save(database, organization, current)
    draft = sources.take_snapshot(source, 1, sources.host_of(current))
    with database.tx(organization) as tx:
        sources.delete(tx, organization, source.id)
    with database.tx(organization) as tx, pytest.raises(sources.SourceNotFound):
        sources.keep_snapshot(tx, source, draft)


def test_two_changes_that_meet(database: Database, organization: int, current: Settings) -> None:
    source = save(database, organization, current)
    host = sources.host_of(current)
    first = sources.prepare(Draft("First", "csv", CONFIG), host, source)
    second = sources.prepare(Draft("Second", "csv", CONFIG), host, source)
    with database.tx(organization) as tx:
        sources.update(tx, source, first)
    with database.tx(organization) as tx, pytest.raises(SourceChanged):
        sources.update(tx, source, second)
    with database.tx(organization) as tx:
        assert sources.get(tx, organization, source.id).source.name == "First"


def test_over_http_a_repeated_snapshot_is_one(owner: Any, database: Database) -> None:
    made = owner.post("/api/v1/data_sources", {"name": "x", "csv_data": CSV}).json()
    path, headers = f"/api/v1/data_sources/{made['id']}/preview", {"Idempotency-Key": "k"}
    first = owner.post(path, {"snapshot": True}, headers=headers)
    second = owner.post(path, {"snapshot": True}, headers=headers)
    assert first.json() == second.json()
    with database.tx(owner.organization_id) as tx:
        found = sources.find_snapshot(tx, owner.organization_id, made["id"], first.json()["snapshot_id"])
        assert tx.one("SELECT count(*) AS n FROM data_source_snapshot WHERE data_source_id = %s", (made["id"],)) == {
            "n": 1
        }
    store = ObjectStore.of(Settings())
    with store.open(found.object_key) as file:
        assert len(file.readlines()) == 2


def test_a_full_store_leaves_no_snapshot(database: Database, organization: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    broken = Settings(object_store_url=(tmp_path / "file").as_uri())
    source = save(database, organization, broken)
    with pytest.raises(Error) as caught:
        sources.take_snapshot(source, 1, sources.host_of(broken))
    assert caught.value.code == "unavailable"
