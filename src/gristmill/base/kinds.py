"""The registry of a plug-in family: ours by folder, others' by entry point, one class per kind."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from gristmill.base.errors import FieldError, Invalid

K = TypeVar("K")


class UnknownKind(Invalid):
    """There is no plug-in of that kind."""


class Family(Generic[K]):
    """All plug-ins of one family, found on first use.

    `package` is the folder whose modules each hold one plug-in, as the module attribute `PLUGIN`; other
    distributions add theirs by entry points of the group `gristmill.<name>` that load the same object.
    """

    def __init__(self, name: str, package: str, field: str) -> None:
        self.name = name
        self._package = package
        self._field = field
        self._kinds: dict[str, K] = {}
        self._loaded = False
        self._lock = threading.Lock()

    def all(self) -> dict[str, K]:
        """Kind -> plug-in, in order of kind."""
        with self._lock:
            if not self._loaded:
                self._load()
        return dict(sorted(self._kinds.items()))

    def get(self, kind: str) -> K:
        """The plug-in of one kind. Raises `UnknownKind`, which lists the kinds there are."""
        kinds = self.all()
        if kind not in kinds:
            known = ", ".join(kinds)
            raise UnknownKind(
                f"`{kind[:60]}` is none of the {self.name.replace('_', ' ')}: {known}.",
                errors=(FieldError(self._field, f"must be one of: {known}"),),
            )
        return kinds[kind]

    def _load(self) -> None:
        package: Any = importlib.import_module(self._package)
        for found in pkgutil.iter_modules(package.__path__):
            plugin = getattr(importlib.import_module(f"{self._package}.{found.name}"), "PLUGIN", None)
            if plugin is not None:
                self._kinds[plugin.kind] = plugin
        for point in entry_points(group=f"gristmill.{self.name}"):
            plugin = point.load()
            self._kinds.setdefault(plugin.kind, plugin)
        self._loaded = True
