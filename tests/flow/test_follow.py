# SPDX-License-Identifier: Apache-2.0
"""Following a tag: one question a bundle, what is new is installed, what failed is not tried again."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest

from ashore.acts import following
from ashore.acts.boot.follow import Round, follow
from ashore.acts.tools import Tools
from ashore.cli.progress import Quiet
from ashore.errors import (
    AshoreError,
    BlockedError,
    BusyError,
    ExitCode,
    InputError,
    UnitsFailedError,
    VerificationError,
)
from ashore.mechanisms.host.config import read_config
from ashore.nouns.follow import Finding
from ashore.nouns.image import Descriptor
from ashore.nouns.journal import Held
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference
from ashore.nouns.units import UnitAction
from tests.fakes.bundles import FakeImages
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_late import fails, watching

APP, OTHER = "reg.example/app:stable", "reg.example/other:stable"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "etc/systemd/system/app.service"
CONFIG = "etc/ashore/config.toml"


@pytest.fixture
def live(tmp_path: Path) -> Machine:
    systemd = FakeSystemd()
    systemd.add("app.service")
    systemd.add("ashore-follow.timer")
    made = Machine(tmp_path, systemd=systemd)
    release(made, 1)
    made.images.add(OTHER, {"etc/other": "1"})
    made.install(APP, OTHER)
    return made


def release(machine: Machine, version: int, behaviour: str = "stays") -> None:
    machine.images.add(APP, {SERVICE: UNIT + f"# {version}\n", "opt/bin/app": behaviour})


def findings(done: Round) -> dict[str, Finding]:
    return {item.bundle: item.finding for item in done.found}


def fails_from(live: Machine, version: int) -> None:
    """From this version on the unit does not come up."""
    systemd = live.systemd
    assert isinstance(systemd, FakeSystemd)
    real = systemd.run

    def run(actions: list[UnitAction], deadline: float) -> object:
        bad = f"# {version}\n" in live.read(SERVICE)
        systemd.units["app.service"].behaviour = Behaviour.FAILS if bad else Behaviour.STAYS
        return real(actions, deadline)

    systemd.run = run  # type: ignore[assignment]


def test_where_nothing_is_new_each_bundle_is_asked_for_once_and_nothing_is_done(live: Machine) -> None:
    before, calls = live.tree(), live.images.calls
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.SAME, "other": Finding.SAME}
    assert live.images.calls == calls + 2
    assert (live.tree(), done.generation.number, done.outcomes) == (before, 1, ())


def test_a_tag_that_moved_is_installed_and_the_record_says_by_whom(live: Machine) -> None:
    release(live, 2)
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.NEW, "other": Finding.SAME}
    assert "# 2" in live.read(SERVICE)
    assert (done.generation.number, done.generation.verb) == (2, "follow")
    last = json.loads(live.read("var/lib/ashore/audit.jsonl").splitlines()[-1])
    assert last["verb"] == "follow"


def test_several_new_ones_are_one_change(live: Machine) -> None:
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    assert follow(live.tools()).generation.number == 2
    assert "# 2" in live.read(SERVICE) and live.read("etc/other") == "2"


def test_a_bad_version_goes_back_and_is_not_tried_again_until_the_tag_moves(live: Machine) -> None:
    before = live.tree()
    fails_from(live, 2)
    release(live, 2)
    with pytest.raises(UnitsFailedError):
        follow(live.tools())
    assert live.tree() == before
    done = follow(live.tools())
    assert findings(done)["app"] is Finding.HELD and "app.service" in done.found[0].why
    assert live.tree() == before and done.generation.number == 1
    release(live, 3)
    assert findings(follow(live.tools()))["app"] is Finding.NEW
    assert "# 3" in live.read(SERVICE)


def test_a_bad_version_does_not_keep_a_good_one_of_another_bundle_back(live: Machine) -> None:
    fails_from(live, 2)
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.NEW}
    assert done.code is ExitCode.UNCHANGED and "app.service" in done.found[0].why
    assert "# 1" in live.read(SERVICE) and live.read("etc/other") == "2"
    assert findings(follow(live.tools())) == {"app": Finding.HELD, "other": Finding.SAME}


def says(words: str, act: Callable[[], object]) -> Callable[[Quiet, str], object]:
    """Progress that nobody reads; where it says these words, something happens, once."""
    acts = [act]
    return lambda _, line: acts.pop()() if words in line and acts else None


def test_a_round_that_ends_before_each_was_tried_by_itself_holds_no_good_one(
    live: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_from(live, 2)
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    lock, somebody = contextlib.ExitStack(), live.tools()
    monkeypatch.setattr(Quiet, "say", says("each by itself", lambda: lock.enter_context(somebody.state.locked())))
    with lock, pytest.raises(BusyError):
        follow(live.tools())
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.NEW} and live.read("etc/other") == "2"
    failures = [line for line in live.read("var/lib/ashore/audit.jsonl").splitlines() if "failed" in json.loads(line)]
    assert len(failures) == 2, "together once, and then the bad one by itself"


def held(live: Machine) -> dict[str, bool]:
    """By bundle: whether it may be tried by itself."""
    return {item.bundle: item.alone for item in live.tools().history.held().values()}


def test_what_failed_by_hand_with_others_keeps_no_other_back(live: Machine) -> None:
    fails_from(live, 2)
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    with pytest.raises(UnitsFailedError):
        live.upgrade()
    assert held(live) == {"app": False, "other": True}
    assert findings(follow(live.tools())) == {"app": Finding.HELD, "other": Finding.NEW}
    assert "# 1" in live.read(SERVICE) and live.read("etc/other") == "2" and held(live) == {"app": False}


def test_of_several_only_what_failed_late_is_held(live: Machine) -> None:
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    follow(live.tools())
    assert watching(live, {5: fails(live)}) is not None
    assert "# 1" in live.read(SERVICE) and live.read("etc/other") == "1"
    assert held(live) == {"app": False, "other": True}
    assert findings(follow(live.tools())) == {"app": Finding.HELD, "other": Finding.NEW}
    assert "# 1" in live.read(SERVICE) and live.read("etc/other") == "2"


THIRD = "reg.example/third:stable"


def another(live: Machine, name: str, version: int) -> None:
    """A bundle with a service of its own."""
    unit = name.rpartition("/")[2].removesuffix(":stable")
    assert isinstance(live.systemd, FakeSystemd)
    if version == 1:
        live.systemd.add(f"{unit}.service")
    live.images.add(name, {f"etc/systemd/system/{unit}.service": f"# {version}\n" + UNIT})


def test_where_nothing_tells_which_of_several_failed_late_each_is_tried_and_watched_by_itself(live: Machine) -> None:
    """The service of a third bundle dies of one of them."""
    toml = '[[health]]\nunit = "app.service"\nwithin = "60s"\n'
    live.images.add(APP, {SERVICE: UNIT, "opt/bin/app": "stays"}, toml)
    another(live, OTHER, 1)
    another(live, THIRD, 1)
    live.install(APP, OTHER, THIRD)
    live.seconds += 1000
    another(live, OTHER, 2)
    another(live, THIRD, 2)
    follow(live.tools())
    well = fails(live, active="active", sub="running", result="success")
    assert watching(live, {5: fails(live)}) is not None
    well()
    assert held(live) == {"other": True, "third": True}
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.SAME, "other": Finding.NEW, "third": Finding.SKIPPED}
    assert "is watched until" in done.found[2].why
    assert watching(live, {5: fails(live)}) is not None
    well()
    assert held(live) == {"other": False, "third": True}
    assert findings(follow(live.tools())) == {"app": Finding.SAME, "other": Finding.HELD, "third": Finding.NEW}
    assert watching(live, {}) is None
    assert "# 1" in live.read("etc/systemd/system/other.service")
    assert "# 2" in live.read("etc/systemd/system/third.service")


@pytest.mark.parametrize(
    ("files", "toml", "code"),
    [
        ({}, "[values]\nport = { required = true }\n", ExitCode.INPUT),
        ({"etc/taken": "the bundle's"}, "", ExitCode.CONFLICT),
    ],
)
def test_what_one_bundle_asks_of_somebody_keeps_no_other_back(
    live: Machine, files: dict[str, str], toml: str, code: ExitCode
) -> None:
    live.write("etc/taken", "somebody's own")
    before = live.read(SERVICE)
    live.images.add(APP, {SERVICE: UNIT + "# 2\n", **files}, toml and f'[bundle]\nname = "app"\n{toml}')
    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(live.tools())
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.NEW} and done.code is code
    assert live.read(SERVICE) == before and live.read("etc/other") == "2"
    assert live.read("etc/taken") == "somebody's own"


def test_a_blocked_registry_is_no_unreachable_one(live: Machine) -> None:
    tools = live.tools()

    def open_image(name: ImageReference) -> ImageReader:
        if "other" in str(name):
            return tools.open_image(name)
        raise BlockedError(f"{name.place} is blocked")

    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(msgspec.structs.replace(tools, open_image=open_image))
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.NEW} and done.code is ExitCode.REFUSED
    assert "blocked" in done.found[0].why and live.read("etc/other") == "2"


@pytest.mark.parametrize("error", [InputError, VerificationError])
def test_a_tag_that_names_no_image_is_one_bundles_affair(live: Machine, error: type[AshoreError]) -> None:
    tools = live.tools()

    class NoImage:
        def resolve(self) -> Descriptor:
            raise error("reg.example/app:stable is not an image")

    def open_image(name: ImageReference) -> ImageReader:
        return cast("ImageReader", NoImage()) if name.repository == "app" else tools.open_image(name)

    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(msgspec.structs.replace(tools, open_image=open_image))
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.NEW}
    assert done.code is error.code
    assert "is not an image" in done.found[0].why and live.read("etc/other") == "2"


def test_what_is_wrong_with_this_hosts_registries_ends_the_round(live: Machine) -> None:
    def open_image(name: ImageReference) -> ImageReader:
        raise InputError("/etc/containers/registries.conf:3: not TOML")

    with pytest.raises(InputError, match="not TOML"):
        follow(msgspec.structs.replace(live.tools(), open_image=open_image))


def test_a_reference_with_a_digest_is_not_asked_for(live: Machine) -> None:
    digest = live.images.add(OTHER, {"etc/other": "2"})
    live.install(f"{OTHER}@{digest}")
    calls = live.images.calls
    assert findings(follow(live.tools()))["other"] is Finding.PINNED
    assert live.images.calls == calls + 1


def test_an_installer_image_is_looked_into_once_for_each_new_index(live: Machine) -> None:
    live.images.add_installer(OTHER, {"etc/other": "2"})
    assert findings(follow(live.tools()))["other"] is Finding.NEW
    assert live.read("etc/other") == "2"
    read = live.images.manifests
    for _ in range(3):
        assert findings(follow(live.tools()))["other"] is Finding.SAME
    assert live.images.manifests == read
    held = live.images.add_installer(OTHER, {"etc/other": "3"})
    tools = live.tools()
    tools.history.hold({held: Held(bundle="other", reference=OTHER, reason="a test", time="")})
    for _ in range(3):
        assert findings(follow(live.tools()))["other"] is Finding.HELD
    assert live.images.manifests == read + 1


def test_a_registry_that_is_down_is_said_and_the_next_round_asks_again(live: Machine) -> None:
    live.images.down = True
    assert set(findings(follow(live.tools())).values()) == {Finding.UNREACHABLE}
    live.images.down = False
    release(live, 2)
    assert findings(follow(live.tools()))["app"] is Finding.NEW


def test_outside_of_its_windows_a_host_asks_nobody(live: Machine) -> None:
    release(live, 2)  # the day of these tests is a Thursday, and it is midnight UTC
    calls = live.images.calls
    live.write(CONFIG, 'window = ["Mon..Wed 00:00-04:00 UTC", "Thu 01:00-02:00 UTC"]\n')
    done = follow(live.tools())
    assert "the next opens at" in done.skipped and live.images.calls == calls
    live.write(CONFIG, 'window = "Thu 00:00-04:00 UTC"\n')
    assert follow(live.tools()).generation.number == 2


def test_the_next_window_is_told_by_the_time_that_it_will_be_then(
    live: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.write(CONFIG, 'window = "Sat 03:30-04:30"\n')
    try:
        with monkeypatch.context() as zone:
            zone.setenv("TZ", "WIN0SUM,J3/2,J300")  # summer time begins on 3 January
            time.tzset()
            assert follow(live.tools()).skipped.endswith("opens at 2026-01-03 03:30+01:00")
    finally:
        time.tzset()


def test_a_pause_outlives_everything_until_it_ends(live: Machine) -> None:
    release(live, 2)
    calls = live.images.calls
    following.pause(live.tools())
    assert "paused since" in follow(live.tools()).skipped
    assert live.images.calls == calls
    assert following.resume(live.tools()) and not following.resume(live.tools())
    assert follow(live.tools()).generation.number == 2
    following.pause(live.tools(), 60)
    assert "paused until 2026-01-01T00:01:00Z" in follow(live.tools()).skipped
    following.pause(live.tools(), 0)
    assert not follow(live.tools()).skipped, "its time is over"
    assert not following.resume(live.tools())
    verbs = [json.loads(line)["verb"] for line in live.read("var/lib/ashore/audit.jsonl").splitlines()]
    assert verbs == ["install", "follow pause", "follow resume", "follow", "follow pause"], "each line once"


def test_nobody_follows_while_a_change_waits_for_confirmation(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.add("ashore-unconfirmed.timer")
    live.images.add("reg.example/x:1", {"etc/x": "x"})
    live.install("reg.example/x:1", confirm=60)
    assert "waits for confirmation" in follow(live.tools()).skipped


def meanwhile(live: Machine, act: Callable[[], object]) -> Tools:
    """The tools of a round; by the time that the last registry answers, somebody has done something."""
    tools, acts = live.tools(), [act]

    def open_image(name: ImageReference) -> ImageReader:
        if name.repository == "other" and acts:
            acts.pop()()
        return tools.open_image(name)

    return msgspec.structs.replace(tools, open_image=open_image)


def waits(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.add("ashore-unconfirmed.timer")
    live.images.add("reg.example/x:1", {"etc/x": "x"})
    live.install("reg.example/x:1", confirm=60)


def was_rolled_back(live: Machine) -> None:
    live.upgrade("app")
    live.roll_back()


def came_from_elsewhere(live: Machine) -> None:
    live.images.add("reg.example/app:own", {SERVICE: UNIT + "# 1\n", "opt/bin/app": "stays"})
    live.install("reg.example/app:own")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda live: live.remove("app"), "removed"),
        (came_from_elsewhere, "installed from reg.example/app:own"),
        (was_rolled_back, "held meanwhile: rolled back"),
    ],
)
def test_what_somebody_decides_on_a_bundle_while_a_round_asks_counts(
    live: Machine, act: Callable[[Machine], object], why: str
) -> None:
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(meanwhile(live, lambda: act(live)))
    assert findings(done) == {"app": Finding.SKIPPED, "other": Finding.NEW} and why in done.found[0].why
    assert done.code is ExitCode.DONE and live.read("etc/other") == "2"
    assert not live.exists(SERVICE) if why == "removed" else "# 1" in live.read(SERVICE)


def test_what_is_left_when_another_was_removed_meanwhile_has_failed_by_itself(live: Machine) -> None:
    fails_from(live, 2)
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(meanwhile(live, lambda: live.remove("other")))
    assert findings(done) == {"app": Finding.FAILED, "other": Finding.SKIPPED}
    assert done.code is ExitCode.UNCHANGED
    assert findings(follow(live.tools())) == {"app": Finding.HELD}


@pytest.mark.parametrize(
    ("act", "why"), [(lambda live: following.pause(live.tools()), "paused since"), (waits, "waits for confirmation")]
)
def test_a_pause_and_a_change_that_waits_count_though_they_came_while_a_round_asks(
    live: Machine, act: Callable[[Machine], object], why: str
) -> None:
    release(live, 2)
    live.images.add(OTHER, {"etc/other": "2"})
    done = follow(meanwhile(live, lambda: act(live)))
    assert set(findings(done).values()) == {Finding.SKIPPED} and why in done.found[0].why
    assert "# 1" in live.read(SERVICE) and live.read("etc/other") == "1"
    assert done.outcomes == () and live.leftovers() == []


def test_what_nobody_can_confirm_at_night_is_not_asked_to_be_unless_the_bundle_does(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.add("ashore-unconfirmed.timer")
    live.images.add(OTHER, {"etc/ssh/sshd_config": "x"})
    assert follow(live.tools()).outcomes[0].waiting is None
    live.images.add(OTHER, {"etc/ssh/sshd_config": "y"}, 'confirm = "5m"\n')
    assert follow(live.tools()).outcomes[0].waiting is not None


def test_the_timer_is_enabled_once_with_the_hosts_delay_and_leaves_no_trace(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    before = live.tree()
    assert following.enable(live.tools(), 900)
    assert "RandomizedDelaySec=225\n" in live.read("etc/systemd/system/ashore-follow.timer")
    assert live.systemd.units["ashore-follow.timer"].active == "active"
    live.systemd.log.clear()
    assert not following.enable(live.tools(), 900)
    assert live.systemd.log == ["start ashore-follow.timer"]
    live.write(CONFIG, 'random_delay = "10m"\n')
    assert following.enable(live.tools(), 3600)
    timer = live.read("etc/systemd/system/ashore-follow.timer")
    assert "RandomizedDelaySec=600\n" in timer and "OnUnitActiveSec=3600\n" in timer
    (live.root / CONFIG).unlink()
    (live.root / CONFIG).parent.rmdir()
    assert following.disable(live.tools()) and not following.disable(live.tools())
    assert live.systemd.units["ashore-follow.timer"].active == "inactive"
    assert live.tree() == before


def test_an_offline_root_follows_from_its_first_boot_on(host: Machine) -> None:
    following.enable(host.tools(), 900)
    assert host.exists("etc/systemd/system/timers.target.wants/ashore-follow.timer")


def test_a_wrong_window_is_an_error_with_its_line(host: Machine) -> None:
    host.write(CONFIG, 'keep = 3\nwindow = ["Mon..Fri 2-4", "Someday 02:00-04:00"]\n')
    with pytest.raises(InputError) as raised:
        read_config(host.tools().host)
    assert [issue.where for issue in raised.value.issues] == ["/etc/ashore/config.toml:2"] * 2
    assert 'write it like "Mon..Fri 02:00-04:00"' in str(raised.value) and "'Someday' is no day" in str(raised.value)


def test_a_host_that_never_had_a_bundle_follows_nothing(host: Machine) -> None:
    host.images = FakeImages()
    assert follow(host.tools()).skipped == "no bundle is installed"
    assert not host.exists("var/lib/ashore")
