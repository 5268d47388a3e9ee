# SPDX-License-Identifier: Apache-2.0
"""What deltas are decided by: which file a new one is made of, which delta is looked at, what one must look like."""

import base64
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.errors import InputError
from ashore.mechanisms.images import compactindex
from ashore.mechanisms.images.directory import read_directory, write_directory
from ashore.mechanisms.images.table import TocEntry
from ashore.mechanisms.images.zstandard import zstd
from ashore.mechanisms.state.known import Known
from ashore.nouns.delta import ARTIFACT, DIRECTORY, FROM, PATCHES, SEGMENT, Patch
from ashore.nouns.digest import Digest, hex_of, of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import OCI_MANIFEST, Descriptor
from ashore.nouns.limits import DEFAULT, KIB, MIB
from ashore.rules.images.deltas import carried, choose_delta, delta_manifest, inlined, pairs, parse_delta
from ashore.rules.images.ranges import joined

ONE, TWO, THREE = of(b"1"), of(b"2"), of(b"3")


def file(content: str, size: int = 100) -> Entry:
    return Entry(kind=Kind.FILE, mode=0o644, size=size, digest=of(content.encode()))


def paired(old: dict[str, Entry], new: dict[str, Entry]) -> dict[Digest, Digest]:
    return {pair.new.digest: pair.old.digest for pair in pairs(old, new)}


def test_a_file_is_made_of_the_one_at_its_path() -> None:
    old = {"a": file("a1"), "b": file("b1"), "same": file("s")}
    new = {"a": file("a2"), "b": file("b2"), "same": file("s"), "moved": file("a1")}
    assert paired(old, new) == {of(b"a2"): of(b"a1"), of(b"b2"): of(b"b1")}


def test_else_of_the_one_that_differs_in_its_number_then_of_one_of_the_same_name() -> None:
    old = {"lib/x.so.1.2": file("x1"), "lib/y.so.1.2": file("y1"), "opt/9/tool": file("t9"), "else/other": file("o")}
    new = {"lib/x.so.1.10": file("x2"), "usr/libexec/tool": file("t"), "nothing/like/it": file("n")}
    assert paired(old, new) == {of(b"x2"): of(b"x1"), of(b"t"): of(b"t9")}


def test_of_several_alike_the_nearest_in_size() -> None:
    old = {"a/1/tool": file("small", 10), "a/2/tool": file("large", 1000)}
    assert paired(old, {"b/tool": file("new", 900)}) == {of(b"new"): of(b"large")}


def test_nothing_is_made_of_folders_links_or_next_to_nothing() -> None:
    link = Entry(kind=Kind.SYMLINK, mode=0o777, target="x")
    old = {"a": link, "b": file("tiny", 7), "c": file("c1")}
    assert paired(old, {"a": file("a2"), "b": file("b2"), "c": Entry(kind=Kind.DIR, mode=0o755), "d": link}) == {}
    assert paired(old, {"c": file("", 0)}) == {}


def referrer(start: Digest | None, name: bytes, **changed: object) -> Descriptor:
    made = Descriptor(
        media_type=OCI_MANIFEST,
        digest=of(name),
        size=1000,
        artifact_type=ARTIFACT,
        annotations={FROM: start} if start else {},
    )
    return msgspec.structs.replace(made, **changed)


def test_the_delta_from_what_is_installed_is_looked_at_else_the_last() -> None:
    found = [referrer(ONE, b"a"), referrer(TWO, b"b"), referrer(None, b"c")]
    assert choose_delta(found, {ONE}, DEFAULT) == found[0]
    assert choose_delta(found, {ONE, TWO}, DEFAULT) == found[1]
    assert choose_delta(found, {THREE}, DEFAULT) == found[2]
    assert choose_delta([], {ONE}, DEFAULT) is None


def test_what_is_no_delta_is_not_looked_at() -> None:
    others = [
        referrer(ONE, b"a", artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json"),
        referrer(ONE, b"b", media_type="application/vnd.oci.image.index.v1+json"),
        referrer(ONE, b"c", size=DEFAULT.manifest + 1),
    ]
    assert choose_delta(others, {ONE}, DEFAULT) is None


SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=ONE, size=500)
PARTS = (
    Descriptor(media_type=DIRECTORY, digest=of(b"d"), size=1),
    Descriptor(media_type=PATCHES, digest=of(b"p"), size=1),
)


def test_a_delta_is_what_was_made() -> None:
    data = msgspec.json.encode(delta_manifest(SUBJECT, TWO, inlined(PARTS[0], b"d"), PARTS[1]))
    directory, patches = parse_delta(data, ONE, "it", DEFAULT)
    assert (carried(directory), carried(patches)) == (b"d", None)
    assert json.loads(data)["annotations"] == {FROM: TWO}


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"mediaType": OCI_MANIFEST, "digest": TWO, "size": 500}},
        {"subject": None},
        {"artifactType": "application/vnd.other"},
        {"layers": []},
        {"layers": [msgspec.to_builtins(part) for part in reversed(PARTS)]},
        {"layers": [msgspec.to_builtins(part) for part in (*PARTS, PARTS[1])]},
        {"layers": [msgspec.to_builtins(msgspec.structs.replace(PARTS[0], size=17 * MIB)), {}]},
        {"manifests": []},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
        {"schemaVersion": "two"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_manifest_is_none(change: dict[str, object]) -> None:
    document = msgspec.to_builtins(delta_manifest(SUBJECT, TWO, *PARTS)) | change
    with pytest.raises(InputError):
        parse_delta(json.dumps(document).encode(), ONE, "it", DEFAULT)


def test_what_comes_along_is_believed_by_its_digest_only() -> None:
    right = inlined(Descriptor(media_type="x", digest=of(b"data"), size=4), b"data")
    assert carried(right) == b"data"
    for wrong in ("ZGF0YQ", "!!!!", base64.b64encode(b"else").decode(), base64.b64encode(b"dat").decode(), ""):
        assert carried(msgspec.structs.replace(right, data=wrong)) is None


PATCH = Patch(ONE, TWO, 10, 20, 5, 7)


def test_a_directory_comes_back() -> None:
    assert read_directory(write_directory([PATCH]), 12, DEFAULT).patches == (PATCH,)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (write_directory([PATCH]), 11),
        (write_directory([PATCH])[:-3], 12),
        (write_directory([PATCH]) + b"x", 12),
        (b"", 12),
        (b"{}", 12),
        (zstd.compress(b"{}"), 12),
        (zstd.compress(b'{"segment":1,"patches":[{"old":"sha256:../..","new":"x"}]}'), 12),
        (zstd.compress(b"[" * 100_000), 12),
        (zstd.compress(bytes(17 * MIB)), 12),
    ],
)
def test_another_directory_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(InputError):
        read_directory(data, size, DEFAULT)


def toc(**given: object) -> TocEntry:
    return TocEntry(**({"type": "reg", "name": "x", "mode": 420} | given))  # type: ignore[arg-type]


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_ENTRIES = st.lists(
    st.builds(
        toc,
        type=st.sampled_from(["reg", "dir", "symlink", "hardlink", "fifo"]),
        name=_NAMES,
        link_name=_NAMES,
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 2**32),
        size=st.sampled_from([0, 1, 5000]),
        xattrs=st.dictionaries(_NAMES, _NAMES, max_size=2),
        digest=st.sampled_from([ONE, TWO]),
        offset=st.integers(0, 10_000),
        end_offset=st.integers(10_001, 20_000),
    ),
    max_size=20,
)


def test_a_table_with_a_file_without_frames_has_no_index() -> None:
    assert compactindex.encode([toc(size=1, offset=10, end_offset=10)]) is None
    assert compactindex.encode([toc(size=0, offset=10, end_offset=10)]) is not None


@settings(deadline=None)
@given(_ENTRIES)
def test_an_index_stands_for_its_table(entries: list[TocEntry]) -> None:
    data = compactindex.encode(entries)
    assert data is not None
    found = list(compactindex.decode(data, "it"))
    assert compactindex.encode(found) == data
    for entry, read in zip(entries, found, strict=True):
        full = entry.type == "reg" and entry.size > 0
        place = (entry.digest, entry.offset, entry.end_offset) if full else ("", 0, 0)
        assert (read.digest, read.offset, read.end_offset) == place
        assert (read.type, read.name, read.link_name, read.xattrs) == (
            entry.type,
            entry.name,
            entry.link_name,
            entry.xattrs,
        )


def test_a_byte_more_in_an_early_file_changes_one_line_of_the_index() -> None:
    before = [toc(name=f"{n}", size=10, digest=ONE, offset=20 * n, end_offset=20 * n + 10) for n in range(100)]
    after = [toc(name=f"{n}", size=10, digest=ONE, offset=20 * n + 1, end_offset=20 * n + 11) for n in range(1, 100)]
    first = toc(name="0", size=11, digest=TWO, offset=0, end_offset=11)
    old, new = compactindex.encode(before), compactindex.encode([first, *after])
    assert old is not None and new is not None
    assert sum(a != b for a, b in zip(old.splitlines(), new.splitlines(), strict=True)) == 1


def test_chunks_are_passed_over_and_holes_give_no_index() -> None:
    chunk = toc(type="chunk", offset=5, end_offset=9)
    whole = toc(size=5, digest=ONE, offset=1, end_offset=9)
    assert compactindex.encode([whole, chunk]) == compactindex.encode([whole])
    assert compactindex.encode([whole, toc(type="chunk", chunk_type="zeros")]) is None


@pytest.mark.parametrize("data", [b"{}", b"[]\n", b'["reg"]\n', b"\xff\n", b'["reg","x","",1,0,0,0,"",0,0,1]\n'])
def test_a_malformed_index_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        list(compactindex.decode(data, "it"))


def test_what_is_known_is_what_its_digest_says_or_nothing(tmp_path: Path) -> None:
    known = Known(str(tmp_path / "known"), DEFAULT)
    assert known.get(of(b"a")) is None
    known.put(of(b"a"), b"a")
    assert known.get(of(b"a")) == b"a"
    file = tmp_path / "known" / hex_of(of(b"a"))
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.write_bytes(b"b")
    assert known.get(of(b"a")) is None
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert known.get(of(b"a")) is None


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    import os

    known = Known(str(tmp_path), msgspec.structs.replace(DEFAULT, known=400 * KIB))
    contents = [bytes([n]) * 90 * KIB for n in range(6)]
    for number, data in enumerate(contents[:4]):
        known.put(of(data), data)
        os.utime(tmp_path / hex_of(of(data)), (number, number))
    assert known.get(of(contents[0])) == contents[0], "used: it stays"
    (tmp_path / ".left-by-a-killed-run").write_bytes(b"x")
    known.put(of(contents[4]), contents[4])
    assert [known.get(of(data)) is not None for data in contents[:5]] == [True, False, True, True, True]
    assert not (tmp_path / ".left-by-a-killed-run").exists()
    known.put(of(b"x" * 101 * KIB), b"x" * 101 * KIB)
    assert known.get(of(b"x" * 101 * KIB)) is None, "one takes a fourth at the most"


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = Known(str(tmp_path / "file/known"), DEFAULT)
    known.put(of(b"a"), b"a")
    assert known.get(of(b"a")) is None


def test_neighbours_are_asked_for_as_one() -> None:
    parts = [(0, 10), (15, 20), (31, 40), (35, 50), (50, 60)]
    assert list(joined(parts, lambda part: part, 10)) == [[(0, 10), (15, 20)], [(31, 40)], [(35, 50), (50, 60)]]
    assert SEGMENT >= MIB
