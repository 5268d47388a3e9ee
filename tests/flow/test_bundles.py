# SPDX-License-Identifier: Apache-2.0
"""Several bundles on one host: whose a path is, and who has to decide where two would own it."""

import hashlib
import stat

import pytest

from ashore.acts.ask.look import owns
from ashore.acts.boot.follow import follow
from ashore.acts.change.preview import plan_install
from ashore.errors import ConflictError, InputError
from ashore.nouns.digest import of
from ashore.nouns.plan import Conflict
from tests.fakes.bundles import Folder, Link, Tree
from tests.flow.machine import Machine

A, A2, B, B2 = "reg.example/a:1", "reg.example/a:2", "reg.example/b:1", "reg.example/b:2"


def conflicts(host: Machine, *names: str) -> dict[str, Conflict]:
    """By path; and the install is refused, lists them all, and changes nothing."""
    plan, _ = plan_install(host.tools(), [host.ask(name) for name in names])
    before = host.tree()
    with pytest.raises(ConflictError) as raised:
        host.install(*names)
    assert raised.value.code == 6
    assert sorted(i.where for i in raised.value.issues) == sorted(f"/{c.path}" for c in plan.conflicts)
    assert all(i.remedy for i in raised.value.issues)
    assert host.tree() == before
    assert host.leftovers() == []
    return {conflict.path: conflict for conflict in plan.conflicts}


def test_two_bundles_live_side_by_side_and_share_folders(host: Machine) -> None:
    host.images.add(A, {"opt/shared/a": "a"})
    host.images.add(B, {"opt/shared/b": "b"})
    before = host.tree()
    host.install(A, B)
    host.remove("a")
    assert host.read("opt/shared/b") == "b"
    host.remove("b")
    assert host.tree() == before


def test_a_declared_folder_is_shared_and_goes_with_its_last_bundle(host: Machine) -> None:
    host.images.add(A, {"opt/shared": Folder(0o750), "opt/shared/a": "a"})
    host.images.add(B, {"opt/shared/b": "b"})
    before = host.tree()
    host.install(A)
    host.install(B)
    host.remove("a")
    assert host.exists("opt/shared/b")
    host.remove("b")
    assert host.tree() == before


PRIVATE = '[[files]]\npath = "opt/shared"\nmode = "0700"\n'


def mode_of_shared(host: Machine) -> int:
    return stat.S_IMODE((host.root / "opt/shared").stat().st_mode)


@pytest.mark.parametrize(("first", "second"), [(A, B), (B, A)], ids=["after", "before"])
def test_the_mode_that_a_bundle_says_of_a_folder_holds_over_that_of_one_that_only_has_it(
    host: Machine, first: str, second: str
) -> None:
    host.images.add(A, {"opt/shared": Folder(), "opt/shared/a": "a"})
    host.images.add(A2, {"opt/shared": Folder(), "opt/shared/a": "a2"})
    host.images.add(B, {"opt/shared": Folder(), "opt/shared/b": "b"}, PRIVATE)
    host.install(first)
    host.install(second)
    assert mode_of_shared(host) == 0o700
    host.install(A2)
    assert (host.read("opt/shared/a"), mode_of_shared(host)) == ("a2", 0o700)


def test_two_modes_that_two_bundles_say_of_a_folder_are_a_conflict(host: Machine) -> None:
    host.images.add(A, {"opt/shared": Folder(), "opt/shared/a": "a"}, PRIVATE.replace("0700", "0750"))
    host.images.add(B, {"opt/shared": Folder(), "opt/shared/b": "b"}, PRIVATE)
    host.install(A)
    found = conflicts(host, B)
    assert {path: c.message for path, c in found.items()} == {
        "opt/shared": "bundle a has the folder with mode 0750, not 0700"
    }
    host.remove("a")
    (host.root / "opt/shared").mkdir(0o711)
    host.install(A)
    host.install(B)
    assert mode_of_shared(host) == 0o711, "of a folder that was there before nobody decides anything"


def test_a_path_that_two_bundles_want_names_the_other_one(host: Machine) -> None:
    host.images.add(A, {"etc/one": "a", "etc/two": "a", "etc/free": "a"})
    host.images.add(B, {"etc/one": "b", "etc/two": "a", "etc/b": "b"})
    host.install(A)
    found = conflicts(host, B)
    assert {path: c.owner for path, c in found.items()} == {"etc/one": "bundle a", "etc/two": "bundle a"}
    assert all(c.bundle == "b" for c in found.values())


def test_two_new_bundles_that_want_one_path_are_refused_together(host: Machine) -> None:
    host.images.add(A, {"etc/one": "a"})
    host.images.add(B, {"etc/one": "b"})
    assert "bundle" in conflicts(host, A, B)["etc/one"].owner


@pytest.mark.parametrize(
    ("first", "second", "at"),
    [
        ({"etc/x": "a file"}, {"etc/x/y": "below it"}, "etc/x"),
        ({"etc/x/y": "below it"}, {"etc/x": "a file"}, "etc/x"),
        ({"etc/x": Link("y")}, {"etc/x/y": "below it"}, "etc/x"),
        ({"etc/x": Folder()}, {"etc/x": "a file"}, "etc/x"),
    ],
    ids=["folder over file", "file over folder", "folder over symlink", "file over declared folder"],
)
def test_a_file_of_one_bundle_where_another_needs_a_folder_is_a_conflict(
    host: Machine, first: Tree, second: Tree, at: str
) -> None:
    host.images.add(A, first)
    host.images.add(B, second)
    host.install(A)
    assert conflicts(host, B)[at].owner == "bundle a"


def test_what_belongs_to_a_package_or_to_nobody_is_said_all_at_once(host: Machine) -> None:
    host.write("var/lib/dpkg/info/openssh-server.list", "/.\n/etc\n/etc/ssh/sshd_config\n")
    host.write("var/lib/dpkg/info/libx:amd64.list", "/usr/lib/libx.so\n")
    host.write("var/lib/dpkg/status", "")
    host.write("etc/ssh/sshd_config", "Port 22\n")
    host.write("usr/lib/libx.so", "elf")
    host.write("etc/mine", "by hand\n")
    (host.root / "etc/folder").mkdir()
    host.images.add(A, {"etc/other": "a"})
    host.install(A)
    host.images.add(
        B,
        {
            "etc/ssh/sshd_config": "Port 2222\n",
            "usr/lib/libx.so": "other",
            "etc/mine": "x",
            "etc/folder": "a file",
            "etc/other": "b",
            "etc/fine": "b",
        },
    )
    found = conflicts(host, B)
    assert {path: c.owner for path, c in found.items()} == {
        "etc/ssh/sshd_config": "package openssh-server",
        "usr/lib/libx.so": "package libx",
        "etc/mine": "nobody",
        "etc/folder": "nobody",
        "etc/other": "bundle a",
    }
    assert "adopt" in found["etc/mine"].remedy
    assert "adopt" in found["etc/ssh/sshd_config"].remedy


def test_a_folder_of_the_host_is_never_replaced_not_even_with_adopt(host: Machine) -> None:
    host.write("etc/app/precious", "data\n")
    before = host.tree()
    host.images.add(A, {"etc/app": "a file\n"})
    with pytest.raises(ConflictError, match="folder"):
        host.install(A, adopt_all=True)
    assert host.tree() == before


def test_a_file_of_the_host_where_a_bundle_needs_a_folder_is_a_conflict(host: Machine) -> None:
    host.write("etc/app", "a file\n")
    host.images.add(A, {"etc/app/conf": "x", "etc/app/more": "y"})
    assert conflicts(host, A)["etc/app"].owner == "nobody"


def test_a_path_moves_from_one_bundle_to_another_in_one_transaction(host: Machine) -> None:
    host.images.add(A, {"etc/moving": "x\n", "etc/a": "a"})
    host.images.add(B, {"etc/b": "b"})
    host.images.add(A2, {"etc/a": "a"})
    host.images.add(B2, {"etc/moving": "x\n", "etc/b": "b"})
    host.install(A, B)
    status = host.marks("etc/moving")
    outcome = host.install(A2, B2)
    assert outcome.plan.steps == ()
    assert host.marks("etc/moving") == status, "it was not written"
    owner = owns(host.tools(), "/etc/moving")
    assert owner is not None and owner.bundle == "b"
    host.remove("a")
    assert host.exists("etc/moving")
    host.remove("b")
    assert not host.exists("etc/moving")


def test_a_path_moves_with_another_content_and_back_again(host: Machine) -> None:
    host.images.add(A, {"etc/moving": "of a\n"})
    host.images.add(B, {"etc/b": "b"})
    host.images.add(A2, {"etc/a": "a"})
    host.images.add(B2, {"etc/moving": "of b\n", "etc/b": "b"})
    host.install(A, B)
    first = host.tree()
    host.install(A2, B2)
    assert host.read("etc/moving") == "of b\n"
    host.roll_back()
    assert host.tree() == first
    assert owner_of(host, "etc/moving") == "a"


def test_an_adopted_path_that_moves_is_still_given_back(host: Machine) -> None:
    adopt = '[[files]]\npath = "etc/moving"\nadopt = true\n'
    host.write("etc/moving", "the host's\n", mode=0o600)
    before = host.tree()
    host.images.add(A, {"etc/moving": "of a\n"}, adopt)
    host.images.add(B, {"etc/b": "b"})
    host.images.add(A2, {"etc/a": "a"})
    host.images.add(B2, {"etc/moving": "of b\n", "etc/b": "b"})
    host.install(A, B)
    host.install(A2, B2)
    host.remove("a", "b")
    assert host.tree() == before


@pytest.mark.parametrize("links", [{"d": "big"}, {"d": "far", "far": "big"}, {"d": "../x/big"}])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("taken", ["file", "link", "as it is"])
def test_a_symlink_of_the_host_hides_no_conflict(
    host: Machine, links: dict[str, str], recorded: bool, taken: str
) -> None:
    last = list(links)[-1]
    entries: Tree = {"file": "b", "link": Link("/srv/b"), "as it is": Link(links[last])}
    host.images.add(A, {"opt/x/d/h": "a\n", "opt/x/d/below/h": "a\n"})
    host.images.add(B, {f"opt/x/{last}": entries[taken]}, f'[[files]]\npath = "opt/x/{last}"\nadopt = true\n')
    (host.root / "opt/x/big").mkdir(parents=True)
    for name, target in links.items():
        (host.root / "opt/x" / name).symlink_to(target)
    if recorded:
        host.install(A)
    found = conflicts(host, *([B] if recorded else [A, B]))
    assert {path: (c.bundle, c.owner) for path, c in found.items()} == {f"opt/x/{last}": ("a", "bundle b")}
    host.install(A)
    assert host.read("opt/x/d/h") == "a\n"
    host.remove("a")
    host.install(B)


def test_a_symlink_of_the_host_that_is_on_no_way_is_taken_over(host: Machine) -> None:
    host.images.add(A, {"opt/x/big/h": "a\n"})
    host.images.add(B, {"opt/x/d": Link("/srv/b")}, '[[files]]\npath = "opt/x/d"\nadopt = true\n')
    (host.root / "opt/x/big").mkdir(parents=True)
    (host.root / "opt/x/d").symlink_to("big")
    host.install(A)
    host.install(B)
    assert host.read("opt/x/big/h") == "a\n"


def test_removing_one_bundle_touches_nothing_of_another(host: Machine) -> None:
    host.images.add(A, {"etc/a": "a", "opt/x/a": "a"})
    host.images.add(B, {"etc/b": "b", "opt/x/b": "b"})
    host.install(A, B)
    status = host.marks("opt/x/b")
    outcome = host.remove("a")
    assert {step.path for step in outcome.plan.steps} == {"etc/a", "opt/x/a"}
    assert host.marks("opt/x/b") == status


def test_a_conflict_in_one_bundle_keeps_the_others_from_changing_too(host: Machine) -> None:
    host.write("etc/taken", "by hand\n")
    host.images.add(A, {"etc/a": "a"})
    host.images.add(B, {"etc/taken": "b"})
    assert set(conflicts(host, A, B)) == {"etc/taken"}
    assert not host.exists("etc/a")


def test_upgrading_all_is_one_transaction(host: Machine) -> None:
    host.images.add(A, {"etc/a": "1"})
    host.images.add(B, {"etc/b": "1"})
    host.install(A, B)
    host.images.add(A, {"etc/a": "2"})
    host.images.add(B, {"etc/b": "2"})
    outcome = host.upgrade()
    assert (host.read("etc/a"), host.read("etc/b"), outcome.generation.number) == ("2", "2", 2)
    host.roll_back()
    assert (host.read("etc/a"), host.read("etc/b")) == ("1", "1")


def owner_of(host: Machine, path: str) -> str:
    owner = owns(host.tools(), path)
    return owner.bundle if owner else ""


PACKAGED = "port = 22\na\nb\nroot = no\n"
ADOPTS = '[[files]]\npath = "etc/daemon.conf"\nadopt = true\n'


def packaged(host: Machine, *, keeps: str) -> None:
    """A file of a package; dpkg has its digest, and the content is kept as `keeps` says."""
    md5 = hashlib.md5(PACKAGED.encode()).hexdigest()
    host.write("etc/daemon.conf", PACKAGED, mode=0o640)
    if keeps == "ucf":
        host.write("var/lib/ucf/registry", "daemon /etc/daemon.conf\nother /etc/other\n")
        host.write("var/lib/ucf/hashfile", f"{md5}  /etc/daemon.conf\n")
        host.write("var/lib/ucf/cache/:etc:daemon.conf", PACKAGED)
    else:
        host.write("var/lib/dpkg/info/daemon.list", "/.\n/etc/daemon.conf\n")
        host.write("var/lib/dpkg/status", f"Package: daemon\nConffiles:\n /etc/daemon.conf {md5}\nVersion: 1\n")
    if keeps == "beside":
        host.write("etc/daemon.conf.dpkg-dist", PACKAGED)
    host.images.add(A, {"etc/daemon.conf": PACKAGED.replace("22", "2222")}, ADOPTS)
    host.images.add(A2, {"etc/daemon.conf": PACKAGED.replace("22", "2200")}, ADOPTS)


@pytest.mark.parametrize("keeps", ["ucf", "status", "beside"])
def test_a_packages_file_as_it_was_placed_is_taken_over_and_given_back(host: Machine, keeps: str) -> None:
    packaged(host, keeps=keeps)
    before = host.tree()
    assert any(o == "package daemon" for o in [c.owner for c in _refused(host)])
    outcome = host.install(A)
    assert host.read("etc/daemon.conf") == PACKAGED.replace("22", "2222")
    assert outcome.generation.displaced == {}
    host.remove("a")
    assert host.tree() == before


def _refused(host: Machine) -> list[Conflict]:
    host.images.add(B, {"etc/daemon.conf": "x"})
    return list(plan_install(host.tools(), [host.ask(B)])[0].conflicts)


@pytest.mark.parametrize("keeps", ["ucf", "beside"])
def test_an_edit_of_a_packages_file_is_merged_with_the_bundles_and_given_back(host: Machine, keeps: str) -> None:
    packaged(host, keeps=keeps)
    host.write("etc/daemon.conf", PACKAGED.replace("root = no", "root = yes"), mode=0o640)
    before = host.tree()
    outcome = host.install(A)
    assert host.read("etc/daemon.conf") == "port = 2222\na\nb\nroot = yes\n"
    assert any(step.merged for step in outcome.plan.steps)
    host.install(A2)
    assert host.read("etc/daemon.conf") == "port = 2200\na\nb\nroot = yes\n"
    host.remove("a")
    assert host.tree() == before


def test_an_edit_that_overlaps_with_the_bundles_version_stays_and_that_waits(host: Machine) -> None:
    packaged(host, keeps="ucf")
    host.write("etc/daemon.conf", PACKAGED.replace("22", "23"))
    before = host.tree()
    outcome = host.install(A)
    assert [(k.pending, k.reason) for k in outcome.plan.kept] == [(True, "both changed the same lines")]
    assert host.tree() == before
    host.images.add(A2, {"etc/daemon.conf": PACKAGED.replace("no", "never")}, ADOPTS)
    host.install(A2)
    assert host.read("etc/daemon.conf") == "port = 23\na\nb\nroot = never\n", "the package's is still the base"
    host.remove("a")
    assert host.tree() == before


def test_where_nobody_knows_what_a_package_had_placed_its_edited_file_is_kept_aside(host: Machine) -> None:
    packaged(host, keeps="status")
    host.write("etc/daemon.conf", "mine\n")
    before = host.tree()
    outcome = host.install(A)
    assert host.read("etc/daemon.conf") == PACKAGED.replace("22", "2222")
    assert "edited" in outcome.plan.steps[0].note
    assert outcome.generation.displaced["etc/daemon.conf"].digest == of(b"mine\n")
    host.remove("a")
    assert host.tree() == before


def test_a_file_of_nobody_is_kept_and_given_back_where_somebody_says_adopt(host: Machine) -> None:
    host.write("etc/one", "the host's own\n", mode=0o600)
    before = host.tree()
    host.images.add(A, {"etc/one": "of a\n"})
    assert conflicts(host, A)["etc/one"].owner == "nobody"
    host.install(A, adopt_all=True)
    assert host.read("etc/one") == "of a\n"
    host.remove("a")
    assert host.tree() == before


def test_an_edit_goes_along_when_its_path_moves_to_another_bundle(host: Machine) -> None:
    host.images.add(A, {"etc/moving": "first\nand\nlast\n", "etc/a": "a"})
    host.images.add(B, {"etc/b": "b"})
    host.images.add(A2, {"etc/a": "a"})
    host.images.add(B2, {"etc/moving": "FIRST\nand\nlast\n", "etc/b": "b"})
    host.install(A, B)
    host.write("etc/moving", "first\nand\nmine\n")
    outcome = host.install(A2, B2)
    assert host.read("etc/moving") == "FIRST\nand\nmine\n"
    assert [step.action for step in outcome.plan.steps] == ["replace"]
    host.roll_back()
    assert host.read("etc/moving") == "first\nand\nmine\n"


@pytest.fixture(params=["the same paths", "other paths"])
def renamed(request: pytest.FixtureRequest, host: Machine) -> Machine:
    """Bundle a is installed with a value; its tag names a bundle `new` by now."""
    path = "etc/a" if request.param == "the same paths" else "etc/new"
    host.images.add(A, {"etc/a.j2": "{{ port }}\n"}, 'name = "a"\n[values]\nport = 80\n')
    host.install(A, sets={"port": 81})
    host.images.add(A, {f"{path}.j2": "new {{ port }}\n"}, 'name = "new"\n[values]\nport = 80\n')
    return host


@pytest.mark.parametrize("by", ["upgrade", "follow"])
def test_a_bundle_that_got_another_name_takes_the_place_of_the_old_one(renamed: Machine, by: str) -> None:
    if by == "upgrade":
        outcome = renamed.upgrade()
    else:
        (outcome,) = follow(renamed.tools()).outcomes
    assert f"a goes: {A} carries new now" in outcome.plan.notes
    assert [bundle.name for bundle in outcome.generation.bundles] == ["new"]
    assert [renamed.read(p) for p in ("etc/a", "etc/new") if renamed.exists(p)] == ["new 81\n"]
    assert not renamed.upgrade().changed
    renamed.roll_back()
    assert renamed.read("etc/a") == "81\n" and not renamed.exists("etc/new")


def test_where_both_are_installed_from_one_tag_an_upgrade_puts_that_right(host: Machine) -> None:
    host.images.add(A, {"etc/a": "a"}, 'name = "a"')
    host.install(A)
    host.images.add(A, {"etc/new": "new"}, 'name = "new"')
    host.install(A)
    host.images.add(A, {"etc/new": "newer"}, 'name = "new"')
    assert [bundle.name for bundle in host.upgrade().generation.bundles] == ["new"]
    assert host.read("etc/new") == "newer" and not host.exists("etc/a")


def test_a_tag_that_names_another_installed_bundle_by_mistake_takes_nothing_away(host: Machine) -> None:
    host.images.add(A, {"etc/a": "a"})
    host.images.add(B, {"etc/b": "b"})
    host.install(A, B)
    before = host.tree()
    host.images.add(A, {"etc/b": "b2"}, 'name = "b"')
    for names in (["a"], []):
        with pytest.raises(InputError, match="which is installed from") as raised:
            host.upgrade(*names)
        assert "ashore remove a" in raised.value.remedy
    assert host.tree() == before


@pytest.mark.parametrize("mode", [0o755, 0o700])
@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("goes", ["remove", "upgrade"])
def test_a_folder_of_two_bundles_stays_with_the_other_one_as_that_has_it(
    host: Machine, mode: int, first: str, goes: str
) -> None:
    images: dict[str, Tree] = {
        "a": {"var/lib/shared": Folder(0o755), "opt/a": "a"},
        "b": {"var/lib/shared": Folder(mode), "opt/b": "b"},
    }
    for name, tree in images.items():
        host.images.add(f"reg.example/{name}:1", tree)
        host.images.add(f"reg.example/{name}:2", {f"opt/{name}": "2"})
    for name in sorted(images, key=lambda name: name != first):
        host.install(f"reg.example/{name}:1")
    folder = host.root / "var/lib/shared"
    assert stat.S_IMODE(folder.stat().st_mode) == mode, "who says more than that it is there"
    for gone, stays in (("b", 0o755), ("a", mode)):
        if goes == "remove":
            host.remove(gone)
        else:
            host.install(f"reg.example/{gone}:2")
        assert stat.S_IMODE(folder.stat().st_mode) == stays
        host.roll_back()
        assert stat.S_IMODE(folder.stat().st_mode) == mode
    host.remove("a", "b")
    assert not folder.exists()


def test_two_images_may_swap_their_bundles_names(host: Machine) -> None:
    for number, names in ((1, ("a", "b")), (2, ("b", "a"))):
        for reference, name in zip(("one", "two"), names, strict=True):
            host.images.add(f"reg.example/{reference}:1", {f"opt/{reference}": str(number)}, f'name = "{name}"\n')
        if number == 1:
            host.install("reg.example/one:1", "reg.example/two:1")
    host.upgrade()
    bundles = {bundle.name: bundle.reference for bundle in host.tools().history.current().bundles}
    assert bundles == {"a": "reg.example/two:1", "b": "reg.example/one:1"}
    assert host.read("opt/one") == host.read("opt/two") == "2"
