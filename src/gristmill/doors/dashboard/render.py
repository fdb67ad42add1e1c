"""Templates: everything is escaped, an unknown name is an error."""

from __future__ import annotations

from typing import Any, cast

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from gristmill import __version__
from gristmill.doors.dashboard import formats, words
from gristmill.doors.dashboard.addresses import link
from gristmill.doors.dashboard.assets import ASSETS

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("gristmill.doors.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast("dict[str, Any]", found.filters).update(
        whole=formats.whole,
        money=formats.money,
        row_money=formats.row_money,
        rate=formats.rate,
        duration=formats.duration,
        absolute=formats.absolute,
        moment=formats.moment,
        size=formats.size,
        plain=formats.plain,
        cut=formats.cut,
        short=formats.short,
        telling=formats.telling,
        needer=formats.needer,
        pretty=formats.pretty,
        ticks=formats.ticks,
        title_of=words.title_of,
    )
    cast("dict[str, Any]", found.globals).update(
        static=ASSETS.url,
        link=link,
        percent=formats.percent,
        ago=formats.ago,
        lasted=formats.lasted,
        bar=words.bar,
        batch_word=words.batch_word,
        ended_rows=words.ended_rows,
        example_items=words.example_items,
        key_word=words.key_word,
        dataset_words=words.DATASET_WORDS,
        delivery_words=words.DELIVERY_WORDS,
        receiver_words=words.RECEIVER_WORDS,
        row_words=words.ROW_WORDS,
        what_next=words.WHAT_NEXT,
        version=__version__,
    )
    return found


_TEMPLATES = _environment()


def html(template: str, *, http_status: int = 200, **values: Any) -> HTMLResponse:
    """A page, with the headers that all pages have."""
    text = _TEMPLATES.get_template(template).render(**values)
    return HTMLResponse(text, status_code=http_status, headers=PAGE_HEADERS)
