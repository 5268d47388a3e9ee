# SPDX-License-Identifier: Apache-2.0
"""A file edited on the host is never lost and never silently overwritten."""

import os
import stat
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ashore.acts.ask.drifting import host_drift
from ashore.acts.ask.look import diff, status
from ashore.acts.change.install import install
from ashore.acts.change.preview import plan_install
from ashore.acts.change.repair import Scope, repair
from ashore.cli.render_drift import attributes_text, drift_text
from ashore.errors import ConflictError
from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.owners import Owners
from ashore.rules.files.drift import Drift, Verdict
from tests.fakes.bundles import File, Folder, Link
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
CONF = "etc/app.conf"


def policy(on_edit: str) -> str:
    return f'[[files]]\npath = "{CONF}"\non_edit = "{on_edit}"\n'


@pytest.fixture(params=["keep", "merge", ""])
def kept(request: pytest.FixtureRequest, host: Machine) -> Machine:
    """A host whose edits are kept: by default, by name, and until merging exists."""
    toml = policy(request.param) if request.param else ""
    host.images.add(ONE, {CONF: "one\n", "etc/other": "1"}, toml)
    host.images.add(TWO, {CONF: "two\n", "etc/other": "2"}, toml)
    host.images.add(THREE, {CONF: "three\n", "etc/other": "3"}, toml)
    host.install(ONE)
    return host


def test_an_edit_is_kept_and_the_new_version_is_pending_and_said(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    outcome = kept.install(TWO)
    assert kept.read(CONF) == "mine\n"
    assert kept.read("etc/other") == "2"
    assert [(k.path, k.verdict, k.pending) for k in outcome.plan.kept] == [(CONF, "edited", True)]
    found = status(kept.tools())
    assert found.pending == (CONF,)
    assert found.drift[0].path == CONF and found.drift[0].known
    assert stored(kept, "two\n"), "the new version is in the store"


def test_an_edit_is_kept_again_and_only_the_newest_version_waits(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    kept.install(TWO)
    kept.install(THREE)
    assert kept.read(CONF) == "mine\n"
    assert status(kept.tools()).pending == (CONF,)
    assert stored(kept, "three\n")


def test_an_edit_stays_over_a_rollback_and_back(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    kept.install(TWO)
    kept.roll_back()
    assert kept.read(CONF) == "mine\n"
    assert kept.read("etc/other") == "1"
    assert status(kept.tools()).pending == ()
    kept.install(TWO)
    assert kept.read(CONF) == "mine\n"
    assert status(kept.tools()).pending == (CONF,)


def test_an_edit_that_never_left_its_place_stays_over_a_rollback_to_a_number(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    kept.install(TWO)
    kept.roll_back()
    kept.roll_back(to=2)
    assert kept.read(CONF) == "mine\n"
    assert status(kept.tools()).pending == (CONF,)
    kept.roll_back(to=1)
    assert kept.read(CONF) == "mine\n"


def test_an_edit_that_is_put_back_is_no_edit(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    kept.install(TWO)
    kept.write(CONF, "one\n")
    kept.install(THREE)
    assert kept.read(CONF) == "three\n"
    assert status(kept.tools()).pending == ()


def test_an_edit_that_is_the_new_version_already_is_no_edit(kept: Machine) -> None:
    kept.write(CONF, "two\n")
    marks = kept.marks(CONF)
    outcome = kept.install(TWO)
    assert kept.marks(CONF) == marks
    assert outcome.plan.kept == ()
    assert host_drift(kept.tools(), outcome.generation) == ()
    kept.install(THREE)
    assert kept.read(CONF) == "three\n", "and the next version comes"


def test_an_edit_without_a_new_version_is_drift_and_nothing_is_pending(kept: Machine) -> None:
    kept.write(CONF, "mine\n")
    found = status(kept.tools())
    assert [(d.path, d.verdict, d.known) for d in found.drift] == [(CONF, "edited", False)]
    assert found.pending == ()
    assert "-one\n+mine\n" in diff(kept.tools())[0][1]


def test_a_deleted_file_stays_deleted(kept: Machine) -> None:
    (kept.root / CONF).unlink()
    outcome = kept.install(TWO)
    assert not kept.exists(CONF)
    assert [(k.path, k.verdict, k.pending) for k in outcome.plan.kept] == [(CONF, "deleted", True)]
    kept.install(THREE)
    assert not kept.exists(CONF)
    kept.roll_back()
    assert not kept.exists(CONF)
    kept.remove("app")
    assert not kept.exists(CONF)


@pytest.mark.parametrize(
    ("on_edit", "then"),
    [("keep", "stays deleted"), ("merge", "stays deleted"), ("replace", "comes back"), ("abort", "is refused")],
)
def test_status_says_what_becomes_of_a_deleted_file(host: Machine, on_edit: str, then: str) -> None:
    for number, name in enumerate((ONE, TWO), 1):
        host.images.add(name, {CONF: f"{number}\n"}, policy(on_edit))
    host.install(ONE)
    (host.root / CONF).unlink()
    (item,) = status(host.tools()).drift
    assert drift_text(item).startswith(f"/{CONF} (app): deleted; ") and drift_text(item).endswith(then)
    if then == "is refused":
        with pytest.raises(ConflictError):
            host.install(TWO)
    else:
        host.install(TWO)
    assert host.exists(CONF) == (then == "comes back"), "and so it is"


def test_a_deleted_file_that_somebody_writes_again_is_an_edit(kept: Machine) -> None:
    (kept.root / CONF).unlink()
    kept.install(TWO)
    kept.write(CONF, "mine\n")
    kept.install(THREE)
    assert kept.read(CONF) == "mine\n"


def test_a_deleted_file_that_somebody_put_back_stays_over_a_rollback(kept: Machine) -> None:
    (kept.root / CONF).unlink()
    kept.images.add(TWO, {CONF: "one\n", "etc/other": "2"})
    kept.images.add(THREE, {CONF: "one\n", "etc/other": "3"})
    kept.install(TWO)
    kept.write(CONF, "one\n")
    kept.install(THREE)
    kept.roll_back()
    assert (kept.read(CONF), kept.read("etc/other")) == ("one\n", "2")


def test_a_changed_mode_does_not_freeze_the_content(kept: Machine) -> None:
    (kept.root / CONF).chmod(0o600)
    kept.install(TWO)
    assert kept.read(CONF) == "two\n"
    assert mode(kept) == 0o600, "its own mode stays"
    kept.install(THREE)
    assert (kept.read(CONF), mode(kept)) == ("three\n", 0o600)
    kept.roll_back()
    assert (kept.read(CONF), mode(kept)) == ("two\n", 0o600)


def test_a_changed_mode_comes_back_with_the_version_that_it_was_set_on(kept: Machine) -> None:
    (kept.root / CONF).chmod(0o600)
    kept.install(TWO)
    kept.remove("app")
    for number, content in ((1, "one\n"), (2, "two\n")):
        kept.roll_back(to=number)
        assert (kept.read(CONF), mode(kept)) == (content, 0o600)


def test_a_mode_that_the_bundle_changes_reaches_an_untouched_file(host: Machine) -> None:
    host.images.add(ONE, {CONF: File("x", mode=0o644)})
    host.images.add(TWO, {CONF: File("x", mode=0o600)})
    host.install(ONE)
    host.install(TWO)
    assert mode(host) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another owner")
def test_a_changed_owner_stays_while_the_content_follows(kept: Machine) -> None:
    os.chown(kept.root / CONF, 33, 44)
    kept.install(TWO)
    found = (kept.root / CONF).stat()
    assert (kept.read(CONF), found.st_uid, found.st_gid) == ("two\n", 33, 44)


def test_a_symlink_in_the_place_of_a_file_is_an_edit(kept: Machine) -> None:
    (kept.root / CONF).unlink()
    (kept.root / CONF).symlink_to("/etc/other")
    kept.install(TWO)
    assert (kept.root / CONF).is_symlink()
    assert kept.read("etc/other") == "2", "and nobody wrote through it"


def test_a_symlink_that_somebody_points_elsewhere_stays(host: Machine) -> None:
    host.images.add(ONE, {"etc/link": Link("a")})
    host.images.add(TWO, {"etc/link": Link("b")})
    host.install(ONE)
    (host.root / "etc/link").unlink()
    (host.root / "etc/link").symlink_to("mine")
    host.install(TWO)
    assert os.readlink(host.root / "etc/link") == "mine"
    assert status(host.tools()).pending == ("etc/link",)


def test_a_symlink_to_a_name_that_is_not_utf8_is_an_edit_like_another(host: Machine) -> None:
    host.images.add(ONE, {"etc/link": Link("a")})
    host.images.add(TWO, {"etc/link": Link("b")})
    host.install(ONE)
    link = os.fsencode(host.root / "etc/link")
    os.unlink(link)
    os.symlink(b"v\xff", link)
    host.install(TWO)
    assert os.readlink(link) == b"v\xff"
    assert status(host.tools()).pending == ("etc/link",)
    repair(host.tools(), Scope(names=("/etc/link",)))
    assert os.readlink(link) == b"b"
    host.roll_back()
    assert os.readlink(link) == b"v\xff", "exactly"
    host.remove("app")
    assert host.tools().history.current().displaced["etc/link"].target == "v\udcff"


def test_a_symlink_to_a_name_that_is_not_utf8_is_taken_over_and_given_back(host: Machine) -> None:
    host.images.add(ONE, {"etc/link": Link("a")})
    link = os.fsencode(host.root / "etc/link")
    os.symlink(b"v\xff", link)
    host.install(ONE, adopt_all=True)
    assert os.readlink(link) == b"a"
    host.remove("app")
    assert os.readlink(link) == b"v\xff"


def test_replace_puts_the_new_version_there_and_keeps_the_edit_in_the_store(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("replace"))
    host.images.add(TWO, {CONF: "two\n"}, policy("replace"))
    host.install(ONE)
    host.write(CONF, "mine\n")
    outcome = host.install(TWO)
    assert host.read(CONF) == "two\n"
    assert any("edit" in step.note for step in outcome.plan.steps), "it is said"
    assert outcome.generation.displaced[CONF].digest == of(b"mine\n")
    assert stored(host, "mine\n")
    host.roll_back()
    assert host.read(CONF) == "mine\n", "the edit comes back with the generation that it was made in"


def test_replace_takes_a_changed_mode_back_as_well(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("replace"))
    host.images.add(TWO, {CONF: "two\n"}, policy("replace"))
    host.install(ONE)
    (host.root / CONF).chmod(0o600)
    host.install(TWO)
    assert (host.read(CONF), mode(host)) == ("two\n", 0o644)
    assert not host.install(TWO).changed
    host.roll_back()
    assert (host.read(CONF), mode(host)) == ("one\n", 0o600)


def test_a_replaced_edit_outlives_its_generation_until_it_is_discarded(host: Machine) -> None:
    from ashore.acts.transaction.collect import collect

    for number in range(1, 9):
        host.images.add(f"reg.example/app:{number}", {CONF: f"{number}\n"}, policy("replace"))
    host.install(ONE)
    host.write(CONF, "mine\n")
    for number in range(2, 9):
        host.install(f"reg.example/app:{number}")
    assert [edit.path for edit in host.tools().history.edits()] == [CONF]
    assert stored(host, "mine\n")
    tools = host.tools()
    with tools.state.locked():
        collect(tools, discard_edits=True)
    assert not stored(host, "mine\n")
    assert host.tools().history.edits() == ()


def test_edits_of_kept_generations_are_discarded_as_well_and_a_rollback_says_so(host: Machine) -> None:
    from ashore.acts.change.discard import prune

    host.images.add(ONE, {CONF: "one\n", "etc/merged": "a\nb\nc\n"}, policy("replace"))
    host.images.add(TWO, {CONF: "two\n", "etc/merged": "a\nb\nC\n"}, policy("replace"))
    host.images.add(THREE, {CONF: "three\n", "etc/merged": "a\nb\nCC\n"}, policy("replace"))
    host.install(ONE)
    host.write(CONF, "a password that was typed here\n")
    host.write("etc/merged", "A\nb\nc\n")
    host.install(TWO)
    host.install(THREE)
    given_up = ["a password that was typed here\n", "A\nb\nc\n", "A\nb\nC\n"]
    assert all(stored(host, text) for text in given_up)
    prune(host.tools(), discard_edits=True)
    assert not any(stored(host, text) for text in given_up)
    assert len(list(host.tools().history.all())) == 3, "the generations stay"
    outcome = host.roll_back(to=1)
    assert host.read(CONF) == "one\n"
    assert host.read("etc/merged") == "A\nb\nc\n", "what lies there still is merged"
    assert any("no longer in the store" in note for note in outcome.plan.notes)
    host.write(CONF, "a new edit\n")
    host.install(TWO)
    assert stored(host, "a new edit\n"), "what is edited from then on is kept again"
    host.roll_back()
    assert host.read(CONF) == "a new edit\n"


def test_replace_brings_a_deleted_file_back(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("replace"))
    host.images.add(TWO, {CONF: "two\n"}, policy("replace"))
    host.install(ONE)
    (host.root / CONF).unlink()
    host.install(TWO)
    assert host.read(CONF) == "two\n"


@pytest.mark.parametrize("change", [lambda p: p.write_text("mine\n"), lambda p: p.unlink()], ids=["edited", "deleted"])
def test_abort_refuses_the_new_version_and_changes_nothing(host: Machine, change: Callable[[object], object]) -> None:
    host.images.add(ONE, {CONF: "one\n", "etc/other": "1"}, policy("abort"))
    host.images.add(TWO, {CONF: "two\n", "etc/other": "2"}, policy("abort"))
    host.images.add(THREE, {CONF: "one\n", "etc/other": "3"}, policy("abort"))
    host.install(ONE)
    change(host.root / CONF)
    before = host.tree()
    with pytest.raises(ConflictError) as raised:
        host.install(TWO)
    assert raised.value.issues[0].where == "/" + CONF
    assert raised.value.issues[0].remedy
    assert host.tree() == before
    host.install(THREE)
    assert host.read("etc/other") == "3", "a version that does not change the file is welcome"


@pytest.mark.parametrize("on_edit", ["keep", "replace", "abort", "merge"])
def test_a_removed_bundles_edit_is_moved_aside_and_kept(host: Machine, on_edit: str) -> None:
    fresh = host.tree()
    host.images.add(ONE, {CONF: "one\n"}, policy(on_edit))
    host.install(ONE)
    host.write(CONF, "mine\n")
    outcome = host.remove("app")
    assert host.tree() == fresh
    assert outcome.generation.displaced[CONF].digest == of(b"mine\n")
    assert stored(host, "mine\n")
    host.roll_back()
    assert host.read(CONF) == "mine\n"


def test_a_dropped_files_edit_is_moved_aside_and_kept(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n", "etc/x": "x"})
    host.images.add(TWO, {"etc/x": "x"})
    host.install(ONE)
    host.write(CONF, "mine\n")
    host.install(TWO)
    assert not host.exists(CONF)
    assert stored(host, "mine\n")
    host.roll_back()
    assert host.read(CONF) == "mine\n"


def test_an_edit_between_plan_and_commit_is_not_lost(host: Machine) -> None:
    """Somebody may hold a file open and write to it until it is replaced, and after: it is hashed at the commit."""
    host.images.add(ONE, {CONF: "one\n"})
    host.images.add(TWO, {CONF: "two\n"})
    host.install(ONE)
    with open(host.root / CONF, "a") as held_open:

        def now() -> str:
            """Asked for between the plan and the swap, and between the swap and the verdict."""
            held_open.write("late\n")
            held_open.flush()
            return "2026-01-01T00:00:00Z"

        install(replace(host.tools(), now=now), [host.ask(TWO)])
    assert host.read(CONF) == "two\n"
    (edit,) = host.tools().history.edits()
    assert edit.path == CONF
    assert host.tools().content.has(edit.digest)


def test_edits_of_one_bundle_do_not_stop_another(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("abort"))
    host.images.add("reg.example/other:1", {"etc/other": "x"})
    host.install(ONE)
    host.write(CONF, "mine\n")
    host.install("reg.example/other:1")
    assert host.read(CONF) == "mine\n"
    assert host.read("etc/other") == "x"


def test_an_edit_of_a_replace_file_stays_when_another_bundle_is_installed(host: Machine) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("replace"))
    host.images.add("reg.example/other:1", {"etc/other": "x"})
    host.install(ONE)
    host.write(CONF, "mine\n")
    host.install("reg.example/other:1")
    assert host.read(CONF) == "mine\n"


@pytest.mark.parametrize("deleted", [False, True], ids=["edited", "deleted"])
@pytest.mark.parametrize("again", ["install", "upgrade"])
def test_and_goes_with_the_next_install_of_its_own_as_the_plan_says(host: Machine, again: str, deleted: bool) -> None:
    host.images.add(ONE, {CONF: "one\n"}, policy("replace"))
    host.images.add("reg.example/other:1", {"etc/other": "x"})
    host.install(ONE)
    host.write(CONF, "mine\n")
    if deleted:
        (host.root / CONF).unlink()
    host.install("reg.example/other:1")
    assert [step.path for step in plan_install(host.tools(), [host.ask(ONE)])[0].steps] == [CONF]
    assert (host.install(ONE) if again == "install" else host.upgrade()).changed
    assert host.read(CONF) == "one\n"
    assert not host.install(ONE).changed


def test_attributes_that_differ_are_told_one_by_one() -> None:
    placed = Entry(kind=Kind.FILE, mode=0o644, xattrs={"user.a": b"1", "user.b": b"1"})
    there = replace(placed, xattrs={"user.a": b"2", "security.capability": b"x"})
    owners = Owners(users={"root": 0, "www": 33}, groups={"root": 0})

    def told(old: Entry, new: Entry) -> str:
        item = Drift(path="f", bundle="b", verdict=Verdict.ATTRIBUTES, known=False, old=old, new=new)
        return attributes_text(item, owners)

    assert told(placed, there) == "security.capability added; user.a changed; user.b removed"
    moved = replace(there, mode=0o4600, uid=33, gid=44)
    assert told(there, moved) == "0644 root:root -> 4600 www:44"
    link = Entry(kind=Kind.SYMLINK, mode=0o777, target="x")
    assert told(link, replace(link, uid=33)) == "root:root -> www:root"
    assert told(placed, placed) == ""


def test_a_mode_that_somebody_gave_a_folder_is_seen_and_stays_over_upgrades(host: Machine) -> None:
    folder = host.root / "opt/app/data"
    for name, bits in ((ONE, 0o755), (TWO, 0o755), (THREE, 0o750)):
        host.images.add(name, {"opt/app/data": Folder(bits), "opt/app/data/x": "x", "etc/other": name})
    host.install(ONE)
    folder.chmod(0o700)
    for name in (TWO, THREE):
        host.install(name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [(d.path, d.verdict) for d in host_drift(host.tools(), host.tools().history.current())] == [
            ("opt/app/data", "attributes")
        ]
    repair(host.tools(), Scope())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def stored(host: Machine, text: str) -> bool:
    return host.tools().content.has(of(text.encode()))


def mode(host: Machine) -> int:
    return stat.S_IMODE((host.root / CONF).stat().st_mode)
