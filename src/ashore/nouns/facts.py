# SPDX-License-Identifier: Apache-2.0
"""What a host is. Collected once (`mechanisms.host.facts`) and passed in; rules never look."""

from collections.abc import Mapping

import msgspec


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address of an interface: ``10.0.0.5`` with prefix length 24."""

    address: str
    prefix: int


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network interface. `ipv4` and `ipv6` are its first global addresses; absent where it has none."""

    name: str
    mac: str | None = None
    mtu: int | None = None
    up: bool = False
    ipv4: str | None = None
    ipv6: str | None = None
    addresses_ipv4: tuple[Address, ...] = ()
    addresses_ipv6: tuple[Address, ...] = ()


class Network(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`default` is the interface of the default route."""

    interfaces: Mapping[str, Interface] = {}
    default: Interface | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All facts. None or empty means: unknown on this host, and naming it in a template is an error."""

    hostname: str | None = None
    fqdn: str | None = None
    machine_id: str | None = None
    architecture: str | None = None
    """Go's and OCI's name: ``amd64``, ``arm64``."""
    kernel: str | None = None
    cpus: int | None = None
    memory: int | None = None
    """Bytes."""
    virtualization: str | None = None
    """systemd-detect-virt's word; ``none`` on bare metal."""
    os: Mapping[str, str] | None = None
    """os-release, keys in lower case: ``facts.os.id``, ``facts.os.version_id``."""
    network: Network | None = None
    cloud: Mapping[str, object] | None = None
    """cloud-init's instance data (``v1`` of instance-data.json)."""
