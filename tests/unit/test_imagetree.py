# SPDX-License-Identifier: Apache-2.0
"""Layers become a tree: whiteouts, replaced kinds, hard links, and what is refused."""

import pytest

from ashore.errors import InputError
from ashore.mechanisms.images.streams import BytesStream
from ashore.mechanisms.images.tar import TarReader
from ashore.nouns.digest import of
from ashore.nouns.files import Entry
from ashore.nouns.image import ConfigSection, ImageConfig, RootFs
from ashore.nouns.limits import DEFAULT, Limits
from ashore.rules.images.imagetree import ImageTree, Lost, tree_prefix
from tests.fakes.images import folder, hardlink, layer, member, pax, symlink


class Merged:
    """A tree of these layers, and what became of the contents asked for on the way."""

    def __init__(self, *layers: bytes, prefix: str = "ashore", limits: Limits = DEFAULT) -> None:
        self.contents: dict[str, bytes] = {}
        tree = ImageTree(prefix, limits)
        for number, data in enumerate(layers, 1):
            tree.begin_layer(f"image layer {number}")
            reader = TarReader(BytesStream(data), "image", DEFAULT)
            for entry in reader:
                file = tree.add(entry)
                for gone in tree.dropped():
                    del self.contents[gone]
                if file is not None:
                    assert file.owner not in self.contents
                    content = b"".join(bytes(view) for view in reader.chunks())
                    self.contents[file.owner] = content
                    file.content(of(content), len(content))
        found, self.lost = tree.finish()
        self.entries: dict[str, Entry] = dict(found)

    @property
    def shape(self) -> dict[str, object]:
        """Files by content, folders as None, symlinks by target."""
        known = {of(content): content.decode() for content in self.contents.values()}
        kinds = {"file": lambda e: known.get(e.digest, "?"), "symlink": lambda e: f"-> {e.target}"}
        return {path: kinds[e.kind](e) if e.kind in kinds else None for path, e in self.entries.items() if path}


def f(path: str, data: str = "x") -> bytes:
    return member(f"ashore/root/{path}", data.encode())


def files(*layers: bytes) -> dict[str, object]:
    """What is left of the layers, without the folders."""
    shape = Merged(*layers).shape
    return {path.removeprefix("root/"): what for path, what in shape.items() if what is not None}


def test_only_the_bundle_counts() -> None:
    merged = Merged(
        layer(
            folder("etc"),
            member("etc/passwd", b"p"),
            member("dev/null", kind=b"3"),
            symlink("lib", "usr/lib"),
            member(b"caf\xe9", b"not UTF-8"),
            folder("ashore"),
            member("ashore/bundle.toml", b"t"),
            member("ashores", b"neighbour"),
            member("ashore/root/etc/x", b"1"),
        )
    )
    assert merged.shape == {"bundle.toml": "t", "root": None, "root/etc": None, "root/etc/x": "1"}
    assert set(merged.contents) == {"bundle.toml", "root/etc/x"}


def test_another_tree_lies_below_root() -> None:
    merged = Merged(layer(member("opt/worker/etc/x", b"1"), member("opt/x", b"2")), prefix="opt/worker")
    assert merged.shape == {"root": None, "root/etc": None, "root/etc/x": "1"}


def test_the_whole_image_can_be_the_tree() -> None:
    assert set(Merged(layer(member("a"), folder("b")), prefix="").entries) == {"root", "root/a", "root/b"}


def test_modes_owners_and_attributes_are_kept_but_for_the_hosts_own() -> None:
    head = pax(SCHILY__xattr__security__selinux=b"label", SCHILY__xattr__user__a=b"1")
    merged = Merged(layer(head, member("ashore/root/x", mode=b"0004755", uid=b"0000007", gid=b"0000010")))
    entry = merged.entries["root/x"]
    assert (entry.mode, entry.uid, entry.gid, dict(entry.xattrs)) == (0o4755, 7, 8, {"user.a": b"1"})


UPPER = {
    "a file": ([f("a", "1")], [f("a", "2")], {"a": "2"}),
    "a file away": ([f("a"), f("b")], [f(".wh.a", "")], {"b": "x"}),
    "a folder away": ([f("d/a"), f("d/e/b")], [f(".wh.d", "")], {}),
    "a folder anew, whiteout first": ([f("d/a")], [f(".wh.d", ""), f("d/b", "2")], {"d/b": "2"}),
    "a folder anew, whiteout last": ([f("d/a")], [f("d/b", "2"), f(".wh.d", "")], {"d/b": "2"}),
    "a file and its whiteout": ([f("a", "1")], [f("a", "2"), f(".wh.a", "")], {"a": "2"}),
    "opaque, first": ([f("d/a"), f("d/e/f")], [f("d/.wh..wh..opq", ""), f("d/b", "2")], {"d/b": "2"}),
    "opaque, last": ([f("d/a"), f("d/e/f")], [f("d/b", "2"), f("d/.wh..wh..opq", "")], {"d/b": "2"}),
    "opaque at the top": ([f("d/a")], [member("ashore/.wh..wh..opq"), f("b", "2")], {"b": "2"}),
    "opaque above": ([f("d/a")], [member(".wh..wh..opq"), f("b", "2")], {"b": "2"}),
    "whiteout of the bundle": ([f("d/a")], [member(".wh.ashore"), f("b", "2")], {"b": "2"}),
    "whiteout of nothing": ([f("a")], [f(".wh.b", ""), f("c/.wh.d", ""), member("etc/.wh.a")], {"a": "x"}),
    "whiteout through a symlink": ([f("d/a"), symlink("ashore/root/l", "d")], [f("l/.wh.a", "")],
                                   {"d/a": "x", "l": "-> d"}),
    "a union's bookkeeping": ([f("a")], [f(".wh..wh.plnk", ""), f(".wh..wh.aufs", "")], {"a": "x"}),
    "file to folder": ([f("a")], [f("b"), folder("ashore/root/a"), f("a/c")], {"b": "x", "a/c": "x"}),
    "folder to file": ([f("a/c")], [f("a", "2")], {"a": "2"}),
    "folder to symlink": ([f("a/c")], [symlink("ashore/root/a", "/etc")], {"a": "-> /etc"}),
    "a folder again": ([f("a/c")], [folder("ashore/root/a")], {"a/c": "x"}),
    "twice in a layer": ([f("a", "1"), f("a", "2")], [], {"a": "2"}),
    "spelled in two ways": ([f("a", "1"), member("./ashore//root/./a", b"2")], [], {"a": "2"}),
}  # fmt: skip


@pytest.mark.parametrize("case", UPPER)
def test_layers_over_each_other(case: str) -> None:
    lower, upper, expected = UPPER[case]
    assert files(layer(*lower), layer(*upper)) == expected


def test_an_opaque_folder_keeps_its_own_mode() -> None:
    merged = Merged(
        layer(folder("ashore/root/d", b"0000700"), f("d/a")),
        layer(f("d/.wh..wh..opq", ""), folder("ashore/root/d", b"0000750")),
    )
    assert merged.entries["root/d"].mode == 0o750


def test_a_folder_made_anew_by_its_content_forgets_its_mode() -> None:
    merged = Merged(layer(folder("ashore/root/d", b"0000700"), f("d/a")), layer(f("d/b"), f(".wh.d", "")))
    assert merged.entries["root/d"].mode == 0o755


def test_hard_links_name_the_first_of_their_group() -> None:
    merged = Merged(layer(f("b", "1"), hardlink("ashore/root/c", "ashore/root/b"), f("z")), layer(
        hardlink("ashore/root/a", "./ashore/root/c")))  # fmt: skip
    group = {path: e.link for path, e in merged.entries.items() if e.kind == "file"}
    assert group == {"root/a": "root/a", "root/b": "root/a", "root/c": "root/a", "root/z": ""}
    assert set(merged.contents) == {"root/b", "root/z"}
    assert merged.lost == ()


def test_a_group_of_many_takes_no_longer_for_each() -> None:
    names = [f"ashore/root/n{number:05}" for number in range(1, 25_000)]
    tree = Merged(layer(f("n00000"), *(hardlink(name, "ashore/root/n00000") for name in names)))
    assert {entry.link for entry in tree.entries.values() if entry.kind == "file"} == {"root/n00000"}


def test_a_group_of_one_is_no_group() -> None:
    merged = Merged(layer(f("b", "1"), hardlink("ashore/root/c", "ashore/root/b")), layer(f(".wh.c", "")))
    assert merged.entries["root/b"].link == ""


def test_a_content_given_up_under_one_name_is_asked_for_under_the_other() -> None:
    merged = Merged(layer(f("b", "1"), hardlink("ashore/root/c", "ashore/root/b")), layer(f("b", "2")))
    assert merged.lost == (Lost(path="root/c", layer=0, name="ashore/root/b", digest=of(b"1")),)
    assert merged.entries["root/c"].digest == of(b"1")
    assert merged.contents == {"root/b": b"2"}


def test_a_hard_link_to_a_symlink_is_that_symlink() -> None:
    assert files(layer(symlink("ashore/root/a", "t"), hardlink("ashore/root/b", "ashore/root/a"))) == {
        "a": "-> t", "b": "-> t",
    }  # fmt: skip


def test_a_hard_link_to_itself_changes_nothing() -> None:
    assert files(layer(f("a", "1"), hardlink("ashore/root/a", "ashore/root/a"))) == {"a": "1"}


REFUSED = {
    "below a symlink": ([symlink("ashore/root/l", "/etc"), f("l/passwd")], "symlink"),
    "below a dangling symlink": ([symlink("ashore/root/l", "nowhere"), f("l/a/b")], "symlink"),
    "below a file": ([f("a"), f("a/b")], "lies below"),
    "a folder below a symlink": ([symlink("ashore/root/l", "."), folder("ashore/root/l/d")], "symlink"),
    "a hard link below a symlink": (
        [f("a"), symlink("ashore/root/l", "."), hardlink("ashore/root/l/x", "ashore/root/a")],
        "symlink",
    ),
    "a hard link out of the bundle": ([member("etc/shadow"), hardlink("ashore/root/a", "etc/shadow")], "hard link"),
    "a hard link to nothing": ([hardlink("ashore/root/a", "ashore/root/b")], "hard link"),
    "a hard link to a folder": ([folder("ashore/root/d"), hardlink("ashore/root/a", "ashore/root/d")], "hard link"),
    "a hard link through a symlink": (
        [f("d/a"), symlink("ashore/root/l", "d"), hardlink("ashore/root/b", "ashore/root/l/a")],
        "hard link",
    ),
    "the bundle is a symlink": ([symlink("ashore", "/")], "folder"),
    "the bundle is a file": ([member("ashore")], "folder"),
    "a character device": ([member("ashore/root/c", kind=b"3")], "character device"),
    "an overlay's whiteout": ([member("ashore/root/c", kind=b"3", mode=b"0000000")], "character device"),
    "a FIFO": ([member("ashore/root/p", kind=b"6")], "FIFO"),
    "a sparse file": ([member("ashore/root/s", kind=b"S")], "sparse"),
    "not UTF-8": ([member(b"ashore/root/caf\xe9")], "UTF-8"),
    "a symlink not UTF-8": ([member("ashore/root/l", kind=b"2", target=b"caf\xe9")], "UTF-8"),
    "a whiteout without a name": ([f(".wh.", "")], "whiteout"),
    "a whiteout of the folder": ([f(".wh..", "")], "whiteout"),
    "a whiteout of the parent": ([f(".wh...", "")], "whiteout"),
    "a whiteout as a folder": ([f(".wh.../x")], "reserved"),
    "a trusted attribute": ([pax(SCHILY__xattr__trusted__overlay__opaque=b"y"), f("a")], "attribute"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("split", [False, True], ids=["one layer", "two layers"])
def test_what_could_escape_is_refused(case: str, split: bool) -> None:
    members, word = REFUSED[case]
    layers = [layer(entry) for entry in members] if split and len(members) > 1 else [layer(*members)]
    if split and word == "attribute":
        return  # an extended header belongs to the entry after it
    with pytest.raises(InputError) as caught:
        Merged(*layers)
    (issue,) = caught.value.issues
    assert word in issue.message
    assert issue.where.startswith(f"image layer {len(layers)}: entry ")


def test_a_symlink_that_comes_after_replaces_the_folder() -> None:
    assert files(layer(f("l/passwd"), symlink("ashore/root/l", "/etc"))) == {"l": "-> /etc"}


def test_all_problems_are_reported_at_once_up_to_a_number() -> None:
    with pytest.raises(InputError) as caught:
        Merged(layer(member("ashore/root/a", kind=b"3"), f("ok"), member("ashore/root/b", kind=b"6")))
    assert [issue.where for issue in caught.value.issues] == [
        "image layer 1: entry ashore/root/a", "image layer 1: entry ashore/root/b",
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        Merged(layer(*[member(f"ashore/root/{n}", kind=b"3") for n in range(1000)]))
    assert len(caught.value.issues) < 50


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(depth=3), "a/b/c/d"),
        (Limits(name=5), "abcdef"),
        (Limits(name=5), "äää"),
        (Limits(path=30), "abc/abc/abc/abc/abc"),
        (Limits(xattrs=3), "a"),
    ],
)
def test_limits_hold_below_the_bundle_only(limits: Limits, name: str) -> None:
    head = pax(SCHILY__xattr__user__a=b"long")
    long_elsewhere = layer(head, member(name.replace("ashore", "x")))
    assert Merged(long_elsewhere, layer(member("ashore/x")), limits=Limits()).entries
    with pytest.raises(InputError):
        Merged(layer(head, member(f"ashore/root/{name}".encode())), limits=limits)


def _config(**labels: str) -> ImageConfig:
    return ImageConfig(
        architecture="amd64",
        os="linux",
        rootfs=RootFs(type="layers", diff_ids=()),
        config=ConfigSection(labels={k.replace("_", "."): v for k, v in labels.items()}),
    )


@pytest.mark.parametrize(
    ("label", "flag", "prefix"),
    [
        (None, "", "ashore"),
        ("/worker-root", "", "worker-root"),
        ("/worker-root", "./other//x/", "other/x"),
        ("/", "", ""),
    ],
)
def test_which_tree_counts(label: str | None, flag: str, prefix: str) -> None:
    config = _config(io_ashore_root=label) if label else _config()
    assert tree_prefix(config, flag) == prefix


@pytest.mark.parametrize("label", ["../etc", "a/../../b", "a\0b"])
def test_a_label_that_leads_out_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="not a folder"):
        tree_prefix(_config(io_ashore_root=label))
