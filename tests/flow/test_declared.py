# SPDX-License-Identifier: Apache-2.0
"""Checks and units to enable that go by the host's values and facts, from bundle.toml to record and probe."""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ashore.acts.author.lint import errors, lint
from ashore.acts.change.preview import plan_install
from ashore.errors import InputError, UnitsFailedError
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import FACTS, Machine
from tests.flow.test_author import put, told
from tests.flow.test_units import ONE, SERVICE, UNIT
from tests.flow.test_units import systemd as systemd

CHECK = '[values]\nport = 1\n[[health]]\ntcp = "127.0.0.1:{{ port }}"\nwithin = "2s"\n'
WEB = "etc/systemd/system/web@.service"
INSTANCE = '[values]\ninstance = "a"\n[units]\nenable = ["web@{{ instance }}.service"]\n[[health]]\n'


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    host.images.add(ONE, {SERVICE: UNIT.format(1), "etc/app.j2": "{{ port }}"}, CHECK)
    systemd.add("app.service")
    return host


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_check_goes_by_the_port_of_the_host(live: Machine, port: int) -> None:
    with pytest.raises(UnitsFailedError, match=r"127\.0\.0\.1:1"):
        live.install(ONE)
    assert not live.exists(SERVICE)
    live.write("etc/ashore/values.d/10.toml", f"port = {port}\n")
    record = live.install(ONE).generation.bundles[0]
    assert record.health[0].tcp == f"127.0.0.1:{port}"
    assert record.values_used == ("port",)


def test_a_changed_value_that_only_a_check_reads_is_a_change(live: Machine, port: int) -> None:
    live.images.add(ONE, {SERVICE: UNIT.format(1)}, CHECK)
    live.install(ONE, sets={"port": port})
    with pytest.raises(UnitsFailedError, match=r"127\.0\.0\.1:1"):
        live.upgrade("app", unset=("port",))
    with socket.create_server(("127.0.0.1", 0)) as other:
        live.images.down = True
        record = live.upgrade("app", sets={"port": other.getsockname()[1]}).generation.bundles[0]
        assert record.health[0].tcp == f"127.0.0.1:{other.getsockname()[1]}", "rendered anew without the image"


def test_a_changed_fact_that_only_a_check_reads_is_a_change(live: Machine) -> None:
    check = '[[health]]\ncommand = ["true", "{{ facts.hostname }}"]\n'
    live.images.add(ONE, {SERVICE: UNIT.format(1)}, check)
    live.install(ONE)
    live.facts = msgspec.structs.replace(FACTS, hostname="renamed")
    record = live.upgrade("app").generation.bundles[0]
    assert (record.health[0].command, record.facts_used) == (("true", "renamed"), ("hostname",))


def test_the_instance_that_is_enabled_goes_by_a_value(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {WEB: UNIT.format(1)}, INSTANCE + 'unit = "web@{{ instance }}.service"\n')
    for unit in ("web@a.service", "web@b.service"):
        systemd.add(unit)
    record = live.install(ONE).generation.bundles[0]
    assert (record.enabled, record.health[0].unit) == (("web@a.service",), "web@a.service")
    assert systemd.units["web@a.service"].active == "active"
    live.upgrade("app", sets={"instance": "b"})
    assert [systemd.units[f"web@{name}.service"].active for name in "ab"] == ["inactive", "active"]
    live.roll_back()
    assert [systemd.units[f"web@{name}.service"].active for name in "ab"] == ["active", "inactive"]


@pytest.mark.parametrize("port", ["", "none", 70000])
def test_what_comes_out_wrong_is_refused_with_its_line_and_nothing_happens(live: Machine, port: object) -> None:
    live.images.add(ONE, {SERVICE: UNIT.format(1)}, CHECK.replace("port = 1", 'port = "1"'))
    before = live.tree()
    with pytest.raises(InputError, match=rf"bundle.toml:4: health\[1\].tcp: '127.0.0.1:{port}' is not HOST:PORT"):
        live.install(ONE, sets={"port": port})
    assert live.tree() == before


def test_no_secret_gets_into_a_record(live: Machine) -> None:
    live.images.add(ONE, {SERVICE: UNIT.format(1)}, CHECK.replace("port = 1", "port = { secret = true }"))
    with pytest.raises(InputError, match=r"bundle\.toml:4: reads the secret value port") as caught:
        live.install(ONE, sets={"port": 4711})
    assert "4711" not in str(caught.value.issues)
    assert not live.exists(SERVICE)


def test_a_check_of_a_bundle_that_declares_nothing_is_the_hosts_to_fill_in(live: Machine) -> None:
    live.images.add(ONE, {"etc/x": "x"}, '[[health]]\nhttp = "http://{{ facts.hostname }}:{{ port }}/"\n')
    plan, *_ = plan_install(live.tools(), [live.ask(ONE, sets={"port": 80})])
    assert plan.bundles[0].health[0].http == "http://node-1:80/"
    assert not plan.notes


def test_lint_and_build_say_what_is_wrong_with_a_template(tmp_path: Path) -> None:
    text = INSTANCE + 'http = "http://127.0.0.1:{{ prot }}/"\n[[health]]\ntcp = "x:{{ instance }}"\n'
    folder = put(tmp_path / "app", {"bundle.toml": text, f"root/{WEB}": UNIT.format(1)})
    assert told(folder) == [
        "bundle.toml:6: warning: prot is not a value of this bundle",
        "bundle.toml:8: error: health[2].tcp: 'x:a' is not HOST:PORT",
    ]
    (refused,) = errors(folder)
    assert refused.where == "bundle.toml:8", "a host may well have a value prot: build leaves it to that, as of files"
    right = put(
        tmp_path / "ok", {"bundle.toml": INSTANCE + 'unit = "{{ instance }}.path"\n', f"root/{WEB}": "[Service]"}
    )
    assert [f.message for f in lint(right) if f.where.startswith("bundle")] == [
        "web@{{ instance }}.service has no [Install] section: it is started, and not again after a boot"
    ]
