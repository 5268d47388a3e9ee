# SPDX-License-Identifier: Apache-2.0
"""A change that has to be confirmed is kept by who still has a way in, and goes back by itself without one."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ashore.acts.boot import confirm as confirmation
from ashore.acts.boot.confirm import Confirmed
from ashore.acts.boot.follow import follow
from ashore.acts.change import install as stories
from ashore.acts.change.farewell import farewell
from ashore.acts.tools import Tools
from ashore.acts.transaction import unconfirmed
from ashore.acts.transaction.recover import recover
from ashore.cli.render_plan import plan_text
from ashore.errors import AshoreError, UnchangedError, UsageError
from ashore.nouns.confirm import By, Provisional
from ashore.nouns.follow import Finding
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_kill import Story, in_child

ONE, TWO, OTHER = "reg.example/ssh:1", "reg.example/ssh:2", "reg.example/other:1"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
CONFIG = "etc/ssh/sshd_config.d/50-site.conf"
TIMER = "etc/systemd/system/ashore-unconfirmed.timer"
FIRST = {CONFIG: "Port 22\n", "etc/systemd/system/app.service": UNIT, "etc/site/one": "1"}
SECOND = {CONFIG: "Port 2222\n", "etc/systemd/system/app.service": UNIT, "etc/site/two": "2"}


@pytest.fixture
def live(tmp_path: Path) -> Machine:
    return prepared(tmp_path)


def prepared(folder: Path) -> Machine:
    """A live host that has the first version, confirmed, and can have another and another bundle."""
    systemd = FakeSystemd()
    systemd.add("app.service")
    systemd.add("ashore-unconfirmed.timer")
    systemd.add("sysinit.target", running=True)
    made = Machine(folder, systemd=systemd)
    made.images.add(ONE, FIRST)
    made.images.add(TWO, SECOND)
    made.images.add(OTHER, {"etc/other": "x"})
    made.install(ONE, confirm=0)
    return made


def waiting(live: Machine) -> Provisional | None:
    return live.tools().history.provisional()


def time_passes(live: Machine, seconds: float) -> Confirmed:
    """The timer of PID 1 starts its service after so many seconds."""
    live.seconds += seconds
    return confirmation.take_back_in_time(live.tools())


def armed(live: Machine) -> bool:
    """Whether PID 1 would take the change back: now, and after a boot."""
    assert isinstance(live.systemd, FakeSystemd)
    files = {live.exists(TIMER), live.exists("etc/systemd/system/timers.target.wants/ashore-unconfirmed.timer")}
    files |= {live.exists("etc/systemd/system/sysinit.target.wants/ashore-unconfirmed.service")}
    runs = live.systemd.units["ashore-unconfirmed.timer"].active == "active"
    assert files == {runs}
    return runs


def test_a_change_of_sshd_is_kept_by_who_confirms_it(live: Machine) -> None:
    outcome = live.install(TWO)
    assert outcome.waiting is not None and outcome.waiting.within == 300.0
    assert outcome.waiting.reason == "it changes sshd (/etc/ssh/sshd_config.d/50-site.conf)"
    assert armed(live)
    assert confirmation.confirm(live.tools()) == Confirmed(generation=2, confirmed=True)
    assert not armed(live)
    assert time_passes(live, 1000) == Confirmed(generation=2)
    assert live.read(CONFIG) == "Port 2222\n"
    assert '"verb":"confirm"' in live.read("var/lib/ashore/audit.jsonl")
    assert confirmation.confirm(live.tools()) == Confirmed(generation=2), "once more does nothing"


def test_without_a_confirmation_it_goes_back_and_is_held(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)
    assert time_passes(live, 299) == Confirmed(generation=2), "there is still time"
    assert time_passes(live, 1) == Confirmed(generation=3, taken_back=True)
    assert live.tree() == before
    assert waiting(live) is None and not armed(live)
    (held,) = live.tools().history.held().values()
    assert (held.reference, held.reason) == (TWO, "not confirmed in time")
    with pytest.raises(UnchangedError, match="too late"):
        confirmation.confirm(live.tools())


@pytest.mark.parametrize("again", [False, True], ids=["confirmed", "and another waits"])
def test_what_is_confirmed_in_the_last_moment_is_not_taken_back(
    live: Machine, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    live.install(TWO)
    is_due = unconfirmed.is_due
    asked = []

    def confirmed_now(tools: Tools, seen: Provisional) -> bool:
        asked.append(seen)
        if len(asked) == 1:  # before it has the lock
            return is_due(tools, seen)
        assert confirmation.confirm(live.tools()).confirmed
        if again:
            live.install(OTHER, confirm=60)
        return is_due(tools, seen)

    monkeypatch.setattr(unconfirmed, "is_due", confirmed_now)
    done = time_passes(live, 301)
    assert not done.taken_back
    assert live.read(CONFIG) == "Port 2222\n"
    assert live.tools().history.held() == {}
    assert (waiting(live) is not None) == again == live.exists("etc/other")


def test_of_several_only_what_had_to_be_confirmed_is_held_when_nobody_did(live: Machine) -> None:
    for number in (1, 2):
        live.images.add("reg.example/ssh:stable", {"etc/site/ssh": str(number)}, 'confirm = "1m"\n')
        live.images.add("reg.example/fix:stable", {"etc/site/fix": str(number)})
        if number == 1:
            live.install("reg.example/ssh:stable", "reg.example/fix:stable", confirm=0)
    follow(live.tools())
    assert live.read("etc/site/fix") == "2" and time_passes(live, 61).taken_back
    assert live.read("etc/site/fix") == "1"
    done = follow(live.tools())
    assert {item.bundle: item.finding for item in done.found if item.finding is not Finding.SAME} == {
        "ssh": Finding.HELD,
        "fix": Finding.NEW,
    }
    assert (live.read("etc/site/ssh"), live.read("etc/site/fix"), waiting(live)) == ("1", "2", None)


def test_a_first_install_that_nobody_confirms_leaves_no_trace(tmp_path: Path) -> None:
    live = prepared(tmp_path)
    live.remove("ssh")
    before = live.tree()
    confirmation.confirm(live.tools())
    fresh = Machine(tmp_path / "fresh", live.images, live.systemd)
    empty = fresh.tree()
    fresh.install(ONE)
    assert time_passes(fresh, 300).taken_back
    assert fresh.tree() == empty
    assert live.tree() != before, "the timer of the removal is gone"


def test_a_reboot_ends_the_time_and_goes_back_before_anything_runs(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)
    live.boot = "boot-2"
    booted = FakeSystemd()
    for name in ("app.service", "ashore-unconfirmed.timer", "sysinit.target"):
        booted.add(name)
    live.systemd, live.images.down = booted, True
    assert time_passes(live, 1).taken_back
    assert not live.exists("run/ashore/incomplete"), "units are held no longer"
    live.empty_run()
    assert live.tree() == before
    assert booted.log == ["stop ashore-unconfirmed.timer", "daemon-reload", "start app.service, later"]


def test_the_unit_that_takes_a_change_back_is_not_replaced_under_itself(live: Machine) -> None:
    live.install(TWO)
    live.write(TIMER, "as an older ashore wrote it")
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.log.clear()
    assert time_passes(live, 300).taken_back
    assert "restart ashore-unconfirmed.timer" not in live.systemd.log
    assert not armed(live)


def test_a_daemon_reload_does_not_put_the_end_off(live: Machine) -> None:
    """PID 1 reckons OnActiveSec= from each daemon-reload on, but not what is since the service ended last."""
    live.install(TWO)
    soon, whole, again = [line for line in live.read(TIMER).splitlines() if line.startswith("On")]
    assert (soon, whole, again) == ("OnActiveSec=5", "OnActiveSec=300", "OnUnitInactiveSec=30")
    assert not time_passes(live, 5).taken_back
    assert armed(live) and waiting(live) is not None


def test_a_damaged_record_holds_no_units_where_a_boot_would_go_back(live: Machine) -> None:
    live.install(TWO)
    live.boot = "boot-2"
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.units["sysinit.target"].active = "inactive"
    live.write("var/lib/ashore/generations/000002.json", "torn")
    with pytest.raises(AshoreError):
        time_passes(live, 1)
    assert not live.exists("run/ashore/incomplete"), "nothing was changed"


def test_what_had_loaded_the_rules_before_they_went_back_at_boot_loads_them_again(live: Machine) -> None:
    """The firewall's own unit may be one that nobody told to wait for ours."""
    toml = '[[files]]\npath = "etc/nftables.conf"\nreload = ["fw.service"]\nrestart = ["ids.service", "off.service"]\n'
    assert isinstance(live.systemd, FakeSystemd)
    live.images.add(ONE, FIRST | {"etc/nftables.conf": "accept"}, toml)
    live.images.add(TWO, FIRST | {"etc/nftables.conf": "drop"}, toml)
    live.install(ONE, confirm=0)
    live.install(TWO)
    live.boot = "boot-2"
    live.systemd = booted = FakeSystemd()
    for name in ("app.service", "ashore-unconfirmed.timer", "sysinit.target", "off.service"):
        booted.add(name)
    booted.add("fw.service", running=True, can_reload=True)
    booted.add("ids.service", running=True)
    assert time_passes(live, 1).taken_back
    assert live.read("etc/nftables.conf") == "accept"
    stop, reload, start, *again = booted.log
    assert (stop, reload, start) == (
        "stop ashore-unconfirmed.timer", "daemon-reload", "start app.service, later",
    )  # fmt: skip
    assert sorted(again) == ["reload fw.service, later", "restart ids.service, later"]


def test_a_removal_of_sshd_configuration_has_to_be_confirmed_too(live: Machine) -> None:
    before = live.tree()
    live.remove("ssh")
    assert waiting(live) is not None
    assert time_passes(live, 300).taken_back
    assert live.tree() == before


def test_what_comes_after_an_unconfirmed_change_is_unconfirmed_with_it(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)
    assert live.install(OTHER).waiting is not None
    assert time_passes(live, 300).taken_back
    assert live.tree() == before
    live.install(TWO, confirm=10)
    live.install(OTHER)
    confirmation.confirm(live.tools())
    assert not time_passes(live, 300).taken_back
    assert live.exists("etc/other")


def test_a_rollback_goes_back_to_what_was_confirmed_and_needs_no_confirmation(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)
    live.install(OTHER)
    assert live.roll_back().waiting is None
    assert live.tree() == before
    assert live.roll_back(2).waiting is None, "nor does going back to anything else"


LOGIN = '[confirm]\nwithin = "10m"\nby = "ssh-login"\n'


def test_a_later_change_does_not_move_the_end_nor_weaken_who_has_to_confirm(live: Machine) -> None:
    live.images.add(OTHER, {"etc/other": "x"}, LOGIN)
    live.install(TWO, confirm=60)
    live.seconds += 50
    outcome = live.install(OTHER)
    assert outcome.waiting is not None
    assert (outcome.waiting.within, outcome.waiting.by) == (10.0, By.COMMAND)
    _session(live, "sshd", 1)
    assert not time_passes(live, 9).confirmed
    assert time_passes(live, 1).taken_back
    assert live.read(CONFIG) == "Port 22\n" and not live.exists("etc/other")


def test_a_login_confirms_two_changes_if_it_counts_for_both(live: Machine) -> None:
    live.images.add(TWO, SECOND, LOGIN)
    live.images.add(OTHER, {"etc/other": "x"}, LOGIN.replace("10m", "1m"))
    live.install(TWO)
    outcome = live.install(OTHER)
    assert outcome.waiting is not None
    assert (outcome.waiting.within, outcome.waiting.by) == (60.0, By.SSH_LOGIN)
    live.images.add(OTHER, {"etc/other": "y"}, LOGIN)
    assert (outcome := live.install(OTHER, confirm=9)).waiting is not None
    assert (outcome.waiting.within, outcome.waiting.by) == (9.0, By.SSH_LOGIN)


def test_a_change_that_outlasts_the_time_of_the_one_before_goes_back_with_it(live: Machine) -> None:
    before = live.tree()
    live.install(TWO, confirm=60)
    live.seconds += 61
    outcome = live.install(OTHER, confirm=600)
    assert outcome.waiting is not None and outcome.waiting.within == 0.0
    assert time_passes(live, 0).taken_back
    assert live.tree() == before


@pytest.mark.parametrize("name", ["other", "ssh"])
def test_a_purge_does_not_take_the_way_back_from_what_waits(live: Machine, name: str) -> None:
    live.install(OTHER)
    before = live.tree()
    live.install(TWO)
    provisional, changed = waiting(live), live.tree()
    with pytest.raises(UnchangedError, match="waits for confirmation"):
        stories.remove(live.tools(), [name], purge=True)
    assert live.tree() == changed and waiting(live) == provisional and armed(live)
    assert time_passes(live, 300).taken_back
    assert live.tree() == before
    stories.remove(live.tools(), [name], purge=True)
    assert waiting(live) is None


def test_ashore_itself_does_not_go_while_the_removal_of_the_last_bundle_waits(live: Machine) -> None:
    before = live.tree()
    live.remove("ssh")
    assert waiting(live) is not None
    with pytest.raises(UnchangedError, match="waits for confirmation"):
        farewell(live.tools())
    assert armed(live) and time_passes(live, 300).taken_back
    assert live.tree() == before


def test_nothing_is_asked_for_what_locks_nobody_out(live: Machine) -> None:
    assert live.install(OTHER).waiting is None
    assert live.install(TWO, confirm=0).waiting is None
    assert not armed(live)


def test_any_change_is_confirmed_if_somebody_asks(live: Machine) -> None:
    assert live.install(OTHER, confirm=7).waiting is not None
    assert time_passes(live, 7).taken_back
    assert not live.exists("etc/other")


def test_a_bundle_can_ask_for_it_or_against_it(live: Machine) -> None:
    live.images.add(OTHER, {"etc/other": "x"}, 'confirm = "20s"\n')
    outcome = live.install(OTHER)
    assert outcome.waiting is not None and (outcome.waiting.within, outcome.waiting.reason) == (
        20.0,
        "other asks for it",
    )
    confirmation.confirm(live.tools())
    live.images.add(TWO, SECOND, 'confirm = "0s"\n')
    assert live.install(TWO).waiting is None


def test_the_plan_says_that_a_change_has_to_be_confirmed_and_why(live: Machine) -> None:
    from ashore.acts.change.preview import plan_install

    plan, _ = plan_install(live.tools(), [live.ask(TWO)])
    text = "To be confirmed:\n  within 5m, or it is taken back: it changes sshd (/etc/ssh/sshd_config.d/50-site.conf)"
    assert text in plan_text(plan, {})


def test_an_offline_root_has_no_confirmation(host: Machine) -> None:
    host.images.add(ONE, FIRST)
    assert host.install(ONE).waiting is None
    assert not host.exists(TIMER)
    host.images.add(OTHER, {"etc/other": "x"})
    with pytest.raises(UsageError, match="offline root"):
        host.install(OTHER, confirm=5)


def test_a_failed_change_does_not_wait_and_one_that_waited_before_still_does(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.install(TWO)
    before = live.tree()
    live.images.add(OTHER, {"etc/systemd/system/bad.service": UNIT.replace("/opt/bin/app", "/opt/bin/bad")})
    live.systemd.add("bad.service", Behaviour.FAILS)
    with pytest.raises(UnchangedError):
        live.install(OTHER, confirm=9)
    assert live.tree() == before and armed(live)
    assert (held := waiting(live)) is not None and held.within == 300.0
    confirmation.confirm(live.tools())
    with pytest.raises(UnchangedError):
        live.install(OTHER, confirm=9)
    assert waiting(live) is None and not armed(live)


def test_units_that_do_not_come_up_on_the_way_back_are_no_reason_to_stay(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.images.add(TWO, {**SECOND, "etc/systemd/system/app.service": UNIT + "# two\n"})
    before = live.tree()
    live.install(TWO)
    live.systemd.units["app.service"].behaviour = Behaviour.FAILS
    assert time_passes(live, 300).taken_back
    assert live.tree() == before


def test_what_may_have_to_come_back_is_not_collected(live: Machine) -> None:
    live.write("etc/ashore/config.toml", "keep = 1\n")
    live.images.add(TWO, SECOND, f'[[files]]\npath = "{CONFIG}"\non_edit = "replace"\n')
    live.write(CONFIG, "an edit\n")
    before = live.tree()
    live.install(TWO)
    live.install(OTHER)
    live.images.down = True
    assert time_passes(live, 300).taken_back
    assert live.tree() == before, "the edit as well"


def test_a_timer_that_does_not_start_is_a_change_that_is_not_made(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.units["ashore-unconfirmed.timer"].behaviour = Behaviour.FAILS
    before = live.tree()
    with pytest.raises(UnchangedError, match="did not start"):
        live.install(TWO)
    assert live.tree() == before


def _session(live: Machine, service: str, later: float, leader: int = 1 << 30) -> None:
    """One that began so many seconds from now; by a clock that has been set back since."""
    began = round((live.seconds + later) * 1_000_000)
    text = f"UID=0\nSERVICE={service}\nREMOTE=1\nLEADER={leader}\n"
    live.write("run/systemd/sessions/7", f"{text}REALTIME={(BEGAN + 3600) * 1_000_000}\nMONOTONIC={began}\n")


def _process(live: Machine, pid: int, began: int) -> None:
    live.write(f"proc/{pid}/stat", f"{pid} (sshd) S " + "0 " * 18 + f"{began * os.sysconf('SC_CLK_TCK')} 0\n")


def _wtmp(live: Machine, line: str, where: str, seconds: int) -> None:
    record = struct.pack("<h2xi32s4s32s256s4siii16s20x", 7, 1 << 30, line.encode(), b"", b"root", where.encode(), b"",
                         0, seconds, 0, b"")  # fmt: skip
    live.write("var/log/wtmp", "")
    (live.root / "var/log/wtmp").write_bytes(record)


BEGAN = 1767225600
"""2026-01-01, the day on which every machine of these tests lives."""


def test_a_fresh_login_over_ssh_confirms_where_the_bundle_says_so(live: Machine) -> None:
    live.images.add(TWO, SECOND, '[confirm]\nwithin = "5m"\nby = "ssh-login"\n')
    live.seconds = 5000.0
    _process(live, 7, began=4000)
    _process(live, 8, began=100_000)
    sessions: list[Callable[[], None]] = [
        lambda: _session(live, "sshd", -0.1),
        lambda: _session(live, "login", 1),
        lambda: _session(live, "sshd", 1, leader=7),
        lambda: _wtmp(live, "pts/1", "10.0.0.1", BEGAN - 1),
        lambda: _wtmp(live, "pts/1", ":0", BEGAN + 1),
        lambda: _wtmp(live, "tty1", "", BEGAN + 1),
    ]
    for session in sessions:
        outcome = live.install(TWO)
        assert outcome.waiting is not None and outcome.waiting.by is By.SSH_LOGIN
        session()
        assert time_passes(live, 300).taken_back
    sessions = [
        lambda: _session(live, "sshd", 1),
        lambda: _session(live, "sshd", 1, leader=8),
        lambda: _wtmp(live, "pts/1", "10.0.0.1", BEGAN + 1),
    ]
    for session in sessions:
        live.install(TWO)
        session()
        assert time_passes(live, 5).confirmed
        live.empty_run()
        shutil.rmtree(live.root / "var/log", ignore_errors=True)
        live.install(ONE, confirm=0)


KILLED: dict[str, tuple[list[Story], Story]] = {
    "provisional install": ([], lambda m: m.install(TWO)),
    "another change meanwhile": ([lambda m: m.install(TWO)], lambda m: m.install(OTHER, confirm=9)),
    "confirm": ([lambda m: m.install(TWO)], lambda m: confirmation.confirm(m.tools())),
    "taken back": ([lambda m: m.install(TWO)], lambda m: time_passes(m, 300)),
}


@pytest.mark.parametrize("name", KILLED)
def test_killed_at_any_call_a_change_waits_or_does_not_and_is_taken_back_in_time(name: str, quick_folder: Path) -> None:
    before, story = KILLED[name]
    template = prepared(quick_folder / "template")
    for earlier in before:
        earlier(template)

    def fresh(number: int) -> Machine:
        return template.copied(quick_folder / str(number))

    whole = fresh(-1)
    total = in_child(story, whole, stop_at=-1)
    states = [(m.tree(), waiting(m)) for m in (template, whole)]
    seen = set()
    for at in range(total):
        victim = fresh(at)
        assert in_child(story, victim, stop_at=at) == -1
        if waiting(victim) is not None:
            assert victim.exists(TIMER), f"killed before call {at} of {total}: nothing would take it back"
        tools = victim.tools()
        with tools.state.locked():
            recover(tools)
        assert victim.leftovers() == []
        state = (victim.tree(), waiting(victim))
        assert state in states, (
            f"killed before call {at} of {total}",
            [set(state[0].items()) ^ set(s[0].items()) for s in states],
        )
        seen.add(states.index(state))
        shutil.rmtree(victim.folder)
    assert seen == {0, 1}
