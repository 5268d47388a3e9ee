# SPDX-License-Identifier: Apache-2.0
"""Installed, upgraded, removed: what lies on the host then, and what lies there no more."""

import errno
import os
import shutil
import stat

import pytest

from ashore.acts.change import discard
from ashore.acts.change import install as stories
from ashore.acts.change.preview import plan_install
from ashore.acts.transaction import recover as recovery
from ashore.errors import (
    AshoreError,
    BusyError,
    ChangedError,
    ConflictError,
    InputError,
    UsageError,
)
from ashore.mechanisms.state.content import hash_file
from ashore.nouns.digest import Digest, of
from ashore.nouns.generation import Verb
from ashore.nouns.journal import Recovered
from ashore.nouns.plan import Action
from tests.fakes.bundles import File, Folder, Hard, Link
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
OTHER = "reg.example/other:1"
ADOPT = '[[files]]\npath = "etc/app.conf"\nadopt = true\n'


def test_a_bundle_lies_on_the_host_as_it_lies_in_its_folder(host: Machine) -> None:
    host.images.add(
        ONE,
        {
            "etc/app/app.conf": "one\n",
            "etc/app/link": Link("app.conf"),
            "etc/app/dangling": Link("/nowhere/at/all"),
            "opt/bin/app": File("binary\n", mode=0o755),
            "opt/bin/again": Hard("opt/bin/app"),
            "opt/empty": Folder(0o750),
            "opt/shared": File("x", uid=12, gid=34, mode=0o640),
        },
    )
    assert host.install(ONE).changed
    assert host.read("etc/app/app.conf") == "one\n"
    assert os.readlink(host.root / "etc/app/link") == "app.conf"
    assert os.readlink(host.root / "etc/app/dangling") == "/nowhere/at/all"
    assert (host.root / "opt/bin/app").stat().st_ino == (host.root / "opt/bin/again").stat().st_ino
    assert mode(host, "opt/bin/app") == 0o755
    assert mode(host, "opt/empty") == 0o750
    if os.geteuid() == 0:
        status = (host.root / "opt/shared").stat()
        assert (status.st_uid, status.st_gid) == (12, 34)
    assert host.leftovers() == []


def test_a_plan_changes_nothing_below_the_root(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "one\n"})
    before = host.tree()
    plan, _ = plan_install(host.tools(), [host.ask(ONE)])
    assert [step.path for step in plan.steps if step.action is Action.CREATE] == ["etc/app.conf"]
    assert host.tree() == before
    assert not host.exists("var/lib/ashore")


def test_an_upgrade_changes_what_differs_and_nothing_else(host: Machine) -> None:
    host.images.add(ONE, {"etc/same": "same\n", "etc/app.conf": "one\n"})
    host.images.add(TWO, {"etc/same": "same\n", "etc/app.conf": "two\n"})
    host.install(ONE)
    same = host.marks("etc/same")
    outcome = host.install(TWO)
    assert [step.path for step in outcome.plan.steps] == ["etc/app.conf"]
    assert host.read("etc/app.conf") == "two\n"
    assert host.marks("etc/same") == same, "an unchanged file was written"


def test_the_same_tag_with_another_image_is_an_upgrade(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "one\n"})
    host.install(ONE)
    host.images.add(ONE, {"etc/app.conf": "moved\n"})
    assert host.upgrade("app").generation.verb is Verb.UPGRADE
    assert host.read("etc/app.conf") == "moved\n"


def test_a_file_that_the_new_version_no_longer_ships_goes(host: Machine) -> None:
    host.images.add(ONE, {"etc/app/old": "x", "etc/app/kept": "y", "opt/gone/deep/file": "z"})
    host.images.add(TWO, {"etc/app/kept": "y"})
    host.install(ONE)
    host.install(TWO)
    assert not host.exists("etc/app/old")
    assert not host.exists("opt/gone"), "folders that ashore made go when they are empty"
    assert host.exists("opt"), "a folder that was there before stays"
    assert host.exists("etc/app/kept")


def test_removal_leaves_no_trace(host: Machine) -> None:
    host.write("etc/app.conf", "the host's own\n", mode=0o600)
    before = host.tree()
    host.images.add(
        ONE,
        {"etc/app.conf": "ours\n", "etc/app/deep/er/file": "x", "opt/link": Link("bin"), "opt/empty": Folder(0o700)},
        ADOPT,
    )
    host.install(ONE)
    assert host.tree() != before
    host.remove("app")
    assert host.tree() == before
    assert host.tools().history.current().bundles == ()


def test_who_cannot_give_files_away_keeps_them(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ashore.acts.tools.may_own", lambda: False)
    host.images.add(ONE, {"etc/app/x": File("x", uid=os.geteuid() + 7, gid=os.getegid() + 7)})
    host.install(ONE)
    there = (host.root / "etc/app/x").stat()
    assert (there.st_uid, there.st_gid) == (os.geteuid(), os.getegid())
    assert not host.install(ONE).changed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of other owners")
def test_an_adopted_file_comes_back_with_its_mode_owner_and_attributes(host: Machine) -> None:
    host.write("etc/app.conf", "the host's own\n", mode=0o640)
    os.chown(host.root / "etc/app.conf", 7, 8)
    os.setxattr(host.root / "etc/app.conf", "user.note", b"mine")
    before = host.tree()
    host.images.add(ONE, {"etc/app.conf": "one\n"}, ADOPT)
    host.images.add(TWO, {"etc/app.conf": "two\n"}, ADOPT)
    host.install(ONE)
    host.install(TWO)
    assert mode(host, "etc/app.conf") == 0o644
    assert (host.root / "etc/app.conf").stat().st_uid == 0
    host.remove("app")
    assert host.tree() == before


def test_an_adopted_file_comes_back_when_a_new_version_drops_it(host: Machine) -> None:
    host.write("etc/app.conf", "the host's own\n", mode=0o600)
    host.images.add(ONE, {"etc/app.conf": "one\n", "etc/x": "x"}, ADOPT)
    host.images.add(TWO, {"etc/x": "x"})
    host.install(ONE)
    host.install(TWO)
    assert host.read("etc/app.conf") == "the host's own\n"
    assert mode(host, "etc/app.conf") == 0o600
    host.write("etc/app.conf", "edited afterwards\n")
    host.remove("app")
    assert host.read("etc/app.conf") == "edited afterwards\n", "it is not ashore's any more"


def test_an_adopted_file_gives_way_to_a_folder_and_comes_back_after_it(host: Machine) -> None:
    host.write("etc/app.conf", "the host's own\n", mode=0o600)
    before = host.tree()
    host.images.add(ONE, {"etc/app.conf": "one\n"}, ADOPT)
    host.images.add(TWO, {"etc/app.conf/main": "two\n"})
    host.install(ONE)
    placed = host.tree()
    host.install(TWO)
    assert host.read("etc/app.conf/main") == "two\n"
    host.roll_back()
    assert host.tree() == placed
    host.install(TWO)
    discard.prune(host.tools(), keep=1)  # the generation that adopted it is not kept any more
    host.remove("app")
    assert host.tree() == before


def test_an_adopted_file_comes_back_although_its_folder_is_gone(host: Machine) -> None:
    host.write("etc/app/app.conf", "the host's own\n", mode=0o600)
    before = host.tree()
    host.images.add(ONE, {"etc/app/app.conf": "one\n"})
    host.images.add(TWO, {"opt/x": "x"})
    host.install(ONE, adopt_all=True)
    shutil.rmtree(host.root / "etc/app")
    host.install(TWO)
    host.remove("app")
    assert host.tree() == before


@pytest.mark.parametrize("way", ["a file above it", "a folder in use", "a folder by hand"])
def test_an_adopted_file_that_cannot_come_back_is_in_the_store_and_history_names_it(host: Machine, way: str) -> None:
    path = "etc/app" if way == "a folder in use" else "etc/app/conf"
    versions = {
        "a file above it": ({path: "ours\n"}, {"etc/app": "a file\n"}),
        "a folder in use": ({path: "ours\n"}, {"etc/app/conf": "x"}),
        "a folder by hand": ({path: "ours\n"}, {"etc/app/other": "x"}),
    }
    host.write(path, "the host's own\n")
    for name, tree in zip((ONE, TWO), versions[way], strict=True):
        host.images.add(name, tree)
    if way == "a file above it":  # a folder of ashore's, or it could not go
        host.images.add("reg.example/app:0", {"etc/app/other": "x"})
        shutil.rmtree(host.root / "etc/app")
        host.install("reg.example/app:0")
        host.write(path, "the host's own\n")
    host.install(ONE, adopt_all=True)
    if way == "a folder by hand":
        (host.root / path).unlink()
        (host.root / path).mkdir()
    done = host.install(TWO)
    if way == "a folder in use":
        host.write("etc/app/log", "1")
        done = host.remove("app")
    assert any("the store" in note for note in done.plan.notes), "it is said"
    assert [e.digest for p, e in done.generation.originals.items() if p == path] == [of(b"the host's own\n")]
    host.images.add("reg.example/y:1", {"opt/y": "y"})
    host.install("reg.example/y:1")
    discard.prune(host.tools(), keep=1)
    assert [(e.path, e.original) for e in host.tools().history.edits() if e.path == path] == [(path, True)]
    assert host.tools().content.has(of(b"the host's own\n"))


def test_what_lost_its_place_is_no_edit_that_a_rollback_brings_back(host: Machine) -> None:
    host.images.add(ONE, {"etc/app/other": "x"})
    host.images.add(TWO, {"etc/app/other": "x", "etc/app/conf": "ours\n"})
    host.images.add(THREE, {"etc/app": "a file\n"})
    host.install(ONE)
    host.write("etc/app/conf", "the host's own\n")
    host.install(TWO, adopt_all=True)
    host.install(THREE)
    host.roll_back()
    assert host.read("etc/app/conf") == "ours\n"
    assert host.tools().content.has(of(b"the host's own\n"))


def test_an_adopted_symlink_comes_back(host: Machine) -> None:
    (host.root / "etc/app.conf").symlink_to("/somewhere/else")
    before = host.tree()
    host.images.add(ONE, {"etc/app.conf": "ours\n"}, ADOPT)
    host.install(ONE)
    assert not (host.root / "etc/app.conf").is_symlink()
    host.remove("app")
    assert host.tree() == before


@pytest.mark.parametrize("folder", [False, True])
def test_a_fifo_that_was_taken_over_does_not_come_back(host: Machine, folder: bool) -> None:
    host.images.add(ONE, {"etc/app": "x"})
    os.mkfifo(host.root / "etc/app")
    host.install(ONE, adopt_all=True)
    if folder:
        host.images.add(ONE, {"etc/app/a": "x"})
        host.install(ONE)
    host.remove("app")
    assert not host.exists("etc/app")


def test_an_adopted_file_that_is_what_the_bundle_wants_is_not_written(host: Machine) -> None:
    host.write("etc/app.conf", "the same\n")
    status = host.marks("etc/app.conf")
    host.images.add(ONE, {"etc/app.conf": "the same\n"}, ADOPT)
    host.install(ONE)
    assert host.marks("etc/app.conf") == status
    host.remove("app")
    assert host.marks("etc/app.conf") == status, "it was there before, so it stays"


def test_adopt_takes_over_everything_that_is_in_the_way(host: Machine) -> None:
    host.write("etc/a", "a of the host\n")
    host.write("etc/b", "b of the host\n")
    before = host.tree()
    host.images.add(ONE, {"etc/a": "ours", "etc/b": "ours"})
    with pytest.raises(ConflictError):
        host.install(ONE)
    assert host.tree() == before
    host.install(ONE, adopt_all=True)
    assert host.read("etc/a") == "ours"
    host.remove("app")
    assert host.tree() == before


def test_a_folder_that_holds_somebody_elses_file_stays_and_is_named(host: Machine) -> None:
    host.images.add(ONE, {"etc/app/conf": "x", "etc/app/sub/conf": "y"})
    host.install(ONE)
    host.write("etc/app/notes", "mine\n")
    outcome = host.remove("app")
    assert host.read("etc/app/notes") == "mine\n"
    assert not host.exists("etc/app/conf")
    assert not host.exists("etc/app/sub")
    assert any("/etc/app stays" in note and "notes" in note for note in outcome.plan.notes)


def test_a_folder_that_was_moved_behind_a_symlink_stays_and_is_named(host: Machine) -> None:
    host.images.add(ONE, {"opt/app/bin": "1", "opt/app/data/d": "1", "opt/other/bin": "1"})
    host.install(ONE)
    (host.root / "srv").mkdir()
    (host.root / "opt/app").rename(host.root / "srv/app")
    (host.root / "opt/app").symlink_to("/srv/app")
    outcome = host.remove("app")
    assert outcome.plan.notes == ("/opt/app is a symlink now; it is left alone, and so is what it leads to",)
    assert host.read("srv/app/data/d") == "1" and (host.root / "opt/app").is_symlink()
    assert not host.exists("opt/other")


def test_a_removed_bundle_can_be_installed_again(host: Machine) -> None:
    host.images.add(ONE, {"etc/app/conf": "x"})
    host.install(ONE)
    whole = host.tree()
    host.remove("app")
    host.install(ONE)
    assert host.tree() == whole


def test_a_declared_folder_follows_the_mode_of_the_new_version(host: Machine) -> None:
    host.images.add(ONE, {"opt/data": Folder(0o750)})
    host.images.add(TWO, {"opt/data": Folder(0o700)})
    host.install(ONE)
    host.install(TWO)
    assert mode(host, "opt/data") == 0o700
    host.roll_back()
    assert mode(host, "opt/data") == 0o750


def test_a_folder_that_was_there_keeps_its_mode_whatever_the_bundle_says(host: Machine) -> None:
    (host.root / "opt/data").mkdir(mode=0o711)
    (host.root / "opt/data").chmod(0o711)
    host.images.add(ONE, {"opt/data": Folder(0o700), "opt/data/file": "x"})
    host.install(ONE)
    assert mode(host, "opt/data") == 0o711
    host.remove("app")
    assert mode(host, "opt/data") == 0o711


def test_a_folder_whose_mode_somebody_changed_keeps_it(host: Machine) -> None:
    host.images.add(ONE, {"opt/data": Folder(0o750)})
    host.images.add(TWO, {"opt/data": Folder(0o755)})
    host.install(ONE)
    (host.root / "opt/data").chmod(0o700)
    host.install(TWO)
    assert mode(host, "opt/data") == 0o700


@pytest.mark.parametrize("name", ["nothing", "app"])
def test_what_is_not_installed_cannot_be_removed_or_upgraded(host: Machine, name: str) -> None:
    host.images.add("reg.example/other:1", {"etc/other": "x"})
    host.install("reg.example/other:1")
    for act in (host.remove, host.upgrade):
        with pytest.raises(UsageError) as raised:
            act(name)
        assert "other" in raised.value.remedy
    with pytest.raises(UsageError):
        Machine(host.folder / "fresh").upgrade()


def test_two_images_that_carry_one_bundle_are_refused_together(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "one\n"}, 'name = "app"\n')
    host.images.add("reg.example/other:1", {"etc/other.conf": "one\n"}, 'name = "app"\n')
    before = host.tree()
    with pytest.raises(InputError, match="app"):
        host.install(ONE, "reg.example/other:1")
    assert host.tree() == before


def test_a_registry_that_is_down_changes_nothing(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "one\n"})
    before = host.tree()
    host.images.down = True
    with pytest.raises(AshoreError) as raised:
        host.install(ONE)
    assert raised.value.code == 4
    assert host.tree() == before
    assert host.leftovers() == []


def test_an_image_whose_content_is_already_here_brings_nothing_new_but_is_recorded(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "same\n"}, 'version = "1"\n')
    host.images.add(TWO, {"etc/app.conf": "same\n"}, 'version = "2"\n')
    host.install(ONE)
    status = host.marks("etc/app.conf")
    outcome = host.install(TWO)
    assert outcome.changed and not outcome.plan.steps
    assert host.marks("etc/app.conf") == status
    assert host.tools().history.current().bundles[0].version == "2"


def test_a_file_that_is_written_to_while_it_is_kept_is_a_change_that_is_not_ended(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.images.add(ONE, {"opt/app": "one"})
    host.images.add(TWO, {"opt/app": "two"})
    host.install(ONE)
    os.link(host.root / "opt/app", host.root / "opt/other")  # so that it is copied into the store
    with (host.root / "opt/app").open("ab", buffering=0) as writer:

        def written_to(descriptor: int) -> tuple[Digest, int]:
            found = hash_file(descriptor)
            writer.write(b"x")
            return found

        with monkeypatch.context() as patch:
            patch.setattr(recovery, "hash_file", written_to)
            with pytest.raises(ChangedError, match="its record is not complete"):
                host.install(TWO)
    assert host.read("opt/app") == "two"
    assert recovery.recover(host.tools()) is Recovered.FORWARD
    assert host.leftovers() == []


def test_a_purge_that_cannot_be_ended_says_that_the_bundle_is_gone(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.images.add(ONE, {"opt/app": "one"})
    host.install(ONE)

    def busy(_: object) -> None:
        raise BusyError("another ashore is at work on this host")

    monkeypatch.setattr(discard, "purge", busy)
    with pytest.raises(ChangedError, match="removed, but not all of the past is forgotten") as raised:
        stories.remove(host.tools(), ["app"], purge=True)
    assert "another ashore" in raised.value.cause
    assert not host.exists("opt/app")


def _cannot(*_: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def mode(host: Machine, path: str) -> int:
    return stat.S_IMODE(os.lstat(host.root / path).st_mode)
