# SPDX-License-Identifier: Apache-2.0
"""An edit and a new version become one where they are apart; where not, nobody guesses, and nothing is lost."""

import os
import stat

import pytest

from ashore.acts.ask.look import diff, status
from ashore.acts.change.pending import pending, show
from ashore.acts.change.preview import plan_install
from ashore.acts.plan.differences import differences
from ashore.cli.render_plan import plan_text
from ashore.nouns.digest import of
from tests.fakes.bundles import File, Hard
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
CONF = "etc/app.conf"


def text(first: str = "1", last: str = "1", *more: str) -> str:
    """A file whose first and last settings lie apart."""
    return "\n".join([f"first = {first}", "a", "b", "c", f"last = {last}", *more, ""])


EDITED, MERGED = text("mine"), text("mine", "2")


@pytest.fixture
def edited(host: Machine) -> Machine:
    """Version 1 is installed and its first line was edited; version 2 changes the last line, and 3 one more."""
    for number, name in enumerate((ONE, TWO, THREE), 1):
        host.images.add(name, {CONF: text(last=str(number)), "etc/other": str(number)})
    host.install(ONE)
    host.write(CONF, EDITED)
    return host


def stored(host: Machine, content: str) -> bool:
    return host.tools().content.has(of(content.encode()))


def mode(host: Machine) -> int:
    return stat.S_IMODE((host.root / CONF).stat().st_mode)


def test_a_line_of_the_host_and_another_of_the_new_version_both_come(edited: Machine) -> None:
    outcome = edited.install(TWO)
    assert edited.read(CONF) == MERGED
    (step,) = [step for step in outcome.plan.steps if step.path == CONF]
    assert step.merged and step.edited and "merged" in step.note
    assert outcome.plan.kept == ()
    found = status(edited.tools())
    assert found.pending == ()
    assert [(d.path, d.verdict, d.known) for d in found.drift] == [(CONF, "edited", True)]
    assert "-first = 1\n+first = mine\n" in diff(edited.tools())[0][1], "the edit is told by the new version"


def test_the_plan_shows_the_difference_from_the_host_to_the_merge(edited: Machine) -> None:
    before = edited.tree()
    plan, supply = plan_install(edited.tools(), [edited.ask(TWO)])
    shown = differences(edited.tools(), plan, supply)[CONF]
    assert "-last = 1\n+last = 2\n" in shown
    assert "+first" not in shown and "-first" not in shown, "what the administrator wrote does not change"
    assert edited.tree() == before


def test_what_the_administrator_wrote_is_in_the_store_and_history_names_it(edited: Machine) -> None:
    outcome = edited.install(TWO)
    assert outcome.generation.displaced[CONF].digest == of(EDITED.encode())
    assert stored(edited, EDITED)


def test_and_names_it_where_a_rollback_found_it_there_before(edited: Machine) -> None:
    for number in (1, 2):
        edited.images.add(f"reg.example/second:{number}", {"etc/second": str(number)})
        edited.install(f"reg.example/second:{number}")
    edited.roll_back()
    outcome = edited.install(TWO)
    assert edited.read(CONF) == MERGED
    assert outcome.generation.displaced[CONF].digest == of(EDITED.encode())


def test_the_same_version_again_does_nothing(edited: Machine) -> None:
    edited.install(TWO)
    marks = edited.marks(CONF)
    assert not edited.install(TWO).changed
    os.utime(edited.root / CONF)
    assert not edited.install(TWO).changed, "nor does a closer look find anything"
    assert edited.marks(CONF).inode == marks.inode


def test_a_third_version_is_merged_with_the_merge(edited: Machine) -> None:
    edited.install(TWO)
    outcome = edited.install(THREE)
    assert edited.read(CONF) == text("mine", "3")
    assert CONF not in outcome.generation.displaced, "nobody but ashore wrote what was there"
    assert status(edited.tools()).pending == ()


def test_forward_and_back_again_gives_the_edited_first_version(edited: Machine) -> None:
    edited.install(TWO)
    edited.install(ONE)
    assert edited.read(CONF) == EDITED
    assert status(edited.tools()).pending == ()


def test_a_rollback_brings_back_exactly_what_the_administrator_had(edited: Machine) -> None:
    before = edited.tree()
    edited.install(TWO)
    edited.images.down = True
    edited.roll_back()
    assert edited.tree() == before
    edited.roll_back(to=2)
    assert edited.read(CONF) == MERGED, "and forward again"
    edited.images.down = False
    edited.install(THREE)
    assert edited.read(CONF) == text("mine", "3"), "the edit is known as one for ever"


def test_a_rollback_over_two_merges_ends_at_the_edit_of_that_time(edited: Machine) -> None:
    edited.install(TWO)
    merged = edited.tree()
    edited.install(THREE)
    edited.roll_back()
    assert edited.tree() == merged
    edited.roll_back()
    assert edited.read(CONF) == EDITED


def test_an_edit_of_the_merge_is_merged_again_and_goes_along_on_a_rollback(edited: Machine) -> None:
    edited.install(TWO)
    edited.write(CONF, MERGED.replace("b\n", "b\nmore of mine\n"))
    edited.install(THREE)
    assert edited.read(CONF) == text("mine", "3").replace("b\n", "b\nmore of mine\n")
    edited.roll_back(to=1)
    assert edited.read(CONF) == EDITED, "of that time"
    edited.roll_back(to=2)
    assert edited.read(CONF) == MERGED.replace("b\n", "b\nmore of mine\n")


def test_who_edits_the_merged_lines_once_more_keeps_them_over_a_rollback(edited: Machine) -> None:
    edited.install(TWO)
    edited.write(CONF, text("mine again", "2"))
    edited.roll_back()
    assert edited.read(CONF) == text("mine again", "1"), "told from the merge, which lies nowhere on the host any more"
    assert status(edited.tools()).pending == ()


def test_an_edit_made_after_the_new_version_stays_over_a_rollback(edited: Machine) -> None:
    edited.write(CONF, text())
    edited.install(TWO)
    edited.write(CONF, text("later", "2"))
    edited.roll_back()
    assert edited.read(CONF) == text("later", "1")
    edited.install(THREE)
    assert edited.read(CONF) == text("later", "3")


def test_a_rollback_of_one_bundle_brings_its_edit_back(edited: Machine) -> None:
    edited.images.add("reg.example/second:1", {"etc/second": "x"})
    edited.install(TWO)
    edited.install("reg.example/second:1")
    edited.roll_back(bundle="app")
    assert edited.read(CONF) == EDITED
    assert edited.exists("etc/second")


def test_overlapping_changes_keep_the_hosts_file_and_the_new_version_waits(edited: Machine) -> None:
    mine = text("1", "mine")
    edited.write(CONF, mine)
    outcome = edited.install(TWO)
    assert edited.read(CONF) == mine
    assert edited.read("etc/other") == "2"
    (kept,) = outcome.plan.kept
    assert (kept.path, kept.verdict, kept.pending) == (CONF, "edited", True)
    assert kept.reason == "both changed the same lines"
    assert status(edited.tools()).pending == (CONF,)
    assert stored(edited, text(last="2"))


def test_what_waits_is_merged_with_the_next_version_if_that_can_be(edited: Machine) -> None:
    edited.write(CONF, text("1", "mine"))
    edited.install(TWO)
    edited.images.add(THREE, {CONF: text("3", "1")})
    edited.install(THREE)
    assert edited.read(CONF) == text("3", "mine"), "the base is still what the edit was made of"
    assert status(edited.tools()).pending == ()


def test_an_edit_that_makes_room_is_merged_without_a_new_version(edited: Machine) -> None:
    edited.write(CONF, text("1", "mine"))
    edited.install(TWO)
    edited.write(CONF, text("mine", "1"))
    edited.install(TWO)
    assert edited.read(CONF) == MERGED
    assert status(edited.tools()).pending == ()


def test_an_edit_that_has_the_new_lines_already_is_left_as_it_is(edited: Machine) -> None:
    edited.write(CONF, text("mine", "2"))
    marks = edited.marks(CONF)
    outcome = edited.install(TWO)
    assert edited.marks(CONF) == marks
    assert [(kept.verdict, kept.pending) for kept in outcome.plan.kept] == [("edited", False)]
    edited.install(THREE)
    assert edited.read(CONF) == text("mine", "3"), "and it is an edit of version 2 from then on"


def test_a_new_version_that_has_the_edit_is_the_new_version(edited: Machine) -> None:
    edited.images.add(TWO, {CONF: text("mine", "2")})
    outcome = edited.install(TWO)
    assert edited.read(CONF) == text("mine", "2")
    assert status(edited.tools()).drift == ()
    assert not any(step.merged for step in outcome.plan.steps)
    assert stored(edited, EDITED)


def test_a_binary_edit_is_kept(edited: Machine) -> None:
    (edited.root / CONF).write_bytes(b"\0binary")
    outcome = edited.install(TWO)
    assert (edited.root / CONF).read_bytes() == b"\0binary"
    assert outcome.plan.kept[0].reason == "it is no text"
    assert status(edited.tools()).pending == (CONF,)


def test_a_file_too_large_to_merge_is_kept(edited: Machine) -> None:
    large = text("mine") + "x" * (1 << 20)
    edited.write(CONF, large)
    outcome = edited.install(TWO)
    assert edited.read(CONF) == large
    assert "too large" in outcome.plan.kept[0].reason


def test_without_the_old_version_there_is_no_merge(edited: Machine) -> None:
    digest = of(text().encode())
    (edited.root / f"var/lib/ashore/content/sha256/{digest[7:9]}/{digest[7:]}").write_text("damaged")
    outcome = edited.install(TWO)
    assert edited.read(CONF) == EDITED
    assert "not on this host" in outcome.plan.kept[0].reason
    assert status(edited.tools()).pending == (CONF,)


def test_a_symlink_in_its_place_is_no_text_to_merge(edited: Machine) -> None:
    (edited.root / CONF).unlink()
    (edited.root / CONF).symlink_to("other")
    outcome = edited.install(TWO)
    assert os.readlink(edited.root / CONF) == "other"
    assert outcome.plan.kept[0].reason == "it is no plain file"


def test_a_new_mode_and_an_edited_content_both_come(edited: Machine) -> None:
    edited.images.add(TWO, {CONF: File(text(last="2"), mode=0o600)})
    edited.install(TWO)
    assert (edited.read(CONF), mode(edited)) == (MERGED, 0o600)


def test_an_edited_mode_and_content_stay_in_the_merge(edited: Machine) -> None:
    (edited.root / CONF).chmod(0o640)
    edited.install(TWO)
    assert (edited.read(CONF), mode(edited)) == (MERGED, 0o640)
    edited.images.add(THREE, {CONF: File(text(last="3"), mode=0o600)})
    edited.install(THREE)
    assert (edited.read(CONF), mode(edited)) == (text("mine", "3"), 0o640), "who changed both has it their way"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another owner")
def test_an_edited_owner_does_not_freeze_the_mode(host: Machine) -> None:
    host.images.add(ONE, {CONF: File(text(), mode=0o644)})
    host.images.add(TWO, {CONF: File(text(last="2"), mode=0o600)})
    host.install(ONE)
    os.chown(host.root / CONF, 33, 44)
    host.install(TWO)
    found = (host.root / CONF).stat()
    assert (host.read(CONF), mode(host), found.st_uid, found.st_gid) == (text(last="2"), 0o600, 33, 44)


def policy(path: str, on_edit: str) -> str:
    return f'[[files]]\npath = "{path}"\non_edit = "{on_edit}"\n'


def test_outside_etc_a_file_is_merged_where_the_bundle_asks_for_it(host: Machine) -> None:
    tree = {"opt/asked/a.ini": text(), "opt/plain/a.ini": text()}
    toml = policy("opt/asked/**", "merge")
    host.images.add(ONE, tree, toml)
    host.images.add(TWO, {path: text(last="2") for path in tree}, toml)
    host.install(ONE)
    for path in tree:
        host.write(path, EDITED)
    host.install(TWO)
    assert host.read("opt/asked/a.ini") == MERGED
    assert host.read("opt/plain/a.ini") == EDITED
    assert status(host.tools()).pending == ("opt/plain/a.ini",)


def test_keep_does_not_merge(host: Machine) -> None:
    toml = policy("etc/*", "keep")
    host.images.add(ONE, {CONF: text()}, toml)
    host.images.add(TWO, {CONF: text(last="2")}, toml)
    host.install(ONE)
    host.write(CONF, EDITED)
    outcome = host.install(TWO)
    assert host.read(CONF) == EDITED
    assert [(kept.pending, kept.reason) for kept in outcome.plan.kept] == [(True, "")]


def test_a_merge_leaves_the_other_names_of_the_file_to_the_bundle(host: Machine) -> None:
    host.images.add(ONE, {CONF: text(), "etc/again": Hard(CONF)})
    host.images.add(TWO, {CONF: text(last="2"), "etc/again": Hard(CONF)})
    host.install(ONE)
    (host.root / CONF).unlink()
    host.write(CONF, EDITED)
    host.install(TWO)
    assert (host.read(CONF), host.read("etc/again")) == (MERGED, text(last="2"))
    assert not host.install(TWO).changed


SECRET = '[values]\ntoken = { secret = true, default = "unset" }\n'


def test_a_secret_file_is_merged_and_shown_nowhere(host: Machine) -> None:
    template = "first = 1\na\nb\nc\ntoken = {{ token }}\n"
    host.images.add(ONE, {f"{CONF}.j2": template}, SECRET)
    host.images.add(TWO, {f"{CONF}.j2": template + "\n"}, SECRET)
    host.install(ONE, sets={"token": "abracadabra"})
    host.write(CONF, "first = mine\na\nb\nc\ntoken = abracadabra\n", mode=0o600)
    plan, supply = plan_install(host.tools(), [host.ask(TWO)])
    shown = differences(host.tools(), plan, supply)
    assert "abracadabra" not in str(shown) and "not shown" in shown[CONF]
    host.install(TWO)
    assert host.read(CONF) == "first = mine\na\nb\nc\ntoken = abracadabra\n\n"
    assert "abracadabra" not in str(diff(host.tools()))


def test_what_was_secret_is_not_shown_when_a_version_without_the_secret_comes(host: Machine) -> None:
    host.images.add(ONE, {f"{CONF}.j2": "token = {{ token }}\na\nb\nc\nlast = 1\n"}, SECRET)
    host.images.add(TWO, {CONF: "token = none\na\nb\nc\nlast = 2\n"})
    host.images.add(THREE, {CONF: "token = none\na\nb\nc\nlast = 3\n"})
    host.install(ONE, sets={"token": "abracadabra"})
    plan, supply = plan_install(host.tools(), [host.ask(TWO)])
    assert "abracadabra" not in str(differences(host.tools(), plan, supply))
    host.write(CONF, "token = abracadabra2\na\nb\nc\nlast = 1\n")
    host.install(TWO)
    assert "abracadabra" not in str(diff(host.tools())), "the edit may hold it still"
    host.write(CONF, "token = none\na\nb\nc\nlast = 2\n")
    host.install(THREE)
    assert host.read(CONF) == "token = none\na\nb\nc\nlast = 3\n", "what waited was taken by hand"
    host.write(CONF, "token = plain\na\nb\nc\nlast = 3\n")
    assert "plain" in str(diff(host.tools())), "once it is gone, differences are shown again"


def test_the_default_of_a_secret_value_is_shown_and_recorded_nowhere(host: Machine) -> None:
    toml = SECRET.replace("unset", "abracadabra")
    host.images.add(ONE, {f"{CONF}.j2": "token = {{ token }}\na\nb\n", "etc/plain.j2": "{{ facts.hostname }}\n"}, toml)
    host.images.add(TWO, {f"{CONF}.j2": "token = {{ token }}\na\nb\nc\n"}, toml)
    host.install(ONE)
    assert mode(host) == 0o600
    host.write(CONF, "token = abracadabra, mine\na\nb\n", mode=0o600)
    plan, supply = plan_install(host.tools(), [host.ask(TWO)])
    told = [
        plan_text(plan, differences(host.tools(), plan, supply)),
        str(diff(host.tools())),
        str(status(host.tools())),
    ]
    host.install(TWO)
    host.write(CONF, "token = other\na\nb\nc\n")
    host.images.add(THREE, {f"{CONF}.j2": "token = {{ token }}!\na\nb\nc\n"}, toml)
    host.install(THREE)
    told.append(str([show(host.tools(), item.path) for item in pending(host.tools())]))
    state = host.root / "var/lib/ashore"
    told += [path.read_text() for path in state.rglob("*.json*")]
    assert len(told) > 6
    assert not [text for text in told if "abracadabra" in text]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state / "content").rglob("*") if path.is_file())


def test_an_edit_stays_where_the_new_version_changes_only_the_mode(host: Machine) -> None:
    host.images.add(ONE, {CONF: "1\n"})
    host.images.add(TWO, {CONF: File("1\n", mode=0o600)})
    host.install(ONE)
    host.write(CONF, "1\nmine\n")
    host.install(TWO)
    assert (host.read(CONF), mode(host)) == ("1\nmine\n", 0o600)
    host.roll_back()
    assert (host.read(CONF), mode(host)) == ("1\nmine\n", 0o644)
