# SPDX-License-Identifier: Apache-2.0
"""Deltas that somebody made who may write to the repository, but cannot sign the image."""

import struct
from pathlib import Path

from ashore.mechanisms.images.patch import BytesContent, make
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.limits import DEFAULT
from tests.hostile.deltas.published import BIG, SMALL, Delta, Tamper

_HEAD = struct.Struct("<QII")


def replaced(path: str, patch: bytes) -> Tamper:
    """Another patch for a file."""

    def tamper(delta: Delta, folder: Path) -> None:
        entry = delta.of(path, folder)
        entry |= {"at": len(delta.patches), "length": len(patch)}
        delta.patches += patch

    return tamper


def entry(path: str = BIG, **changed: object) -> Tamper:
    return lambda delta, folder: delta.of(path, folder).update(changed)


def document(**changed: object) -> Tamper:
    return lambda delta, folder: delta.document.update(changed)


def another_content(delta: Delta, folder: Path) -> None:
    """A patch in good order, that makes what is not in the image."""
    old, wanted = BytesContent(b"x" * 1000), (folder / "app/root" / SMALL).read_bytes()
    patch = bytearray()
    make(old, BytesContent(bytes(len(wanted))), patch.extend, most=1 << 30)
    replaced(SMALL, bytes(patch))(delta, folder)


def another_index(delta: Delta, folder: Path) -> None:
    """The table of contents is made wrong: one that would list other files."""
    index = delta.directory["patches"][0]
    other = zstd.compress(b'["reg","root/etc/passwd","",511,0,0,0,"",0,0,{}]\n' * (index["size"] // 49) + b" " * 48)
    index |= {"at": len(delta.patches), "length": _HEAD.size + len(other)}
    delta.patches += _HEAD.pack(0, 0, len(other)) + other


def frame(start: int, window: int, data: bytes, length: int | None = None) -> bytes:
    return _HEAD.pack(start, window, len(data) if length is None else length) + data


def cut(delta: Delta, folder: Path) -> None:
    del delta.patches[len(delta.patches) // 2 :]


def flipped(delta: Delta, folder: Path) -> None:
    for at in range(0, len(delta.patches), 1000):
        delta.patches[at] ^= 1


def raw_directory(data: bytes) -> Tamper:
    return lambda delta, folder: setattr(delta, "raw_directory", data)


def another_subject(delta: Delta, folder: Path) -> None:
    """It says that it refers to the image of version 1. (The list names it for both.)"""
    subject = delta.registry.tags["team/app"]["1"]
    delta.document["subject"] = delta.document["subject"] | {"digest": subject}


def many_bases(delta: Delta, folder: Path) -> None:
    """Thirty thousand patches for one file, from what nobody has."""
    one = delta.of(BIG, folder)
    others = [one | {"old": f"sha256:{number:064x}"} for number in range(30_000)]
    delta.directory["patches"] = [*delta.directory["patches"], *others]


def far_apart(delta: Delta, folder: Path) -> None:
    """A patch begins where it is, and ends beyond all that a request should fetch at once."""
    delta.patches += bytes(50_000_000)
    delta.of(BIG, folder)["length"] = len(delta.patches) - delta.of(BIG, folder)["at"]


TAMPERED: dict[str, Tamper] = {
    "another content": another_content,
    "another table": another_index,
    "cut": cut,
    "flipped bits": flipped,
    "a bomb": replaced(SMALL, frame(0, 0, zstd.compress(bytes(1 << 30)))),
    "a frame of 4 GiB": replaced(BIG, frame(0, 0, b"", 2**32 - 1)),
    "an empty frame": replaced(BIG, frame(0, 0, b"")),
    "a window beyond the file": replaced(BIG, frame(2**62, 1000, b"x")),
    "a window of 4 GiB": replaced(BIG, frame(0, 2**32 - 1, b"x")),
    "a window over the limit": replaced(BIG, frame(0, DEFAULT.delta_window + 1, b"x")),
    "no zstd": replaced(BIG, frame(0, 100, b"not zstd")),
    "a size beyond all": entry(size=2**63 - 1),
    "a smaller size": entry(size=1000),
    "another old size": entry(old_size=1),
    "no length": entry(length=0),
    "a place outside": entry(at=2**40),
    "a negative place": entry(at=-1),
    "an old content that nobody has": entry(old="sha256:" + "0" * 64),
    "an old content that is a path": entry(old="sha256:../../../../etc/passwd"),
    "a new content that the image lacks": entry(new="sha256:" + "0" * 64),
    "patches from thirty thousand": many_bases,
    "a patch of 50 MB": far_apart,
    "tiny segments": lambda delta, folder: delta.directory.update(segment=1),
    "huge segments": lambda delta, folder: delta.directory.update(segment=2**60),
    "segments below nothing": lambda delta, folder: delta.directory.update(segment=-(2**20)),
    "no directory": raw_directory(b""),
    "a directory that is none": raw_directory(zstd.compress(b"[" * 1_000_000)),
    "a directory that is a bomb": raw_directory(zstd.compress(bytes(1 << 30))),
    "a directory that is no zstd": raw_directory(b"PK\3\4"),
    "another subject": another_subject,
    "no subject": lambda delta, folder: delta.document.pop("subject"),
    "an index and a manifest at once": document(manifests=[]),
    "no layers": document(layers=[]),
    "its layers the other way round": lambda delta, folder: delta.document["layers"].reverse(),
    "layers of another type": lambda delta, folder: delta.document["layers"][1].update(mediaType="text/html"),
    "a schema of its own": document(schemaVersion={"a": 1}),
}
