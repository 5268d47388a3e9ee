# SPDX-License-Identifier: Apache-2.0
"""What differs from the generation has a verdict each, and is put right by one transaction."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from ashore.acts.ask.drifting import host_drift
from ashore.acts.ask.look import diff
from ashore.acts.change.repair import Repaired, Scope, repair
from ashore.acts.transaction.collect import collect
from ashore.errors import UnchangedError, UsageError
from ashore.nouns.digest import of
from ashore.nouns.units import JobResult, UnitAction
from ashore.rules.files.drift import Drift, Verdict
from tests.fakes.bundles import Folder, Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child, kill_and_recover

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "usr/lib/systemd/system/app.service"
WANTS = "etc/systemd/system/multi-user.target.wants/app.service"
MASK = "etc/systemd/system/app.service"
TREE: Tree = {
    SERVICE: UNIT,
    "opt/bin/app": "binary 1",
    "etc/app/app.conf": "one\n",
    "etc/app/other.conf": "other\n",
    "var/lib/app/seed": "x",
    "opt/app": Folder(0o750),
    "opt/app/data": "data",
}


@pytest.fixture
def live(tmp_path: Path) -> Machine:
    systemd = FakeSystemd()
    systemd.add("app.service")
    made = Machine(tmp_path, systemd=systemd)
    made.images.add(ONE, TREE)
    made.images.add(TWO, {**TREE, "etc/app/app.conf": "two\n", "opt/bin/app": "binary 2"})
    made.install(ONE)
    systemd.log.clear()
    return made


def found(live: Machine) -> dict[str, Drift]:
    tools = live.tools()
    return {item.path: item for item in host_drift(tools, tools.history.current())}


def verdicts(live: Machine) -> dict[str, str]:
    return {path: item.verdict.value for path, item in found(live).items()}


def put_right(live: Machine, *names: str, **scope: bool) -> Repaired:
    return repair(live.tools(), Scope(names=names, **scope))


def log(live: Machine) -> list[str]:
    assert isinstance(live.systemd, FakeSystemd)
    return live.systemd.log


def spoil(live: Machine) -> None:
    """One of each that repair puts right by itself."""
    live.write("etc/app/app.conf", "an edit\n")
    (live.root / "etc/app/other.conf").unlink()
    (live.root / "opt/app/data").chmod(0o600)
    (live.root / "opt/app").chmod(0o700)
    (live.root / WANTS).unlink()


def test_every_kind_of_difference_has_its_verdict(live: Machine) -> None:
    assert verdicts(live) == {}
    spoil(live)
    live.write("etc/app/local.conf", "mine\n")
    live.write("var/lib/app/state", "a program's own\n")
    assert verdicts(live) == {
        "etc/app/app.conf": "edited",
        "etc/app/local.conf": "foreign",
        "etc/app/other.conf": "deleted",
        "opt/app": "attributes",
        "opt/app/data": "attributes",
        WANTS: "disabled",
    }
    assert found(live)[WANTS].unit == "app.service"
    assert not any(item.known for item in found(live).values())


def test_a_folder_that_no_file_came_with_is_for_others_to_fill(host: Machine) -> None:
    host.images.add(ONE, {"opt/app/plugins": Folder(), "opt/app/lib/x": "x"})
    host.install(ONE)
    host.write("opt/app/plugins/theirs", "theirs\n")
    host.write("opt/app/lib/theirs", "theirs\n")
    assert verdicts(host) == {"opt/app/lib/theirs": "foreign"}


def test_what_the_owner_of_a_host_says_of_it_is_his_beside_a_bundle_that_says_more(host: Machine) -> None:
    host.images.add(ONE, {"etc/ashore/values.d/60-site.toml": "port = 1\n"})
    host.install(ONE)
    host.write("etc/ashore/values.d/99-mine.toml", "port = 2\n")
    host.write("etc/ashore/config.toml", "")
    assert verdicts(host) == {}


@pytest.mark.parametrize("folder", ["etc/systemd/system", "run/systemd/system"])
def test_a_masked_unit_is_told_and_unmasked(live: Machine, folder: str) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    before = live.tree()
    (live.root / folder).mkdir(parents=True, exist_ok=True)
    (live.root / folder / "app.service").symlink_to("/dev/null")
    live.systemd.units["app.service"].active = "inactive"
    assert verdicts(live) == {f"{folder}/app.service": "masked"}
    assert [action.reason for action in put_right(live).outcome.plan.actions] == ["it was masked"]
    assert not live.exists(f"{folder}/app.service")
    assert log(live) == ["daemon-reload", "start app.service"]
    assert verdicts(live) == {}
    live.empty_run()
    assert live.tree() == before


def test_a_mask_in_place_of_the_bundles_own_unit_file_is_a_mask(tmp_path: Path) -> None:
    systemd = FakeSystemd()
    systemd.add("app.service")
    live = Machine(tmp_path, systemd=systemd)
    live.images.add(ONE, {MASK: UNIT})
    live.install(ONE)
    before = live.tree()
    (live.root / MASK).unlink()
    (live.root / MASK).symlink_to("/dev/null")
    systemd.units["app.service"].active = "inactive"
    assert verdicts(live) == {MASK: "masked"}
    put_right(live)
    assert live.tree() == before and systemd.units["app.service"].active == "active"


def test_repair_puts_right_what_changed_since_the_last_change(live: Machine) -> None:
    assert isinstance(live.systemd, FakeSystemd)
    before = live.tree()
    spoil(live)
    live.systemd.units["app.service"].active = "inactive"
    done = put_right(live)
    assert live.tree() == before
    assert (done.outcome.generation.number, done.outcome.generation.verb, done.left) == (2, "repair", ())
    assert verdicts(live) == {}
    assert log(live) == ["daemon-reload", "start app.service"]
    assert not put_right(live).outcome.changed


def test_an_edit_that_was_repaired_away_is_in_the_store_and_comes_back_with_a_rollback(live: Machine) -> None:
    live.write("etc/app/app.conf", "an edit\n")
    done = put_right(live)
    (path,) = done.outcome.generation.displaced
    assert path == "etc/app/app.conf"
    assert live.tools().content.has(done.outcome.generation.displaced[path].digest)
    live.roll_back()
    assert live.read("etc/app/app.conf") == "an edit\n"


def test_what_was_kept_at_a_change_is_left_unless_it_is_named(live: Machine) -> None:
    live.images.add(TWO, {**TREE, "etc/app/app.conf": "two\n"}, '[[files]]\npath = "etc/app/*"\non_edit = "keep"\n')
    live.write("etc/app/app.conf", "an edit\n")
    (live.root / WANTS).unlink()
    live.install(TWO)
    assert found(live)["etc/app/app.conf"].pending and found(live)[WANTS].known
    done = put_right(live)
    assert not done.outcome.changed
    assert [(item.path, item.verdict) for item in done.left] == [
        ("etc/app/app.conf", Verdict.EDITED),
        (WANTS, Verdict.DISABLED),
    ]
    assert live.tools().history.current().number == 2, "which is no reason for another record of it"
    put_right(live, "/etc/app")
    assert live.read("etc/app/app.conf") == "two\n" and not live.exists(WANTS)
    put_right(live, "app.service")
    assert live.exists(WANTS)
    live.write("etc/app/other.conf", "an edit\n")
    live.images.add("reg.example/x:1", {"etc/x": "x"})
    live.install("reg.example/x:1")
    assert put_right(live).left and not put_right(live, kept=True).left
    assert verdicts(live) == {}


def test_a_kept_edit_comes_back_where_the_store_has_it_and_else_what_lies_there_stays(live: Machine) -> None:
    live.write("etc/app/app.conf", "kept\n")
    live.images.add(TWO, {**TREE, "etc/app/other.conf": "new\n"})
    live.install(TWO)
    kept = live.read("etc/app/app.conf")
    live.write("etc/app/app.conf", "an accident\n")
    done = put_right(live)
    assert live.read("etc/app/app.conf") == "an accident\n", "nobody has a copy of what it was"
    assert [item.path for item in done.left] == ["etc/app/app.conf"]
    tools = live.tools()
    with live.folder.joinpath("copy").open("w+b") as file:
        file.write(kept.encode())
        file.flush()
        tools.content.put(of(kept.encode()), file.fileno())
    put_right(live)
    assert live.read("etc/app/app.conf") == "kept\n"
    assert found(live)["etc/app/app.conf"].known


def test_only_what_is_named_is_put_right(live: Machine) -> None:
    spoil(live)
    put_right(live, "/etc/app/other.conf")
    assert live.exists("etc/app/other.conf") and live.read("etc/app/app.conf") == "an edit\n"
    with pytest.raises(UsageError, match="nothing differs"):
        put_right(live, "/etc/app/other.conf")


def test_a_file_of_nobody_goes_only_if_asked_and_is_kept_in_the_store(live: Machine) -> None:
    before = live.tree()
    live.write("etc/app/local.conf", "mine\n")
    done = put_right(live)
    assert not done.outcome.changed and [item.verdict for item in done.left] == [Verdict.FOREIGN]
    done = put_right(live, foreign=True)
    assert live.tree() == before
    assert live.tools().content.has(done.outcome.generation.displaced["etc/app/local.conf"].digest)


def test_a_symlink_of_nobody_is_in_the_history_and_what_cannot_be_kept_is_left_and_said(live: Machine) -> None:
    (live.root / "etc/app/site").symlink_to("/srv/special")
    live.write("etc/app/folder/local", "mine\n")
    os.mkfifo(live.root / "etc/app/fifo")
    done = put_right(live, foreign=True)
    assert not live.exists("etc/app/site")
    assert done.outcome.generation.displaced["etc/app/site"].target == "/srv/special"
    assert [item.path for item in done.left] == ["etc/app/fifo", "etc/app/folder"]
    assert live.read("etc/app/folder/local") == "mine\n"
    assert [item.path for item in put_right(live, foreign=True).left] == ["etc/app/fifo", "etc/app/folder"]


def test_a_file_of_nobody_with_a_name_that_is_not_utf8_goes_as_well(live: Machine) -> None:
    before, path = live.tree(), "etc/app/caf\udce9"
    live.write(path, "mine\n")
    done = put_right(live, foreign=True)
    assert live.tree() == before
    assert done.outcome.generation == live.tools().history.current()
    assert live.tools().history.current().displaced[path].digest == of(b"mine\n")
    for version in range(6):
        live.install((TWO, ONE)[version % 2])
    collect(live.tools(), 1)
    (edit,) = live.tools().history.edits()
    assert edit.path == path and live.tools().content.has(edit.digest)


def test_a_damaged_content_is_fetched_again_by_its_digest(live: Machine) -> None:
    before = live.tree()
    (live.root / "opt/bin/app").write_text("damaged!")
    live.images.down = True
    with pytest.raises(Exception, match="down"):
        put_right(live)
    live.images.down = False
    live.images.add(ONE, {"etc/another": "the tag has moved"})
    put_right(live)
    assert live.tree() == before
    assert log(live) == ["restart app.service"]


def test_what_policy_admits_by_its_tag_is_fetched_again_by_its_digest(live: Machine) -> None:
    before = live.tree()
    rules = {"default": [{"type": "reject"}], "transports": {"docker": {ONE: [{"type": "insecureAcceptAnything"}]}}}
    live.write("etc/containers/policy.json", json.dumps(rules))
    live.write("opt/bin/app", "damaged!")
    put_right(live)
    assert live.tree().items() >= before.items()


def test_what_became_no_file_is_put_right_from_elsewhere(live: Machine) -> None:
    before = live.tree()
    (live.root / "opt/bin/app").unlink()
    os.mkfifo(live.root / "opt/bin/app")
    put_right(live)
    assert live.tree() == before


def test_damage_that_no_stat_tells_of_is_found_and_put_right_by_reading(live: Machine) -> None:
    before = live.tree()
    status = os.stat(live.root / "etc/app/other.conf")
    record = live.tools().history.current().files["etc/app/other.conf"]
    (live.root / "etc/app/other.conf").write_text("rotten")
    assert record.stat is not None and status.st_ino == record.stat.inode
    current = live.tools().history.current()
    same = os.stat(live.root / "etc/app/other.conf")
    stat = type(record.stat)(same.st_dev, same.st_ino, same.st_size, same.st_mtime_ns, same.st_ctime_ns)
    files = {**current.files, "etc/app/other.conf": type(record)(bundle="app", entry=record.entry, stat=stat)}
    live.tools().history.write(type(current)(number=1, transaction=current.transaction, time=current.time,
                                             verb=current.verb, bundles=current.bundles, files=files))  # fmt: skip
    assert verdicts(live) == {}
    assert not put_right(live).outcome.changed
    put_right(live, verify=True)
    assert live.tree() == before


def test_a_unit_that_runs_by_an_older_file_is_told_and_restarted(live: Machine) -> None:
    live.images.add(
        TWO, {**TREE, "opt/bin/app": "binary 2"}, '[[files]]\npath = "opt/bin/app"\nreload = ["app.service"]\n'
    )
    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.units["app.service"].can_reload = True
    status = os.stat(live.root / "opt/bin/app")
    old = (status.st_dev, status.st_ino)
    live.processes.map("app.service", old)
    live.install(TWO)
    assert log(live) == ["reload app.service"], "its author says that a reload is enough"
    assert verdicts(live) == {}, "whatever has that number of an inode"
    live.processes.gone.add(old)
    assert verdicts(live) == {"opt/bin/app": "outdated"}
    log(live).clear()
    before = live.tree()
    put_right(live)
    assert log(live) == ["restart app.service"]
    assert live.tree() == before
    live.processes.table.clear()
    live.processes.map("dbus.service", old)
    done = put_right(live)
    assert not done.outcome.changed and done.left[0].unit == "dbus.service", "that would take more down than it mends"


def test_a_difference_is_shown_where_both_sides_can_be_read(live: Machine) -> None:
    spoil(live)
    texts = {item.path: text for item, text in diff(live.tools())}
    assert "-one\n+an edit\n" in texts["etc/app/app.conf"]
    assert [path for path, text in texts.items() if text] == ["etc/app/app.conf", "etc/app/other.conf"]
    assert [item.path for item, _ in diff(live.tools(), ["app.service"])] == [WANTS]


def test_a_repair_that_fails_changes_nothing(live: Machine) -> None:
    spoil(live)
    before = live.tree()

    class Cut(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            raise UnchangedError("it does not work")

    assert isinstance(live.systemd, FakeSystemd)
    live.systemd.units["app.service"].active = "inactive"
    live.systemd = Cut(live.systemd.units)
    with pytest.raises(UnchangedError):
        put_right(live)
    assert live.tree() == before


def test_an_offline_root_is_repaired_without_units(host: Machine) -> None:
    host.images.add(ONE, TREE)
    host.install(ONE)
    before = host.tree()
    spoil(host)
    put_right(host)
    assert host.tree() == before


def test_killed_at_any_call_a_repair_is_done_or_not(quick_folder: Path) -> None:
    template = Machine(quick_folder / "template")
    template.images.add(ONE, TREE)
    template.install(ONE)
    spoil(template)
    template.write("etc/app/local.conf", "mine\n")

    def fresh(number: int) -> Machine:
        shutil.copytree(template.root, quick_folder / str(number) / "host", symlinks=True)
        return Machine(quick_folder / str(number), template.images)

    whole = fresh(-1)
    total = in_child(lambda m: put_right(m, foreign=True), whole, stop_at=-1)
    trees = [template.tree(), whole.tree()]
    seen = set()
    for at in range(total):
        victim = fresh(at)
        kill_and_recover(lambda m: put_right(m, foreign=True), victim, at)
        assert victim.tree() in trees and victim.leftovers() == [], f"killed before call {at} of {total}"
        seen.add(trees.index(victim.tree()))
        shutil.rmtree(victim.folder)
    assert seen == {0, 1}


def test_a_fifo_that_an_upgrade_left_alone_is_not_what_a_repair_brings_back(live: Machine) -> None:
    (live.root / "etc/app/app.conf").unlink()
    os.mkfifo(live.root / "etc/app/app.conf")
    live.install(TWO)
    (live.root / "etc/app/app.conf").unlink()
    repair(live.tools(), Scope())
    assert live.read("etc/app/app.conf") == "two\n"
