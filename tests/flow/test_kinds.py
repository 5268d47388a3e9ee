# SPDX-License-Identifier: Apache-2.0
"""Files, folders, symlinks and hard links: what becomes what, and where it lies on a usr-merged host."""

import itertools
import os
import stat

import pytest

from ashore.acts.change.pending import settle
from ashore.acts.change.preview import plan_install
from ashore.errors import AshoreError, InputError
from ashore.nouns.files import Decided
from tests.fakes.bundles import File, Folder, Hard, Link, Tree
from tests.flow.machine import Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
KINDS: dict[str, Tree] = {
    "file": {"etc/app/x": "a file\n"},
    "folder": {"etc/app/x/inside": "below\n", "etc/app/x/deep/er": "deeper\n"},
    "empty folder": {"etc/app/x": Folder(0o750)},
    "symlink": {"etc/app/x": Link("elsewhere")},
    "symlink to a folder": {"etc/app/x": Link("y"), "etc/app/y/inside": "z\n"},
    "nothing": {"etc/app/other": "o\n"},
}


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.permutations(KINDS, 2)), ids=lambda kind: kind.replace(" ", "-")
)
def test_a_path_becomes_another_kind_and_goes_back_and_leaves_no_trace(host: Machine, first: str, second: str) -> None:
    host.images.add(ONE, KINDS[first])
    host.images.add(TWO, KINDS[second])
    fresh = host.tree()
    host.install(ONE)
    before = host.tree()
    host.install(TWO)
    after = host.tree()
    assert kind_of(host) == second.partition(" ")[0].replace("empty", "folder")
    host.roll_back()
    assert host.tree() == before
    host.install(TWO)
    assert host.tree() == after
    host.remove("app")
    assert host.tree() == fresh


def kind_of(host: Machine) -> str:
    path = host.root / "etc/app/x"
    if path.is_symlink():
        return "symlink"
    return "folder" if path.is_dir() else "file" if path.is_file() else "nothing"


def test_a_folder_with_somebodys_file_does_not_become_a_file(host: Machine) -> None:
    host.images.add(ONE, KINDS["folder"])
    host.images.add(TWO, KINDS["file"])
    host.install(ONE)
    host.write("etc/app/x/mine", "precious\n")
    before = host.tree()
    with pytest.raises(AshoreError) as raised:
        host.install(TWO)
    assert raised.value.code == 6
    assert host.tree() == before


def test_hard_links_stay_links_in_an_upgrade_and_on_the_way_back(host: Machine) -> None:
    host.images.add(ONE, {"opt/a": File("one", mode=0o755), "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.images.add(TWO, {"opt/a": File("two", mode=0o755), "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.install(ONE)
    assert inodes(host) == 1
    host.install(TWO)
    assert inodes(host) == 1 and host.read("opt/sub/c") == "two"
    host.roll_back()
    assert inodes(host) == 1 and host.read("opt/sub/c") == "one"


def test_files_that_become_links_of_one_another_are_links(host: Machine) -> None:
    host.images.add(ONE, {"opt/a": "same", "opt/b": "same", "opt/sub/c": "same"})
    host.images.add(TWO, {"opt/a": "same", "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.install(ONE)
    assert inodes(host) == 3
    host.install(TWO)
    assert inodes(host) == 1
    assert not host.install(TWO).changed
    host.roll_back()
    assert inodes(host) == 3, "and apart again"


def test_a_name_that_joins_a_group_of_links_is_linked(host: Machine) -> None:
    host.images.add(ONE, {"opt/a": "same", "opt/b": Hard("opt/a")})
    host.images.add(TWO, {"opt/a": "same", "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.install(ONE)
    host.install(TWO)
    assert inodes(host) == 1


@pytest.mark.parametrize("deleted", [False, True], ids=["edited", "deleted"])
def test_a_name_whose_version_waits_joins_its_group_when_it_is_placed(host: Machine, deleted: bool) -> None:
    host.images.add(ONE, {"opt/a": "one", "opt/b": "same", "opt/sub/c": "same"})
    host.images.add(TWO, {"opt/a": "same", "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.images.add("reg.example/other:1", {"opt/other": "x"})
    host.install(ONE)
    host.write("opt/a", "mine")
    if deleted:
        (host.root / "opt/a").unlink()
    host.install(TWO)
    assert host.marks("opt/b").inode == host.marks("opt/sub/c").inode
    plan, _ = plan_install(host.tools(), [host.ask("reg.example/other:1"), host.ask(TWO)])
    assert [step.path for step in plan.steps] == ["opt/other"]
    settle(host.tools(), ["opt/a"], Decided.TAKE)
    assert inodes(host) == 1
    assert plan_install(host.tools(), [host.ask(TWO)])[0].steps == ()


def test_an_edit_of_a_name_leaves_the_others_of_its_group_as_they_are(host: Machine) -> None:
    host.images.add(ONE, {"opt/a": "same", "opt/b": Hard("opt/a"), "opt/sub/c": Hard("opt/a")})
    host.images.add("reg.example/other:1", {"opt/other": "x"})
    host.install(ONE)
    (host.root / "opt/a").unlink()
    host.write("opt/a", "mine")
    marks = host.marks("opt/b")
    for _ in range(2):
        host.install("reg.example/other:1")
        host.remove("other")
    assert host.marks("opt/b").inode == marks.inode


def inodes(host: Machine) -> int:
    return len({os.lstat(host.root / path).st_ino for path in ("opt/a", "opt/b", "opt/sub/c")})


@pytest.fixture
def merged(host: Machine) -> Machine:
    """A host whose /bin and /lib are symlinks."""
    for name in ("bin", "lib"):
        (host.root / "usr" / name).mkdir(exist_ok=True)
        (host.root / name).symlink_to(f"usr/{name}")
    return host


def test_on_a_usr_merged_host_lib_means_usr_lib(merged: Machine) -> None:
    merged.images.add(ONE, {"lib/app/x": "x", "bin/tool": File("t", mode=0o755), "usr/lib/app/y": "y"})
    before = merged.tree()
    merged.install(ONE)
    assert (merged.root / "lib").is_symlink() and (merged.root / "bin").is_symlink()
    assert merged.read("usr/lib/app/x") == "x"
    assert merged.read("usr/bin/tool") == "t"
    assert not merged.install(ONE).changed
    merged.remove("app")
    assert merged.tree() == before


def test_hard_links_that_move_with_their_folder_are_the_same_by_their_physical_names(merged: Machine) -> None:
    merged.images.add(ONE, {"lib/app/a": "same", "lib/app/b": Hard("lib/app/a")})
    merged.images.add(TWO, {"usr/lib/app/a": "same", "usr/lib/app/b": Hard("usr/lib/app/a")})
    merged.install(ONE)
    assert (merged.root / "lib/app/a").samefile(merged.root / "usr/lib/app/b")
    files = merged.tools().history.current().files
    assert {files[path].entry.link for path in ("usr/lib/app/a", "usr/lib/app/b")} == {"usr/lib/app/a"}
    plan, _ = plan_install(merged.tools(), [merged.ask(TWO)])
    assert plan.steps == ()


def test_a_folder_that_is_the_root_itself_on_this_host_is_no_path_of_a_bundle(host: Machine) -> None:
    (host.root / "sysroot").symlink_to(".")
    host.images.add(ONE, {"sysroot": Folder(0o700), "sysroot/etc/app/x": "x"})
    before = host.tree()
    mode = host.root.stat().st_mode
    host.install(ONE)
    assert host.read("etc/app/x") == "x" and host.root.stat().st_mode == mode
    assert "" not in host.tools().history.current().files
    host.remove("app")
    assert host.tree() == before


def test_a_path_that_a_symlink_of_the_host_leads_to_a_forbidden_folder_is_refused(merged: Machine) -> None:
    (merged.root / "run").mkdir(exist_ok=True)
    (merged.root / "var/run").symlink_to("../run")
    merged.images.add(ONE, {"var/run/app/x": "x"})
    before = merged.tree()
    with pytest.raises(InputError) as caught:
        merged.install(ONE)
    assert str(caught.value.issues[0]).startswith("/var/run, which is /run on this host: nothing may be placed")
    assert merged.tree() == before


def test_a_folder_entry_never_replaces_a_symlink_to_a_folder_nor_changes_its_mode(merged: Machine) -> None:
    merged.images.add(ONE, {"lib": Folder(0o700), "lib/app": Folder(0o750), "lib/app/x": "x"})
    before = merged.tree()
    merged.install(ONE)
    assert (merged.root / "lib").is_symlink()
    assert stat.S_IMODE((merged.root / "usr/lib").stat().st_mode) == 0o755
    assert stat.S_IMODE((merged.root / "usr/lib/app").stat().st_mode) == 0o750
    merged.remove("app")
    assert merged.tree() == before


def test_two_names_of_one_place_are_a_conflict_and_not_a_race(merged: Machine) -> None:
    merged.images.add(ONE, {"lib/x": "one"})
    merged.images.add("reg.example/other:1", {"usr/lib/x": "two"})
    merged.install(ONE)
    before = merged.tree()
    with pytest.raises(AshoreError) as raised:
        merged.install("reg.example/other:1")
    assert raised.value.code == 6
    assert merged.tree() == before


def test_one_bundle_with_two_names_of_one_place_is_refused(merged: Machine) -> None:
    merged.images.add(ONE, {"lib/x": "one", "usr/lib/x": "two"})
    before = merged.tree()
    with pytest.raises(AshoreError) as raised:
        merged.install(ONE)
    assert raised.value.code in (3, 6)
    assert merged.tree() == before


def test_a_symlink_of_the_host_that_points_out_of_the_root_stays_inside(host: Machine) -> None:
    outside = host.folder / "outside"
    outside.mkdir()
    (host.root / "etc/evil").symlink_to(outside)
    (host.root / "etc/up").symlink_to("../../outside")
    host.images.add(ONE, {"etc/evil/x": "1", "etc/up/y": "2"})
    try:
        host.install(ONE)
    except AshoreError:
        assert not host.tools().history.current().bundles
    assert list(outside.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: file capabilities")
def test_setuid_and_capabilities_are_kept_and_said_in_the_plan(host: Machine) -> None:
    # Version 2 of vfs_cap_data: CAP_NET_BIND_SERVICE, permitted and effective.
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    host.images.add(
        ONE,
        {
            "opt/suid": File("x", mode=0o4755),
            "opt/sgid": File("x", mode=0o2755),
            "opt/capable": File("x", mode=0o755, xattrs={"security.capability": capability}),
            "opt/noted": File("x", xattrs={"user.note": b"hello"}),
        },
    )
    plan, _ = plan_install(host.tools(), [host.ask(ONE)])
    notes = "\n".join(plan.notes)
    assert "/opt/suid is setuid (4755)" in notes
    assert "/opt/sgid is setgid (2755)" in notes
    assert "/opt/capable has file capabilities" in notes
    assert "noted" not in notes
    host.install(ONE)
    assert stat.S_IMODE((host.root / "opt/suid").stat().st_mode) == 0o4755
    assert os.getxattr(host.root / "opt/capable", "security.capability") == capability
    assert os.getxattr(host.root / "opt/noted", "user.note") == b"hello"
    assert not host.install(ONE).changed


def test_names_with_blanks_quotes_newlines_and_every_script_are_names(host: Machine) -> None:
    tree = {
        f"etc/app/{name}": name for name in ("a b", "a'b", 'a"b', "a\nb", "日本", "-rf", "*", "a\\b", "%s", ".hidden")
    }
    before = host.tree()
    host.images.add(ONE, tree)
    host.install(ONE)
    assert {name: host.read(name) for name in tree} == tree
    assert not host.install(ONE).changed
    host.remove("app")
    assert host.tree() == before
