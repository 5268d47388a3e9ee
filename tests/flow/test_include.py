# SPDX-License-Identifier: Apache-2.0
"""[[include]]: files out of another image, or out of a folder of the machine that builds."""

import shutil
from pathlib import Path

import msgspec
import pytest

from ashore.acts.author.build import build
from ashore.acts.fetch.policy import policy_of
from ashore.errors import InputError, UsageError
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.limits import DEFAULT
from ashore.rules.images.policy import parse_policy
from tests.fakes.images import AMD64, MemoryStore, folder, hardlink, layer, member, put_image, symlink
from tests.flow.test_build import ARM64, built, fetched, image_of, tools


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a program of its own."""
    top = tmp_path / "worker"
    (top / "root/opt/bin").mkdir(parents=True)
    (top / "root/opt/bin/tool").write_text("tool")
    return top


def other_image() -> MemoryStore:
    store = MemoryStore()
    put_image(
        store,
        [
            layer(
                folder("usr/local/bin"),
                member("usr/local/bin/proxy", b"old", mode=b"0000755"),
                member("usr/local/bin/null", kind=b"3"),
                symlink("bin", "usr/local/bin"),
                member("srv/data/a", b"1"),
                member("srv/data/sub/b", b"2", mode=b"0000750"),
                symlink("srv/data/l", "a"),
            ),
            layer(member("usr/local/bin/proxy", b"new", mode=b"0004755"), member("srv/data/sub/.wh.none")),
        ],
    )
    return store


def including(bundle: Path, path: str, to: str) -> None:
    (bundle / "bundle.toml").write_text(
        f'name = "worker"\n[[include]]\nimage = "reg.example.com/other:1"\npath = "{path}"\nto = "{to}"\n'
    )


def test_a_file_is_lifted_out_of_another_image(bundle: Path) -> None:
    including(bundle, "usr/local/bin/proxy", "opt/bin/proxy")
    store = built(bundle, other=other_image())
    tree, contents = fetched(store)
    assert (contents["root/opt/bin/proxy"], oct(tree["root/opt/bin/proxy"].mode)) == (b"new", "0o755")
    assert not [path for path in tree if "null" in path]
    assert "io.ashore.platform" not in image_of(store).config.labels


def test_a_folder_is_lifted_out_of_another_image(bundle: Path) -> None:
    including(bundle, "/srv/data", "opt/data")
    tree, contents = fetched(built(bundle, other=other_image()))
    assert {path: data for path, data in contents.items() if "data" in path} == {
        "root/opt/data/a": b"1", "root/opt/data/sub/b": b"2",
    }  # fmt: skip
    assert tree["root/opt/data/l"].target == "a"


def test_what_cannot_be_placed_beside_it_is_passed_over(bundle: Path) -> None:
    store = MemoryStore()
    put_image(
        store,
        [
            layer(
                member("usr/bin/git", b"git"),
                hardlink("usr/libexec/git/git", "usr/bin/git"),
                hardlink("usr/libexec/git/again", "usr/libexec/git/git"),
                member(b"usr/libexec/git/\xff", b"no text"),
                member("usr/libexec/git/sh", b"sh"),
                hardlink("usr/libexec/git/sh-too", "usr/libexec/git/sh"),
            )
        ],
    )
    for path, content in (("usr/libexec/git/sh", b"sh"), ("usr/libexec/git/sh-too", b"sh")):
        including(bundle, path, "opt/bin/sh")
        assert fetched(built(bundle, other=store))[1]["root/opt/bin/sh"] == content
    including(bundle, "usr/libexec/git", "opt/git")
    with pytest.raises(InputError, match="hard link"):
        built(bundle, other=store)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("usr/local/bin/none", "other:1 has no /usr/local/bin/none "),
        ("nowhere/at/all", "other:1 has no /nowhere/at/all "),
        ("bin/proxy", "entry bin: a folder above /bin/proxy is a symlink"),
    ],
)
def test_an_include_that_is_not_there(bundle: Path, path: str, said: str) -> None:
    including(bundle, path, "opt/bin/proxy")
    with pytest.raises(InputError, match=said):
        built(bundle, other=other_image())


def test_an_include_over_a_file_of_the_bundle_is_refused(bundle: Path) -> None:
    including(bundle, "usr/local/bin/proxy", "opt/bin/tool")
    with pytest.raises(InputError) as caught:
        built(bundle, other=other_image())
    assert caught.value.issues[0].where == "root/opt/bin/tool"


@pytest.mark.parametrize("kind", ["nowhere", "folder"])
def test_a_policy_that_cannot_be_read_admits_no_include(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "etc/containers/policy.json"
    path.parent.mkdir(parents=True)
    path.mkdir() if kind == "folder" else path.symlink_to("/usr/share/policy.json")
    with Beneath(str(tmp_path)) as host:
        with pytest.raises(InputError, match=r"policy\.json"):
            policy_of(host, DEFAULT)
        path.rmdir() if kind == "folder" else path.unlink()
        assert policy_of(host, DEFAULT) is None


def test_an_include_is_held_to_the_policy(bundle: Path) -> None:
    including(bundle, "usr/local/bin/proxy", "opt/bin/proxy")
    policy = parse_policy(b'{"default":[{"type":"reject"}]}', "policy.json")
    with pytest.raises(Exception, match="rejected"):
        build(str(bundle), MemoryStore(), tools({"other": other_image()}, policy))


def from_folder(bundle: Path, **folders: Path) -> MemoryStore:
    """The bundle with two includes out of the folder ``release``, built with `folders`."""
    (bundle / "bundle.toml").write_text(
        'name = "worker"\n'
        '[[include]]\nfolder = "release"\npath = "bin/agent"\nto = "opt/bin/agent"\n'
        '[[include]]\nfolder = "release"\npath = "share"\nto = "opt/share"\n'
    )
    store = MemoryStore()
    named = {name: str(folder) for name, folder in folders.items()}
    build(str(bundle), store, msgspec.structs.replace(tools({}), folders=named))
    return store


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder of somebody's downloads: a program by way of a symlink, and a folder with a symlink in it."""
    folder = tmp_path / "release"
    (folder / "bin").mkdir(parents=True)
    (folder / "share/sub").mkdir(parents=True)
    (folder / "agent-2").write_text("agent")
    (folder / "agent-2").chmod(0o755)
    (folder / "bin/agent").symlink_to("../agent-2")
    (folder / "share/sub/data").write_text("data")
    (folder / "share/link").symlink_to("sub/data")
    return folder


def test_files_and_folders_are_lifted_out_of_a_folder(bundle: Path, release: Path) -> None:
    tree, contents = fetched(from_folder(bundle, release=release))
    assert (contents["root/opt/bin/agent"], oct(tree["root/opt/bin/agent"].mode)) == (b"agent", "0o755")
    assert contents["root/opt/share/sub/data"] == b"data"
    assert tree["root/opt/share/link"].target == "sub/data"


def test_folders_that_are_not_given_or_not_there_or_not_asked_for(bundle: Path, release: Path) -> None:
    cases = {
        "no folder is given": {},
        "is not a folder": {"release": release / "agent-2"},
        "no [[include]] of the bundle takes from it": {"release": release, "other": release},
    }
    for said, folders in cases.items():
        with pytest.raises(UsageError) as caught:
            from_folder(bundle, **folders)
        assert [issue for issue in caught.value.issues if said in issue.message], (said, caught.value.issues)


def test_a_folder_that_lacks_what_is_included(bundle: Path, release: Path) -> None:
    (release / "bin/agent").unlink()
    with pytest.raises(InputError, match="bin/agent"):
        from_folder(bundle, release=release)


def test_one_folder_is_not_taken_for_two_platforms(bundle: Path, release: Path) -> None:
    from_folder(bundle, release=release)  # writes the bundle.toml
    means = msgspec.structs.replace(tools({}), folders={"release": str(release)})
    with pytest.raises(UsageError) as caught:
        build(str(bundle), MemoryStore(), means, platforms=[AMD64, ARM64])
    assert caught.value.issues[0].message == "is for one platform"


def test_each_platform_has_its_folder(bundle: Path, release: Path) -> None:
    from_folder(bundle, release=release)  # writes the bundle.toml
    for name in ("amd64", "arm64"):
        shutil.copytree(release, release.parent / f"release-{name}", symlinks=True)
        (release.parent / f"release-{name}/agent-2").write_text(name)
    means = msgspec.structs.replace(tools({}), folders={"release": f"{release.parent}/release-{{arch}}"})
    store = MemoryStore()
    build(str(bundle), store, means, platforms=[AMD64, ARM64])
    for platform in (AMD64, ARM64):
        assert fetched(store, platform)[1]["root/opt/bin/agent"].decode() == platform.architecture
    assert (
        fetched(from_folder(bundle, release=Path(f"{release.parent}/release-{{arch}}")))[1]["root/opt/bin/agent"]
        == b"amd64"
    )
