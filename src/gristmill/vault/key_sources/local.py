"""Master keys from the environment, and from a file that only its owner can read."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import ClassVar

from gristmill.base.config import Settings
from gristmill.vault.model import MasterKeyMissing

FILE_NAME = "master.key"
FILE_MODE = 0o600
KEY_BYTES = 32
FILE_BYTES_MAX = 65_536


class LocalKeys:
    """`GRISTMILL_MASTER_KEY`, then the file."""

    kind: ClassVar[str] = "local"

    def load(self, settings: Settings) -> list[bytes]:
        """Keys of the setting come first, so that they can take the place of those in the file."""
        keys: list[bytes] = []
        if settings.master_key is not None:
            texts = settings.master_key.get_secret_value().replace(",", " ").split()
            keys += [_parse(text, "GRISTMILL_MASTER_KEY") for text in texts]
        path = key_file(settings)
        try:
            with path.open("rb") as file:
                lines = file.read(FILE_BYTES_MAX).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            if settings.master_key_file is not None:
                raise MasterKeyMissing(f"GRISTMILL_MASTER_KEY_FILE names {path}, which is not there.") from None
            lines = []
        except OSError as error:
            raise MasterKeyMissing(f"The master key in {path} can't be read: {error.strerror}.") from error
        words = [line.split("#", 1)[0].strip() for line in lines]
        keys += [_parse(word, str(path)) for word in words if word]
        return list(dict.fromkeys(keys))


def key_file(settings: Settings) -> Path:
    """The file that holds the keys, whether it is there or not."""
    return settings.master_key_file or settings.data_dir / FILE_NAME


def make_key_file(settings: Settings, key: bytes) -> bool:
    """Keep a first key in the data folder, unless a key is there or set; answers whether it did.

    The file appears at once and whole, with mode 0600 and on the disk: what it will seal must never be without it.
    """
    if settings.master_key is not None or settings.master_key_file is not None:
        return False
    path = key_file(settings)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    _write(half, f"# Opens the vault of this Gristmill. Back it up apart from the database.\n{encode(key)}\n")
    try:
        os.link(half, path)  # fails when another process was quicker
    except FileExistsError:
        return False
    finally:
        half.unlink()
    _sync_folder(path.parent)
    return True


def add_key(settings: Settings, key: bytes) -> Path:
    """Put a new key first in the file."""
    path = key_file(settings)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    _write(half, "\n".join([*comments, encode(key), *(line for line in lines if not line.startswith("#")), ""]))
    half.replace(path)
    _sync_folder(path.parent)
    return path


def encode(key: bytes) -> str:
    """A key as the setting and the file have it."""
    return base64.b64encode(key).decode()


def _parse(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyMissing(
            f"{where} holds something that is no master key: {KEY_BYTES} bytes in Base64 are expected, as"
            " `gristmill vault new-key` prints them."
        )
    return key


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


PLUGIN = LocalKeys()
