# SPDX-License-Identifier: Apache-2.0
"""Trees to install, made of this machine's own files: the same on every run, and as real files are.

A tree is a bundle without a `bundle.toml`: everything below `root/` is laid on the host.
"""

import os
import random
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

_SMALL = ("/usr/share", "/usr/include", "/usr/lib/python3", "/etc")
_BINARIES = ("/usr/bin", "/usr/lib")
_LEAST_BINARY = 200_000
_MOST_SMALL = 400_000
_SEED = 7


@dataclass(frozen=True)
class Shape:
    """How large a tree shall be: three binaries of a size in sum, and small files."""

    files: int
    binaries: int
    """Bytes."""


@dataclass(frozen=True)
class Made:
    """A tree on disk. `files` and `bytes` are those of regular files."""

    folder: Path
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.bytes / 1e6:.0f} MB in {self.files:,} files"


def make(folder: Path, shape: Shape) -> Made:
    """A bundle folder of `shape`: three large files of ELF binaries, and small files by the thousand."""
    root = folder / "root"
    pool = cycle(_binaries())
    for name, share in (("agentd", 5), ("runtime", 3), ("engine", 2)):
        write_binary(root / "opt/bench/bin" / name, shape.binaries * share // 10, pool)
    _small(root / "opt/bench/share", shape.files)
    return measured(folder)


def many(folder: Path, bundles: int, files: int) -> list[Path]:
    """Bundle folders that share no path, with `files` small files in all."""
    paths = list(_small_files(files))
    made = []
    for number in range(bundles):
        bundle = folder / f"bundle{number:02}"
        for path in paths[number::bundles]:
            _copy(path, bundle / f"root/opt/bundle{number:02}" / path.lstrip("/"))
        made.append(bundle)
    return made


def one_file(folder: Path, size: int) -> Made:
    """A bundle of one large binary."""
    write_binary(folder / "root/opt/bench/large", size, cycle(_binaries()))
    return measured(folder)


def measured(folder: Path) -> Made:
    """What lies below `folder`."""
    sizes = [
        status.st_size
        for above, _, names in os.walk(folder)
        for name in names
        if stat.S_ISREG((status := os.lstat(os.path.join(above, name))).st_mode)
    ]
    return Made(folder, len(sizes), sum(sizes))


def write_binary(path: Path, size: int, pool: Iterator[str]) -> None:
    """One file of `size` bytes: binaries of the machine, one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        left = size
        while left:
            piece = Path(next(pool)).read_bytes()[:left]
            out.write(piece)
            left -= len(piece)
    path.chmod(0o755)


def _small(folder: Path, count: int) -> None:
    for number, path in enumerate(_small_files(count)):
        target = folder / path.lstrip("/")
        _copy(path, target)
        if number % 25 == 0:
            target.with_name(f"{target.name}.link").symlink_to(target.name)


def _copy(path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(Path(path).read_bytes())
    target.chmod(0o644)


def _small_files(count: int) -> Iterable[str]:
    """`count` paths, chosen by a fixed seed."""
    # Templates would be rendered and units enabled: this is about files.
    found = [p for p, size in _walk(_SMALL) if 0 < size < _MOST_SMALL and not p.endswith(".j2") and "\n" not in p]
    if len(found) < count:
        raise SystemExit(f"this machine has only {len(found)} small files; {count} are asked for")
    random.Random(_SEED).shuffle(found)
    return sorted(found[:count])


def _binaries() -> list[str]:
    """ELF files, largest first."""
    large = sorted(((size, p) for p, size in _walk(_BINARIES) if size > _LEAST_BINARY), reverse=True)
    found = []
    for _, path in large[:400]:
        with open(path, "rb") as file:
            if file.read(4) == b"\x7fELF":
                found.append(path)
    if not found:
        raise SystemExit("this machine has no large binaries to build a tree of")
    return found


def _walk(folders: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Readable regular files, in a fixed order."""
    for top in folders:
        for above, below, names in os.walk(top):
            below.sort()
            for name in sorted(names):
                path = os.path.join(above, name)
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and path.isascii() and os.access(path, os.R_OK):
                    yield path, status.st_size
