# SPDX-License-Identifier: Apache-2.0
"""URLs as ashore needs them: strict, and able to say whether two of them are the same place."""

import ipaddress
import re

import msgspec

DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"((?i:https?))://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[^#]*|\?[^#]*)?(?:#.*)?", re.DOTALL
)
_NUMERIC = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]*")


class Url(msgspec.Struct, frozen=True):
    """An absolute http or https URL without userinfo and fragment; `host` is in lower case, without brackets."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they are sent."""

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_port(self) -> str:
        """``reg.example``, or ``reg.example:5000`` where the port is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_port}{self.target}"

    @property
    def bare(self) -> str:
        """The URL without its query, which may carry a signature: the form for messages."""
        return str(self).partition("?")[0]

    def query(self, **pairs: str) -> "Url":
        """The same URL with `pairs` added to its query."""
        from urllib.parse import urlencode

        return self.with_query(urlencode(pairs))

    def with_query(self, encoded: str) -> "Url":
        """The same URL with an encoded query added."""
        glue = "&" if "?" in self.target else "?"
        return msgspec.structs.replace(self, target=self.target + glue + encoded) if encoded else self


def parse(text: str) -> Url:
    """Read an absolute URL.

    Raises:
        ValueError: it is not one that ashore would ask: another scheme, userinfo, or characters that have
            to be escaped in a URL.
    """
    found = _URL.fullmatch(text)
    if not found or not _VISIBLE.fullmatch(text) or len(text) > 16384:
        raise ValueError("not an http or https URL")
    scheme, host, port, target = found.groups()
    scheme = scheme.lower()
    number = int(port) if port else DEFAULT_PORTS[scheme]
    if not 0 < number < 65536:
        raise ValueError("no such port")
    target = target or "/"
    return Url(scheme, host.strip("[]").lower(), number, target if target[0] == "/" else "/" + target)


def join(base: Url, location: str) -> Url:
    """Where a ``Location`` header leads.

    Raises:
        ValueError: as `parse`.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return parse(location)
    from urllib.parse import urljoin

    return parse(urljoin(str(base), location))


def is_loopback(host: str) -> bool:
    """``localhost``, 127.0.0.0/8 and ::1: what never leaves this machine."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost"


def is_inward(host: str) -> bool:
    """Loopback and link-local addresses: the places a stranger must not make us ask (metadata services)."""
    name = host.rstrip(".")
    address = _address(name)
    local = is_loopback(name) or name.endswith(".localhost")  # RFC 6761, 6.3
    return local or bool(address and (address.is_link_local or address.is_unspecified))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is for the C library: ``127.1``, ``2130706433`` and ``0x7f000001`` are one, too."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        if not _NUMERIC.fullmatch(host):
            return None
        import socket

        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
