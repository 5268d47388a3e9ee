# SPDX-License-Identifier: Apache-2.0
import json
import os
import struct
from pathlib import Path

import jsonschema
import msgspec
import pytest

from ashore.acts.ask.facts import facts, lines
from ashore.acts.author.schemas import facts_schema
from ashore.errors import InputError, UsageError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.host import factsfile, network
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.host.facts import collect
from ashore.mechanisms.host.users import read_owners
from ashore.mechanisms.host.values import read_values
from ashore.nouns.config import HostConfig, Pull
from ashore.nouns.facts import Address, Facts, Interface, Network

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def put(root: Path, files: dict[str, str | bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def offline(root: Path) -> Facts:
    with Beneath(str(root)) as host:
        return collect(host, live=False)


def elf(machine: int, *, little: bool = True) -> bytes:
    order = "<" if little else ">"
    return b"\x7fELF\2" + (b"\1" if little else b"\2") + bytes(10) + struct.pack(f"{order}HH", 2, machine) + bytes(99)


def test_an_offline_root_tells_of_itself_and_nothing_of_this_machine(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "etc/hostname": "# comment\nnode-1\n",
            "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
            "usr/lib/os-release": '# c\nID=debian\nPRETTY_NAME="A \\"B\\" \\$C"\nNAME=\'x y\'\nbroken\n',
            "usr/bin/env": elf(183),
            "run/cloud-init/instance-data.json": '{"v1": {"region": "r"}}',
        },
    )
    assert offline(tmp_path) == Facts(
        hostname="node-1",
        machine_id="0123456789abcdef0123456789abcdef",
        architecture="arm64",
        os={"id": "debian", "pretty_name": 'A "B" $C', "name": "x y"},
    )


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (elf(62), "amd64"),
        (elf(21, little=False), "ppc64"),
        (elf(21), "ppc64le"),
        (elf(22, little=False), "s390x"),
        (elf(9999), None),
        (b"#!/bin/sh\n" + bytes(20), None),
        (b"\x7fELF", None),
    ],
)
def test_architecture_of_an_elf_header(tmp_path: Path, header: bytes, name: str | None) -> None:
    assert offline(put(tmp_path, {"usr/bin/env": header})).architecture == name


def test_an_empty_root_has_no_facts(tmp_path: Path) -> None:
    assert offline(tmp_path) == Facts()


def test_symlinks_are_followed_within_the_root(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", {"os-release": "ID=outside\n"})
    root = put(tmp_path / "root", {"usr/lib/os-release": "ID=inside\n", "etc/machine-id": "uninitialized\n"})
    (root / "etc/os-release").symlink_to("/usr/lib/os-release")
    (root / "etc/hostname").symlink_to(outside / "os-release")
    assert offline(root) == Facts(os={"id": "inside"})


def test_what_is_no_file_is_no_fact_and_does_not_hang(tmp_path: Path) -> None:
    put(tmp_path, {"etc/x": ""})
    os.mkfifo(tmp_path / "etc/hostname")
    (tmp_path / "etc/machine-id").mkdir()
    assert offline(tmp_path) == Facts()


def test_a_live_root_tells_of_this_kernel(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "etc/hostname": "static\n",
            "etc/hosts": f"127.0.1.1 {os.uname().nodename}.example.com {os.uname().nodename}\n",
            "run/cloud-init/instance-data.json": '{"v1": {"region": "r", "subplatform": null}, "ds": {"secret": 1}}',
        },
    )
    with Beneath(str(tmp_path)) as host:
        found = collect(host, live=True)
    assert (found.hostname, found.kernel, found.cpus) == (os.uname().nodename, os.uname().release, os.cpu_count())
    assert found.fqdn == (found.hostname if "." in os.uname().nodename else f"{found.hostname}.example.com")
    assert found.cloud == {"region": "r"}
    assert found.network is not None and "lo" in found.network.interfaces
    assert found.network.interfaces["lo"].ipv4 is None, "loopback is no address that others can reach"
    assert (found.memory or 0) > 0


ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
dead0\t00000000\t010200C0\t0200\t0\t0\t0\t00000000\t0\t0\t0
eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ROUTE_6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000064 00000001 00000000 00000003     eth6\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"proc/net/route": ROUTE, "proc/net/ipv6_route": ROUTE_6}, "eth0"),
        ({"proc/net/route": ROUTE.splitlines()[0], "proc/net/ipv6_route": ROUTE_6}, "eth6"),
        ({}, None),
    ],
)
def test_the_default_route_of_the_lowest_metric(
    tmp_path: Path, files: dict[str, str | bytes], name: str | None
) -> None:
    with Beneath(str(put(tmp_path, files))) as host:
        assert network.default_interface(host) == name


def test_addresses_that_others_can_reach() -> None:
    given = [Address(address=a, prefix=8) for a in ("127.0.0.1", "169.254.1.1", "192.0.2.1", "192.0.2.2")]
    assert network.first_global(given) == "192.0.2.1"
    assert network.first_global([Address(address="fe80::1", prefix=64)]) is None
    assert [network.prefix_length(m) for m in ("255.255.255.0", "ffff:ffff::", None)] == [24, 32, 0]


WHOLE = Facts(
    hostname="h",
    cpus=2,
    os={"id": "debian"},
    network=Network(
        interfaces={"eth0": Interface(name="eth0", addresses_ipv4=(Address(address="1.2.3.4", prefix=8),))}
    ),
    cloud={"region": "r", "n": [1]},
)


def test_facts_are_read_back_as_they_were_printed(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(msgspec.json.encode(WHOLE))
    assert factsfile.load(str(path)) == WHOLE
    jsonschema.validate(json.loads(path.read_text()), facts_schema())


def test_all_problems_of_a_facts_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(
        '{"hostnam": "x", "cpus": "4", "os": {"id": 3}, "network": {"interfaces":'
        ' {"eth0": {"nam": 1, "addresses_ipv4": [{"address": 1}]}}, "default": []}}'
    )
    with pytest.raises(InputError) as caught:
        factsfile.load(str(path))
    told = [str(issue).removeprefix(f"{path}: ") for issue in caught.value.issues]
    assert 'hostnam: is not a fact; did you mean "hostname"?' in told
    assert "cpus: must be a whole number, not a string" in told
    assert "network.interfaces.eth0: has no name" in told
    assert "network.interfaces.eth0.addresses_ipv4[1]: has no prefix" in told
    assert len(told) == 8


@pytest.mark.parametrize("content", ["", "[]", "3", "{", "[" * 99999])
def test_what_is_no_facts_file(tmp_path: Path, content: str) -> None:
    put(tmp_path, {"f": content})
    with pytest.raises(InputError):
        factsfile.load(str(tmp_path / "f"))
    with pytest.raises(InputError):
        factsfile.load(str(tmp_path / "none"))


def test_broken_json_is_told_of_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, {"f": '{"cpus": 2,\n "memory":\n}'})
    with pytest.raises(InputError, match=r"f is not JSON: .* line 3 column 1"):
        factsfile.load(str(tmp_path / "f"))


def test_the_published_schema_is_the_types() -> None:
    made = json.loads(msgspec.json.encode(facts_schema()))
    assert json.loads((DOCS / "facts.schema.json").read_text()) == made, (
        "write it again: ashore facts --schema > docs/reference/facts.schema.json"
    )


def test_facts_are_shown_by_the_names_that_templates_use(tmp_path: Path) -> None:
    assert "facts.network.interfaces.eth0.addresses_ipv4 = 1.2.3.4/8" in lines(WHOLE)
    up = Facts(network=Network(default=Interface(name="eth0", up=True)))
    assert "facts.network.default.up = true" in lines(up), "as a template gives it"
    put(tmp_path, {"etc/hostname": "n1\x1b[2J\n"})
    assert lines(facts(str(tmp_path))) == ["facts.hostname = n1\\x1b[2J"]
    with pytest.raises(UsageError):
        facts(str(tmp_path / "none"))


def test_users_and_groups(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "etc/passwd": "app:x:990:991::/:/bin/sh\nbroken\n+nis\n:x:1:1\nneg:x:-1:1\nbig:x:4294967295:1\napp:x:5:5\n",
            "etc/group": b"app:x:991:\n\xff:x:7:\n",
        },
    )
    with Beneath(str(tmp_path)) as host:
        owners = read_owners(host)
    assert owners.users == {"root": 0, "app": 990}
    assert owners.groups == {"root": 0, "app": 991, "\udcff": 7}
    assert (owners.user("app"), owners.user("12"), owners.user("none"), owners.group("app")) == (990, 12, None, 991)


def test_values_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = "etc/ashore/values.d"
    put(
        tmp_path,
        {f"{folder}/20.toml": "a = 2", f"{folder}/10.toml": "a = 1", f"{folder}/.x.toml": "?", f"{folder}/y": "?"},
    )
    with Beneath(str(tmp_path)) as host:
        found = [(document.where, document.data) for document in read_values(host)]
        assert found == [(f"/{folder}/10.toml", {"a": 1}), (f"/{folder}/20.toml", {"a": 2})]
    put(tmp_path, {f"{folder}/30.toml": "a = ", f"{folder}/40.toml": "a = 1\nb"})
    with Beneath(str(tmp_path)) as host, pytest.raises(InputError) as caught:
        read_values(host)
    assert [issue.where for issue in caught.value.issues] == [f"/{folder}/30.toml:1", f"/{folder}/40.toml:2"]


def test_no_values_and_no_config_are_fine(tmp_path: Path) -> None:
    with Beneath(str(tmp_path)) as host:
        assert read_values(host) == ()
        assert read_config(host) == HostConfig()


def test_the_hosts_config(tmp_path: Path) -> None:
    put(tmp_path, {"etc/ashore/config.toml": 'bundles = ["reg/w:1"]\npull = "always"\nkeep = 5\nrandom_delay = "5m"\n'})
    with Beneath(str(tmp_path)) as host:
        assert read_config(host) == HostConfig(bundles=("reg/w:1",), pull=Pull.ALWAYS, keep=5, random_delay=300.0)
    put(tmp_path, {"etc/ashore/config.toml": 'bundles = ["Not A Name"]\npull = "allways"\nkeep = 0\nkepp = 1\n'})
    with Beneath(str(tmp_path)) as host, pytest.raises(InputError) as caught:
        read_config(host)
    assert sorted(issue.where.rpartition(":")[2] for issue in caught.value.issues) == ["1", "2", "3", "4"]
