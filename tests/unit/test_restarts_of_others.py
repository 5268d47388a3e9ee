# SPDX-License-Identifier: Apache-2.0
"""Units that no bundle owns, what goes down with another unit, conditions, and what only a boot brings into effect."""

import msgspec
import pytest

from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.plan import Action, Step
from ashore.nouns.units import HostUnits
from ashore.rules.units import dependants, unitfile
from ashore.rules.units.changes import Changes, changes_of
from ashore.rules.units.conditions import differing
from ashore.rules.units.reasons import Reaction
from ashore.rules.units.reboot import reboot_reasons
from ashore.rules.units.situation import UnitSet
from ashore.rules.units.unitpaths import effective
from tests.unit.test_restarts import ALL, SYSTEM, THREE, plan, replaced, said, state, states

SSH = "[Service]\nType=notify\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D\n"
SETUP = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/opt/bin/setup\n"
HOST = HostUnits(
    listed=("ssh.service", "setup.service", "getty@tty1.service", "w@a.service", "ashore-1.service"),
    texts={
        "usr/lib/systemd/system/ssh.service": SSH,
        "usr/lib/systemd/system/setup.service": SETUP,
        "usr/lib/systemd/system/getty@.service": "[Service]\nExecStart=/opt/bin/setup\n",
        "usr/lib/systemd/system/ashore-1.service": "[Service]\nExecStart=/opt/bin/setup\n",
    },
)
NOTHING = UnitSet()


def test_a_unit_of_the_host_restarts_when_a_file_that_it_names_changes() -> None:
    running = states("ssh.service", main_pid=7)
    changed = Changes(created=frozenset({"etc/default/ssh"}))
    assert said(plan(changed, old=NOTHING, new=NOTHING, running=running, host=HOST)) == [
        "restart ssh.service: etc/default/ssh, named by EnvironmentFile=, is new"
    ]
    assert plan(replaced("etc/default/sshd"), running=running, host=HOST).actions == ()


def test_a_drop_in_of_the_host_counts_for_a_unit_of_a_bundle() -> None:
    """The administrator made the kubelet read another file: that one matters, and the shipped one does not."""
    override = "[Service]\nExecStart=\nExecStart=/opt/bin/kubelet --config=/srv/kubelet.yaml\n"
    host = HostUnits(texts={f"{SYSTEM}/kubelet.service.d/override.conf": override})
    assert [a.unit for a in plan(replaced("srv/kubelet.yaml"), host=host).actions] == ["kubelet.service"]
    assert plan(replaced("etc/kubernetes/kubelet.yaml"), host=host).actions == ()


def test_only_the_unit_file_that_hides_the_others_counts_and_the_last_drop_in_of_a_name() -> None:
    paths = (
        "etc/systemd/system/a.service",
        "usr/lib/systemd/system/a.service",
        "usr/lib/systemd/system/a.service.d/x.conf",
        "etc/systemd/system/a.service.d/x.conf",
    )
    assert effective(paths) == ("etc/systemd/system/a.service", "etc/systemd/system/a.service.d/x.conf")


def test_a_oneshot_of_the_host_is_not_run_again() -> None:
    running = states("setup.service", type="oneshot", sub="exited")
    assert plan(replaced("opt/bin/setup"), old=NOTHING, new=NOTHING, running=running, host=HOST).actions == ()


def test_a_login_is_not_ended_by_a_changed_file_but_told_of() -> None:
    running = states("getty@tty1.service", "ashore-1.service", main_pid=7)
    result = plan(replaced("opt/bin/setup"), old=NOTHING, new=NOTHING, running=running, host=HOST)
    assert result.actions == ()
    assert result.notes == (
        "getty@tty1.service is not restarted, and runs on as it was: opt/bin/setup, named by ExecStart=, changed",
    )


def test_instances_that_somebody_started_follow_their_template() -> None:
    path = f"{SYSTEM}/w@.service"
    units = UnitSet(texts={path: "[Service]\nExecStart=/opt/w %i\n"})
    running = states("w@a.service", main_pid=3)
    assert said(plan(replaced(path), old=units, new=units, running=running, host=HOST)) == [
        f"restart w@a.service: {path} changed"
    ]
    gone = plan(Changes(removed=frozenset({path})), old=units, new=NOTHING, running=running, host=HOST)
    assert said(gone) == [f"stop w@a.service: {path} is removed"]


def test_a_library_that_a_running_process_still_has_in_memory_restarts_its_unit() -> None:
    library = "usr/local/lib/libx.so.1"
    host = HostUnits(mapped={"ssh.service": (library,), "kubelet.service": (library,)})
    running = states(*ALL, "ssh.service", main_pid=7)
    assert said(plan(replaced(library), running=running, host=host)) == [
        f"restart kubelet.service: {library}, which it has in memory, changed",
        f"restart ssh.service: {library}, which it has in memory, changed",
    ]


def test_a_binary_that_is_named_and_in_memory_is_one_reason() -> None:
    host = HostUnits(mapped={"kubelet.service": ("opt/bin/kubelet",)})
    assert said(plan(replaced("opt/bin/kubelet"), host=host)) == [
        "restart kubelet.service: opt/bin/kubelet, named by ExecStart=, changed"
    ]


def test_where_the_author_says_that_a_reload_is_enough_it_is() -> None:
    host = HostUnits(mapped={"kubelet.service": ("opt/bin/kubelet",)})
    reactions = {"opt/bin/kubelet": Reaction(reload=("kubelet.service",))}
    running = states("kubelet.service", can_reload=True)
    result = plan(replaced("opt/bin/kubelet"), running=running, reactions=reactions, host=host)
    assert [action.verb for action in result.actions] == ["reload"]


def test_sessions_and_containers_that_run_on_with_the_old_file_are_told_of() -> None:
    host = HostUnits(mapped={"session-3.scope": ("opt/bin/x",), "": ("opt/bin/x",), "init.scope": ("opt/bin/x",)})
    result = plan(replaced("opt/bin/x"), old=NOTHING, new=NOTHING, running={}, host=host)
    assert result.notes == (
        "session-3.scope runs on with the old opt/bin/x",
        "a process of no unit runs on with the old opt/bin/x",
    )
    assert result.reboot == ("opt/bin/x, which PID 1 runs with, changed",)


BASE = UnitSet(texts={f"{SYSTEM}/base.service": "[Service]\nExecStart=/opt/base\n"}, wanted=("base.service",))


def test_what_a_restart_takes_down_restarts_with_it_whoever_owns_it() -> None:
    running = (
        states("base.service", needed_by=("needs.service",), followed_by=("part.service", "idle.service"))
        | states("needs.service", needed_by=("deep.service", "some.target"))
        | states("part.service", "deep.service", "some.target")
        | states("idle.service", active="inactive")
    )
    assert said(plan(replaced("opt/base"), old=BASE, new=BASE, running=running)) == [
        "restart base.service: opt/base, named by ExecStart=, changed",
        "restart needs.service: it goes down with base.service",
        "restart part.service: it goes down with base.service",
        "restart deep.service: it goes down with needs.service",
    ]


def test_what_a_stop_takes_down_comes_back_where_it_can_and_is_told_of_where_not() -> None:
    running = (
        states("base.service", needed_by=("needs.service",), followed_by=("part.service",))
        | states("needs.service")
        | states("part.service", needed_by=("on-part.service",))
        | states("on-part.service")
    )
    removed = Changes(removed=frozenset({f"{SYSTEM}/base.service"}))
    result = plan(removed, old=BASE, new=NOTHING, running=running)
    assert said(result) == [
        f"stop base.service: {SYSTEM}/base.service is removed",
        "stop needs.service: it needs base.service, which stops",
        "start part.service: it went down with base.service",
        "start on-part.service: it went down with part.service",
    ]
    assert result.notes == ("needs.service needs base.service and stops with it",)


def test_a_need_that_goes_with_the_unit_is_none_any_more() -> None:
    """[Install] RequiredBy= made the target need it: without the symlink the target comes back."""
    running = states("base.service", needed_by=("some.target",)) | states("some.target")
    link = f"{SYSTEM}/some.target.requires/base.service"
    removed = Changes(removed=frozenset({f"{SYSTEM}/base.service", link}))
    assert said(plan(removed, old=BASE, new=NOTHING, running=running)) == [
        f"stop base.service: {SYSTEM}/base.service is removed",
        "start some.target: it went down with base.service",
    ]


def test_dependants_are_asked_for_until_all_are_known_and_a_circle_ends() -> None:
    known = states("a.service", needed_by=("b.service",))
    assert dependants.unknown(["a.service"], known) == ("b.service",)
    known |= states("b.service", needed_by=("a.service", "c.service"))
    assert dependants.unknown(["a.service"], known) == ("c.service",)
    known |= states("c.service", active="inactive", needed_by=("d.service",))
    assert dependants.unknown(["a.service"], known) == ()
    assert [d.unit for d in dependants.dependants(["a.service"], known)] == ["b.service"]


def test_a_changed_socket_of_the_host_takes_the_service_that_it_triggers_with_it() -> None:
    path = f"{SYSTEM}/ssh.socket.d/port.conf"
    running = states("ssh.socket", triggers=("sshd.service",)) | states("sshd.service", main_pid=7)
    new = UnitSet(texts={path: "[Socket]\nListenStream=2222\n"})
    changed = Changes(created=frozenset({path}))
    assert said(plan(changed, old=NOTHING, new=new, running=running)) == [
        "restart sshd.service: its ssh.socket restarts",
        "restart ssh.socket: etc/systemd/system/ssh.socket.d/port.conf is new",
    ]


FILE = Entry(kind=Kind.FILE, mode=0o644, digest=of(b"x"), size=1)


def step(path: str, old: Entry | None, new: Entry | None) -> Step:
    action = Action.CREATE if old is None else Action.REMOVE if new is None else Action.REPLACE
    return Step(action=action, path=path, old=old, new=new)


@pytest.mark.parametrize(
    ("line", "steps", "expected"),
    [
        ("ConditionPathExists=/etc/x", [step("etc/x", None, FILE)], True),
        ("ConditionPathExists=!/etc/x", [step("etc/x", FILE, None)], True),
        ("AssertPathExists=|/etc/x", [step("etc/x", None, FILE)], True),
        ("ConditionPathExists=/etc/x", [step("etc/x", FILE, msgspec.structs.replace(FILE, size=2))], False),
        ("ConditionPathExists=/etc/x", [step("etc/xy", None, FILE)], False),
        ("ConditionPathExists=/lib/x", [step("usr/lib/x", None, FILE)], True),
        ("ConditionPathExists=%E/%p.conf", [step("etc/a.conf", None, FILE)], True),
        ("ConditionPathExistsGlob=/etc/x/*.conf", [step("etc/x/a.conf", None, FILE)], True),
        ("ConditionPathExistsGlob=/etc/x/*.conf", [step("etc/x/a.conf", FILE, FILE)], False),
        ("ConditionPathExistsGlob=/etc/*.conf", [step("etc/x/a.conf", None, FILE)], False),
        ("ConditionDirectoryNotEmpty=/etc/x", [step("etc/x/a", None, FILE)], True),
        ("ConditionDirectoryNotEmpty=/etc/x", [step("etc/x/a/b", None, FILE)], False),
        ("ConditionFileNotEmpty=/etc/x", [step("etc/x", msgspec.structs.replace(FILE, size=0), FILE)], True),
        ("ConditionFileNotEmpty=/etc/x", [step("etc/x", FILE, FILE)], False),
        ("ConditionFileIsExecutable=/etc/x", [step("etc/x", FILE, msgspec.structs.replace(FILE, mode=0o755))], True),
        ("ConditionPathIsSymbolicLink=/etc/x", [step("etc/x", FILE, Entry(kind=Kind.SYMLINK, mode=0o777))], True),
        ("ConditionPathIsDirectory=/etc/x", [step("etc/x", None, Entry(kind=Kind.DIR, mode=0o755))], True),
        ("ConditionHost=/etc/x", [step("etc/x", None, FILE)], False),
        ("RequiresMountsFor=/etc/x", [step("etc/x", None, FILE)], False),
    ],
)
def test_a_condition_on_a_path_differs_where_a_step_makes_it(line: str, steps: list[Step], expected: bool) -> None:
    assert bool(differing("a@b.service", unitfile.parse("[Unit]\n" + line), steps)) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ConditionPathExists=/etc/gate", True),
        ("ConditionPathIsSymbolicLink=/etc/gate", False),
        ("ConditionPathExists=/opt/v1/gate", True),
        ("ConditionPathExists=/etc/other", False),
    ],
)
def test_a_condition_looks_behind_links(line: str, expected: bool) -> None:
    steps, links = [step("opt/v1/gate", None, FILE)], {"etc/gate": "opt/current/gate", "opt/current": "opt/v1"}
    assert bool(differing("a.service", unitfile.parse("[Unit]\n" + line), steps, links)) is expected


GATED = UnitSet(
    texts={f"{SYSTEM}/gated.service": "[Unit]\nConditionPathExists=/etc/gate\n[Service]\nExecStart=/opt/g\n"},
    wanted=("gated.service",),
)
OPENS = changes_of([step("etc/gate", None, FILE)])


def test_a_unit_whose_condition_kept_it_down_is_started_when_the_condition_says_something_else() -> None:
    skipped = {"gated.service": state("gated.service", active="inactive", condition=False)}
    assert said(plan(OPENS, old=GATED, new=GATED, running=skipped)) == [
        "start gated.service: ConditionPathExists=/etc/gate says something else now"
    ]
    disabled = plan(OPENS, old=GATED, new=GATED, running=skipped, disabled=frozenset({"gated.service"}))
    assert disabled.actions == (), "an administrator disabled it"
    stopped = states("gated.service", active="inactive")
    assert plan(OPENS, old=GATED, new=GATED, running=stopped).actions == (), "an administrator stopped it"


def test_a_running_unit_whose_condition_says_something_else_restarts() -> None:
    closes = changes_of([step("etc/gate", FILE, None)])
    assert said(plan(closes, old=GATED, new=GATED, running=states("gated.service"))) == [
        "restart gated.service: ConditionPathExists=/etc/gate says something else now"
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("boot/vmlinuz-6.1", "boot/vmlinuz-6.1, the kernel, changed"),
        ("usr/lib/modules/6.1/vmlinuz", "usr/lib/modules/6.1/vmlinuz, the kernel, changed"),
        ("boot/initrd.img-6.1", "boot/initrd.img-6.1, the initial file system, changed"),
        ("boot/loader/entries/a.conf", "boot/loader/entries/a.conf, the boot loader's configuration, changed"),
        ("etc/systemd/system.conf.d/a.conf", "etc/systemd/system.conf.d/a.conf, PID 1's configuration, changed"),
    ],
)
def test_what_only_a_boot_brings_into_effect_is_said(path: str, expected: str) -> None:
    assert reboot_reasons(replaced(path), {}) == (expected,)


def test_what_needs_no_boot_asks_for_none() -> None:
    assert reboot_reasons(replaced("etc/fstab", "usr/lib/modules/6.1/x.ko", *THREE), {"a.service": ("x",)}) == ()
