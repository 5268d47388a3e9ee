# SPDX-License-Identifier: Apache-2.0
"""Triggers: seen in the plan, run in order, and taken back with the files that set them off."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ashore.acts.ask.look import status
from ashore.acts.author.lint import lint
from ashore.acts.change import preview
from ashore.acts.transaction.recover import recover
from ashore.cli.progress import Quiet
from ashore.errors import ChangedError, InputError, UnchangedError, UnitsFailedError
from ashore.mechanisms.attributes import may_own
from ashore.nouns.plan import Plan
from ashore.nouns.units import JobResult, UnitAction, UnitVerb
from ashore.rules.bundles.lint import Severity
from tests.fakes.bundles import File, Tree
from tests.fakes.elf import library
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

ONE, TWO, THREE = (f"reg.example/app:{number}" for number in (1, 2, 3))
SERVICE = "etc/systemd/system/app.service"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
FORWARD, SOMAXCONN = "proc/sys/net/ipv4/ip_forward", "proc/sys/net/core/somaxconn"
SYSCTL = "usr/lib/sysctl.d/app.conf"
CERTIFICATE = "usr/local/share/ca-certificates/app.crt"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
EVERYTHING: Tree = {
    SERVICE: UNIT,
    SYSCTL: "net.ipv4.ip_forward = 1\n",
    "usr/lib/sysusers.d/app.conf": 'u app - "App" /var/lib/app\n',
    "usr/lib/tmpfiles.d/app.conf": "d /var/lib/app/cache 0755 app app -\n",
    "etc/modules-load.d/app.conf": "br_netfilter\n",
    "etc/udev/rules.d/app.rules": 'KERNEL=="app", MODE="0660"\n',
    "etc/udev/hwdb.d/app.hwdb": "app:*\n ID=1\n",
    "usr/local/lib/libapp.so.1.2": File(library("libapp.so.1")),
    CERTIFICATE: "certificate\n",
    "usr/lib/modules/6.1/extra/app.ko": "module",
    "etc/app.secret": "for app alone",
}
TOML = '[[files]]\npath = "etc/app.secret"\nowner = "app"\ngroup = "app"\nmode = "0600"\n'


@pytest.fixture
def systemd() -> FakeSystemd:
    found = FakeSystemd()
    found.add("app.service")
    return found


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    prepare(host)
    host.systemd = systemd
    systemd.log = host.programs.log  # one log, so that the order of all shows
    return host


def prepare(host: Machine) -> None:
    """A root with a kernel, users, a certificate of the distribution and a linker's cache."""
    for path, text in {
        FORWARD: "0\n",
        SOMAXCONN: "4096\n",
        "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/ld.so.conf": "/usr/local/lib\n",
        "usr/share/ca-certificates/base": "of the distribution\n",
        BUNDLE: "of the distribution\n",
        "run/udev/control": "",
        "proc/self/status": "CapEff:\t000001ffffffffff\n",
        "proc/1/status": "CapBnd:\t000001ffffffffff\n",
        "usr/lib/udev/hwdb.bin": "",
    }.items():
        host.write(path, text)
    host.programs.run(["ldconfig"], seconds=1)
    host.programs.log.clear()


def shown(plan: Plan) -> list[str]:
    return [f"{t.kind} {t.when}: {t.reason} [{t.undo}]" for t in plan.triggers]


def test_each_is_in_the_plan_with_its_reason_and_what_going_back_makes_of_it(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    plan, _ = preview.plan_install(live.tools(), [live.ask(ONE)])
    after = "after files are placed"
    assert shown(plan) == [
        "sysusers before files are placed: usr/lib/sysusers.d/app.conf is new [not reversible]",
        f"ldconfig {after}: usr/local/lib/libapp.so.1.2 is new [derived]",
        f"depmod {after}: usr/lib/modules/6.1/extra/app.ko is new [derived]",
        f"modules {after}: etc/modules-load.d/app.conf is new [not reversible]",
        f"sysctl {after}: {SYSCTL} is new [reversible]",
        f"hwdb {after}: etc/udev/hwdb.d/app.hwdb is new [derived]",
        f"udev {after}: etc/udev/rules.d/app.rules is new (and 1 more) [derived]",
        f"tmpfiles {after}: usr/lib/tmpfiles.d/app.conf is new [derived]",
        f"certificates {after}: {CERTIFICATE} is new [derived]",
    ]
    assert live.programs.log == [], "a plan runs nothing"


def test_they_run_between_the_files_and_the_units(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    live.install(ONE)
    assert [line.split()[0] for line in live.programs.log] == [
        *("systemd-sysusers", "ldconfig", "depmod", "systemd-modules-load", "systemd-sysctl", "systemd-hwdb"),
        *("udevadm", "udevadm", "udevadm", "systemd-tmpfiles", "update-ca-certificates"),
        *("daemon-reload", "start"),
    ]
    assert live.read(FORWARD) == "1\n"
    assert live.exists("var/lib/app/cache") and "certificate" in live.read(BUNDLE)


def test_what_did_not_change_sets_off_nothing(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    live.images.add(TWO, {**EVERYTHING, "etc/motd": "hello"}, TOML)
    live.install(ONE)
    live.programs.log.clear()
    live.install(TWO)
    assert live.programs.log == []


def users(live: Machine) -> dict[str, int]:
    return {line.split(":")[0]: int(line.split(":")[2]) for line in live.read("etc/passwd").splitlines()}


def test_a_file_may_belong_to_a_user_that_its_own_bundle_makes(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    live.install(ONE)
    record = live.tools().history.current().files["etc/app.secret"]
    assert record.entry.uid == (users(live)["app"] if may_own() else os.geteuid())
    status = os.lstat(live.root / "etc/app.secret")
    assert (status.st_uid, status.st_gid) == (record.entry.uid, record.entry.gid)
    live.programs.log.clear()
    assert not live.install(ONE).changed, "its number is what was wanted"
    assert live.programs.log == []


@pytest.mark.skipif(not may_own(), reason="files cannot be given away here")
def test_where_users_cannot_be_made_nothing_happens_at_all(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    before = live.tree()
    live.programs.lacking.add("systemd-sysusers")
    with pytest.raises(UnchangedError, match="not made"):
        live.install(ONE)
    assert live.tree() == before


def test_an_owner_that_nobody_makes_is_refused_as_ever(live: Machine) -> None:
    live.images.add(ONE, {"etc/x": "x"}, TOML.replace("app.secret", "x"))
    with pytest.raises(InputError, match="does not exist"):
        live.install(ONE)


def without_users(tree: object) -> dict[str, object]:
    """Users stay: that is said in the plan, and they are no part of what goes back."""
    assert isinstance(tree, dict)
    return {path: what for path, what in tree.items() if path not in ("etc/passwd", "etc/group")}


def test_a_removal_puts_old_values_back_and_leaves_nothing_that_a_trigger_made(live: Machine) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    before = without_users(live.tree())
    live.install(ONE)
    assert live.exists("usr/lib/modules/6.1/modules.dep")
    assert live.exists("usr/local/lib/libapp.so.1"), "its name, by which it is asked for"
    live.programs.log.clear()
    live.remove("app")
    assert live.read(FORWARD) == "0\n"
    assert without_users(live.tree()) == before
    assert not [line for line in live.programs.log if line.startswith(("depmod", "systemd-modules", "systemd-tmp"))]


def test_a_unit_that_fails_after_a_setting_was_changed_puts_the_old_value_back(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.images.add(ONE, {SYSCTL: "net.ipv4.ip_forward = 1\nnet.core.somaxconn = 1024\n", SERVICE: UNIT})
    systemd.units["app.service"].behaviour = Behaviour.DIES
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("0\n", "4096\n")


def test_a_failed_install_leaves_nothing_that_a_trigger_made(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    before = without_users(live.tree())
    systemd.units["app.service"].behaviour = Behaviour.DIES
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert without_users(live.tree()) == before
    assert live.leftovers() == []
    assert live.tools().history.current_number() is None


@pytest.mark.parametrize(
    "failing", ["ldconfig", "depmod", "modules-load", "sysctl", "hwdb", "udevadm", "tmpfiles", "update-ca", "sysusers"]
)
def test_a_trigger_that_fails_takes_everything_back_and_says_why(
    live: Machine, systemd: FakeSystemd, failing: str
) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    before = without_users(live.tree())
    real = live.programs.run

    def run(argv: Sequence[str], **given: object) -> str:
        live.programs.fails = {failing: "it does not like it"} if live.exists(SYSCTL) or failing == "sysusers" else {}
        return real(argv, **given)  # type: ignore[arg-type]

    live.programs.run = run  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError, match="it does not like it") as raised:
        live.install(ONE)
    assert raised.value.code == 7 and raised.value.remedy
    assert without_users(live.tree()) == before
    assert systemd.units["app.service"].active == "inactive"
    (held,) = live.tools().history.held().values()
    assert "failed" in held.reason


def test_a_way_back_that_fails_is_told_with_the_command_that_is_left_to_run(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.images.add(ONE, {CERTIFICATE: "certificate\n", SERVICE: UNIT})
    systemd.units["app.service"].behaviour = Behaviour.DIES
    real = live.programs.run

    def run(argv: Sequence[str], **given: object) -> str:
        live.programs.fails = {} if live.exists(CERTIFICATE) else {"update-ca": "disk full"}
        return real(argv, **given)  # type: ignore[arg-type]

    live.programs.run = run  # type: ignore[method-assign]
    with pytest.raises(ChangedError) as raised:
        live.install(ONE)
    (issue,) = raised.value.issues
    assert (issue.where, "update-ca-certificates" in issue.remedy) == ("certificates", True)
    assert not live.exists(CERTIFICATE)


def test_an_upgrade_and_a_rollback_carry_settings_along(live: Machine) -> None:
    live.images.add(ONE, {SYSCTL: "net.ipv4.ip_forward = 1\n"})
    live.images.add(TWO, {SYSCTL: "net.core.somaxconn = 1024\n"})
    live.install(ONE)
    live.install(TWO)
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("0\n", "1024\n")
    assert live.tools().history.current().settings == {SOMAXCONN: "4096"}
    live.roll_back()
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("1\n", "4096\n")
    live.remove("app")
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("0\n", "4096\n")


def test_the_hosts_own_files_have_the_last_word(live: Machine) -> None:
    live.write("etc/sysctl.d/zz-admin.conf", "net.ipv4.ip_forward = 2\n")
    live.images.add(ONE, {SYSCTL: "net.ipv4.ip_forward = 1\n"})
    live.install(ONE)
    assert live.read(FORWARD) == "2\n"
    live.remove("app")
    assert live.read(FORWARD) == "2\n"


def test_a_bad_line_of_the_hosts_own_is_told_and_blocks_no_bundle(
    live: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.write("etc/sysctl.d/zz-admin.conf", "net.core.somaxconn = 2\nkernel.foo bar\n")
    live.images.add(ONE, {SYSCTL: "net.ipv4.ip_forward = 1\nnet.core.somaxconn = 1\n"})
    said: list[str] = []
    monkeypatch.setattr(Quiet, "say", lambda _self, line: said.append(line))
    live.install(ONE)
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("1\n", "2\n"), "the host's file has the last word still"
    assert "not one of this change" in said[-1] and "kernel.foo bar" in said[-1]
    live.remove("app")
    assert (live.read(FORWARD), live.read(SOMAXCONN)) == ("0\n", "2\n")


def test_a_line_that_sets_nothing_is_refused_whatever_the_host_holds(live: Machine) -> None:
    live.images.add(ONE, {SYSCTL: "net.core.somaxconn = 1024\n"})
    live.images.add(TWO, {SYSCTL: "# more\nnet.core.somaxconn 6000\n"})
    live.images.add(THREE, {f"{SYSCTL}.j2": "{{ 'net.core.somaxconn 6000' }}\n"})
    for bad in (TWO, THREE, None, TWO, THREE):
        if bad is None:
            live.install(ONE)
            continue
        with pytest.raises(InputError) as raised:
            live.install(bad)
        (issue,) = raised.value.issues
        assert str(issue) == (
            f"{SYSCTL}:2: 'net.core.somaxconn 6000' has no =: it sets nothing (write KEY = VALUE)"
            if bad == TWO
            else f"{SYSCTL}.j2: line 1 of what it makes sets nothing (write KEY = VALUE)"
        )


def test_lint_names_a_line_that_sets_nothing_unless_a_template_may_make_something_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "app/root/etc/sysctl.d"
    folder.mkdir(parents=True)
    (folder / "app.conf").write_text("vm.swappiness = 1\nnet.core.somaxconn 6000\n")
    (folder / "made.conf.j2").write_text("{{ 'vm.swappiness = 1' }}\n")
    (finding,) = lint(str(tmp_path / "app"))
    assert (finding.severity, finding.where) == (Severity.ERROR, "root/etc/sysctl.d/app.conf:2")


def test_going_back_brings_an_edit_that_sets_nothing_as_it_was(live: Machine) -> None:
    live.images.add(ONE, {"etc/sysctl.d/app.conf": "net.ipv4.ip_forward = 1\n"})
    live.images.add(TWO, {SYSCTL: "net.core.somaxconn = 1024\n"})
    live.install(ONE)
    live.write("etc/sysctl.d/app.conf", "net.ipv4.ip_forward = 1\nkernel.foo bar\n")
    live.remove("app")
    live.roll_back()
    assert live.read("etc/sysctl.d/app.conf").endswith("kernel.foo bar\n")
    assert live.read(FORWARD) == "1\n"


def test_a_folder_of_tmpfiles_with_data_in_it_stays(live: Machine) -> None:
    live.images.add(ONE, {"usr/lib/tmpfiles.d/app.conf": "d /var/lib/app/cache\nd /var/lib/app/data\n"})
    live.install(ONE)
    live.write("var/lib/app/data/file", "precious")
    live.remove("app")
    assert live.read("var/lib/app/data/file") == "precious"
    assert not live.exists("var/lib/app/cache")


def test_a_library_before_the_hosts_own_of_that_name_is_warned_of(live: Machine) -> None:
    live.write("usr/lib/libz.so.1", "the host's")
    live.images.add(ONE, {"usr/local/lib/libz.so.1.9": File(library("libz.so.1"))})
    plan, _ = preview.plan_install(live.tools(), [live.ask(ONE)])
    assert plan.notes == (
        "/usr/local/lib/libz.so.1.9 comes before the host's own /usr/lib/libz.so.1: programs of the host will load it",
    )
    live.images.add(ONE, {"usr/local/lib/libown.so.1.9": File(library("libown.so.1"))})
    assert preview.plan_install(live.tools(), [live.ask(ONE)])[0].notes == ()


def test_a_folder_that_a_bundle_adds_to_the_linkers_counts_as_well(live: Machine) -> None:
    live.write("usr/lib/libz.so.1", "the host's")
    live.write("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
    live.images.add(
        ONE, {"opt/app/lib/libz.so.1": File(library("libz.so.1")), "etc/ld.so.conf.d/app.conf": "/opt/app/lib\n"}
    )
    outcome = live.install(ONE)
    assert "comes before the host's own /usr/lib/libz.so.1" in outcome.plan.notes[0]
    assert "libz.so.1 => /opt/app/lib/libz.so.1" in live.read("etc/ld.so.cache")


@pytest.fixture
def offline(host: Machine) -> Machine:
    prepare(host)
    host.images.add(ONE, EVERYTHING, TOML)
    return host


def test_on_an_offline_root_users_are_made_and_the_rest_waits_for_its_boot(offline: Machine) -> None:
    plan = offline.install(ONE).plan
    boot, due = "at the next boot", "with the first ashore on the booted host"
    assert [(t.kind, t.when) for t in plan.triggers] == [
        ("sysusers", "before files are placed" if may_own() else boot),
        *[("ldconfig", due), ("depmod", due), ("modules", boot), ("sysctl", boot), ("hwdb", due), ("udev", boot)],
        *[("tmpfiles", boot), ("certificates", due)],
    ]
    expected = [f"systemd-sysusers --root={offline.root} -"] if may_own() else []
    assert offline.programs.log == expected
    assert offline.read(FORWARD) == "0\n"


def test_what_an_offline_root_lacks_is_done_once_by_the_first_ashore_on_the_booted_host(
    offline: Machine, systemd: FakeSystemd
) -> None:
    offline.install(ONE)
    assert status(offline.tools()).due == ("ldconfig", "depmod", "hwdb", "certificates")
    offline.programs.log.clear()
    offline.systemd = systemd
    systemd.units["app.service"].active = "active"
    offline.images.add(TWO, {**EVERYTHING, "etc/motd": "hello"}, TOML)
    offline.install(TWO)
    assert offline.programs.log == ["ldconfig", "depmod 6.1", "systemd-hwdb update --usr", "update-ca-certificates"]
    offline.programs.log.clear()
    offline.install(ONE)
    assert offline.programs.log == []
    lines = (offline.root / "var/lib/ashore/audit.jsonl").read_text()
    assert '"due":"certificates"' in lines and "update-ca-certificates did it" in lines


def cut_short(live: Machine, systemd: FakeSystemd, name: str) -> None:
    """Install, and be gone when units are started."""

    class Cut(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            if any(action.verb is not UnitVerb.STOP for action in actions):
                os._exit(9)
            return super().run(actions, deadline)

    child = os.fork()
    if child == 0:
        live.systemd = Cut(systemd.units)
        live.install(name)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_recovery_in_the_same_boot_puts_values_back_and_derives_again(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, EVERYTHING, TOML)
    before = without_users(live.tree())
    cut_short(live, systemd, ONE)
    assert live.read(FORWARD) == "1\n" and "certificate" in live.read(BUNDLE)
    tools = live.tools()
    with tools.state.locked():
        assert recover(tools) == "went back to the old generation"
    assert without_users(live.tree()) == before


def test_recovery_in_another_boot_waits_for_no_program_and_derives_again_later(
    live: Machine, systemd: FakeSystemd
) -> None:
    from msgspec.structs import replace

    live.images.add(ONE, EVERYTHING, TOML)
    live.images.add(TWO, {"etc/motd": "hello"})
    before = without_users(live.tree())
    cut_short(live, systemd, ONE)
    live.write(FORWARD, "0\n")  # another boot, and its systemd-sysctl runs after the recovery
    live.systemd = booted = FakeSystemd()
    booted.add("app.service")
    live.programs.log.clear()
    tools = replace(live.tools(), boot="boot-2")
    with tools.state.locked():
        recover(tools)
    assert live.programs.log == []
    assert [due.what for due in tools.history.due()] == ["ldconfig", "hwdb", *["udev"] * 3, "certificates"]
    assert live.exists("etc/app.secret") is False and live.read(FORWARD) == "0\n"
    live.install(TWO)
    live.remove("app")
    assert without_users(live.tree()) == before


def test_an_unreadable_kernel_is_no_reason_to_fail(live: Machine, tmp_path: Path) -> None:
    """A key that this kernel does not have: systemd-sysctl passes it over, and so do we."""
    live.images.add(ONE, {SYSCTL: "net.ipv4.no_such_key = 1\n"})
    outcome = live.install(ONE)
    assert outcome.plan.triggers[0].effects == ()
    assert outcome.plan.notes == (f"{SYSCTL} sets net.ipv4.no_such_key, which this kernel does not have now",)
    assert live.tools().history.current().settings == {}
