"""Style, scripts and icons: read once, served under a path that holds the hash of them all.

One hash for the whole folder lets scripts and styles name each other by relative path and still never be stale.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from gristmill.base.errors import NotFound
from gristmill.base.routes import LateRoute

FOLDER = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HASH_CHARS = 12

router = APIRouter(include_in_schema=False, route_class=LateRoute)


class Assets:
    """The files of a folder and their common hash."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        whole = hashlib.sha256()
        for name, content in self._files.items():
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = whole.hexdigest()[:HASH_CHARS]

    def url(self, name: str) -> str:
        """Where a file is served. Raises `KeyError` for one that is not there."""
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"

    def answer(self, version: str, name: str) -> Response:
        """A file; for ever under its own hash, to be asked again under an older one."""
        content = self._files.get(name)
        if content is None:
            raise NotFound(f"There is no file `{name[:100]}`.")
        suffix = Path(name).suffix
        kind = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        caching = FOR_EVER if version == self.version else "no-cache"
        return Response(content, media_type=kind, headers={"Cache-Control": caching})


ASSETS = Assets(FOLDER)


@router.get("/static/{version}/{name:path}")
def static_file(version: str, name: str) -> Response:
    """One file of the dashboard."""
    return ASSETS.answer(version, name)
