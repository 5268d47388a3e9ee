# SPDX-License-Identifier: Apache-2.0
"""The least that a rollback file by file can take: hash what is kept, exchange it, hash what came out, keep that.

    python -m tests.bench.floor_back lay OLD NEW PLACE     both versions' files, beforehand: NEW in place, OLD kept
    python -m tests.bench.floor_back back PLACE            go back

It looks at nothing else, plans nothing, records nothing and cannot be interrupted.
"""

import ctypes
import hashlib
import os
import shutil
import sys

from tests.bench.syncs import sync_all

_EXCHANGE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def lay(old: str, new: str, place: str) -> None:
    """The files that differ, as a host has them after an update, and the list of them."""
    os.makedirs(place)
    count = 0
    with open(f"{place}/list", "w") as listed:
        for above, _, names in os.walk(old):
            for name in names:
                path = os.path.join(above, name)
                relative = os.path.relpath(path, old)
                with open(path, "rb") as before, open(os.path.join(new, relative), "rb") as after:
                    kept, placed = before.read(), after.read()
                if kept == placed or os.path.islink(path):
                    continue
                digest = hashlib.sha256(kept).hexdigest()
                here = f"{place}/host/{relative}"
                count += 1
                for target, data in ((here, placed), (_stored(place, digest, count), kept)):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "wb") as file:
                        file.write(data)
                listed.write(f"{digest}\t{relative}\n")


def back(place: str) -> None:
    """Each listed file, then once more what makes it durable."""
    with open(f"{place}/list") as listed:
        files = [line.rstrip("\n").split("\t") for line in listed]
    for number, (digest, path) in enumerate(files, start=1):
        stored, here = _stored(place, digest, number), f"{place}/host/{path}"
        if _hashed(stored) != digest or not _exchanged(stored, here):
            sys.exit(f"cannot bring back {path}")
        kept = _stored(place, _hashed(stored), number)
        try:
            os.rename(stored, kept)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(kept))
            os.rename(stored, kept)
    top = os.open(place, os.O_RDONLY)
    sync_all("syncfs", top)


def _stored(place: str, digest: str, number: int) -> str:
    """By its digest, and a number: some files are the same."""
    return f"{place}/store/{digest[:2]}/{digest}-{number}"


def _exchanged(one: str, other: str) -> bool:
    return bool(_LIBC.renameat2(-100, one.encode(), -100, other.encode(), _EXCHANGE) == 0)


def _hashed(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        hashed = hashlib.sha256()
        while data := os.read(descriptor, 1 << 18):
            hashed.update(data)
        return hashed.hexdigest()
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    if sys.argv[1] == "lay":
        shutil.rmtree(sys.argv[4], ignore_errors=True)
        lay(*sys.argv[2:])
    else:
        back(*sys.argv[2:])
