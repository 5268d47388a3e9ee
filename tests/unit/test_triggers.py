# SPDX-License-Identifier: Apache-2.0
"""The table of triggers, row by row: what runs, in which order, and what going back makes of it."""

from typing import Any

import msgspec
import pytest

from ashore.nouns.files import Entry, Kind
from ashore.nouns.owners import Owners
from ashore.nouns.plan import Action, Step
from ashore.nouns.triggers import Setting, Trigger, Undo, When
from ashore.rules import firmware
from ashore.rules.bundles.bundle import is_text
from ashore.rules.triggers import kinds, sysctl
from ashore.rules.triggers.ground import Ground
from ashore.rules.triggers.kinds import kind_of
from ashore.rules.triggers.sysusers import newcomers, settled, stand_in, with_newcomers
from ashore.rules.triggers.table import PROGRAMS, Triggers, plan_triggers
from ashore.rules.triggers.tmpfiles import made_by
from ashore.rules.units.changes import Changes, changes_of

ALL = {name: f"/usr/bin/{name}" for name in PROGRAMS}
LIVE = Ground(changes=Changes(), live=True, root="/", programs=ALL, settable=True, loads_modules=True, runs_udev=True)


def planned(changes: Changes, ground: Ground = LIVE, **known: Any) -> Triggers:
    return plan_triggers(msgspec.structs.replace(ground, changes=changes, **known))


def one(changes: Changes, ground: Ground = LIVE, **known: Any) -> Trigger:
    (trigger,) = planned(changes, ground, **known).triggers
    return trigger


def created(*paths: str) -> Changes:
    return Changes(created=frozenset(paths))


def removed(*paths: str) -> Changes:
    return Changes(removed=frozenset(paths))


def lines(commands: object) -> list[str]:
    assert isinstance(commands, tuple)
    return [" ".join(command.argv).removeprefix("/usr/bin/") for command in commands]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("etc/sysusers.d/a.conf", "sysusers"),
        ("usr/lib/sysctl.d/a.conf", "sysctl"),
        ("lib/sysctl.d/a.conf", "sysctl"),
        ("etc/sysctl.conf", "sysctl"),
        ("usr/local/lib/tmpfiles.d/a.conf", "tmpfiles"),
        ("etc/modules-load.d/a.conf", "modules"),
        ("etc/udev/rules.d/a.rules", "udev"),
        ("usr/lib/udev/hwdb.d/a.hwdb", "hwdb"),
        ("etc/ld.so.conf.d/a.conf", "ldconfig"),
        ("usr/local/share/ca-certificates/deep/a.crt", "certificates"),
        ("etc/ssl/certs/a.pem", "certificates"),
        ("etc/pki/trust/anchors/a.crt", "certificates"),
        ("etc/pki/ca-trust/source/anchors/a.pem", "trust"),
        ("etc/ca-certificates/trust-source/anchors/a.crt", "trust"),
        ("usr/lib/modules/6.1.0/extra/a.ko", "depmod"),
        ("lib/modules/6.1.0/updates/dkms/a.ko.xz", "depmod"),
        ("usr/lib/firmware/vendor/a.bin", "firmware"),
        ("etc/sysctl.d/README", None),
        ("etc/sysctl.d/deep/a.conf", None),
        ("srv/etc/sysctl.d/a.conf", None),
        ("usr/share/ca-certificates/README", None),
        ("usr/lib/modules/6.1.0/modules.dep", None),
        ("etc/motd", None),
    ],
)
def test_which_path_sets_off_what(path: str, kind: str | None) -> None:
    assert kind_of(path) == kind


def test_what_nobody_reacts_to_sets_off_nothing_and_keeps_the_record() -> None:
    found = planned(created("etc/motd"), settings={"proc/sys/a": "1"}, made={"etc/x": "hwdb"})
    assert found == Triggers(settings={"proc/sys/a": "1"}, made={"etc/x": "hwdb"})


def test_they_run_in_this_order_users_first_and_settings_after_the_modules_that_bring_them() -> None:
    paths = (
        *("etc/sysusers.d/a.conf", "etc/sysctl.d/a.conf", "etc/modules-load.d/a.conf", "etc/udev/rules.d/a.rules"),
        *("etc/udev/hwdb.d/a.hwdb", "etc/tmpfiles.d/a.conf", "etc/ld.so.conf.d/a.conf", "etc/ssl/certs/a.pem"),
        *("usr/lib/modules/6/a.ko", "etc/pki/ca-trust/source/a.pem"),
    )
    found = planned(created(*paths), new=dict.fromkeys(paths, "")).triggers
    assert [trigger.kind for trigger in found] == [
        *("sysusers", "ldconfig", "depmod", "modules", "sysctl", "hwdb", "udev", "tmpfiles", "certificates", "trust")
    ]
    assert [trigger.when for trigger in found] == [When.EARLY] + [When.AFTER] * 9


def test_a_mode_that_changes_sets_off_nothing() -> None:
    entry = Entry(kind=Kind.FILE, mode=0o644)
    step = Step(
        action=Action.REPLACE, path="etc/sysctl.d/a.conf", old=entry, new=msgspec.structs.replace(entry, mode=0o600)
    )
    assert planned(changes_of([step])).triggers == ()


USERS = 'u app - "App" /var/lib/app\nu web 987:www\ng extra -\nm app video\n# u no\nu %m -\n'


def test_users_are_made_before_files_are_placed_and_stay() -> None:
    path = "usr/lib/sysusers.d/app.conf"
    trigger = one(created(path), new={path: USERS}, new_users=("user app",))
    assert (trigger.when, trigger.undo) == (When.EARLY, Undo.LASTING)
    assert lines(trigger.run) == ["systemd-sysusers -"] and trigger.run[0].stdin == USERS
    assert (trigger.effects, trigger.back) == (("user app is made, and stays",), ())


def test_users_of_an_offline_root_are_made_from_outside() -> None:
    path = "usr/lib/sysusers.d/app.conf"
    offline = msgspec.structs.replace(LIVE, live=False, root="/mnt/host")
    trigger = one(created(path), offline, new={path: USERS})
    assert (trigger.when, lines(trigger.run)) == (When.EARLY, ["systemd-sysusers --root=/mnt/host -"])
    assert one(created(path), offline, new={path: USERS}, may_own=False).when is When.BOOT


def test_users_that_somebody_deleted_are_made_again_though_their_file_did_not_change() -> None:
    path = "usr/lib/sysusers.d/app.conf"
    trigger = one(Changes(), new={path: USERS}, new_users=("user app",))
    assert trigger.reason == "users that files belong to are missing"
    assert planned(removed(path)).triggers == ()


def test_the_users_and_groups_of_a_file() -> None:
    made = newcomers(USERS)
    assert made.users == {"app", "web"}
    assert made.groups == {"app", "extra", "video"}


def test_a_new_user_has_a_number_that_no_file_system_knows_until_it_is_made() -> None:
    owners = with_newcomers(Owners(users={"root": 0, "web": 33}), [USERS])
    assert owners.user("web") == 33
    number = owners.user("app")
    assert number is not None and number < -1 and number != owners.group("app")
    entry = Entry(kind=Kind.FILE, mode=0o600, uid=number, gid=0)
    assert settled(entry, {stand_in("user", "app"): 990}).uid == 990


def test_module_lists_load_and_stay_loaded() -> None:
    path = "etc/modules-load.d/net.conf"
    trigger = one(created(path), new={path: "# for bridges\nbr_netfilter\n\noverlay\n"})
    assert (trigger.undo, lines(trigger.run), trigger.back) == (
        Undo.LASTING, [f"systemd-modules-load /{path}"], (),
    )  # fmt: skip
    assert trigger.effects[0] == "br_netfilter is loaded, and stays so until the next boot"
    assert one(created(path), new={path: "x\n"}, loads_modules=False).when is When.NEVER
    assert planned(removed(path)).triggers == ()


FORWARD, FILTER = "proc/sys/net/ipv4/ip_forward", "proc/sys/net/ipv4/conf/all/rp_filter"
FILE = "etc/sysctl.d/app.conf"


def test_a_kernel_setting_is_applied_by_the_hosts_own_program_and_its_old_value_is_known() -> None:
    found = planned(created(FILE), new={FILE: "net.ipv4.ip_forward = 1\n"}, values={FORWARD: "0"})
    (trigger,) = found.triggers
    assert (trigger.undo, lines(trigger.run)) == (Undo.REVERSIBLE, ["systemd-sysctl --prefix=net/ipv4/ip_forward"])
    assert (trigger.sets, trigger.before) == ((), (Setting(FORWARD, "0"),))
    assert trigger.effects == ("net.ipv4.ip_forward = 1 (now 0)",)
    assert found.settings == {FORWARD: "0"}


def test_a_setting_that_nobody_sets_any_more_gets_the_value_from_before_ashore() -> None:
    old = {FILE: "net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.rp_filter = 2\n"}
    known: Any = {"values": {FORWARD: "1", FILTER: "2"}, "settings": {FORWARD: "0", FILTER: "1"}, "old": old}
    found = planned(removed(FILE), **known)
    assert found.triggers[0].sets == (Setting(FILTER, "1"), Setting(FORWARD, "0"))
    assert found.triggers[0].before == (Setting(FILTER, "2"), Setting(FORWARD, "1"))
    assert found.settings == {}
    fewer = planned(Changes(replaced=frozenset({FILE})), new={FILE: "net.ipv4.ip_forward = 1\n"}, **known)
    assert fewer.triggers[0].sets == (Setting(FILTER, "1"),)
    assert fewer.settings == {FORWARD: "0"}


def test_a_setting_that_somebody_changed_by_hand_meanwhile_is_left_alone() -> None:
    found = planned(
        removed(FILE), old={FILE: "net.ipv4.ip_forward = 1\n"}, values={FORWARD: "7"}, settings={FORWARD: "0"}
    )
    assert found.triggers[0].sets == ()
    assert found.triggers[0].effects == ("net.ipv4.ip_forward stays 7 until the next boot",)


def test_a_setting_that_another_bundle_still_sets_is_not_put_back() -> None:
    other = "etc/sysctl.d/other.conf"
    found = planned(
        removed(FILE),
        old={FILE: "net.ipv4.ip_forward=1\n", other: "net/ipv4/ip_forward=1\n"},
        new={other: "net/ipv4/ip_forward=1\n"},
        values={FORWARD: "1"},
        settings={FORWARD: "0"},
    )
    assert (found.triggers[0].sets, found.settings) == ((), {FORWARD: "0"})


def test_what_a_bundle_had_set_before_anybody_looked_is_not_taken_for_the_hosts_own_value() -> None:
    """Installed on an offline root, booted, and changed now."""
    found = planned(
        Changes(replaced=frozenset({FILE})),
        old={FILE: "net.ipv4.ip_forward=1\n"},
        new={FILE: "net.ipv4.ip_forward=2\n"},
        values={FORWARD: "1"},
    )
    assert found.settings == {}


def test_settings_that_cannot_be_written_are_said_and_not_recorded() -> None:
    known: Any = {"new": {FILE: "net.ipv4.ip_forward=1\n"}, "values": {FORWARD: "0"}}
    found = planned(created(FILE), settable=False, **known)
    assert found.triggers[0].when is When.NEVER and found.settings == {}
    offline = planned(created(FILE), msgspec.structs.replace(LIVE, live=False), **known)
    assert offline.triggers[0].when is When.BOOT and offline.settings == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("net.ipv4.ip_forward = 1", {FORWARD: "1"}),
        ("net/ipv4/ip_forward=1", {FORWARD: "1"}),
        ("-net.ipv4.ip_forward=1", {FORWARD: "1"}),
        ("net.ipv4.conf.eth0/100.rp_filter=2", {"proc/sys/net/ipv4/conf/eth0.100/rp_filter": "2"}),
        ("net/ipv4/conf/eth0.100/rp_filter=2", {"proc/sys/net/ipv4/conf/eth0.100/rp_filter": "2"}),
        ("net.ipv4.tcp_rmem = 4096  87380\t6291456", {"proc/sys/net/ipv4/tcp_rmem": "4096 87380 6291456"}),
        ("net.ipv4.conf.*.rp_filter = 1", {"proc/sys/net/ipv4/conf/*/rp_filter": "1"}),
        ("-net.ipv4.conf.lo.rp_filter", {}),
        ("# net.ipv4.ip_forward = 1", {}),
        ("; net.ipv4.ip_forward = 1", {}),
        ("", {}),
    ],
)
def test_a_line_of_a_sysctl_file(line: str, expected: dict[str, str]) -> None:
    assert sysctl.assignments(line) == expected


def test_lines_that_set_nothing_are_told_by_number() -> None:
    text = "# x\nnet.core.somaxconn 6000\r\nvm.swappiness = 1\n-net.ipv4.conf.lo.rp_filter\n\n = 3\n-\n# a\u2028b\n"
    assert list(sysctl.faults(text)) == [
        (2, "'net.core.somaxconn 6000' has no =: it sets nothing"),
        (6, "'= 3' names no setting"),
        (7, "'-' names no setting"),
    ]


def test_a_setting_that_the_kernel_lacks_is_a_note_unless_its_line_says_that_it_may_lack_it() -> None:
    text = "net.core.nosuch = 1\nnet.core.nosuch = 2\n-net.core.other = 1\nnet.core.no*=1\nnet.ipv4.ip_forward = 1\n"
    known: Any = {"new": {FILE: text}, "values": {FORWARD: "0"}, "present": frozenset({FORWARD})}
    assert planned(created(FILE), **known).notes == (
        "etc/sysctl.d/app.conf sets net.core.nosuch, which this kernel does not have now",
    )
    offline = msgspec.structs.replace(LIVE, live=False)
    assert planned(created(FILE), offline, **known).notes == ()


def test_a_change_is_judged_by_its_own_files_without_those_that_somebody_spoilt() -> None:
    other, values = "etc/sysctl.d/other.conf", {FORWARD: "0"}
    new = {FILE: "net.ipv4.ip_forward = 1\n", other: "net.ipv4.ip_forward = 1\nkernel.foo bar\n"}
    (both,) = planned(created(FILE, other), new=new, values=values).triggers[0].run
    assert both.judged == (f"/{FILE}",)
    (gone,) = planned(removed(FILE), old=new, values=values).triggers[0].run
    assert gone.judged == ()


def test_a_glob_is_the_settings_that_it_names_and_a_plain_line_outweighs_it() -> None:
    glob = "proc/sys/net/ipv4/conf/*/rp_filter"
    named = {glob: ("proc/sys/net/ipv4/conf/lo/rp_filter", FILTER)}
    assert sysctl.expanded({glob: "1", FILTER: "2"}, named) == {
        "proc/sys/net/ipv4/conf/lo/rp_filter": "1",
        FILTER: "2",
    }
    assert sysctl.shown("proc/sys/net/ipv4/conf/eth0.100/rp_filter") == "net.ipv4.conf.eth0/100.rp_filter"


def test_a_derived_file_is_derived_again_in_both_directions() -> None:
    for path, command in (
        ("etc/ld.so.conf.d/a.conf", "ldconfig"),
        ("etc/ssl/certs/a.pem", "update-ca-certificates"),
        ("etc/pki/ca-trust/source/anchors/a.pem", "update-ca-trust extract"),
    ):
        for changes in (created(path), removed(path)):
            trigger = one(changes)
            assert (trigger.undo, lines(trigger.run), lines(trigger.back)) == (Undo.DERIVED, [command], [command])
            assert one(changes, msgspec.structs.replace(LIVE, live=False)).when is When.DUE


def test_a_store_of_certificates_starts_afresh_where_a_file_goes_in_either_direction() -> None:
    path, fresh = "usr/local/share/ca-certificates/a.crt", "update-ca-certificates --fresh"
    new, gone = one(created(path)), one(removed(path))
    assert (lines(new.run), lines(new.back)) == (["update-ca-certificates"], [fresh])
    assert (lines(gone.run), lines(gone.back)) == ([fresh], ["update-ca-certificates"])


def test_a_library_in_a_searched_folder_sets_off_the_linker_which_makes_its_name() -> None:
    library, link = "usr/local/lib/libx.so.1.2", "usr/local/lib/libx.so.1"
    found = planned(created(library), libraries=(library,), links=frozenset({link}))
    assert found.triggers[0].makes == (link,)
    assert found.made == {link: "ldconfig"}
    there = planned(created(library), libraries=(library,), links=frozenset({link}), present=frozenset({link}))
    assert there.triggers[0].makes == () and there.made == {}


def test_modules_of_a_kernel_are_indexed_and_what_depmod_makes_in_a_new_folder_is_known() -> None:
    path = "usr/lib/modules/6.1/extra/a.ko"
    made = Step(action=Action.MKDIR, path="usr/lib/modules/6.1", new=Entry(kind=Kind.DIR, mode=0o755))
    new = Changes(created=frozenset({path}), steps=(made,))
    trigger = one(new, releases=frozenset({"6.1"}))
    assert (lines(trigger.run), trigger.back) == (["depmod 6.1"], ())
    assert "usr/lib/modules/6.1/modules.dep" in trigger.makes
    there = frozenset({"usr/lib/modules/6.1", "usr/lib/modules/6.1/modules.dep"})
    trigger = one(created(path), releases=frozenset({"6.1"}), present=there)
    assert lines(trigger.back) == ["depmod 6.1"]
    assert "usr/lib/modules/6.1/modules.dep" not in trigger.makes
    gone = Step(action=Action.RMDIR, path="usr/lib/modules/6.1", old=made.new)
    trigger = one(Changes(removed=frozenset({path}), steps=(gone,)), present=there)
    assert (trigger.run, lines(trigger.back)) == ((), ["depmod 6.1"])


def test_a_module_that_is_loaded_is_said_to_need_a_boot() -> None:
    path = "usr/lib/modules/6.1/extra/a-b.ko.xz"
    found = planned(Changes(replaced=frozenset({path})), present=frozenset({"usr/lib/modules/6.1", "sys/module/a_b"}))
    assert found.reboot == (f"{path}, of the loaded module a_b, changed",)


def test_the_hardware_database_is_made_where_it_lies_and_one_of_our_own_goes_again() -> None:
    path = "etc/udev/hwdb.d/a.hwdb"
    usual = frozenset({"usr/lib/udev/hwdb.bin"})
    found = planned(created(path), new={path: ""}, present=usual)
    assert lines(found.triggers[0].run) == ["systemd-hwdb update --usr"]
    assert found.made == {}
    found = planned(created(path), new={path: ""})
    assert (lines(found.triggers[0].run), found.triggers[0].back) == (["systemd-hwdb update"], ())
    assert found.made == {"etc/udev/hwdb.bin": "hwdb"}
    gone = planned(removed(path, "etc/udev/hwdb.bin"), made=found.made, present=frozenset(found.made))
    assert (gone.triggers[0].run, gone.made) == ((), {})


def test_udev_reads_its_rules_and_present_devices_get_an_event() -> None:
    trigger = one(created("etc/udev/rules.d/a.rules"))
    assert [line.split()[1] for line in lines(trigger.run)] == ["control", "trigger", "settle"]
    assert trigger.back == trigger.run
    assert one(created("etc/udev/rules.d/a.rules"), runs_udev=False).when is When.NEVER


TMPFILES = "etc/tmpfiles.d/app.conf"
LINES = "d /var/lib/app/cache 0755 app app -\nL /etc/app/link - - - - /x\nf /var/lib/app/file\nd /run/%m\n"


def test_the_folders_and_links_of_tmpfiles_go_again_and_its_files_stay() -> None:
    assert made_by([LINES]) == (
        *("etc", "etc/app", "etc/app/link", "var", "var/lib", "var/lib/app", "var/lib/app/cache"),
    )  # fmt: skip


def test_tmpfiles_runs_for_the_changed_files_alone_and_going_back_for_the_old_ones() -> None:
    present = frozenset({"etc", "var", "var/lib"})
    found = planned(created(TMPFILES), new={TMPFILES: LINES}, present=present)
    (trigger,) = found.triggers
    assert (lines(trigger.run), trigger.back) == ([f"systemd-tmpfiles --create /{TMPFILES}"], ())
    assert trigger.makes == ("etc/app", "etc/app/link", "var/lib/app", "var/lib/app/cache")
    assert set(found.made) == set(trigger.makes)
    gone = planned(removed(TMPFILES), old={TMPFILES: LINES}, made=found.made, present=present | {*trigger.makes})
    (trigger,) = gone.triggers
    assert (trigger.run, lines(trigger.back)) == ((), [f"systemd-tmpfiles --create /{TMPFILES}"])
    assert trigger.clears == ("var/lib/app/cache", "var/lib/app", "etc/app/link", "etc/app")
    assert gone.made == {}


def test_firmware_in_its_place_runs_nothing_and_says_when_it_is_read() -> None:
    found = planned(created("usr/lib/firmware/a.bin"))
    assert found.triggers == ()
    assert "read when its driver asks for it" in found.notes[0]


def test_firmware_elsewhere_is_told_to_the_kernel_and_the_old_path_comes_back() -> None:
    path = firmware.setting_path("net")
    text = firmware.setting_text("var/lib/firmware")
    found = planned(created(path), new={path: text}, values={firmware.PARAMETER: ""})
    (trigger,) = found.triggers
    assert trigger.undo is Undo.REVERSIBLE
    assert trigger.sets == (Setting(firmware.PARAMETER, "/var/lib/firmware"),)
    assert trigger.before == (Setting(firmware.PARAMETER, ""),)
    assert found.settings == {firmware.PARAMETER: ""}
    gone = planned(
        removed(path), old={path: text}, values={firmware.PARAMETER: "/var/lib/firmware"}, settings=found.settings
    )
    assert gone.triggers[0].sets == (Setting(firmware.PARAMETER, ""),)
    assert gone.settings == {}


def test_where_firmware_goes() -> None:
    assert firmware.folder("") == "var/lib/firmware"
    assert firmware.folder("/opt/fw\n") == "opt/fw"
    assert firmware.moved("usr/lib/firmware/v/a.bin", "opt/fw") == "opt/fw/v/a.bin"
    assert firmware.moved("usr/lib/firmwares/a.bin", "opt/fw") == "usr/lib/firmwares/a.bin"


def test_a_program_that_the_host_lacks_runs_never_and_makes_nothing() -> None:
    found = planned(created("etc/udev/hwdb.d/a.hwdb"), new={"etc/udev/hwdb.d/a.hwdb": ""}, programs={})
    assert [(t.kind, t.when, t.effects) for t in found.triggers] == [
        ("hwdb", When.NEVER, ("there is no systemd-hwdb here",)),
        ("udev", When.NEVER, ("there is no udevadm here",)),
    ]
    assert found.made == {}


@pytest.mark.parametrize("kind", kinds.SPEAKING)
def test_what_speaking_kinds_go_by_is_read(kind: kinds.Kind) -> None:
    """`is_text` tells paths apart by how they end, before it asks of which kind they are."""
    folder, suffix = kinds._DROP_INS.get(kind, ("", ""))
    named = [f"etc/{folder}/x{suffix}"] if folder else []
    named += [pattern.replace("*", "x") for pattern in kinds._PATTERNS.get(kind, ())]
    assert named
    for path in named:
        assert kinds.kind_of(path) is kind
        assert is_text(path, Entry(kind=Kind.FILE, mode=0o644), None)
