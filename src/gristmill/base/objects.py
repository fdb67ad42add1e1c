"""The operator's object store: files under keys, in a local folder or an S3 bucket.

Only the operator chooses where it is (`GRISTMILL_OBJECT_STORE_URL`), never a user. An object is there as a whole or not
at all: locally it is written beside its place, synced and renamed; on S3 it is a multipart upload that is completed at
the end. Memory stays flat whatever the size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gristmill.base.config import Settings
from gristmill.base.errors import Error, Invalid, NotFound

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import ReadableFile

CHUNK_BYTES = 1024**2
"""Read and written at a time."""
PART_BYTES = 8 * 1024**2
"""Size of a part of an S3 upload; ten thousand of them are the most that S3 takes."""
PARTS_AT_ONCE = 3
BEGIN_BYTES = 8 * 1024**2
"""The disk begins to write a large file after each of so many bytes."""
PUTS_AT_ONCE = 16
"""Small objects on their way to an S3 bucket, of one call."""
KEY_CHARS_MAX = 512
DEFAULT_FOLDER = "objects"
"""Folder in the data folder, unless a setting names a store."""
PROBE = "readiness"
"""A key that nothing is kept under: asking for it shows whether the store answers."""
NO_BUCKET, DENIED = "NoSuchBucket", "AccessDenied"
"""Codes by which S3 says why it gives nothing."""
TEMPORARY = ".writing"
"""Folder of half-written objects; no key starts with a dot, so none can be opened."""
ABANDONED_S = 24 * 3600.0
"""A half-written object that nobody has written to for so long is one of a process that was killed."""

T = TypeVar("T")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*(?:/[A-Za-z0-9_][A-Za-z0-9._=-]*)*")


class KeyRefused(Invalid):
    """That is no key of the object store."""


class ObjectNotFound(NotFound):
    """The object store has no such object."""


class StoreUnavailable(Error):
    """The object store can't be reached just now."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written."""

    key: str
    size_bytes: int
    sha256: str
    """Of the content, in hex."""


class _Backend(Protocol):
    """Where objects lie."""

    def put(self, key: str, chunks: Iterator[bytes]) -> None:
        """Write an object; an exception of `chunks` leaves none."""
        ...

    def put_many(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Write several objects, each whole or not at all."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Raises `FileNotFoundError`."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object that may be gone already."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def check(self) -> None:
        """Raises what writing would, without writing."""
        ...


class ObjectStore:
    """Objects by key. Safe from several threads."""

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend

    @classmethod
    def of(cls, settings: Settings) -> ObjectStore:
        """The store that the settings name. Raises `StoreUnavailable` for an address that is none."""
        return _store_at(settings.object_store_url or (settings.data_dir / DEFAULT_FOLDER).absolute().as_uri())

    def put_stream(self, key: str, data: Iterable[bytes] | BinaryIO) -> Stored:
        """Write an object from chunks or an open file, in place of one of the same key.

        Nobody sees it before it is complete; when `data` raises, nothing is written.
        """
        reading = _Counted(data)
        try:
            with _explained(key):
                self._backend.put(_checked(key), iter(reading))
        except Exception:
            if reading.failure is not None:
                raise reading.failure from None
            raise
        return Stored(key, reading.size_bytes, reading.digest.hexdigest())

    def put_many(self, items: Sequence[tuple[str, bytes]]) -> list[Stored]:
        """Write small objects of different keys together, which takes less than one after the other.

        Each is written as `put_stream` would. When the store fails, some may be there: each of these is whole.
        """
        for key, _ in items:
            _checked(key)
        with _explained(items[0][0] if items else ""):
            self._backend.put_many(items)
        return [Stored(key, len(data), hashlib.sha256(data).hexdigest()) for key, data in items]

    def open(self, key: str) -> BinaryIO:
        """An object to read and to close. Raises `ObjectNotFound`."""
        with _explained(key):
            return self._backend.open(_checked(key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with _explained(key), contextlib.suppress(FileNotFoundError):
            self._backend.delete(_checked(key))

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        with _explained(key):
            return self._backend.exists(_checked(key))

    def check(self) -> None:
        """Whether it can be reached and, of a folder, written to. Raises `StoreUnavailable`."""
        with _explained(PROBE):
            self._backend.check()


@lru_cache(maxsize=8)
def _store_at(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path:
        return ObjectStore(_Folder(Path(unquote(parts.path))))
    if parts.scheme == "s3" and parts.netloc:
        try:
            return ObjectStore(_Bucket(S3Store.from_url(url)))
        except (BaseError, ValueError) as error:
            raise StoreUnavailable(f"The object store can't be used: {_reason(error)}") from error
    raise StoreUnavailable("GRISTMILL_OBJECT_STORE_URL must be `file:///folder` or `s3://bucket/prefix`.")


def _checked(key: str) -> str:
    """The key. Raises `KeyRefused` for what could leave the store: `..`, absolute paths, odd characters."""
    if len(key) > KEY_CHARS_MAX or not _KEY.fullmatch(key):
        raise KeyRefused(f"`{key[:60]}` is no key of the object store.")
    return key


@contextlib.contextmanager
def _explained(key: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ObjectNotFound(f"The object store has no `{key[:KEY_CHARS_MAX]}`.") from None
    except (OSError, BaseError) as error:
        raise StoreUnavailable(f"The object store can't be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of an error; obstore adds pages of debugging below."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


class _Counted:
    """Chunks of what is written, counted and hashed as they pass; `failure` is what reading them raised."""

    def __init__(self, data: Iterable[bytes] | BinaryIO) -> None:
        self._data = data
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks():
                self.size_bytes += len(chunk)
                self.digest.update(chunk)
                yield chunk
        except Exception as error:
            self.failure = error
            raise

    def _chunks(self) -> Iterator[bytes]:
        read = getattr(self._data, "read", None)
        if read is None:
            yield from self._data
            return
        while chunk := read(CHUNK_BYTES):
            yield chunk


class _Folder:
    """Objects as files of a local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_tidy = False

    def put(self, key: str, chunks: Iterator[bytes]) -> None:
        target = self._root / key
        temporary, handle = self._create()
        with os.fdopen(handle, "wb") as file:
            try:
                begun = 0
                for chunk in chunks:
                    file.write(chunk)
                    if (written := file.tell()) - begun >= BEGIN_BYTES:
                        file.flush()
                        _begin_writing(handle, begun, written)
                        begun = written
                file.flush()
                os.fsync(file.fileno())
                _with_folder(target, lambda: temporary.replace(target))
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_folder(target.parent)

    def put_many(self, items: Sequence[tuple[str, bytes]]) -> None:
        """All are written before the first is synced: so the disk gets them in few pieces."""
        half: list[tuple[Path, int]] = []
        targets = [self._root / key for key, _ in items]
        try:
            for _, data in items:
                half.append(self._create())
                _write(half[-1][1], data)
            for _, handle in half:
                os.fsync(handle)
            for (temporary, _), target in zip(half, targets, strict=True):
                _with_folder(target, partial(temporary.replace, target))
        except BaseException:
            for temporary, _ in half:
                temporary.unlink(missing_ok=True)
            raise
        finally:
            for _, handle in half:
                os.close(handle)
        for folder in {target.parent for target in targets}:
            _sync_folder(folder)

    def _create(self) -> tuple[Path, int]:
        """A new file that nobody sees, open for writing."""
        if not self._is_tidy:
            self._is_tidy = True
            self._tidy()
        path = self._root / TEMPORARY / uuid4().hex
        return path, _with_folder(path, lambda: os.open(path, _NEW, 0o600))

    def _tidy(self) -> None:
        """Remove what processes left that were killed while they wrote; once in the life of this one."""
        oldest = time.time() - ABANDONED_S
        for path in (self._root / TEMPORARY).glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def open(self, key: str) -> BinaryIO:
        try:
            return (self._root / key).open("rb")
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(key) from error

    def delete(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        return (self._root / key).is_file()

    def check(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "The folder can't be written to", str(self._root))


def _begin_writing(handle: int, start: int, end: int) -> None:
    """Have the disk begin with that part of a file, without waiting for it.

    Linux begins to write pages of which it is told that nobody needs them. Elsewhere the sync does it all.
    """
    if sys.platform == "linux":
        os.posix_fadvise(handle, start, end - start, os.POSIX_FADV_DONTNEED)


def _write(handle: int, data: bytes) -> None:
    """All of it: the system may take less at a time, as before a disk is full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _with_folder(path: Path, act: Callable[[], T]) -> T:
    """Do what needs the folder of `path`, which is mostly there."""
    try:
        return act()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return act()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Bucket:
    """Objects in an S3 bucket; keys and region come from the usual `AWS_*` environment."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def put(self, key: str, chunks: Iterator[bytes]) -> None:
        obstore.put(self._store, key, chunks, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def put_many(self, items: Sequence[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="put") as threads:
            puts = [threads.submit(obstore.put, self._store, key, data) for key, data in items]
        for put in puts:
            put.result()

    def open(self, key: str) -> BinaryIO:
        reader = obstore.open_reader(self._store, key, buffer_size=PART_BYTES)
        return io.BufferedReader(_Raw(reader), CHUNK_BYTES)

    def delete(self, key: str) -> None:
        obstore.delete(self._store, key)

    def exists(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def check(self) -> None:
        try:
            obstore.get(self._store, PROBE)
        except (FileNotFoundError, BaseError) as error:
            if NO_BUCKET in str(error):
                raise OSError(NO_BUCKET) from error
            # Who may not list a bucket is denied what is not there; a wrong key is refused by another code.
            if not isinstance(error, FileNotFoundError) and DENIED not in str(error):
                raise


class _Raw(io.RawIOBase):
    """A file object over ranges of an object, each of which is asked for again when the network fails."""

    def __init__(self, reader: ReadableFile) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._reader.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        with _explained("object"):
            data = memoryview(self._reader.read(len(view)))
        view[: len(data)] = data
        return len(data)
