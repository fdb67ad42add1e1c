"""One POST to a receiver, judged by its status alone, however the answer goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from gristmill.base.fetch import retry_after_s, stream
from gristmill.events.channels import SEND_S_MAX, Tools
from gristmill.events.model import ANSWER_BYTES_MAX, Sent

EXCERPT_S_MAX = 2.0
"""How long the beginning of an answer is waited for once its status is known."""
SUCCESS = range(200, 300)


async def post(url: str, headers: Mapping[str, str], body: bytes, tools: Tools, *, shown_url: str = "") -> Sent:
    """POST and judge the answer by its status. `shown_url` is what to keep of a URL that is secret itself."""
    request: dict[str, Any] = {
        "method": "POST",
        "url": shown_url or url,
        "headers": dict(headers),
        "size_bytes": len(body),
    }
    async with stream(
        tools.session, tools.egress, "POST", url, headers=headers, body=body, timeout_s=SEND_S_MAX
    ) as reply:
        excerpt = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXCERPT_S_MAX):
                excerpt = await reply.excerpt(ANSWER_BYTES_MAX)
        return Sent(
            reply.status in SUCCESS,
            request,
            reply.status,
            excerpt.decode("utf-8", "replace"),
            None if reply.status in SUCCESS else f"the receiver answered {reply.status}",
            retry_after_s(reply.headers.get("Retry-After")),
        )
