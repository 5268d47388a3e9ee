# SPDX-License-Identifier: Apache-2.0
"""What an install leaves of labels: those of the paths where files lie, set before they lie there."""

import os
from pathlib import Path

import pytest

from ashore.errors import ExitCode, UnchangedError
from ashore.mechanisms.stage import swap
from ashore.nouns.files import Entry, Kind
from ashore.nouns.journal import StagedStep
from ashore.nouns.plan import Action, Step
from tests.fakes.bundles import Hard, Link, Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

V1, V2 = "reg.example/app:1", "reg.example/app:2"
POLICY = """\
/.*  a:b:default_t:s0
/etc(/.*)?  a:b:etc_t:s0
/etc/app(/.*)?  a:b:app_etc_t:s0
/etc/app/link  -l  a:b:app_link_t:s0
/etc/app/secret  --  a:b:secret_t:s0
/opt(/.*)?  a:b:usr_t:s0
/opt/bin/.*  --  a:b:bin_t:s0
/usr/lib/systemd/system(/.*)?  a:b:unit_t:s0
/mnt/.*  <<none>>
"""
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
TREE: Tree = {
    "etc/app/app.conf": "one\n",
    "etc/app/secret": "s\n",
    "etc/app/link": Link("app.conf"),
    "opt/bin/app": "binary\n",
    "opt/bin/again": Hard("opt/bin/app"),
    "etc/systemd/system/app.service": UNIT,
}

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="only root sets labels")]


def machine(folder: Path, mode: str = "permissive", enforce: str = "") -> Machine:
    """A host with a policy; `enforce` is what its kernel says."""
    host = Machine(folder, systemd=FakeSystemd() if enforce else None)
    host.write("etc/selinux/config", f"SELINUX={mode}\nSELINUXTYPE=mine\n")
    host.write("etc/selinux/mine/contexts/files/file_contexts", POLICY)
    host.write("etc/selinux/mine/contexts/files/file_contexts.subs_dist", "/etc/systemd /usr/lib/systemd\n")
    if enforce:
        host.write("sys/fs/selinux/enforce", enforce)
    host.images.add(V1, TREE)
    return host


def label(host: Machine, path: str) -> str:
    """As `ls -Z` shows it; empty for none."""
    try:
        return os.getxattr(host.root / path, "security.selinux", follow_symlinks=False).decode()
    except OSError:
        return ""


def test_files_links_and_new_folders_have_the_label_of_their_path(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host.install(V1)
    types = {
        "etc/app": "app_etc_t",
        "etc/app/app.conf": "app_etc_t",
        "etc/app/secret": "secret_t",
        "etc/app/link": "app_link_t",
        "opt/bin": "usr_t",
        "opt/bin/app": "bin_t",
        "opt/bin/again": "bin_t",
        "etc/systemd/system/app.service": "unit_t",
        "etc/systemd/system/multi-user.target.wants/app.service": "unit_t",
    }
    assert {path: label(host, path) for path in types} == {path: f"a:b:{t}:s0\0" for path, t in types.items()}
    assert label(host, "etc") == label(host, "opt") == ""  # They were there before.
    assert host.install(V1).changed is False


def test_an_upgrade_and_its_way_back_keep_labels_right(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host.install(V1)
    host.images.add(V2, {"etc/app/app.conf": "two\n", "opt/bin/app": Link("../app"), "opt/app": "new\n"})
    host.install(V2)
    assert [label(host, p) for p in ("etc/app/app.conf", "opt/bin/app", "opt/app")] == [
        "a:b:app_etc_t:s0\0",
        "a:b:usr_t:s0\0",
        "a:b:usr_t:s0\0",
    ]
    host.roll_back()
    assert [label(host, p) for p in ("opt/bin/app", "etc/app/secret")] == ["a:b:bin_t:s0\0", "a:b:secret_t:s0\0"]


def test_a_folder_that_comes_back_has_its_label_without_a_policy_to_ask(tmp_path: Path) -> None:
    host = Machine(tmp_path)
    gone = Step(action=Action.RMDIR, path="opt/app", old=Entry(kind=Kind.DIR, mode=0o755))
    swap.undo(host.tools().host, [], StagedStep(step=gone, area=0, name="", label="a:b:usr_t:s0"))
    assert label(host, "opt/app") == "a:b:usr_t:s0\0"


@pytest.mark.parametrize("mode", ["disabled", ""])
def test_a_root_without_a_policy_gets_no_labels(tmp_path: Path, mode: str) -> None:
    host = machine(tmp_path, mode)
    host.install(V1)
    assert not [path for path in host.tree() if label(host, path)]


def test_an_enforcing_kernel_and_no_label_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    host = machine(tmp_path, "enforcing", enforce="1")
    host.images.add(V2, {**TREE, "mnt/disk/a": "a\n", "mnt/disk/b": Link("a")})
    before = host.tree()
    with pytest.raises(UnchangedError) as caught:
        host.install(V2)
    assert caught.value.code is ExitCode.UNCHANGED
    assert {issue.where for issue in caught.value.issues} == {"/mnt", "/mnt/disk", "/mnt/disk/a", "/mnt/disk/b"} - {
        "/mnt"
    }
    assert "semanage fcontext" in caught.value.issues[0].remedy
    assert host.tree() == before
    assert host.leftovers() == []


@pytest.mark.parametrize("enforce", ["0", ""])
def test_where_nothing_is_enforced_no_label_is_no_fault(tmp_path: Path, enforce: str) -> None:
    host = machine(tmp_path, "enforcing", enforce)
    host.images.add(V2, {"mnt/disk/a": "a\n"})
    host.install(V2)
    assert host.read("mnt/disk/a") == "a\n"
    assert label(host, "mnt/disk/a") == ""


def test_an_enforcing_kernel_that_knows_all_labels_is_served(tmp_path: Path) -> None:
    host = machine(tmp_path, "enforcing", enforce="1")
    host.systemd.add("app.service")  # type: ignore[union-attr]
    host.install(V1)
    assert label(host, "opt/bin/app") == "a:b:bin_t:s0\0"


def test_a_damaged_policy_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host.write("etc/selinux/mine/contexts/files/file_contexts.local", "/etc/app\n")
    before = host.tree()
    with pytest.raises(UnchangedError, match=r"file_contexts\.local:1"):
        host.install(V1)
    assert host.tree() == before
    assert host.leftovers() == []
