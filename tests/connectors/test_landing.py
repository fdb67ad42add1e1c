"""Objects that land, small ones together: each is whole and its own; a store that fails fails its whole group."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from gristmill.base.config import Settings
from gristmill.base.objects import BEGIN_BYTES, ObjectStore, Stored, StoreUnavailable
from gristmill.connectors.landing import GROUP_FILES_MAX, MEMORY_BYTES_MAX, Groups, StoreLanding
from gristmill.connectors.remote import TooBig


async def land(groups: Groups, key: str, data: bytes, piece: int) -> tuple[str, Stored]:
    async with StoreLanding(groups, key, 10**6) as landing:
        for start in range(0, len(data), piece):
            await landing.write(data[start : start + piece])
        return await landing.md5(), await landing.finish()


def test_objects_that_come_at_once_are_written_together_and_apart(tmp_path: Path) -> None:
    objects = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    bodies = {f"in/{number}": b"%d," % number * (number * 7) for number in range(3 * GROUP_FILES_MAX + 1)}

    async def go() -> list[tuple[str, Stored]]:
        groups = Groups(objects)
        return await asyncio.gather(*(land(groups, key, data, 900) for key, data in bodies.items()))

    for (key, data), (md5, stored) in zip(bodies.items(), asyncio.run(go()), strict=True):
        assert stored == Stored(key, len(data), hashlib.sha256(data).hexdigest())
        assert md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
        with objects.open(key) as file:
            assert file.read() == data


@pytest.mark.parametrize("size", [MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, 3 * BEGIN_BYTES + 7])
@pytest.mark.parametrize("hashed", [True, False])
def test_an_object_of_any_size_is_what_came_last(tmp_path: Path, size: int, *, hashed: bool) -> None:
    objects = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    data = hashlib.shake_128(b"seed").digest(size)

    async def go() -> tuple[str | None, Stored]:
        async with StoreLanding(Groups(objects), "k", 10**8) as landing:
            await landing.write(b"of another version" * 100_000)
            await landing.clear(hashed=hashed)
            for start in range(0, size, 256 * 1024):
                await landing.write(data[start : start + 256 * 1024])
            assert landing.size == size
            return await landing.md5() if hashed else None, await landing.finish()

    md5, stored = asyncio.run(go())
    assert md5 in {None, hashlib.md5(data, usedforsecurity=False).hexdigest()}
    assert stored == Stored("k", size, hashlib.sha256(data).hexdigest())
    with objects.open("k") as file:
        assert file.read() == data


def test_a_store_that_fails_fails_all_that_wait_and_takes_the_next(tmp_path: Path) -> None:
    place = tmp_path / "objects"
    place.write_text("no folder")
    objects = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))

    async def go() -> list[Stored | BaseException]:
        groups = Groups(objects)
        found = await asyncio.gather(*(groups.put(f"k{number}", b"x") for number in range(50)), return_exceptions=True)
        place.unlink()
        return [*found, await groups.put("again", b"y")]

    *failed, last = asyncio.run(go())
    assert [type(item) for item in failed] == [StoreUnavailable] * 50
    assert isinstance(last, Stored)


def test_whoever_gives_up_keeps_nobody_else_from_landing(tmp_path: Path) -> None:
    objects = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))

    async def go() -> list[Stored | BaseException]:
        groups = Groups(objects)
        tasks = [asyncio.ensure_future(groups.put(f"k{number}", b"x")) for number in range(80)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(go())
    assert all(isinstance(item, Stored) for item in found[1::2])
    assert all(isinstance(item, asyncio.CancelledError) for item in found[::2])


def test_an_object_over_the_limit_is_not_written(tmp_path: Path) -> None:
    objects = ObjectStore.of(Settings(data_dir=tmp_path, object_store_url=None))
    with pytest.raises(TooBig):
        asyncio.run(land(Groups(objects), "k", b"x" * (10**6 + 1), 10**5))
    assert not objects.exists("k")
