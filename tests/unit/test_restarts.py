# SPDX-License-Identifier: Apache-2.0
from unittest.mock import Mock

import msgspec
import pytest

from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.plan import Action, Step
from ashore.nouns.units import HostUnits, UnitState
from ashore.rules.units import unitfile
from ashore.rules.units.changes import Changes, changes_of
from ashore.rules.units.enablement import unit_of
from ashore.rules.units.reasons import Reaction
from ashore.rules.units.restarts import concerned, plan_units, reasons_of
from ashore.rules.units.situation import Situation, UnitPlan, UnitSet
from ashore.rules.units.unitpaths import Changed, named_paths, own_paths

SYSTEM = "etc/systemd/system"
KUBELET = "[Service]\nExecStart=/opt/bin/kubelet --config=/etc/kubernetes/kubelet.yaml\n"
PROXY = "[Service]\nExecStart=/opt/bin/kube-proxy\nEnvironmentFile=-/etc/proxy.env\n"
FLANNEL = "[Service]\nExecStart=/opt/bin/flanneld\n"
THREE = {
    f"{SYSTEM}/kubelet.service": KUBELET,
    f"{SYSTEM}/proxy.service": PROXY,
    f"{SYSTEM}/flannel.service": FLANNEL,
}
ALL = ("flannel.service", "kubelet.service", "proxy.service")
WORKER = UnitSet(texts=THREE, wanted=ALL)


def state(unit: str, active: str = "active", **fields: object) -> UnitState:
    return msgspec.convert(
        {"name": unit, "load": "loaded", "active": active, "type": "simple", "can_reload": False} | fields, UnitState
    )


def states(*units: str, **fields: object) -> dict[str, UnitState]:
    return {unit: state(unit, **fields) for unit in units}  # type: ignore[arg-type]


def replaced(*paths: str) -> Changes:
    return Changes(replaced=frozenset(paths))


def plan(
    changes: Changes,
    *,
    old: UnitSet = WORKER,
    new: UnitSet = WORKER,
    running: dict[str, UnitState] | None = None,
    reactions: dict[str, Reaction] | None = None,
    disabled: frozenset[str] = frozenset(),
    host: HostUnits | None = None,
) -> UnitPlan:
    known = states(*ALL) if running is None else running
    situation = Situation(
        changes=changes, old=old, new=new, reactions=reactions or {}, disabled=disabled, host=host or HostUnits()
    )
    return plan_units(situation, reasons_of(situation), known)


def said(result: UnitPlan) -> list[str]:
    return [f"{a.verb} {a.unit}: {a.reason}" for a in (*result.stops, *result.actions)]


def test_nothing_changed_means_nothing_to_do() -> None:
    assert plan(Changes()) == UnitPlan()


@pytest.mark.parametrize(
    ("path", "expected", "reload"),
    [
        (f"{SYSTEM}/kubelet.service", f"restart kubelet.service: {SYSTEM}/kubelet.service changed", True),
        (
            f"{SYSTEM}/kubelet.service.d/10.conf",
            f"restart kubelet.service: {SYSTEM}/kubelet.service.d/10.conf changed",
            True,
        ),
        ("opt/bin/kubelet", "restart kubelet.service: opt/bin/kubelet, named by ExecStart=, changed", False),
        (
            "etc/kubernetes/kubelet.yaml",
            "restart kubelet.service: etc/kubernetes/kubelet.yaml, named by ExecStart=, changed",
            False,
        ),
        ("etc/proxy.env", "restart proxy.service: etc/proxy.env, named by EnvironmentFile=, changed", False),
    ],
)
def test_one_file_of_one_of_three_services_changed_means_one_restart(path: str, expected: str, reload: bool) -> None:
    result = plan(replaced(path))
    assert said(result) == [expected]
    assert result.daemon_reload is reload


def test_several_reasons_are_one_restart() -> None:
    result = plan(replaced("opt/bin/kubelet", "etc/kubernetes/kubelet.yaml"))
    assert said(result) == [
        "restart kubelet.service: etc/kubernetes/kubelet.yaml, named by ExecStart=, changed (and 1 more)"
    ]


def test_a_file_that_no_unit_names_restarts_nothing() -> None:
    assert plan(replaced("etc/motd", "opt/bin/kubeletter", f"{SYSTEM}/README")).actions == ()


def test_a_first_install_starts_what_is_enabled_and_reloads() -> None:
    result = plan(Changes(created=frozenset(THREE)), old=UnitSet(), running={})
    assert said(result) == [f"start {unit}: newly enabled" for unit in ALL]
    assert result.daemon_reload


def test_a_removal_stops_what_runs_before_the_files_go() -> None:
    running = states("kubelet.service") | states("proxy.service", active="inactive")
    result = plan(Changes(removed=frozenset(THREE)), new=UnitSet(), running=running)
    assert said(result) == [f"stop kubelet.service: {SYSTEM}/kubelet.service is removed"]
    assert result.daemon_reload


def test_a_unit_that_is_given_back_to_its_former_owner_is_not_stopped() -> None:
    path = f"{SYSTEM}/kubelet.service"
    result = plan(replaced(path), old=UnitSet(texts={path: ""}, wanted=("kubelet.service",)), new=UnitSet())
    assert said(result) == [f"restart kubelet.service: {path} changed"]


def test_a_unit_that_moves_to_another_folder_is_restarted_and_not_stopped() -> None:
    moved = {"usr/lib/systemd/system/kubelet.service": KUBELET}
    changes = Changes(created=frozenset(moved), removed=frozenset({f"{SYSTEM}/kubelet.service"}))
    old = UnitSet(texts={f"{SYSTEM}/kubelet.service": ""}, wanted=("kubelet.service",))
    result = plan(changes, old=old, new=UnitSet(texts=moved, wanted=("kubelet.service",)))
    assert result.stops == ()
    assert [a.verb for a in result.actions] == ["restart"]


def test_a_unit_that_is_no_longer_enabled_is_stopped_unless_another_pulls_it_in() -> None:
    fewer = UnitSet(texts=THREE, wanted=("kubelet.service",))
    assert said(plan(Changes(), new=fewer)) == [
        "stop flannel.service: no bundle enables it any more",
        "stop proxy.service: no bundle enables it any more",
    ]
    pulled = THREE | {f"{SYSTEM}/kubelet.service": "[Unit]\nWants=proxy.service flannel.service\n"}
    assert plan(Changes(), new=UnitSet(texts=pulled, wanted=("kubelet.service",))).stops == ()


def test_a_foreign_unit_that_a_bundle_enabled_keeps_running_when_the_bundle_goes() -> None:
    assert (
        plan(Changes(), old=UnitSet(wanted=("ssh.service",)), new=UnitSet(), running=states("ssh.service"))
        == UnitPlan()
    )


def test_what_an_administrator_stopped_is_not_started_by_an_upgrade() -> None:
    assert plan(replaced("opt/bin/kubelet"), running=states(*ALL, active="inactive")).actions == ()


def test_what_had_failed_is_started_when_it_changes_and_only_then() -> None:
    failed = states(*ALL, active="failed")
    assert said(plan(replaced("opt/bin/kubelet"), running=failed)) == [
        "start kubelet.service: opt/bin/kubelet, named by ExecStart=, changed, and it had failed"
    ]


def test_a_flapping_unit_counts_as_running() -> None:
    running = states("kubelet.service", active="activating", sub="auto-restart")
    assert [a.verb for a in plan(replaced("opt/bin/kubelet"), running=running).actions] == ["restart"]


def test_a_oneshot_at_work_is_not_broken_off() -> None:
    running = states("kubelet.service", active="activating", type="oneshot")
    assert plan(replaced("opt/bin/kubelet"), running=running).actions == ()


def test_a_masked_unit_is_left_alone_with_a_note() -> None:
    masked = states("kubelet.service", active="inactive", load="masked")
    result = plan(Changes(created=frozenset(THREE)), old=UnitSet(), running=masked)
    assert [a.unit for a in result.actions] == ["flannel.service", "proxy.service"]
    assert result.notes == ("kubelet.service is masked on this host and stays so: it is not started",)


def test_a_disabled_unit_is_not_started_but_restarted_while_it_runs() -> None:
    disabled = frozenset({"kubelet.service"})
    idle = plan(replaced("opt/bin/kubelet"), running=states("kubelet.service", active="failed"), disabled=disabled)
    assert idle.actions == ()
    assert idle.notes == ("kubelet.service was disabled by an administrator and stays so",)
    assert [a.verb for a in plan(replaced("opt/bin/kubelet"), disabled=disabled).actions] == ["restart"]


@pytest.mark.parametrize(
    ("can_reload", "expected"),
    [
        (True, "reload ssh.service: etc/ssh/sshd_config changed"),
        (False, "restart ssh.service: etc/ssh/sshd_config changed, and it cannot reload"),
    ],
)
def test_a_declared_reload_is_a_reload_where_the_unit_can(can_reload: bool, expected: str) -> None:
    result = plan(
        replaced("etc/ssh/sshd_config"),
        running=states("ssh.service", can_reload=can_reload),
        reactions={"etc/ssh/sshd_config": Reaction(reload=("ssh.service",))},
    )
    assert said(result) == [expected]


def test_a_declared_reaction_to_a_file_that_did_not_change_does_nothing() -> None:
    reactions = {"etc/x": Reaction(reload=("ssh.service",), restart=("ssh.service",))}
    assert plan(replaced("etc/y"), running=states("ssh.service"), reactions=reactions) == UnitPlan()


def test_a_declared_reload_replaces_the_restart_for_a_file_that_the_unit_names() -> None:
    path = "etc/kubernetes/kubelet.yaml"
    running = states("kubelet.service", can_reload=True)
    reactions = {path: Reaction(reload=("kubelet.service",))}
    assert said(plan(replaced(path), running=running, reactions=reactions)) == [
        f"reload kubelet.service: {path} changed"
    ]


def test_a_declared_restart_is_one() -> None:
    reactions = {"etc/ssl/ca.pem": Reaction(restart=("kubelet.service",))}
    assert said(plan(replaced("etc/ssl/ca.pem"), reactions=reactions)) == [
        "restart kubelet.service: etc/ssl/ca.pem changed"
    ]


def test_a_drop_in_for_a_foreign_unit_restarts_it_while_it_runs() -> None:
    path = f"{SYSTEM}/docker.service.d/10.conf"
    new = UnitSet(texts={path: "[Service]\nEnvironment=A=b\n"})
    changes = Changes(created=frozenset({path}))
    assert said(plan(changes, old=UnitSet(), new=new, running=states("docker.service"))) == [
        f"restart docker.service: {path} is new"
    ]
    removed = Changes(removed=frozenset({path}))
    assert said(plan(removed, old=new, new=UnitSet(), running=states("docker.service"))) == [
        f"restart docker.service: {path} is removed"
    ]


def test_the_message_bus_is_not_restarted_under_a_running_host() -> None:
    path = f"{SYSTEM}/dbus.service.d/10.conf"
    result = plan(
        replaced(path), new=UnitSet(texts={path: ""}), old=UnitSet(texts={path: ""}), running=states("dbus.service")
    )
    assert result.actions == ()
    assert "next boot" in result.notes[0]


def test_a_changed_socket_restarts_with_its_service() -> None:
    texts = {
        f"{SYSTEM}/a.socket": "[Socket]\nListenStream=1\n",
        f"{SYSTEM}/a.service": "[Service]\nExecStart=/opt/bin/a\n",
    }
    both = UnitSet(texts=texts, wanted=("a.socket",))
    changed = replaced(f"{SYSTEM}/a.socket")
    assert said(plan(changed, old=both, new=both, running=states("a.socket", "a.service"))) == [
        "restart a.service: its a.socket restarts",
        f"restart a.socket: {SYSTEM}/a.socket changed",
    ]
    idle = states("a.socket") | states("a.service", active="inactive")
    assert [a.unit for a in plan(changed, old=both, new=both, running=idle).actions] == ["a.socket"]
    binary = plan(replaced("opt/bin/a"), old=both, new=both, running=states("a.socket", "a.service"))
    assert [a.unit for a in binary.actions] == ["a.service"]


@pytest.mark.parametrize("socket", ["a-ro.socket", "z.socket"])
def test_a_socket_starts_before_its_service_and_restarts_after_it(socket: str) -> None:
    texts = {
        f"{SYSTEM}/{socket}": "[Socket]\nListenStream=1\nService=m.service\n",
        f"{SYSTEM}/m.service": "[Service]\nExecStart=/opt/bin/m\n",
    }
    both = UnitSet(texts=texts, wanted=(socket, "m.service"))
    first = plan(Changes(created=frozenset(texts)), old=UnitSet(), new=both, running={})
    assert [a.unit for a in first.actions] == [socket, "m.service"]
    running = states(socket, "m.service")
    again = plan(replaced(f"{SYSTEM}/{socket}"), old=both, new=both, running=running)
    assert [a.unit for a in again.actions] == ["m.service", socket]


ACCEPTING = {
    f"{SYSTEM}/acc.socket": "[Socket]\nListenStream=7\nAccept=yes\n",
    f"{SYSTEM}/acc@.service": "[Service]\nExecStart=/opt/bin/acc\nStandardInput=socket\n",
}
CONNECTION = "acc@0-127.0.0.1:7777-127.0.0.1:36414.service"


@pytest.mark.parametrize("path", [f"{SYSTEM}/acc@.service", "opt/bin/acc", f"{SYSTEM}/acc.socket", "usr/lib/libx.so"])
def test_what_serves_a_connection_is_not_restarted(path: str) -> None:
    units = UnitSet(texts=ACCEPTING, wanted=("acc.socket",))
    host = HostUnits(listed=("acc.socket", CONNECTION), mapped={CONNECTION: ("usr/lib/libx.so",)})
    running = states("acc.socket", triggers=(CONNECTION,)) | states(CONNECTION, main_pid=7)
    expected = ["acc.socket"] if path.endswith(".socket") else []
    assert [a.unit for a in plan(replaced(path), old=units, new=units, running=running, host=host).actions] == expected


def test_what_served_a_connection_until_now_is_not_restarted_either() -> None:
    path = f"{SYSTEM}/acc.socket"
    new = UnitSet(
        texts={**ACCEPTING, path: "[Socket]\nListenStream=7\nService=acc@x.service\n"}, wanted=("acc.socket",)
    )
    host = HostUnits(listed=("acc.socket", CONNECTION), texts=ACCEPTING)
    changes = replaced(path, f"{SYSTEM}/acc@.service")
    running = states("acc.socket", CONNECTION)
    assert [a.unit for a in plan(changes, old=new, new=new, running=running, host=host).actions] == ["acc.socket"]


def test_a_connection_that_goes_down_with_a_unit_cannot_be_brought_back() -> None:
    units = UnitSet(texts={**THREE, **ACCEPTING}, wanted=("acc.socket", *ALL))
    running = states("acc.socket", CONNECTION) | states("kubelet.service", needed_by=(CONNECTION,))
    result = plan(replaced("opt/bin/kubelet"), old=units, new=units, running=running)
    assert [a.unit for a in result.actions] == ["kubelet.service"]


def test_an_instance_beside_a_socket_that_does_not_accept_restarts() -> None:
    texts = {**ACCEPTING, f"{SYSTEM}/acc.socket": "[Socket]\nAccept=no\nService=acc@x.service\n"}
    units = UnitSet(texts=texts, wanted=("acc.socket",))
    running = states("acc.socket", triggers=("acc@x.service",)) | states("acc@x.service")
    host = HostUnits(listed=("acc.socket", "acc@x.service"))
    result = plan(replaced("opt/bin/acc"), old=units, new=units, running=running, host=host)
    assert [a.unit for a in result.actions] == ["acc@x.service"]


def test_a_declared_reload_is_enough_for_a_unit_file_as_well() -> None:
    path = f"{SYSTEM}/kubelet.service"
    reactions = {path: Reaction(reload=("kubelet.service",))}
    running = states("kubelet.service", can_reload=True)
    result = plan(replaced(path), running=running, reactions=reactions)
    assert (said(result), result.daemon_reload) == ([f"reload kubelet.service: {path} changed"], True)
    both = plan(replaced(path, f"{path}.d/x.conf"), running=running, reactions=reactions)
    assert said(both) == [f"restart kubelet.service: {path}.d/x.conf changed"]


def test_a_timer_is_started_and_its_service_is_not() -> None:
    texts = {f"{SYSTEM}/a.timer": "[Timer]\nOnCalendar=daily\n", f"{SYSTEM}/a.service": "[Service]\nType=oneshot\n"}
    new = UnitSet(texts=texts, wanted=("a.timer",))
    changes = Changes(created=frozenset(texts))
    idle = states("a.service", active="inactive", type="oneshot")
    assert said(plan(changes, old=UnitSet(), new=new, running=idle)) == ["start a.timer: newly enabled"]
    assert plan(replaced(f"{SYSTEM}/a.service"), old=new, new=new, running=idle | states("a.timer")).actions == ()


def test_a_changed_template_restarts_its_instances() -> None:
    path = f"{SYSTEM}/w@.service"
    units = UnitSet(
        texts={path: "[Service]\nExecStart=/opt/w --config /etc/w/%i.conf\n"}, wanted=("w@a.service", "w@b.service")
    )
    running = states("w@a.service", "w@b.service")
    assert [a.unit for a in plan(replaced(path), old=units, new=units, running=running).actions] == list(running)
    assert [a.unit for a in plan(replaced("etc/w/b.conf"), old=units, new=units, running=running).actions] == [
        "w@b.service"
    ]


def test_targets_and_slices_need_no_restart() -> None:
    texts = {f"{SYSTEM}/a.target": "[Unit]\n", f"{SYSTEM}/a.slice": "[Slice]\n"}
    units = UnitSet(texts=texts, wanted=("a.target",))
    result = plan(replaced(*texts), old=units, new=units, running=states("a.target", "a.slice"))
    assert (result.actions, result.daemon_reload) == ((), True)


def test_a_changed_mode_of_a_unit_file_concerns_nobody_but_that_of_a_named_file_does() -> None:
    def mode_only(path: str) -> Changes:
        old = Entry(kind=Kind.FILE, mode=0o644, digest=of(b"x"), size=1)
        return changes_of(
            [Step(action=Action.REPLACE, path=path, old=old, new=msgspec.structs.replace(old, mode=0o600))]
        )

    result = plan(mode_only(f"{SYSTEM}/kubelet.service"))
    assert (result.actions, result.daemon_reload) == ((), False)
    assert [a.unit for a in plan(mode_only("etc/proxy.env")).actions] == ["proxy.service"]


def test_the_units_to_ask_for_are_all_that_could_be_acted_on() -> None:
    reactions = {"etc/x": Reaction(reload=("ssh.service",), restart=("cron.service",))}
    changes = replaced(f"{SYSTEM}/docker.service.d/1.conf")
    new = UnitSet(texts={f"{SYSTEM}/w@.service": ""}, wanted=("w@a.service",))
    situation = Situation(changes=changes, old=WORKER, new=new, reactions=reactions)
    assert concerned(situation, reasons_of(situation)) == tuple(
        sorted([*ALL, "cron.service", "docker.service", "ssh.service", "w@a.service"])
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ExecStart=-/opt/bin/a --b", {"opt/bin/a"}),
        ("ExecStart=@/opt/bin/a a0 /etc/x", {"opt/bin/a", "etc/x"}),
        ("ExecStartPre=+/bin/sh -c 'exec /opt/a --c=/etc/c.yaml >/dev/null'",
         {"bin/sh", "opt/a", "etc/c.yaml", "dev/null"}),
        ("ExecReload=/bin/kill -HUP $MAINPID", {"bin/kill"}),
        ("ExecStart=/opt/a \"--dir=/etc/a b/c\"", {"opt/a", "etc/a"}),
        ("ExecStart=/opt/docker run -v /etc/k:/etc/k:ro img", {"opt/docker", "etc/k"}),
        ("ExecStart=/opt/${NAME}/x", {"opt"}),
        ("ExecStart=/a\nExecStart=\nExecStart=/b", {"b"}),
        ("ExecStart=/opt/%p --id %i --c %E/%N.conf", {"opt/x", "etc/x@y.conf"}),
        ("ExecStart=/opt//a/../b/", {"opt/b"}),
        ("EnvironmentFile=-/etc/my file.env", {"etc/my file.env"}),
        ("Environment=KUBECONFIG=/etc/k.conf PATH=/opt/bin:/bin", {"etc/k.conf"}),
        ("LoadCredential=token:/etc/creds/token", {"etc/creds/token"}),
        ("BindReadOnlyPaths=/etc/a:/b -/srv/c", {"etc/a", "b", "srv/c"}),
        ("ConfigurationDirectory=a b/c", {"etc/a", "etc/b/c"}),
        ("Description=/etc/no", set()),
    ],
)  # fmt: skip
def test_the_paths_that_a_unit_names(line: str, expected: set[str]) -> None:
    assert set(named_paths("x@y.service", unitfile.parse("[Service]\n" + line))) == expected


@pytest.mark.parametrize(
    ("named", "changed", "expected"),
    [
        ("opt/app", "opt/app", True),
        ("opt/app", "opt/app/lib/x.py", True),
        ("opt/app", "opt/apple", False),
        ("etc", "etc/passwd", False),
        ("bin/foo", "usr/bin/foo", True),
        ("usr/lib/foo/x", "lib/foo/x", True),
        ("opt/app/current/bin/x", "opt/app/current", True),
        ("etc/default/a*", "etc/default/abc", True),
        ("etc/default/a*", "etc/default/b", False),
    ],
)
def test_which_changes_a_named_path_stands_for(named: str, changed: str, expected: bool) -> None:
    assert bool(Changed([changed]).by(named)) is expected


def test_the_files_of_a_unit_in_the_order_they_apply() -> None:
    paths = [
        "usr/lib/systemd/system/a-b@.service",
        "etc/systemd/system/a-b@.service",
        "etc/systemd/system/a-b@x.service.d/20.conf",
        "usr/lib/systemd/system/service.d/10.conf",
        "etc/systemd/system/a-.service.d/15.conf",
        "etc/systemd/system/other.service",
    ]
    assert own_paths("a-b@x.service", paths) == (
        "etc/systemd/system/a-b@.service",
        "usr/lib/systemd/system/a-b@.service",
        "usr/lib/systemd/system/service.d/10.conf",
        "etc/systemd/system/a-.service.d/15.conf",
        "etc/systemd/system/a-b@x.service.d/20.conf",
    )


def test_a_program_is_named_by_the_folder_that_leads_to_it() -> None:
    host = HostUnits(links={"opt": "var/opt", "usr/local": "var/usrlocal"})
    assert said(plan(replaced("var/opt/bin/kubelet"), host=host)) == [
        "restart kubelet.service: var/opt/bin/kubelet, named by ExecStart=, changed"
    ]
    assert said(plan(replaced("var/optional/bin/kubelet"), host=host)) == []
    paths = Changed(["var/usrlocal/lib/app/x"], host.links)
    assert paths.by("usr/local/lib/app") == ["var/usrlocal/lib/app/x"]


def test_each_unit_is_looked_for_once_among_the_changed_and_the_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with hundreds of units does not wait for a plan."""
    own, named = Mock(wraps=own_paths), Mock(wraps=unit_of)
    monkeypatch.setattr("ashore.rules.units.reasons.own_paths", own)
    monkeypatch.setattr("ashore.rules.units.situation.unit_of", named)
    texts = {f"{SYSTEM}/a{number}.service": FLANNEL for number in range(20)}
    units = tuple(path.rpartition("/")[2] for path in texts)
    bundle = UnitSet(texts=texts, wanted=units)
    assert len(plan(replaced(*texts), old=bundle, new=bundle, running=states(*units)).actions) == 20
    assert named.call_count == len(texts)
    looks = [call for call in own.call_args_list if call.args[1]]
    assert len(looks) == 2 * len(units), "what changed of it, and how it will be"


def test_a_unit_named_for_a_file_and_known_to_nobody_is_told_of() -> None:
    """A misspelled name would otherwise do nothing, silently, for ever."""
    path = "etc/nginx/nginx.conf"
    reactions = {path: Reaction(restart=("nginx.servcie.service",), reload=("mine.service", "ssh.service"))}
    running = states("nginx.servcie.service", "mine.service", active="inactive", load="not-found")
    running |= states("ssh.service", can_reload=True)
    new = UnitSet(texts={f"{SYSTEM}/mine.service": FLANNEL})
    result = plan(replaced(path), old=new, new=new, running=running, reactions=reactions)
    assert said(result) == [f"reload ssh.service: {path} changed"]
    assert result.notes == (
        f"this host has no nginx.servcie.service, and nothing is restarted or reloaded by that name: {path} changed",
    )


def test_a_template_named_for_a_file_stands_for_its_instances_that_run() -> None:
    path = "etc/worker.toml"
    listed = ("worker@1.service", "worker@2.service", "workers@1.service")
    reactions = {path: Reaction(restart=("worker@.service",))}
    result = plan(replaced(path), running=states(*listed), reactions=reactions, host=HostUnits(listed=listed))
    assert said(result) == [
        f"restart worker@1.service: {path} changed",
        f"restart worker@2.service: {path} changed",
    ]
    reactions = {path: Reaction(reload=("worker@.service",))}
    running = states(*listed, can_reload=True)
    result = plan(replaced(path), running=running, reactions=reactions, host=HostUnits(listed=listed))
    assert [action.verb for action in result.actions] == ["reload", "reload"]
