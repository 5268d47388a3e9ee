# SPDX-License-Identifier: Apache-2.0
"""What goes back by itself asks nobody: what stands in its way goes to the store, and what cannot be had is said."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from ashore.acts.ask.look import status
from ashore.acts.boot import confirm as confirmation
from ashore.acts.boot.confirm import Confirmed
from ashore.acts.tools import Tools
from ashore.cli import run
from ashore.cli.progress import Quiet
from ashore.cli.status import status_text
from ashore.errors import AshoreError, BusyError, ConflictError
from ashore.mechanisms.state.holder import ask_to_end
from ashore.nouns.confirm import By
from ashore.nouns.files import Kind
from tests.fakes.bundles import File
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import stalled
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_confirm import CONFIG, ONE, TWO, live, time_passes, waiting
from tests.flow.test_kill import Story, in_child, kill_and_recover
from tests.flow.test_partial import cache, publish

__all__ = ["cache", "live"]

DPKG = "Package: tool\nStatus: install ok installed\nVersion: 1\n\n"


def versions(live: Machine, first: dict[str, str | File], second: dict[str, str | File], toml: str = "") -> None:
    """The first version is installed and confirmed, the second one waits; it locks the administrator out."""
    live.images.add(ONE, {CONFIG: "Port 22\n", **first}, toml)
    live.images.add(TWO, {CONFIG: "AllowUsers nobody\n", **second}, toml)
    live.install(ONE, confirm=0)
    live.install(TWO)


def went_back(live: Machine) -> list[str]:
    """The time is over; what the journal then says."""
    said: list[str] = []

    class Journal(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    live.seconds += 300
    tools = msgspec.structs.replace(live.tools(), progress=Journal())
    assert confirmation.take_back_in_time(tools).taken_back
    assert live.read(CONFIG) == "Port 22\n"
    assert waiting(live) is None
    return said


def kept(live: Machine) -> dict[str, str]:
    """The edits that the last change moved aside, each with what the store has of it."""
    tools = live.tools()
    displaced = tools.history.current().displaced
    texts = {}
    for path, entry in displaced.items():
        texts[path] = entry.target
        if entry.kind is Kind.FILE and (descriptor := tools.content.open(entry.digest)) is not None:
            with os.fdopen(descriptor) as file:
                texts[path] = file.read()
    return texts


def moved(live: Machine, path: str, to: str) -> None:
    shutil.move(live.root / path, live.root / to)


def test_a_file_of_nobody_in_the_way_goes_to_the_store(live: Machine) -> None:
    versions(live, {"etc/site/cache": "1\n"}, {})
    live.write("etc/site/cache", "by a daemon\n")
    went_back(live)
    assert live.read("etc/site/cache") == "1\n"
    assert kept(live) == {"etc/site/cache": "by a daemon\n"}
    live.install(TWO, confirm=0)
    assert live.read("etc/site/cache") == "by a daemon\n", "with the version that does not have it, it is there again"


def test_a_file_that_a_package_brought_meanwhile_comes_back_when_the_bundle_goes(live: Machine) -> None:
    versions(live, {"usr/bin/tool": "1"}, {})
    live.write("var/lib/dpkg/info/tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n")
    live.write("var/lib/dpkg/status", DPKG)
    live.write("usr/bin/tool", "the package's")
    went_back(live)
    assert live.read("usr/bin/tool") == "1"
    assert kept(live) == {"usr/bin/tool": "the package's"}
    live.remove("ssh")
    assert live.read("usr/bin/tool") == "the package's"


def test_a_folder_in_the_way_of_a_file_goes_with_all_that_is_in_it(live: Machine) -> None:
    versions(live, {"etc/one": "1\n"}, {"etc/two": "2\n"})
    live.write("etc/one/deep/er", "a file\n")
    (live.root / "etc/one/link").symlink_to("deep")
    went_back(live)
    assert live.read("etc/one") == "1\n"
    assert kept(live) == {"etc/one": "", "etc/one/deep": "", "etc/one/deep/er": "a file\n", "etc/one/link": "deep"}
    live.install(TWO, confirm=0)
    assert not live.exists("etc/one")


def test_a_fifo_that_somebody_had_made_of_a_file_does_not_come_back(live: Machine) -> None:
    live.images.add(ONE, {CONFIG: "Port 22\n", "etc/one": "1\n"})
    live.images.add(TWO, {CONFIG: "AllowUsers nobody\n"})
    live.install(ONE, confirm=0)
    (live.root / "etc/one").unlink()
    os.mkfifo(live.root / "etc/one")
    live.install(TWO)
    went_back(live)
    assert live.read("etc/one") == "1\n"


def test_a_folder_of_the_new_version_that_others_wrote_into_goes_as_well(live: Machine) -> None:
    versions(live, {"etc/one": "1\n"}, {"etc/one/a": "2\n"})
    live.write("etc/one/b", "a file\n")
    (live.root / "etc/one/a").unlink()
    live.write("etc/one/a/c", "where a file was\n")
    went_back(live)
    assert live.read("etc/one") == "1\n"
    assert kept(live) == {"etc/one/a": "", "etc/one/a/c": "where a file was\n", "etc/one/b": "a file\n"}


@pytest.mark.parametrize("what", ["file", "link", "fifo"])
def test_what_somebody_put_for_a_folder_of_the_new_version_goes_as_well(live: Machine, what: str) -> None:
    versions(live, {"etc/one": "1\n"}, {"etc/one/a/b": "2\n"})
    shutil.rmtree(live.root / "etc/one/a")
    if what == "file":
        live.write("etc/one/a", "a file\n")
    elif what == "link":
        (live.root / "etc/one/a").symlink_to("elsewhere")
    else:
        os.mkfifo(live.root / "etc/one/a")
    went_back(live)
    assert live.read("etc/one") == "1\n"
    assert kept(live) == {"etc/one/a": {"file": "a file\n", "link": "elsewhere", "fifo": ""}[what]}


def test_a_folder_that_the_edited_file_of_both_versions_became_goes(live: Machine) -> None:
    versions(live, {"etc/one": "1\n"}, {"etc/one": "2\n"})
    (live.root / "etc/one").unlink()
    live.write("etc/one/a", "a file\n")
    went_back(live)
    assert live.read("etc/one") == "1\n"
    assert kept(live) == {"etc/one": "", "etc/one/a": "a file\n"}


@pytest.mark.parametrize("declared", [False, True])
def test_a_file_in_the_way_of_a_folder_goes_to_the_store(live: Machine, declared: bool) -> None:
    mode = '[[files]]\npath = "etc/site"\nmode = "0750"\n' if declared else ""
    versions(live, {"etc/site/one/a": "1"}, {}, mode)
    shutil.rmtree(live.root / "etc/site", ignore_errors=True)
    live.write("etc/site", "a file\n")
    went_back(live)
    assert live.read("etc/site/one/a") == "1"
    assert kept(live) == {"etc/site": "a file\n"}
    live.install(TWO, confirm=0)
    if not declared:
        assert live.read("etc/site") == "a file\n"


def test_a_symlink_in_the_way_of_a_folder_goes_to_the_store_and_what_it_leads_to_is_left_alone(live: Machine) -> None:
    versions(live, {"etc/site/one": "1"}, {"etc/site/one": "2"})
    moved(live, "etc/site", "opt/site")
    (live.root / "etc/site").symlink_to("../opt/site")
    went_back(live)
    assert live.read("etc/site/one") == "1"
    assert kept(live) == {"etc/site": "../opt/site"}
    assert live.read("opt/site/one") == "2"


def test_where_a_file_that_was_there_before_ashore_has_no_folder_any_more_one_is_made(live: Machine) -> None:
    live.write("etc/old/one", "before ashore\n")
    versions(live, {}, {"etc/old/one": "2\n"}, '[[files]]\npath = "etc/old/*"\nadopt = true\n')
    shutil.rmtree(live.root / "etc/old")
    live.write("etc/old", "a file\n")
    went_back(live)
    assert live.read("etc/old/one") == "before ashore\n"
    assert kept(live) == {"etc/old": "a file\n"}


@pytest.mark.parametrize("edit", ["edit\n", None])
def test_what_is_to_stop_a_new_version_when_it_is_edited_does_not_stop_the_way_back(
    live: Machine, edit: str | None
) -> None:
    versions(live, {"etc/y": "1\n"}, {"etc/y": "2\n"}, '[[files]]\npath = "etc/y"\non_edit = "abort"\n')
    (live.root / "etc/y").unlink()
    if edit is not None:
        live.write("etc/y", edit)
    went_back(live)
    assert live.read("etc/y") == "1\n"
    assert kept(live) == ({"etc/y": edit} if edit is not None else {})


def test_what_had_been_deleted_before_stays_as_it_is(live: Machine) -> None:
    live.images.add(ONE, {CONFIG: "Port 22\n", "etc/y": "1\n"})
    live.images.add(TWO, {CONFIG: "AllowUsers nobody\n"})
    live.install(ONE, confirm=0)
    (live.root / "etc/y").unlink()
    live.install(TWO)
    live.write("etc/y/x", "a file\n")
    went_back(live)
    assert live.read("etc/y/x") == "a file\n"
    assert live.tools().history.current().files["etc/y"].deleted


def test_a_configuration_that_nobody_can_read_is_said(live: Machine) -> None:
    versions(live, {"etc/y": "1\n"}, {})
    live.write("etc/ashore/config.toml", 'keep = "x\n')
    assert [line for line in went_back(live) if "config.toml" in line]
    assert live.read("etc/y") == "1\n"


def test_a_trigger_that_fails_is_said_and_the_others_run(live: Machine) -> None:
    sysusers, tmpfiles = "usr/lib/sysusers.d/a.conf", "usr/lib/tmpfiles.d/a.conf"
    versions(live, {sysusers: "u aa - -\n", tmpfiles: "d /var/lib/aa\n"}, {})
    live.programs.fails["systemd-sysusers"] = "cannot"
    live.programs.log.clear()
    assert [line for line in went_back(live) if line.startswith("sysusers failed")]
    assert live.exists(sysusers)
    assert [line for line in live.programs.log if "tmpfiles" in line]


VALIDATED = '[[files]]\npath = "etc/y"\nvalidate = ["/usr/bin/check", "{path}"]\n'


def test_an_edit_that_cannot_be_merged_to_what_a_validator_accepts_goes_to_the_store(live: Machine) -> None:
    live.write("usr/bin/check", "#!/bin/sh\n", 0o755)
    versions(live, {"etc/y": "a\nb\nc\nd\n"}, {"etc/y": "a\nb\nc\nD\n"}, VALIDATED)
    live.write("etc/y", "A\nb\nc\nD\n")
    live.programs.fails["check"] = "no network"
    went_back(live)
    assert live.read("etc/y") == "a\nb\nc\nd\n"
    assert kept(live) == {"etc/y": "A\nb\nc\nD\n"}
    assert [held.reference for held in live.tools().history.held().values()] == [TWO], "not what came back"


def test_an_edit_that_can_be_merged_stays(live: Machine) -> None:
    live.write("usr/bin/check", "#!/bin/sh\n", 0o755)
    versions(live, {"etc/y": "a\nb\nc\nd\n"}, {"etc/y": "a\nb\nc\nD\n"}, VALIDATED)
    live.write("etc/y", "A\nb\nc\nD\n")
    went_back(live)
    assert live.read("etc/y") == "A\nb\nc\nd\n"


def test_the_next_boot_displaces_as_well(live: Machine) -> None:
    versions(live, {"etc/site/cache": "1\n"}, {})
    live.write("etc/site/cache", "by a daemon\n")
    live.boot, live.images.down = "boot-2", True
    live.systemd.units["sysinit.target"].active = "inactive"  # type: ignore[union-attr]
    went_back(live)
    assert kept(live) == {"etc/site/cache": "by a daemon\n"}


def test_who_goes_back_by_hand_is_asked(live: Machine) -> None:
    versions(live, {"etc/one": "1\n", "etc/two": "1\n"}, {})
    live.write("etc/one", "by a daemon\n")
    live.write("etc/two/x", "a file\n")
    with pytest.raises(ConflictError) as caught:
        live.roll_back()
    assert [issue.where for issue in caught.value.issues] == ["/etc/one", "/etc/two"]
    live.write("etc/ashore/config.toml", 'keep = "x\n')
    with pytest.raises(AshoreError, match=r"config\.toml"):
        live.roll_back()


def blocked(machine: Machine) -> Machine:
    versions(machine, {"etc/one": "1\n", "etc/site/a": "1\n", "etc/cache": "1\n"}, {"etc/one/a": "2\n"})
    machine.write("etc/one/b/c", "a file\n")
    machine.write("etc/site", "a file\n")
    machine.write("etc/cache", "by a daemon\n")
    return machine


def test_killed_at_any_call_what_was_in_the_way_is_there_or_in_the_store(quick_folder: Path) -> None:
    from tests.flow.test_confirm import prepared

    story: Story = lambda machine: time_passes(machine, 300)  # noqa: E731
    template = blocked(prepared(quick_folder / "template"))

    def fresh(number: int) -> Machine:
        return template.copied(quick_folder / str(number))

    whole = fresh(-1)
    total = in_child(story, whole, stop_at=-1)
    states = [template.tree(), whole.tree()]
    assert whole.read(CONFIG) == "Port 22\n" and len(kept(whole)) == 4
    seen = set()
    for at in range(total):
        victim = fresh(at)
        kill_and_recover(story, victim, at)
        assert victim.leftovers() == []
        state = states.index(victim.tree())
        seen.add(state)
        assert not state or kept(victim) == kept(whole)
        shutil.rmtree(victim.folder)
    assert seen == {0, 1}


def at_work(registry: FakeRegistry, tmp_path: Path, live: Machine) -> "subprocess.Popen[bytes]":
    """Another command on this host, that waits without end for a registry."""
    slow = publish(registry, tmp_path, 1)
    registry.misbehave("blobs", lambda reply: stalled(10)(reply) if len(reply.body) > 100_000 else reply, times=1000)
    command = [sys.executable, "-m", "ashore", "install", slow, "--root", str(live.root)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lock = live.root / "var/lib/ashore/lock"
    while lock.read_text().strip() != str(running.pid) or not live.leftovers():
        assert running.poll() is None
        time.sleep(0.05)
    return running


def patient(live: Machine) -> Tools:
    return msgspec.structs.replace(live.tools(), sleep=lambda seconds: time.sleep(seconds / 5))


def test_a_command_that_waits_for_a_registry_is_asked_to_end(
    registry: FakeRegistry, tmp_path: Path, cache: Path, live: Machine
) -> None:
    before = live.tree()
    live.install(TWO)
    running = at_work(registry, tmp_path, live)
    live.seconds += 300
    try:
        assert confirmation.take_back_in_time(patient(live)).taken_back
        assert running.wait(30) == 130
    finally:
        running.kill()
        running.wait()
    assert live.tree() == before and live.leftovers() == []


def test_before_the_time_is_over_no_command_is_asked_to_end(
    registry: FakeRegistry, tmp_path: Path, cache: Path, live: Machine
) -> None:
    live.install(TWO)
    running = at_work(registry, tmp_path, live)
    tools = live.tools()
    try:
        assert not confirmation.take_back_in_time(tools).taken_back, "it does not even wait for the lock"
        waiting = tools.history.provisional()
        assert waiting is not None
        tools.history.await_confirmation(msgspec.structs.replace(waiting, by=By.SSH_LOGIN))
        with pytest.raises(BusyError):
            confirmation.take_back_in_time(live.tools())
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


def test_a_process_that_does_not_hold_the_lock_is_not_asked_whatever_its_number(live: Machine) -> None:
    live.install(TWO)
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            holder, looking = live.tools().state, live.tools().state
            assert not ask_to_end(looking), "whoever had it last has ended"
            with holder.locked():
                (live.root / "var/lib/ashore/lock").write_text(f"{other.pid}\n")
                assert not ask_to_end(looking)
                (live.root / "var/lib/ashore/lock").write_text(f"{os.getpid()}\n")
                assert not ask_to_end(looking), "nor do we ask ourselves"
                (live.root / "var/lib/ashore/lock").write_text("")
                assert not ask_to_end(looking)
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("command", [("take-back",), ("recover", "--at-boot")], ids=" ".join)
@pytest.mark.parametrize("up", [True, False], ids=["up", "booting"])
def test_what_comes_after_our_unit_in_a_boot_does_not_wait_for_it_on_a_host_that_is_up(
    live: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: bool, command: tuple[str, ...]
) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.units["sysinit.target"].active = "active" if up else "inactive"
    said: list[str] = []
    monkeypatch.setattr("ashore.acts.boot.early.notify.ready", lambda: said.append("ready"))

    def act(_: Tools) -> Confirmed:
        said.append("done")
        return Confirmed(generation=1)

    name = "early.recover_at_boot" if "recover" in command else "confirm.take_back_in_time"
    monkeypatch.setattr(f"ashore.acts.boot.{name}", act)
    for module in ("recover", "take_back"):
        monkeypatch.setattr(f"ashore.cli.{module}.wired", lambda _: contextlib.nullcontext(live.tools()))
    assert run(command) == 0
    assert said == (["ready", "done", "ready"] if up else ["done", "ready"]), "what restarts it would wait for us"


def _fault(*_: object, **__: object) -> None:
    raise ValueError("not a digest: ''")


def test_what_cannot_be_taken_back_for_a_fault_that_nobody_foresaw_is_told_and_tried_again(
    live: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(live, {}, {})
    live.seconds += 300
    assert "could not" not in status_text(status(live.tools()))
    with monkeypatch.context() as patch:
        patch.setattr(confirmation, "wish_back", _fault)
        with pytest.raises(ValueError, match="not a digest"):
            confirmation.take_back_in_time(live.tools())
    found = status(live.tools())
    assert found.stuck == "ValueError: not a digest: ''"
    assert f"its time is over, and it could not be taken back: {found.stuck}" in status_text(found)
    went_back(live)
    assert status(live.tools()).stuck == ""


def test_what_is_confirmed_after_all_need_not_be_taken_back(live: Machine) -> None:
    versions(live, {}, {})
    live.seconds += 300
    with live.tools().state.locked(), pytest.raises(BusyError):
        confirmation.take_back_in_time(live.tools())
    assert "another ashore is at work" in status(live.tools()).stuck
    confirmation.confirm(live.tools())
    assert status(live.tools()).stuck == ""


def test_a_fault_at_boot_does_not_hold_the_units_of_bundles(live: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(live, {}, {})
    live.boot = "boot-2"
    live.systemd.units["sysinit.target"].active = "inactive"  # type: ignore[union-attr]
    monkeypatch.setattr(confirmation, "wish_back", _fault)
    with pytest.raises(ValueError, match="not a digest"):
        confirmation.take_back_in_time(live.tools())
    assert not live.exists("run/ashore/incomplete")


@pytest.mark.parametrize("booted", [False, True])
def test_a_fifo_that_the_change_moved_aside_does_not_stop_its_way_back(live: Machine, booted: bool) -> None:
    toml = '[[files]]\npath = "etc/one"\non_edit = "replace"\n'
    versions(live, {"etc/one": "1\n"}, {"etc/one": "2\n"}, toml)
    live.roll_back()
    (live.root / "etc/one").unlink()
    os.mkfifo(live.root / "etc/one")
    live.install(TWO)
    assert live.read("etc/one") == "2\n"
    if booted:
        live.boot, live.images.down = "boot-2", True
        live.systemd.units["sysinit.target"].active = "inactive"  # type: ignore[union-attr]
    went_back(live)
    assert live.read("etc/one") == "1\n"
