# SPDX-License-Identifier: Apache-2.0
"""Archives that name what is not theirs, contradict themselves, or bring what no host should be given."""

from ashore.nouns.limits import Limits
from tests.fakes.images import folder, hardlink, layer, member, pax, pax_record, symlink
from tests.hostile.images.case import Case, image, legal, refused

BELOW, NO_LINK, OUT, NAMELESS = "which is a symlink", "hard link", "leads out", "whiteout without a name"


def long_name(kind: bytes, name: bytes) -> bytes:
    """GNU's header of a long name (L) or target (K)."""
    return member("././@LongLink", name + b"\0", kind=kind)


def raw_pax(data: bytes, kind: bytes = b"x", size: bytes | None = None) -> bytes:
    """An extended header with any bytes in it."""
    return member("pax", data, kind=kind, size=size)


def long_way_out() -> bytes:
    """CVE-2025-4517: symlinks so long that resolving them stops half-way, at a place that looks inside."""
    steps, part, path, members = "abcdefghijklmnop", "d" * 247, "", []
    for step in steps:
        members += [pax(path=f"{path}{part}".encode()), folder("x")]
        members += [pax(path=f"{path}{step}".encode(), linkpath=part.encode()), symlink("x", "y")]
        path = f"{path}{part}/"
    here = "/".join(steps) + "/" + "l" * 254
    members += [pax(path=here.encode(), linkpath=b"../" * len(steps)), symlink("x", "y")]
    members += [pax(linkpath=f"{here}/../victim".encode()), symlink("escape", "y")]
    members += [hardlink("flag", "escape/hello"), member("flag", b"owned")]
    return layer(*members)


NAMES: dict[str, Case] = {
    **{f"name {name!r}": refused(OUT, layer(member(name, b"x")), entry=name) for name in (
        "../etc/victim", "/../etc/victim", "a/../../etc/victim", "..", "a/..", "../../../../../../etc/victim",
        "./../etc/victim", "etc/./../../victim/hello", "/..", "//../x")},
    "name out of the bundle": refused(OUT, layer(member("ashore/root/../../etc/victim", b"x")), root="/ashore",
        entry="ashore/root/../../etc/victim"),
    "name out by pax": refused(OUT, layer(pax(path=b"../etc/victim"), member("harmless", b"x")), entry="../etc/victim"),
    "name out by GNU": refused(OUT, layer(long_name(b"L", b"../etc/victim"), member("harmless", b"x")),
        entry="../etc/victim"),
    "name out by prefix": refused(OUT, layer(member("etc/victim", b"x", prefix=b"..")), entry="../etc/victim"),
    "folder out": refused(OUT, layer(folder("../victim/new")), entry="../victim/new/"),
    "absolute name is inside": legal(layer(member("/srv/absolute", b"x")), lands=("srv", "srv/absolute")),
    "many slashes are inside": legal(layer(member("//srv///many", b"x")), lands=("srv", "srv/many")),
    "NUL by pax": refused("NUL", layer(pax(path=b"srv/a\0../../etc/victim"), member("harmless", b"x"))),
    "not UTF-8": refused("not UTF-8", layer(member(b"srv/caf\xe9", b"x")), entry=r"srv/caf\udce9"),
    "a symlink's target not UTF-8": refused("not UTF-8", layer(
        member("srv/l", kind=b"2", target=b"caf\xe9")), entry="srv/l"),
    "an escape sequence is told as text": refused("character device", layer(
        member("srv/\x1b[2J\x1b]0;owned\x07", kind=b"3")), entry=r"srv/\x1b[2J\x1b]0;owned\x07"),
    "a line break is told as text": refused("character device", layer(
        member("srv/x\nerror: none", kind=b"3")), entry=r"srv/x\nerror: none"),
    "text that runs backwards is told as text": refused("character device", layer(
        member("srv/\u202egpj.exe", kind=b"3")), entry=r"srv/\u202egpj.exe"),
    "names that differ by case": legal(layer(member("srv/A", b"1"), member("srv/a", b"2")),
        lands=("srv", "srv/A", "srv/a")),
    "names that differ by composition": legal(layer(member("srv/\u00e9", b"1"), member("srv/e\u0301", b"2")),
        lands=("srv", "srv/\u00e9", "srv/e\u0301")),
    "a name of 256 bytes": refused("too long", layer(pax(path=b"srv/" + b"n" * 256), member("x")),
        entry="srv/" + "n" * 256),
    "a path of 5000 bytes": refused("too long", layer(pax(path=b"/".join([b"n" * 100] * 50)), member("x"))),
    "a path 5000 deep": refused("deep", layer(pax(path=b"d/" * 5000 + b"x"), member("x"))),
    "a name of 2 MiB": refused("extended headers", layer(pax(path=b"n" * (2 << 20)), member("x"))),
    "a GNU name of 2 MiB": refused("extended headers", layer(long_name(b"L", b"n" * (2 << 20)), member("x"))),
    "a target of 5000 bytes": refused("target is too long", layer(
        pax(linkpath=b"t" * 5000), symlink("srv/l", "x")), entry="srv/l"),
}  # fmt: skip

LINKS: dict[str, Case] = {
    **{f"through a symlink to {to!r}": refused(BELOW, layer(
        symlink("srv/l", to), member("srv/l/victim", b"x")), entry="srv/l/victim")
        for to in ("/", "/.", "/..", "../etc", "/etc", ".", "..", "/proc/self/root", "../../victim", "nowhere")},
    "through the host's own absolute symlink": legal(layer(folder("srv.abs"), member("srv.abs/through", b"x")),
        lands=("srv.d/through",)),
    "CVE-2025-4517": refused(BELOW, long_way_out()),
    "through a symlink of a lower layer": refused(BELOW, layer(symlink("srv/l", "/etc")), layer(
        member("srv/l/victim", b"x")), entry="srv/l/victim"),
    "folder, symlink, file in three layers": refused(BELOW, layer(folder("srv/a")), layer(symlink("srv/a", "/")),
        layer(member("srv/a/etc/victim", b"x")), entry="srv/a/etc/victim"),
    "a folder below a symlink": refused(BELOW, layer(symlink("srv/l", "/etc"), folder("srv/l/d")), entry="srv/l/d"),
    "a symlink below a symlink": refused(BELOW, layer(symlink("srv/l", "/etc"), symlink("srv/l/m", "x")),
        entry="srv/l/m"),
    "a symlink gone before the file": legal(layer(symlink("srv/l", "/etc")), layer(member("srv/.wh.l")), layer(
        member("srv/l/own", b"x")), lands=("srv", "srv/l", "srv/l/own")),
    "a symlink that comes after the file": legal(layer(member("srv/l/x", b"x")), layer(symlink("srv/l", "/etc")),
        lands=("srv", "srv/l")),
    "a symlink that points out is a symlink": legal(layer(symlink("srv/l", "../../victim/hello")),
        lands=("srv", "srv/l")),
    "a hard link to the host's file": refused(NO_LINK, layer(hardlink("srv/l", "/etc/shadow")), entry="srv/l"),
    "a hard link out": refused(OUT, layer(hardlink("srv/l", "../../etc/shadow")), entry="srv/l"),
    "a hard link out by pax": refused(OUT, layer(pax(linkpath=b"../../etc/shadow"), hardlink("srv/l", "x")),
        entry="srv/l"),
    "a hard link out by GNU": refused(OUT, layer(long_name(b"K", b"../../etc/shadow"), hardlink("srv/l", "x")),
        entry="srv/l"),
    "a hard link to a folder": refused(NO_LINK, layer(folder("srv/d"), hardlink("srv/l", "srv/d")), entry="srv/l"),
    "a hard link to the root": refused("without a target", layer(hardlink("srv/l", "/"))),
    "a hard link without a target": refused("without a target", layer(hardlink("srv/l", ""))),
    "a symlink without a target": refused("without a target", layer(symlink("srv/l", ""))),
    "a hard link to what comes later": refused(NO_LINK, layer(hardlink("srv/l", "srv/f"), member("srv/f")),
        entry="srv/l"),
    "a hard link to what was taken away": refused(NO_LINK, layer(member("srv/f")), layer(member("srv/.wh.f")), layer(
        hardlink("srv/l", "srv/f")), entry="srv/l"),
    "a hard link beyond the bundle": refused(NO_LINK, layer(member("etc/shadow", b"x"),
        hardlink("ashore/root/l", "etc/shadow")), root="/ashore", entry="ashore/root/l"),
    "a hard link with content": refused("with a size", layer(member("srv/f"), member(
        "srv/l", b"content", kind=b"1", target="srv/f"))),
    "a hard link to a symlink, then a file": legal(layer(symlink("srv/a", "/etc/shadow"), hardlink("srv/b", "srv/a"),
        member("srv/b", b"mine")), lands=("srv", "srv/a", "srv/b")),
    "a folder's own tree is a symlink": refused("symlink", layer(symlink("ashore", "/etc")), root="/ashore",
        entry="ashore"),
    "the bundle's root is a symlink": Case(
        image(layer(symlink("ashore/root", "/etc")), root="/ashore"), says="root: is a symlink"),
}  # fmt: skip

WHITEOUTS: dict[str, Case] = {
    **{f"whiteout {name!r}": refused(NAMELESS, layer(member("srv/x", b"x")), layer(member(name)), entry=name)
        for name in (".wh.", ".wh..", ".wh...", "srv/.wh.", "srv/.wh..", "srv/.wh...")},
    "a whiteout as a folder's name": refused("reserved", layer(member("srv/.wh.../x")), entry="srv/.wh.../x"),
    "a union file system's links": refused("reserved", layer(member(".wh..wh.plnk/1.2", b"x"))),
    "a whiteout of the host's folder": legal(layer(member(".wh.etc"), member("srv/x", b"x")), lands=("srv", "srv/x")),
    "a whiteout of the host's file": legal(layer(member("etc/.wh.victim"), member("srv/x", b"x")),
        lands=("srv", "srv/x")),
    "an opaque root": legal(layer(member(".wh..wh..opq"), member("srv/x", b"x")), lands=("srv", "srv/x")),
    "an opaque folder of the host": legal(layer(member("etc/.wh..wh..opq"), member("srv/x", b"x")),
        lands=("srv", "srv/x")),
    "a whiteout beyond the bundle": legal(layer(member("ashore/root/srv/x", b"x"), member("etc/.wh.victim"),
        member(".wh.etc")), root="/ashore", lands=("srv", "srv/x")),
    "a whiteout that is a symlink": legal(layer(member("srv/x", b"x")), layer(symlink("srv/.wh.x", "/etc"),
        member("srv/y", b"y")), lands=("srv", "srv/y")),
    "an overlay's whiteout": refused("character device", layer(member("etc/victim", kind=b"3")), entry="etc/victim"),
}  # fmt: skip

KINDS: dict[str, Case] = {
    **{f"a {word}": refused(word, layer(member("srv/x", kind=kind)), entry="srv/x") for word, kind in (
        ("character device", b"3"), ("block device", b"4"), ("FIFO", b"6"), ("sparse file", b"S"))},
    **{f"type {kind.decode()!r}": refused("unknown type", layer(member("srv/x", kind=kind)), entry="srv/x")
        for kind in (b"A", b"D", b"M", b"N", b"V", b"Z", b"8")},
    "a device in place of the root": refused("in place of the root", layer(member(".", kind=b"3"))),
    "a sparse map of 8 EiB": refused("sparse", layer(pax(
        GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"%d" % 2**63), member("srv/s")),
        entry="srv/s"),
    "a sparse map with holes": refused("sparse", layer(pax(GNU__sparse__size=b"9" * 18, GNU__sparse__map=b"0,1,9,1"),
        member("srv/s")), entry="srv/s"),
    "a sparse map of millions of regions": refused("extended headers", layer(raw_pax(
        pax_record(b"GNU.sparse.map", b"0,1," * 500_000)), member("srv/s"))),
    **{f"the attribute {name}": refused("attribute", layer(
        raw_pax(pax_record(b"SCHILY.xattr." + name.encode(), b"y")), member("srv/x", b"x")), entry="srv/x")
        for name in ("trusted.overlay.opaque", "trusted.overlay.redirect", "security.ima", "security.evm",
            "system.nfs4_acl", "btrfs.compression", "nonsense", "user.", "user." + "n" * 300)},
    "an attribute with a NUL": refused("attribute", layer(
        raw_pax(pax_record(b"SCHILY.xattr.user.a\0b", b"y")), member("srv/x", b"x")), entry="srv/x"),
    "an attribute not UTF-8": refused("attribute", layer(
        raw_pax(pax_record(b"SCHILY.xattr.user.caf\xe9", b"y")), member("srv/x", b"x")), entry="srv/x"),
    "a megabyte of attributes": refused("attributes", layer(*[raw_pax(
        pax_record(b"SCHILY.xattr.user.a", b"v" * 70_000))], member("srv/x", b"x")), entry="srv/x"),
    "a capability that is none": refused("attribute", layer(
        raw_pax(pax_record(b"SCHILY.xattr.security.capability", b"nonsense")), member("srv/x", b"x")), entry="srv/x"),
    "an ACL that is none": refused("attribute", layer(
        raw_pax(pax_record(b"SCHILY.xattr.system.posix_acl_access", b"nonsense")), member("srv/x", b"x")),
        entry="srv/x"),
    "an attribute that is not base 64": refused("base 64", layer(
        raw_pax(pax_record(b"LIBARCHIVE.xattr.user.a", b"!")), member("srv/x", b"x"))),
    "the host's label is not taken from an image": legal(layer(
        raw_pax(pax_record(b"SCHILY.xattr.security.selinux", b"system_u:object_r:shadow_t:s0")),
        member("srv/x", b"x")), lands=("srv", "srv/x")),
    "owner -1": refused("owner", layer(member("srv/x", uid=b"\x80" + b"\0" * 3 + b"\xff" * 4))),
    "owner -1 as a negative number": refused("negative", layer(member("srv/x", uid=b"\xff" * 8))),
    "owner -1 by pax": refused("owner", layer(pax(uid=b"4294967295"), member("srv/x"))),
    "owner beyond 32 bits": refused("owner", layer(pax(gid=b"1099511627776"), member("srv/x"))),
    "owner 2^64": refused("uid is not a number", layer(pax(uid=b"18446744073709551616"), member("srv/x"))),
    "owner below zero by pax": refused("uid is not a number", layer(pax(uid=b"-1"), member("srv/x"))),
    "owner is no number": refused("uid is not a number", layer(member("srv/x", uid=b"root\0\0\0\0"))),
    "mode is no number": refused("mode is not a number", layer(member("srv/x", mode=b"rwxrwx\0\0"))),
    "a mode beyond all bits": legal(layer(member("srv/x", b"x", mode=b"7777644")), lands=("srv", "srv/x")),
    "a time before time": legal(layer(pax(mtime=b"-1e20", atime=b"99999999999999999999"), member("srv/x", b"x")),
        lands=("srv", "srv/x")),
    "a contiguous file": legal(layer(member("srv/x", b"x", kind=b"7")), lands=("srv", "srv/x")),
}  # fmt: skip

DISAGREEMENTS: dict[str, Case] = {
    "two sizes": refused("contradict", layer(pax(size=b"512"), member("srv/x", b"x" * 1024))),
    "a size of nothing before another archive": refused("contradict", layer(
        pax(size=b"0"), member("srv/x", layer(member("etc/victim", b"x"))))),
    "a negative size": refused("negative", layer(member("srv/x", size=b"\xff" * 12))),
    "a negative size by pax": refused("size is not a number", layer(pax(size=b"-512"), member("srv/x"))),
    "a size of 8 EiB": refused("cut off", layer(member("srv/x", size=b"\x80\0\0\0\x7f" + b"\xff" * 7)), entry="srv/x"),
    "a size that is no number": refused("size is not a number", layer(member("srv/x", size=b"12345678abc"))),
    "a size with a nine": refused("size is not a number", layer(member("srv/x", size=b"00000000009"))),
    "a folder with content": refused("with a size", layer(member("srv/", b"x" * 512, kind=b"5"))),
    "a symlink with content": refused("with a size", layer(member("srv/l", b"x" * 512, kind=b"2", target="x"))),
    "two extended headers": refused("two extended headers", layer(
        pax(path=b"srv/a"), pax(path=b"srv/b"), member("srv/x"))),
    "pax and GNU name": refused("contradict", layer(
        long_name(b"L", b"srv/a"), pax(path=b"srv/b"), member("srv/x"))),
    "GNU and pax name": refused("twice", layer(pax(path=b"srv/b"), long_name(b"L", b"srv/a"), member("srv/x"))),
    "two GNU names": refused("twice", layer(long_name(b"L", b"srv/a"), long_name(b"L", b"srv/b"), member("srv/x"))),
    "a record twice": refused("twice", layer(raw_pax(
        pax_record(b"path", b"srv/a") + pax_record(b"path", b"srv/b")), member("srv/x"))),
    "a global name": refused("global", layer(pax(b"g", path=b"etc/victim"), member("srv/x"))),
    "a global size": refused("global", layer(pax(b"g", size=b"0"), member("srv/x", b"x"))),
    "a global attribute": refused("global", layer(pax(b"g", SCHILY__xattr__user__a=b"x"), member("srv/x", b"x"))),
    "a record too long": refused("length", layer(raw_pax(b"99 path=a\n"), member("srv/x"))),
    "a record too short": refused("length", layer(raw_pax(b"3 path=a\n"), member("srv/x"))),
    "a record of length 0": refused("length", layer(raw_pax(b"0 path=a\n"), member("srv/x"))),
    "a record of endless digits": refused("length", layer(raw_pax(b"9" * 5000 + b" path=a\n"), member("srv/x"))),
    "a record without a length": refused("length", layer(raw_pax(b"path=a\n"), member("srv/x"))),
    "a record without a key": refused("without a key", layer(raw_pax(b"6 =ab\n"), member("srv/x"))),
    "a record without its end": refused("length", layer(raw_pax(b"10 path=ab"), member("srv/x"))),
    "binary names are read as any": legal(layer(pax(hdrcharset=b"BINARY", path=b"srv/a"), member("srv/x", b"x")),
        lands=("srv", "srv/a")),
    "an extended header for nothing": refused("ends after", layer(pax(path=b"srv/a"))),
    "endless empty headers": refused("extended headers", layer(*[raw_pax(b"", b"g")] * 3000, member("srv/x"))),
    "the last of two files": legal(layer(member("srv/x", b"first"), member("./srv//x", b"last")),
        lands=("srv", "srv/x")),
    "a file, then a folder": legal(layer(member("srv/x", b"file"), folder("srv/x"), member("srv/x/y", b"y")),
        lands=("srv", "srv/x", "srv/x/y")),
    "a folder, then a symlink, then below": refused(BELOW, layer(folder("srv/d"), symlink("srv/d", "/etc"),
        member("srv/d/victim", b"x")), entry="srv/d/victim"),
    "a file below a file": refused("lies below", layer(member("srv/x", b"x"), member("srv/x/y", b"y")),
        entry="srv/x/y"),
    "a checksum that is wrong": refused("checksum", layer(member("srv/x", checksum=b"000000\0 "))),
    "a header of noise": refused("checksum", layer(bytes(range(256)) * 2)),
    "cut off in a header": refused("cut off", member("srv/x", b"x")[:300]),
    "cut off in a file": refused("cut off", member("srv/x", b"x" * 5000)[:2000], entry="srv/x"),
    "cut off before its end": refused("cut off", member("srv/x", b"x")),
    "bytes after the end": refused("after the end", layer(member("srv/x", b"x")) + member("etc/victim", b"x")),
    "an archive after the end": refused("after the end", layer(member("srv/x", b"x")) + layer(
        member("etc/victim", b"x"))),
    "one block of zeros, then more": refused("after the end", member("srv/x", b"x") + bytes(512) + layer(
        member("etc/victim", b"x"))),
    "too many entries": refused("entries", layer(*[member(f"srv/{n}") for n in range(60)]),
        limits=Limits(entries=50)),
    "too many folders that nobody declares": refused("paths below", layer(*[
        member(f"srv/{n}/" + "d/" * 20 + "x") for n in range(10)]), limits=Limits(placed=100)),
    "too many entries in all layers": refused("entries", *[layer(*[member(f"srv/{m}.{n}") for n in range(30)])
        for m in range(2)], limits=Limits(entries=50)),
}  # fmt: skip

CASES: dict[str, Case] = {**NAMES, **LINKS, **WHITEOUTS, **KINDS, **DISAGREEMENTS}
