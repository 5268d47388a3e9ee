# SPDX-License-Identifier: Apache-2.0
"""The tar reader: what it makes of good archives, and that it refuses what two readers could read differently."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.errors import InputError
from ashore.mechanisms.images.streams import BytesStream
from ashore.mechanisms.images.tar import TarReader
from ashore.mechanisms.images.tarheader import TarError, parse_header
from ashore.mechanisms.images.tarwrite import END, header, padding
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import DEFAULT, MIB, Limits
from tests.fakes.images import folder, hardlink, layer, member, pax, symlink


def read(archive: bytes, limits: Limits = DEFAULT) -> list[tuple[TarEntry, bytes]]:
    reader = TarReader(BytesStream(archive), "image layer 1", limits)
    return [(entry, b"".join(bytes(view) for view in reader.chunks())) for entry in reader]


def names(archive: bytes) -> list[str]:
    return [entry.name for entry, _ in read(archive)]


def test_the_kinds_of_members() -> None:
    found = [
        e for e, _ in read(layer(folder("./d"), member("d/f", b"hi"), symlink("d/l", "../x"), hardlink("d/h", "./d/f")))
    ]
    assert [(e.name, e.kind, e.size, e.target) for e in found] == [
        ("d", Member.DIR, 0, ""),
        ("d/f", Member.FILE, 2, ""),
        ("d/l", Member.SYMLINK, 0, "../x"),
        ("d/h", Member.HARDLINK, 0, "d/f"),
    ]


@pytest.mark.parametrize(
    ("name", "normal"),
    [("./a", "a"), ("/a/b", "a/b"), ("a//b", "a/b"), ("a/./b/", "a/b"), ("a.b/..c", "a.b/..c"), ("...", "...")],
)
def test_names_are_normalised(name: str, normal: str) -> None:
    assert names(layer(folder(name) if name.endswith("/") else member(name))) == [normal]


def test_the_root_itself_is_the_empty_name() -> None:
    assert names(layer(folder("."), member("a"))) == ["", "a"]


def test_a_name_that_is_not_utf8_keeps_its_bytes() -> None:
    (entry,) = (e for e, _ in read(layer(member(b"caf\xe9"))))
    assert entry.name.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_long_names_by_prefix_pax_and_gnu() -> None:
    long = "d/" + "n" * 200
    assert names(layer(member("f", prefix=b"a/b"))) == ["a/b/f"]
    assert names(layer(pax(path=long.encode()), member("short"))) == [long]
    assert names(layer(member("././@LongLink", long.encode() + b"\0", kind=b"L"), member("short"))) == [long]


def test_extended_headers_count_for_one_entry() -> None:
    assert names(layer(pax(path=b"one"), member("x"), member("two"))) == ["one", "two"]


def test_xattrs_of_both_dialects() -> None:
    head = pax(SCHILY__xattr__user__a=b"\0\n=", LIBARCHIVE__xattr__user__b=b"aGk", SCHILY__xattr__user__empty=b"")
    (entry,) = (e for e, _ in read(layer(head, member("f"))))
    assert entry.xattrs == {"user.a": b"\0\n=", "user.b": b"hi", "user.empty": b""}


def test_sizes_and_owners_beyond_the_octal_fields() -> None:
    big = (b"\x80" + (5).to_bytes(11, "big"), b"\x80" + (4_000_000).to_bytes(7, "big"))
    (found,) = read(layer(member("f", b"hello", size=big[0], uid=big[1])))
    assert (found[0].size, found[0].uid, found[1]) == (5, 4_000_000, b"hello")


def test_a_pax_size_counts_where_the_header_has_no_room() -> None:
    size = 9 * 1024**3
    reader = TarReader(BytesStream(pax(size=b"%d" % size) + member("f", size=b"%011o" % 0)), "image", DEFAULT)
    entry = reader.next()
    assert entry is not None
    assert entry.size == size


def test_an_old_archive_has_folders_without_a_type() -> None:
    assert [e.kind for e, _ in read(layer(member("d/", kind=b"\0")))] == [Member.DIR]


def test_what_is_not_read_is_passed_over() -> None:
    data = bytes(range(256)) * 9000
    reader = TarReader(BytesStream(layer(member("a", data), member("b", b"x"))), "image", DEFAULT)
    assert [e.name for e in reader] == ["a", "b"]
    assert reader.next() is None


OTHERS = {
    "character device": member("c", kind=b"3"),
    "block device": member("b", kind=b"4"),
    "FIFO": member("p", kind=b"6"),
    "unknown type": member("v", b"data", kind=b"V"),
    "sparse file": member("s", b"12", kind=b"S"),
    "sparse": pax(GNU__sparse__major=b"1") + member("s", b"12"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_never_placed_is_told_apart_and_passed_over(what: str) -> None:
    first, second = (e for e, _ in read(layer(OTHERS[what], member("after"))))
    assert (first.kind, second.name) == (Member.OTHER, "after")
    assert what in first.what


def test_the_map_of_an_old_sparse_file_is_passed_over() -> None:
    head = bytearray(member("s", b"12", kind=b"S"))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    archive = bytes(head[:512]) + bytes(512) + bytes(head[512:])
    assert names(layer(archive, member("after"))) == ["s", "after"]


HOSTILE = {
    "leads out": layer(member("../etc/passwd")),
    "leads out in the middle": layer(member("a/../../x")),
    "leads out with a slash": layer(member("/../x")),
    "is dot dot": layer(folder("..")),
    "hard link that leads out": layer(hardlink("a", "../../etc/shadow")),
    "symlink for the root": layer(symlink(".", "/etc")),
    "symlink for the root, slash": layer(symlink("/", "/etc")),
    "file without a name": layer(member("")),
    "symlink without a target": layer(symlink("a", "")),
    "hard link to the root": layer(hardlink("a", "/")),
    "NUL in a pax path": layer(pax(path=b"a\0b"), member("a")),
    "NUL in a pax target": layer(pax(linkpath=b"a\0b"), symlink("a", "b")),
    "checksum": layer(member("a", checksum=b"0000000\0")),
    "negative size": layer(member("a", size=b"\xff" * 12)),
    "size with a sign": layer(member("a", size=b"-0000000001")),
    "size with an underscore": layer(member("a", size=b"0000_000001")),
    "size in hex": layer(member("a", size=b"0x000000001")),
    "size beyond the end": layer(member("a", size=b"%011o" % 5000)),
    "a size twice, different": layer(pax(size=b"1"), member("a", b"22")),
    "a TARmageddon": layer(pax(size=b"512"), member("a", member("inner"), size=b"%011o" % 0)),
    "pax size with a sign": layer(pax(size=b"+2"), member("a", b"22")),
    "pax size without end": layer(pax(size=b"9" * 400), member("a", b"22")),
    "owner out of range": layer(pax(uid=b"%d" % 2**32), member("a")),
    "owner that means nobody": layer(pax(uid=b"%d" % (2**32 - 1)), member("a")),
    "negative owner": layer(pax(gid=b"-1"), member("a")),
    "pax length too long": layer(member("p", b"99 path=a\n", kind=b"x"), member("a")),
    "pax length too short": layer(member("p", b"3 path=a\n", kind=b"x"), member("a")),
    "pax length zero": layer(member("p", b"0 path=a\n", kind=b"x"), member("a")),
    "pax length missing": layer(member("p", b"path=a\n", kind=b"x"), member("a")),
    "pax without a newline": layer(member("p", b"10 path=abc", kind=b"x"), member("a")),
    "pax key twice": layer(member("p", b"9 path=a\n9 path=b\n", kind=b"x"), member("a")),
    "two pax headers": layer(pax(path=b"a"), pax(path=b"a"), member("a")),
    "global path": layer(pax(b"g", path=b"a"), member("b")),
    "global xattr": layer(pax(b"g", SCHILY__xattr__user__a=b"1"), member("b")),
    "GNU name twice": layer(member("L", b"a\0", kind=b"L"), member("L", b"b\0", kind=b"L"), member("c")),
    "GNU against pax": layer(member("L", b"a\0", kind=b"L"), pax(path=b"b"), member("c")),
    "xattr not base 64": layer(pax(LIBARCHIVE__xattr__user__a=b"a"), member("b")),
    "folder with data": layer(member("d/", b"data", kind=b"5")),
    "hard link with data": layer(member("h", b"data", kind=b"1", target="a")),
    "symlink with data": layer(member("l", b"data", kind=b"2", target="a")),
    "device with data": layer(member("c", b"data", kind=b"3")),
    "no end": member("a", b"hi"),
    "nothing at all": b"",
    "cut off in a header": layer(member("a"))[:300],
    "cut off in content": member("a", b"x" * 2000)[:1500],
    "cut off after an extended header": layer(pax(path=b"a")),
    "data after the end": layer(member("a")) + member("b"),
    "a byte after the end": layer(member("a")) + b"\0" * 5000 + b"x",
    "not an archive": b"\x1f\x8b" + b"garbage" * 500,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_with_their_place(case: str) -> None:
    with pytest.raises(InputError) as caught:
        read(HOSTILE[case])
    (issue,) = caught.value.issues
    assert issue.where.startswith("image layer 1")
    assert issue.message


@pytest.mark.parametrize(
    ("archive", "limits"),
    [
        (layer(*[member("a")] * 4), Limits(entries=3)),
        (layer(pax(path=b"p" * 2000), member("a")), Limits(header=1000)),
        (layer(member("L", b"p" * 2000, kind=b"L"), member("a")), Limits(header=1000)),
        (layer(member("p", b"", kind=b"x", size=b"%011o" % 2**30), member("a")), Limits()),
    ],
)
def test_limits(archive: bytes, limits: Limits) -> None:
    with pytest.raises(InputError):
        read(archive, limits)


def test_truncation_anywhere_is_refused_or_harmless() -> None:
    archive = layer(pax(path=b"p" * 300), member("a", b"x" * 700), symlink("l", "t"))
    whole = len(archive) - 1024
    for cut in range(0, len(archive), 37):
        if cut > whole + 511:
            assert names(archive[:cut])
        else:
            with pytest.raises(InputError):
                read(archive[:cut])


_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=130)
_parts = _names.filter(lambda part: part not in {".", ".."} and len(part.encode()) < 250)
_paths = st.lists(_parts, min_size=1, max_size=4).map("/".join)
_entries = st.fixed_dictionaries(
    {
        "name": _paths,
        "type": st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
        "linkname": _paths,
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 2**32 - 2),
        "gid": st.integers(0, 2**31),
        "data": st.binary(max_size=1500),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_entries, max_size=6), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_it_reads_what_tarfile_writes(entries: list[dict[str, object]], dialect: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=dialect) as archive:
        for given_entry in entries:
            info = tarfile.TarInfo()
            for key, value in given_entry.items():
                if key != "data":
                    setattr(info, key, value)
            if info.isreg():
                info.linkname = ""
            data = given_entry["data"] if info.isreg() else b""
            assert isinstance(data, bytes)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        oracle = [
            (m.name, m.mode, m.uid, m.gid, m.linkname, (archive.extractfile(m).read() if m.isreg() else b""))  # type: ignore[union-attr]
            for m in archive.getmembers()
        ]
    found = read(file.getvalue())
    assert [(e.name, e.mode, e.uid, e.gid, e.target, data) for e, data in found] == oracle


_ours = st.builds(
    TarEntry,
    name=_paths,
    kind=st.sampled_from([Member.FILE, Member.DIR, Member.SYMLINK]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    size=st.integers(0, 1500),
    target=_paths,
    xattrs=st.dictionaries(st.just("user.x"), st.binary(max_size=50)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_ours, max_size=5))
def test_tarfile_and_we_read_what_we_write(entries: list[TarEntry]) -> None:
    archive, wanted = bytearray(), []
    for entry in entries:
        size = entry.size if entry.kind is Member.FILE else 0
        target = entry.target if entry.kind is Member.SYMLINK else ""
        plain = TarEntry(
            name=entry.name, kind=entry.kind, mode=entry.mode, uid=entry.uid, gid=entry.gid,
            size=size, target=target, xattrs=entry.xattrs,
        )  # fmt: skip
        archive += header(plain) + b"x" * size + padding(size)
        wanted.append(plain)
    archive += END
    assert [entry for entry, _ in read(bytes(archive))] == wanted
    with tarfile.open(fileobj=io.BytesIO(bytes(archive))) as oracle:
        assert [(m.name, m.mode, m.uid, m.size, m.linkname, m.mtime) for m in oracle.getmembers()] == [
            (e.name, e.mode, e.uid, e.size, e.target, 0) for e in wanted
        ]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_byte_makes_it_raise_anything_else(data: st.DataObject) -> None:
    archive = bytearray(layer(pax(path=b"p" * 200, uid=b"7"), member("a", b"x" * 600), symlink("l", "t"), folder("d")))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(archive), Limits(header=MIB))
    except InputError as error:
        assert error.issues


@given(st.binary(min_size=512, max_size=512) | st.sampled_from([bytes(512), b"\xff" * 512]))
def test_a_checksum_holds_exactly(block: bytes) -> None:
    head = bytearray(block)
    head[100:156] = b"0000644\0" + 2 * b"0000000\0" + 2 * b"00000000000\0" + b" " * 8
    for wrong in (0, 1, -1, 65521, -65521):
        claimed = sum(head) + wrong
        if claimed < 0:
            continue
        said = bytes(head[:148]) + b"%06o\0 " % claimed + bytes(head[156:])
        if not wrong:
            assert parse_header(said).mode == 0o644
            continue
        with pytest.raises(TarError, match="checksum"):
            parse_header(said)
