"""The tabs of the settings: a name, a title, and the values that its part of the page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gristmill.doors.dashboard.door import Visit
from gristmill.doors.dashboard.render import html


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab; its markup is `templates/settings/<name>.html`."""

    name: str
    title: str
    values: Callable[[Visit, Request], Mapping[str, Any]]


TABS: dict[str, Tab] = {}
"""By name, in the order they are shown; each page's module adds its own."""


def show_tab(
    visit: Visit, name: str, request: Request, *, problem: str = "", http_status: int = 200, said: str = "", **more: Any
) -> Response:
    """The settings with one tab open. `problem` says what was refused, `said` what was done."""
    tab = TABS[name]
    values = {**tab.values(visit, request), **more}
    return html(
        f"settings/{name}.html",
        http_status=http_status,
        shell=visit.shell("settings", "/dashboard/settings"),
        tabs=list(TABS.values()),
        tab=tab,
        problem=problem,
        said=said,
        base_url=str(request.base_url).rstrip("/"),
        **values,
    )
