# SPDX-License-Identifier: Apache-2.0
"""The network interfaces of the running system, and which of them has the default route."""

import ipaddress
import socket
from collections.abc import Iterable

import msgspec

from ashore.mechanisms.beneath import Beneath
from ashore.nouns.facts import Address, Interface, Network
from ashore.nouns.limits import MIB

_ROUTES = "proc/net/route"
_ROUTES_6 = "proc/net/ipv6_route"
_LARGEST = 16 * MIB
_UP = 0x1
_REJECT = 0x200
_NO_MAC = "00:00:00:00:00:00"


def collect(host: Beneath) -> Network:
    """Interfaces by name, each with all its addresses."""
    import psutil

    stats = psutil.net_if_stats()
    found: dict[str, Interface] = {}
    for label, addresses in psutil.net_if_addrs().items():
        # An address with a label (eth0:1) is one of the interface's own.
        name = label.partition(":")[0]
        state = stats.get(name)
        interface = found.get(name) or Interface(
            name=name, up=bool(state and state.isup), mtu=state.mtu if state and state.mtu else None
        )
        found[name] = _with_addresses(interface, addresses)
    return Network(interfaces=found, default=found.get(default_interface(host) or ""))


def _with_addresses(interface: Interface, addresses: Iterable[object]) -> Interface:
    import psutil

    found: dict[int, list[Address]] = {socket.AF_INET: [], socket.AF_INET6: []}
    mac = interface.mac
    for item in addresses:
        family, text, mask = int(item.family), item.address, item.netmask  # type: ignore[attr-defined]
        if family == psutil.AF_LINK:
            mac = text if text != _NO_MAC else mac
        elif family in found:
            found[family].append(Address(address=text.partition("%")[0], prefix=prefix_length(mask)))
    ipv4 = (*interface.addresses_ipv4, *found[socket.AF_INET])
    ipv6 = (*interface.addresses_ipv6, *found[socket.AF_INET6])
    return msgspec.structs.replace(
        interface, mac=mac, addresses_ipv4=ipv4, addresses_ipv6=ipv6, ipv4=first_global(ipv4), ipv6=first_global(ipv6)
    )


def first_global(addresses: Iterable[Address]) -> str | None:
    """The first address that others can reach: neither loopback nor link-local."""
    for item in addresses:
        address = ipaddress.ip_address(item.address)
        if not (address.is_loopback or address.is_link_local):
            return item.address
    return None


def prefix_length(mask: str | None) -> int:
    """``255.255.255.0`` -> 24, ``ffff:ffff::`` -> 32; a point-to-point link that has none: 0."""
    return int(ipaddress.ip_address(mask)).bit_count() if mask else 0


def default_interface(host: Beneath) -> str | None:
    """The interface of the default route of the lowest metric; IPv4's, or IPv6's where that has none."""
    routes_4, routes_6 = (host.text_of(path, _LARGEST) or "" for path in (_ROUTES, _ROUTES_6))
    return _lowest(_routes_4(routes_4)) or _lowest(_routes_6(routes_6))


def _lowest(routes: Iterable[tuple[int, str]]) -> str | None:
    return min(routes, default=(0, ""))[1] or None


def _routes_4(text: str) -> Iterable[tuple[int, str]]:
    """Metric and interface of each default route (proc(5), /proc/net/route)."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8 and fields[1] == "00000000" and fields[7] == "00000000" and _usable(int(fields[3], 16)):
            yield int(fields[6]), fields[0]


def _routes_6(text: str) -> Iterable[tuple[int, str]]:
    """The same of /proc/net/ipv6_route: destination, prefix, ..., metric, ..., flags, interface."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 10 and fields[0] == "0" * 32 and fields[1] == "00" and _usable(int(fields[8], 16)):
            yield int(fields[5], 16), fields[9]


def _usable(flags: int) -> bool:
    return bool(flags & _UP) and not flags & _REJECT
