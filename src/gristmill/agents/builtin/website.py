"""Look at a website's front page: does it answer, where, and what does it call itself."""

from __future__ import annotations

import html
import re
from typing import Any

import aiohttp

from gristmill.agents.runtimes.python import Context
from gristmill.base.config import settings
from gristmill.base.errors import Error, PluginError
from gristmill.base.fetch import Egress, http_session, request

PAGE_BYTES_MAX = 512 * 1024
TITLE_CHARS_MAX = 300
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


async def check_website(row: dict[str, Any], context: Context) -> dict[str, Any]:
    """GET the row's `website`: `{url, status, title, redirects_to}`; empty when the row has none.

    Redirects are reported, not followed. A host that can't be reached fails the row, to be tried again.
    """
    website = str(row.get("website") or "").strip()
    if not website:
        return {}
    url = website if "://" in website else f"https://{website}"
    egress = Egress.of(settings().egress_allow, plain=True)  # many websites have no https, and nothing secret is sent
    try:
        async with http_session(egress, connections=1) as session:
            answer = await request(
                session,
                egress,
                "GET",
                url,
                headers={"User-Agent": "gristmill", "Accept": "text/html"},
                body=None,
                timeout_s=context.timeout_s,
                body_bytes_max=PAGE_BYTES_MAX,
            )
    except aiohttp.ClientError as error:
        raise PluginError(f"{url} can't be reached: {error}"[:500], permanent=False, code="unreachable") from error
    except Error as error:
        raise PluginError(error.message, permanent=True, code=error.code) from error
    found = _TITLE.search(answer.body)
    title = html.unescape(" ".join(found[1].decode("utf-8", "replace").split())) if found else None
    return {
        "url": url,
        "status": answer.status,
        "title": title[:TITLE_CHARS_MAX] if title else None,
        "redirects_to": answer.headers.get("Location"),
    }
