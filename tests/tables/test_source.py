"""Where bytes come from, and how they are unpacked."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest
import zstandard

from gristmill.base.config import settings
from gristmill.base.errors import Error
from gristmill.base.objects import ObjectStore
from gristmill.tables import NoSuchSheet, TooLargeToRead, Unreadable, UnsupportedFormat, read_table, sniff
from workbooks import zipped

TABLE = b"a,b\n1,x\n2,y\n"
ROWS = [["1", "x"], ["2", "y"]]


def packed(form: str) -> bytes:
    frames = zstandard.ZstdCompressor().compress
    return {
        "gzip": gzip.compress(TABLE, mtime=0),
        "zstd": frames(TABLE),
        "zip": zipped({"t.csv": TABLE}),
        "gzip members": gzip.compress(TABLE[:5], mtime=0) + gzip.compress(TABLE[5:], mtime=0) + bytes(512),
        "zstd frames": frames(TABLE[:5]) + frames(TABLE[5:]),
    }[form]


@pytest.mark.parametrize("form", ["gzip", "zstd", "zip", "gzip members", "zstd frames"])
def test_packed_files(form: str) -> None:
    data = packed(form)
    table = read_table(data)
    assert list(table.records()) == list(table.records()) == ROWS
    assert table.dialect.compression == form.split(maxsplit=1)[0]
    assert table.receipt.warnings == ()
    assert sniff(data).compression == form.split(maxsplit=1)[0]
    assert sniff(data).delimiter == ","
    assert list(read_table(data, dialect=table.dialect).records()) == ROWS


@pytest.mark.parametrize("form", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize("lost", [1, 4, 9, 20])
def test_a_packed_file_that_ends_too_early_is_an_error(form: str, lost: int) -> None:
    data = packed(form)
    with pytest.raises(Unreadable):
        list(read_table(data[: max(5, len(data) - lost)]).records())


def test_one_layer_only() -> None:
    for data in (
        gzip.compress(packed("gzip"), mtime=0),
        gzip.compress(packed("zstd"), mtime=0),
        zipped({"t.csv": packed("gzip")}),
    ):
        with pytest.raises(UnsupportedFormat, match="twice"):
            read_table(data)
    with pytest.raises(UnsupportedFormat, match="inside of another"):
        read_table(zipped({"t.zip": zipped({"t.csv": TABLE})}))


def test_the_largest_table_of_an_archive_is_read() -> None:
    more = b"c,d\n" + b"3,z\n" * 50
    data = zipped({"docs/readme.md": b"# x" * 999, "small.csv": TABLE, "sub/large.csv": more, ".hidden.csv": more * 9})
    table = read_table(data)
    assert table.dialect.sheet == "sub/large.csv"
    assert [sheet.name for sheet in table.sheets] == ["small.csv", "sub/large.csv"]
    assert "largest" in table.receipt.warnings[0]
    for name in ("small.csv", 0):
        assert list(read_table(data, sheet=name).records()) == ROWS
    assert read_table(data, sheet="large.csv").header == ["c", "d"]
    for missing in ("nope.csv", 2):
        with pytest.raises(NoSuchSheet, match=r"small\.csv"):
            read_table(data, sheet=missing)
    alone = read_table(zipped({"readme.md": b"# x", "small.csv": TABLE}))
    assert alone.receipt.warnings == ("Of the archive small.csv is read.",)


def test_sources(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TABLE, mtime=0))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    offset = io.BytesIO(b"skipped" + TABLE)
    offset.seek(7)
    for origin in (TABLE, path, str(path), io.BytesIO(TABLE), Pipe(TABLE), Pipe(packed("zip")), offset):
        table = read_table(origin)
        assert list(table.records()) == list(table.records()) == ROWS
        assert table.receipt.warnings == ()


def test_an_object_of_the_store() -> None:
    store = ObjectStore.of(settings())
    store.put_stream("tests/table.csv.zst", [packed("zstd")])
    with store.open("tests/table.csv.zst") as file:
        assert list(read_table(file).records()) == ROWS


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(Unreadable, match="can't be opened"):
        read_table("nowhere.csv")
    with pytest.raises(UnsupportedFormat, match="binary"):
        read_table(io.StringIO("a,b\n1,2\n"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"%PDF-1.7\n1 0 obj\n", UnsupportedFormat),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), UnsupportedFormat),
        (b"\x7fELF" + bytes(100), UnsupportedFormat),
        (b"BZh91AY&SY" + bytes(100), UnsupportedFormat),
        (b"PK\x03\x04" + bytes(100), Unreadable),
        (b"PAR1" + bytes(100), Unreadable),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000), Unreadable),
        (bytes(range(32)) * 100, Unreadable),
        (b"\x1f\x8b\x08broken", Unreadable),
        (b"\x28\xb5\x2f\xfdbroken", Unreadable),
        (zipped({}), Unreadable),
    ],
)
def test_what_is_no_table(data: bytes, error: type[Error]) -> None:
    with pytest.raises(error):
        list(read_table(data).records())


def test_words_that_look_like_magic() -> None:
    for word in ("PAR1", "BZh", "MZ", "GIF8"):
        assert read_table(f"{word},b\n1,2\n3,4\n".encode()).header == [word, "b"]


def bomb(form: str) -> bytes:
    blanks = b"\n" * 8_000_000
    return {
        "gzip": lambda: gzip.compress(b"a,b\n" + blanks, mtime=0),
        "zstd": lambda: zstandard.ZstdCompressor().compress(b"a,b\n" + blanks),
        "zip": lambda: zipped({"t.csv": b"a,b\n" + blanks}),
    }[form]()


@pytest.mark.parametrize("form", ["gzip", "zstd", "zip"])
def test_a_bomb_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.tables.unpack.UNPACK_FREE_BYTES", 1_000_000)
    with pytest.raises(TooLargeToRead, match="times its size"):
        list(read_table(bomb(form)).records())


def test_an_archive_whose_directory_lies_is_refused() -> None:
    data = bytearray(zipped({"t.csv": TABLE * 1000}))
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, at + 24, 10)
    with pytest.raises(TooLargeToRead, match="more than the archive says"):
        read_table(bytes(data))


def test_entries_that_share_bytes_are_refused() -> None:
    data = bytearray(zipped({"one.csv": TABLE * 100, "two.csv": TABLE * 100}))
    first = data.find(b"PK\x01\x02")
    second = data.find(b"PK\x01\x02", first + 4)
    struct.pack_into("<L", data, second + 42, 0)
    with pytest.raises(Unreadable, match="overlap"):
        read_table(bytes(data))


def test_locked_and_overfull_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(zipped({"t.csv": TABLE}))
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Unreadable, match="password"):
        read_table(bytes(data))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("t.csv", TABLE)
    with pytest.raises(Unreadable, match="packed in a way"):
        read_table(out.getvalue())
    monkeypatch.setattr("gristmill.tables.archive.ENTRIES_MAX", 3)
    with pytest.raises(TooLargeToRead, match="entries"):
        read_table(zipped({f"{i}.csv": TABLE for i in range(4)}))


def test_an_archive_with_64_bit_numbers() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("t.csv", "w", force_zip64=True) as file:
        file.write(TABLE)
    data = out.getvalue()
    end = data.rfind(b"PK\x05\x06")
    entries, size, start = struct.unpack_from("<10xHLL", data, end)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert list(read_table(data[:end] + wide + locator + last).records()) == ROWS


def test_a_text_about_the_tables_is_not_the_table() -> None:
    about = "These are the trees of March.\n" * 40
    table = read_table(zipped({"README.txt": about, "data/trees.csv": "no,name\n1,Elm\n2,Oak\n"}))
    assert table.dialect.sheet == "data/trees.csv"
    assert [sheet.name for sheet in table.sheets] == ["data/trees.csv"]
    assert len(list(read_table(zipped({"readme.txt": about})).records())) > 1
