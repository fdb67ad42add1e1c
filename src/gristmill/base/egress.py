"""Which addresses outgoing requests may reach, judged by a URL's text and by each address before it is connected to.

Only `https` to public addresses is open to everyone. Whatever else is meant to be reached, the operator names. Python's
`ipaddress.is_global` calls several internal ranges global (mapped and translated IPv4, 6to4, cloud metadata addresses),
so the ranges are our own: IANA's special-purpose registries of IPv4 and IPv6, and what clouds put outside them.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from gristmill.base.errors import Error

URL_BYTES_MAX = 2048
HOST_CHARS_MAX = 253
PORTS = {"https": frozenset({443, 8443}), "http": frozenset({80, 8080})}
"""Ports of public hosts that are called, by scheme."""
DEFAULT_PORTS = {"https": 443, "http": 80}
LOOPBACK = "loopback"
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_BLOCKED_V4 = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip
_ALLOWED_V6 = ipaddress.ip_network("2000::/3")
_BLOCKED_V6 = tuple(ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""First half of an interface identifier that carries an IPv4 address: RFC 5214, section 6.1."""
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)
_PRIVATE_SUFFIXES = (".local", ".internal", ".intranet", ".lan", ".localhost", ".localdomain", ".home.arpa")


class EgressRefused(Error):
    """The address of this request is not allowed."""

    code = "egress_refused"


@dataclass(frozen=True, slots=True)
class Egress:
    """What outgoing requests may reach."""

    allow: frozenset[str] = frozenset()
    """What the operator named: `host`, `host:port`, or `loopback`. Any scheme and port of these is fine."""
    plain: bool = False
    """Whether `http` reaches public hosts too: for pages that anyone may read, never where something secret is sent."""

    @classmethod
    def of(cls, setting: str, *, plain: bool = False) -> Egress:
        """From the comma-separated setting `GRISTMILL_EGRESS_ALLOW`."""
        return cls(frozenset(part.strip().lower() for part in setting.split(",") if part.strip()), plain)

    def names(self, host: str, port: int) -> bool:
        """Whether the operator named this destination."""
        literal = f"[{host}]" if ":" in host else host
        return host in self.allow or literal in self.allow or f"{literal}:{port}" in self.allow

    def check_url(self, url: str) -> None:
        """Judge a URL's text. Raises `EgressRefused` with the reason."""
        self.judge(url)

    def judge(self, url: str) -> URL:
        """The URL as it is sent, with the very host that was judged. Raises `EgressRefused` with the reason."""
        parts = _split(url)
        host, port = _host_of(parts), parts.port or DEFAULT_PORTS[parts.scheme]
        self._check_host(host, port, parts.scheme)
        authority = f"[{host}]" if ":" in host else host
        if parts.port is not None:
            authority += f":{parts.port}"
        try:
            return URL(SplitResult(parts.scheme, authority, parts.path, parts.query, "").geturl())
        except ValueError:
            raise EgressRefused("The URL can't be read.") from None

    def check_address(self, address: str, host: str, port: int) -> None:
        """Judge one IP address that a socket is about to be opened to, for `host`. Raises `EgressRefused`."""
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
        if is_public(ip) or self.names(str(ip), port) or self.names(host, port):
            return
        if LOOPBACK in self.allow and ip.is_loopback:
            return
        what = f"{ip} is" if host == str(ip) else f"{host} is at {ip}, which is"
        raise EgressRefused(f"{what} not a public address. An operator can allow it by GRISTMILL_EGRESS_ALLOW.")

    def _check_host(self, host: str, port: int, scheme: str) -> None:
        if self.names(host, port) or (LOOPBACK in self.allow and host in LOOPBACK_HOSTS):
            return
        literal = _literal(host)
        if literal is not None:
            self.check_address(str(literal), host, port)
        elif host == "localhost" or "." not in host or host.endswith(_PRIVATE_SUFFIXES):
            raise EgressRefused(f"{host} names a private host. An operator can allow it by GRISTMILL_EGRESS_ALLOW.")
        if scheme == "http" and not self.plain:
            raise EgressRefused(
                f"{host} is called by https only. An operator can allow plain http to it by GRISTMILL_EGRESS_ALLOW."
            )
        if port not in PORTS[scheme]:
            allowed = " and ".join(str(number) for number in sorted(PORTS[scheme]))
            raise EgressRefused(
                f"Port {port} is not called, only {allowed}. An operator can allow {host}:{port} by"
                " GRISTMILL_EGRESS_ALLOW."
            )


def is_public(ip: Ip) -> bool:
    """Whether an address is one of the public internet."""
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _BLOCKED_V4)
    if ip not in _ALLOWED_V6 or any(ip in network for network in _BLOCKED_V6):
        return False
    return (int(ip) >> 32) & 0xFFFF_FFFF not in _ISATAP


def _split(url: str) -> SplitResult:
    """The parts of an http(s) URL. Raises `EgressRefused` for what two parsers could read in two ways."""
    if len(url.encode("utf-8", "surrogatepass")) > URL_BYTES_MAX:
        raise EgressRefused(f"The URL is longer than {URL_BYTES_MAX} bytes.")
    if _UNSAFE.search(url) or any("\ud800" <= char <= "\udfff" for char in url):
        raise EgressRefused("The URL has a space, a backslash or a control character in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise EgressRefused("The URL can't be read.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise EgressRefused("Only http:// and https:// URLs are called.")
    if "@" in parts.netloc or "%" in parts.netloc:
        raise EgressRefused("A URL must not carry a user name, a password or escapes in its host.")
    if port == 0:
        raise EgressRefused("The URL's port is not a number from 1 to 65535.")
    return parts


def _host_of(parts: SplitResult) -> str:
    """The host in ASCII and lower case: an address in its one written form, or the labels of a name."""
    host = (parts.hostname or "").lower()
    if not host.isascii():
        try:
            host = (URL.build(scheme="https", host=host).raw_host or "").lower()
        except ValueError:
            raise EgressRefused("The host name can't be written in ASCII.") from None
    host = host.removesuffix(".")
    if not host:
        raise EgressRefused("The URL has no host.")
    literal = _literal(host)
    if literal is not None:
        return str(literal)
    labels = host.split(".")
    last_is_number = labels[-1].isdigit() or labels[-1].startswith("0x")
    if last_is_number or len(host) > HOST_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefused(f"{host[:80]} is neither a host name nor a plain IP address.")
    return host


def _literal(host: str) -> Ip | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
