# SPDX-License-Identifier: Apache-2.0
"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as curl and Go read them."""

import ipaddress
from collections.abc import Mapping

import msgspec

from ashore.errors import UsageError
from ashore.mechanisms.registry import urls
from ashore.mechanisms.registry.urls import Url


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that speaks plain HTTP itself. `authorization` is the header's value, or empty."""

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def for_url(url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `url`; None where it is asked directly. Loopback always is.

    Raises:
        UsageError: the variable does not hold a proxy's URL.
    """
    name = f"{url.scheme}_proxy"
    value = environ.get(name) or environ.get(name.upper()) or ""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not value or urls.is_loopback(url.host) or _listed(url, exempt):
        return None
    return _parse(name.upper(), value)


def _parse(name: str, value: str) -> Proxy:
    scheme, mark, rest = value.partition("://")
    if not mark:
        scheme, rest = "http", value
    user, _, place = rest.rpartition("@")
    try:
        if scheme != "http":
            raise ValueError(f"{scheme} proxies are not supported")
        url = urls.parse("http://" + place)
    except ValueError as error:
        remedy = "write http://[USER:PASSWORD@]HOST:PORT"
        raise UsageError(f"{name} does not name a proxy that ashore can use", cause=str(error), remedy=remedy) from None
    port = url.port if ":" in place.rpartition("]")[2] else 3128
    return Proxy(url.host, port, _basic(user) if user else "")


def _basic(user: str) -> str:
    from base64 import b64encode
    from urllib.parse import unquote

    return "Basic " + b64encode(unquote(user).encode()).decode()


def _listed(url: Url, exempt: str) -> bool:
    return any(_matches(url, entry.strip().lower()) for entry in exempt.split(",") if entry.strip())


def _matches(url: Url, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        address = ipaddress.ip_address(url.host)
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit():
        if int(port) != url.port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*")
    return url.host == entry.removeprefix(".") or url.host.endswith("." + entry.removeprefix("."))
