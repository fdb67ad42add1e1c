"""What a web page says of the company it belongs to: its structured data first, then its links, then its text.

Pages describe themselves for search engines in JSON-LD by the vocabulary of schema.org; `tel:` and `mailto:` links are
what their owners want to be used. A page with many such links is a directory, and its links say nothing of one company.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from gristmill.base import jsons
from gristmill.enrich.likeness import likeness
from gristmill.enrich.model import FactKind, Lead
from gristmill.enrich.normalise import company_key, phones, plain, street_key, zip_key

TEXT_CHARS_MAX = 6_000
"""Kept of a page's text."""
LINKS_MAX = 4
"""With more numbers or addresses behind links, a page is a directory."""
NODES_MAX = 200
DEPTH_MAX = 20
_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "nav"})
_BLOCKS = frozenset(
    {"p", "div", "li", "br", "tr", "td", "th", "h1", "h2", "h3", "h4", "section", "address", "dt", "dd"}
)
_CHARSET = re.compile(rb"""<meta[^>]+charset=["']?([\w-]+)""", re.IGNORECASE)
_PEOPLE = frozenset({"Person"})
_PERSON_OF = ("founder", "founders", "employee", "employees", "member", "owner")

Said = tuple[FactKind, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page, read."""

    url: str
    names: list[str]
    """What it may call its company: site name, title."""
    nodes: list[dict[str, Any]]
    """Objects of its structured data."""
    phones: list[str]
    emails: list[str]
    text: str


def read_page(url: str, body: bytes, content_type: str) -> Page:
    """Read an HTML page; what is broken in it is passed over."""
    reader = _Reader()
    reader.feed(_decoded(body, content_type))
    reader.close()
    names = [reader.site_name, *re.split(r"\s[|\-\u2013\u2014\u00b7:]\s", reader.title)]
    nodes = [node for text in reader.structured for node in _nodes(_json(text), 0)][:NODES_MAX]
    return Page(
        url,
        [" ".join(name.split()) for name in names if name.strip()],
        nodes,
        list(dict.fromkeys(reader.phones)),
        list(dict.fromkeys(reader.emails)),
        " ".join("".join(reader.text).split())[:TEXT_CHARS_MAX],
    )


def facts_of_page(page: Page, lead: Lead, region: str) -> tuple[list[Said], float]:
    """What a page says of the lead, and how sure it is that it speaks of it."""
    organisations = [node for node in page.nodes if _is_organisation(node)]
    sides = [_side_of_node(node) for node in organisations] or [_side_of_text(page, lead, region)]
    chances = likeness(lead, [_with_text(side, page, lead) for side in sides], region)
    best = max(range(len(sides)), key=lambda place: chances[place])
    facts: list[Said] = []
    if organisations:
        facts += _facts_of_node(organisations[best], page)
    if len(page.phones) <= LINKS_MAX:
        facts += _said("phone", "number", page.phones)
    if len(page.emails) <= LINKS_MAX:
        facts += _said("email", "address", page.emails)
    return facts, chances[best]


def _said(kind: FactKind, name: str, values: list[Any]) -> list[Said]:
    return [(kind, {name: text}) for value in values if (text := _text(value))]


def _side_of_node(node: Mapping[str, Any]) -> dict[str, str]:
    place = _object(node.get("address"))
    return {
        "company": _text(node.get("name")),
        "street": _text(place.get("streetAddress")),
        "city": _text(place.get("addressLocality")),
        "zip": _text(place.get("postalCode")),
        "phone": _text(node.get("telephone")),
    }


def _side_of_text(page: Page, lead: Lead, region: str) -> dict[str, str]:
    """A page without structured data: the name in it that is most like the lead's."""
    sides = [{"company": name} for name in page.names] or [{}]
    chances = [likeness(lead, [side], region)[0] for side in sides]
    best = max(range(len(sides)), key=lambda place: chances[place])
    return {**sides[best], "phone": ", ".join(page.phones[:LINKS_MAX])}


def _with_text(side: dict[str, str], page: Page, lead: Lead) -> dict[str, str]:
    """Where the structure says nothing, the lead's own street, postal code and town count when the text has them."""
    text, street, words = street_key(page.text), street_key(lead.street), set(plain(page.text).split())
    found = dict(side)
    if not found.get("street") and street and f" {street} " in f" {text} ":
        found["street"] = lead.street
    if not found.get("zip") and zip_key(lead.zip).lower() in words - {""}:
        found["zip"] = lead.zip
    city = plain(lead.city)
    if not found.get("city") and city and f" {city} " in f" {plain(page.text)} ":
        found["city"] = lead.city
    return found


def _facts_of_node(node: Mapping[str, Any], page: Page) -> list[Said]:
    place, facts = _object(node.get("address")), list[Said]()
    name = _text(node.get("legalName")) or _text(node.get("name"))
    site = urlsplit(page.url)
    website = _text(node.get("url")) or f"{site.scheme}://{site.netloc}"
    if name:
        facts.append(("entity", {"legal_name": name, "website": website}))
    contacts = [_object(item) for item in _list(node.get("contactPoint"))]
    for source in (node, *contacts):
        facts += _said("phone", "number", _list(source.get("telephone")))
        facts += _said("email", "address", _list(source.get("email")))
    for role in _PERSON_OF:
        for item in _list(node.get(role)):
            person = _object(item)
            if full := _text(person.get("name")):
                title = _text(person.get("jobTitle")) or ("Founder" if role.startswith("founder") else "")
                facts.append(("contact", {"display_name": full, **({"title": title} if title else {})}))
    address = {
        "street": _text(place.get("streetAddress")),
        "city": _text(place.get("addressLocality")),
        "state": _text(place.get("addressRegion")),
        "zip": _text(place.get("postalCode")),
    }
    if address["street"]:
        facts.append(("address", {key: text for key, text in address.items() if text}))
    return facts


def _is_organisation(node: Mapping[str, Any]) -> bool:
    """A thing with a name and something to reach it by, and no person."""
    kinds = {_text(item) for item in _list(node.get("@type"))}
    return (
        bool(_text(node.get("name")))
        and not kinds & _PEOPLE
        and bool(node.get("telephone") or node.get("address") or node.get("email") or node.get("contactPoint"))
    )


def _nodes(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth > DEPTH_MAX:
        return
    if isinstance(value, dict):
        node = cast("dict[str, Any]", value)
        if "@type" in node:
            yield node
        for item in node.values():
            yield from _nodes(item, depth + 1)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _nodes(item, depth + 1)


def _json(text: str) -> Any:
    try:
        return jsons.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _decoded(body: bytes, content_type: str) -> str:
    named = re.search(r"charset=([\w-]+)", content_type)
    inside = _CHARSET.search(body[:4096])
    for name in (named and named[1], inside and inside[1].decode("ascii"), "utf-8"):
        try:
            if name:
                return body.decode(name, "replace")
        except LookupError:
            continue
    return body.decode("utf-8", "replace")


@dataclass
class _Gathered:
    title: str = ""
    site_name: str = ""
    structured: list[str] = field(default_factory=list[str])
    phones: list[str] = field(default_factory=list[str])
    emails: list[str] = field(default_factory=list[str])
    text: list[str] = field(default_factory=list[str])


class _Reader(HTMLParser, _Gathered):
    def __init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)
        _Gathered.__init__(self)
        self._inside: list[str] = []
        self._json = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "script" and "ld+json" in found.get("type", ""):
            self._json = True
            self.structured.append("")
        elif tag == "meta" and found.get("property") == "og:site_name":
            self.site_name = found.get("content", "")
        elif tag == "a":
            self._link(found.get("href", ""))
        if tag in _BLOCKS:
            self.text.append(" ")
        if tag in _SKIPPED or tag == "title":
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._json = False
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        if tag in _BLOCKS:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        if self._json:
            self.structured[-1] += data
        elif self._inside and self._inside[-1] == "title":
            self.title += data
        elif not self._inside:
            self.text.append(data)

    def _link(self, target: str) -> None:
        kind, _, value = target.strip().partition(":")
        if kind.lower() == "tel" and value:
            self.phones.append(unquote(value))
        elif kind.lower() == "mailto" and "@" in value:
            self.emails.append(unquote(value.split("?", 1)[0]))


def mentions(text: str, lead: Lead, region: str) -> bool:
    """Whether a search result's title and snippet are worth a look: they have the name, or the phone."""
    words, name = set(plain(text).split()), company_key(lead.company).split()
    if name and sum(word in words for word in name) >= (len(name) + 1) // 2:
        return True
    own = {number["e164"] for own_text in (lead.number1, lead.number2) for number in phones(own_text, region)}
    return bool(own & {number["e164"] for number in phones(text[:300], region)}) or not name
