# SPDX-License-Identifier: Apache-2.0
"""The cases of moby's archive_test.go and diff_test.go, of umoci's tar_extract_test.go, and of its CVE-2021-29136.

moby tries each both as a whole archive and as a layer over another one; so do these.
"""

from tests.fakes.images import folder, hardlink, layer, member, pax, symlink
from tests.hostile.images.case import Case, legal, refused

BELOW, NO_LINK, OUT = "which is a symlink", "hard link", "leads out"
VICTIM = "loophole-victim"
LOWER = layer(folder("srv"), member("srv/lower", b"x"))

_ARCHIVES: dict[str, tuple[str, str, tuple[bytes, ...]]] = {
    # name: what is said, which entry, the members
    "Filenames/dotdot": (OUT, "../victim/dotdot", (member("../victim/dotdot"),)),
    "Filenames/slash-dotdot": (OUT, "/../victim/slash-dotdot", (member("/../victim/slash-dotdot"),)),
    "Hardlink/read-dotdot": (OUT, "dotdot", (hardlink("dotdot", "../victim/hello"),)),
    "Hardlink/read-slash-dotdot": (OUT, "slash-dotdot", (hardlink("slash-dotdot", "/../victim/hello"),)),
    "Hardlink/write": (OUT, VICTIM, (hardlink(VICTIM, "../victim"), member(f"{VICTIM}/file"))),
    "Hardlink/then-symlink": (OUT, VICTIM, (hardlink(VICTIM, "../victim"), symlink("symlink", f"{VICTIM}/hello"))),
    "Hardlink/then-hardlink": (OUT, VICTIM, (hardlink(VICTIM, "../victim"), hardlink("hardlink", f"{VICTIM}/hello"))),
    "Hardlink/remove": (OUT, VICTIM, (hardlink(VICTIM, "../victim"), member(VICTIM))),
    "Symlink/write": (BELOW, f"{VICTIM}/file", (symlink(VICTIM, "../victim"), member(f"{VICTIM}/file"))),
    "Symlink/then-hardlink": (
        NO_LINK, "hardlink", (symlink(VICTIM, "../victim"), hardlink("hardlink", f"{VICTIM}/hello"))),
}  # fmt: skip

_LEGAL: dict[str, tuple[tuple[str, ...], tuple[bytes, ...]]] = {
    "Symlink/dotdot": (("dotdot",), (symlink("dotdot", "../victim/hello"),)),
    "Symlink/slash-dotdot": (("slash-dotdot",), (symlink("slash-dotdot", "/../victim/hello"),)),
    "Symlink/then-symlink": (
        (VICTIM, "symlink"), (symlink(VICTIM, "../victim"), symlink("symlink", f"{VICTIM}/hello"))),
    "Symlink/remove": ((VICTIM,), (symlink(VICTIM, "../victim"), member(VICTIM))),
    "HardlinkToSymlink": (
        ("regfile", "symlink1", "symlink2"),
        (symlink("symlink1", "regfile"), hardlink("symlink2", "symlink1"), member("regfile"))),
}  # fmt: skip

_LOWER_LANDS = ("srv", "srv/lower")

_SCOPED = {
    "RootPrefix": "/",
    "GarbagePrefix1": "/../",
    "GarbagePrefix2": "/../../../../../../../../../../../../../../../",
    "GarbagePrefix3": "/./.././.././.././.././.././.././.././.././../",
    "DotDotPrefix": "..",
}

_WHITEOUTS = {
    "FileInRoot": "rootpath",
    "HiddenFileInRoot": ".hiddenroot",
    "FileInSubdir": "some/path/file",
    "HiddenFileInSubdir": "another/path/.hiddenfile",
}


def _whiteout(path: str, *, filled: bool) -> Case:
    parent, _, name = path.rpartition("/")
    lower = (folder(path), member(f"{path}/file1", b"1"), member(f"{path}/.subdir/file3", b"3")) if filled else (
        member(path, b"1"),)  # fmt: skip
    above = tuple(path.rsplit("/", n)[0] for n in range(path.count("/"), 0, -1))
    beside = f"{parent}/stays".lstrip("/")
    whiteout = member(f"{parent}/.wh.{name}".lstrip("/"))
    return legal(layer(*lower, member(beside, b"s")), layer(whiteout), lands=(*above, beside))


CASES: dict[str, Case] = {
    **{f"moby/TestUntarInvalid{k}": refused(s, layer(*m), entry=e) for k, (s, e, m) in _ARCHIVES.items()},
    **{
        f"moby/TestApplyLayerInvalid{k}": refused(s, LOWER, layer(*m), entry=e)
        for k, (s, e, m) in _ARCHIVES.items()
    },
    **{f"moby/TestUntarInvalid{k}": legal(layer(*m), lands=lands) for k, (lands, m) in _LEGAL.items()},
    **{
        f"moby/TestApplyLayerInvalid{k}": legal(LOWER, layer(*m), lands=(*_LOWER_LANDS, *lands))
        for k, (lands, m) in _LEGAL.items()
    },
    "moby/TestUntarUstarGnuConflict": legal(
        layer(member("f", prefix=b"not/a/prefix", magic=b"ustar  \0")), lands=("f",)),
    "moby/TestOverlayUntarInvalidWhiteoutNames/empty": refused(
        "whiteout", LOWER, layer(member(".wh.")), entry=".wh."),
    "moby/TestOverlayUntarInvalidWhiteoutNames/folder": refused(
        "whiteout", LOWER, layer(member("srv/.wh.")), entry="srv/.wh."),
    "umoci/SanitiseScoping/GarbagePrefix": refused(OUT, layer(member("/../file", b"c")), entry="/../file"),
    "umoci/SanitiseScoping/DotDotPrefix": refused(OUT, layer(member("../file", b"c")), entry="../file"),
    **{
        f"umoci/SymlinkScoping/{k}": refused(
            BELOW, layer(symlink("link", to)), layer(member("link/file", b"c")), entry="link/file")
        for k, to in _SCOPED.items()
    },
    **{
        f"umoci/CVE-2021-29136/{name!r}": refused("in place of the root", layer(
            symlink(name, "../victim"), member("hello", b"c")))
        for name in ("/.", ".", "./", "/", "//", "./.", ".//.")
    },
    "umoci/CVE-2021-29136/pax": refused("in place of the root", layer(
        pax(path=b"/."), symlink("harmless", "../victim"), member("hello", b"c"))),
    "umoci/CVE-2021-29136/..": refused(OUT, layer(symlink("..", "../victim"), member("hello", b"c")), entry=".."),
    **{f"umoci/Whiteout/{k}": _whiteout(path, filled=False) for k, path in _WHITEOUTS.items()},
    **{
        f"umoci/Whiteout/{k.replace('File', 'Dir')}": _whiteout(path, filled=True)
        for k, path in _WHITEOUTS.items()
    },
    "umoci/UnpackHardlink": legal(layer(
        member("regular", b"c"), member("hard link", kind=b"1", target="/regular", uid=b"0002471"),
        symlink("link", "../../../regular"), hardlink("hard link to symlink", "link")),
        lands=("regular", "hard link", "link", "hard link to symlink")),
    "umoci/UnpackHardlink/dotdot": refused(OUT, layer(
        symlink("link", "../../../regular"), hardlink("hard link to symlink", "../../../link")),
        entry="hard link to symlink"),
}  # fmt: skip
