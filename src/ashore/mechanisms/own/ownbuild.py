# SPDX-License-Identifier: Apache-2.0
"""The self-contained build of ashore: found on the author's machine, read, and placed on a host whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import stat
import sys

import msgspec

from ashore.errors import AshoreError, InputError, UnchangedError, UsageError, VerificationError, words_of
from ashore.mechanisms import durable
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.images.sources import Source, scan
from ashore.mechanisms.own import ownfolders
from ashore.mechanisms.syscalls import syncfs
from ashore.nouns.digest import Digest, hex_of, of, of_hash
from ashore.nouns.files import Kind, printable, shown
from ashore.nouns.installer import BUILDS, C_LIBRARY, PROGRAM_LINK

_PROGRAM = "ashore"
_BESIDE = f".{_PROGRAM}.new"
_MACHINES = {62: "amd64", 183: "arm64", 22: "s390x", 21: "ppc64le", 243: "riscv64"}
"""e_machine of elf(5), with Go's names."""


class OwnBuild(msgspec.Struct, frozen=True, kw_only=True):
    """A self-contained build as it lies on this machine."""

    sources: dict[str, Source]
    digest: Digest
    architecture: str


def locate(named: str | None) -> str:
    """The build to put into an installer image: `named`, else the one that is running, else the checkout's.

    Raises:
        UsageError: there is none.
    """
    if named:
        return named
    if getattr(sys, "frozen", False):
        return os.path.dirname(os.path.realpath(sys.executable))
    checkout = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "dist", "ashore"))
    if os.path.isfile(os.path.join(checkout, _PROGRAM)):
        return checkout
    raise UsageError(
        "an installer image needs the self-contained build",
        remedy="make it (make self-contained), then name it: --self-contained dist/ashore",
    )


def read(folder: str) -> OwnBuild:
    """Look at the build at `folder`.

    Raises:
        InputError: it is none.
    """
    try:
        sources = scan(folder)
        architecture = _architecture(os.path.join(folder, _PROGRAM))
    except OSError as error:
        raise InputError(f"{printable(folder)} is no self-contained build", cause=words_of(error)) from error
    if not any(path.startswith(f"{C_LIBRARY}/") for path in sources):
        raise InputError(
            f"{printable(folder)} is no self-contained build",
            cause=f"it has no {C_LIBRARY}/",
            remedy="make self-contained",
        )
    return OwnBuild(sources=sources, digest=_digest_of(sources), architecture=architecture)


def place(host: Beneath, folder: str, version: str, expected: Digest) -> str:
    """Copy the build at `folder` to the host, where `point` can lead to it; the program's path below the root.

    What lies there already is left alone if it is this very build. A build in use is never changed: another one
    of the same version gets a folder of its own.

    Raises:
        UnchangedError: it cannot be written, or something else has its name.
        VerificationError: what was copied is not what `expected` says.
    """
    try:
        _refuse_strangers(host)
        name = _name(host, version, expected)
        if not _is(host, name, expected):
            _copy(host, folder, name, expected)
        return f"{BUILDS}/{name}/{_PROGRAM}"
    except OSError as error:
        raise UnchangedError(
            f"cannot place ashore in {shown(BUILDS)}",
            cause=words_of(error),
            remedy="/opt must be a folder that can be written, with room for 30 MB",
        ) from error


def point(host: Beneath, program: str) -> None:
    """Have `PROGRAM_LINK` lead to `program`: at any moment it leads to a whole build.

    Raises:
        UnchangedError: it cannot be written.
    """
    try:
        _link(host, f"/{program}")
    except OSError as error:
        raise UnchangedError(f"cannot write {shown(PROGRAM_LINK)}", cause=words_of(error)) from error


def drop(host: Beneath, program: str) -> None:
    """Remove the build of `program`, unless the link leads to it."""
    link = host.physical(PROGRAM_LINK)
    if host.lstat(link) is None or host.readlink(link) != f"/{program}":
        shutil.rmtree(os.path.dirname(_real(host, program)), ignore_errors=True)


def drop_older(host: Beneath, keep: str) -> None:
    """Remove the builds that nothing points to, but the newest of them: a service may still run from it."""
    names = [name for name in host.listdir(BUILDS) if f"{BUILDS}/{name}/{_PROGRAM}" != keep]
    folder = _real(host, BUILDS)
    names.sort(key=lambda name: os.lstat(os.path.join(folder, name)).st_mtime)
    for name in names[:-1]:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def take_away(host: Beneath) -> bool:
    """Remove the link, then every build; whether there was any. Whoever runs from one loads nothing after this."""
    link = host.physical(PROGRAM_LINK)
    found = _leads_to_us(host, link)
    if host.lstat(link.rpartition("/")[0]) is not None:
        directory, name = host.at(link)
        durable.remove(directory, _BESIDE)
        if found:
            durable.remove(directory, name)
    folder = _real(host, BUILDS)
    if not os.path.isdir(folder):
        return found
    for name in os.listdir(folder):
        if os.path.isfile(os.path.join(folder, name, _PROGRAM)):
            # Away in one step: half a build would not be known for one.
            os.rename(os.path.join(folder, name), os.path.join(folder, f".{name}.new"))
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(".new"):
            shutil.rmtree(os.path.join(folder, name))
    with contextlib.suppress(OSError):  # somebody else has something there
        os.rmdir(folder)
    return True


def copy_tree(source: str, target: str) -> None:
    """Copy a folder's files, symlinks and executable bits, nothing else of them. The target must be new."""
    os.mkdir(target, 0o755)
    for path, found in sorted(scan(source).items()):
        there = os.path.join(target, path)
        if found.entry.kind is Kind.DIR:
            os.mkdir(there, 0o755)
        elif found.entry.kind is Kind.SYMLINK:
            os.symlink(found.entry.target, there)
        else:
            shutil.copyfile(os.path.join(source, path), there, follow_symlinks=False)
            os.chmod(there, 0o755 if found.entry.mode & 0o100 else 0o644)


def sync(folder: str) -> None:
    """Have all that was written on the file system of `folder` on its disk."""
    with closing(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        syncfs(descriptor)


def _refuse_strangers(host: Beneath) -> None:
    path = host.physical(PROGRAM_LINK)
    if host.lstat(path) is not None and not _leads_to_us(host, path):
        raise UnchangedError(
            f"{shown(PROGRAM_LINK)} is there and is not ashore's", remedy="move it away, then try again"
        )


def _leads_to_us(host: Beneath, path: str) -> bool:
    status = host.lstat(path)
    target = host.readlink(path) if status is not None and stat.S_ISLNK(status.st_mode) else ""
    return target.startswith((f"/{BUILDS}/", "../ashore/"))


def _name(host: Beneath, version: str, expected: Digest) -> str:
    there = host.lstat(host.physical(f"{BUILDS}/{version}"))
    if there is None or _is(host, version, expected):
        return version
    return f"{version}-{hex_of(expected)[:12]}"


def _is(host: Beneath, name: str, expected: Digest) -> bool:
    folder = _real(host, f"{BUILDS}/{name}")
    try:
        return os.path.isdir(folder) and _digest_of(scan(folder)) == expected
    except (OSError, AshoreError):
        return False


def _copy(host: Beneath, folder: str, name: str, expected: Digest) -> None:
    builds = ownfolders.make(host, BUILDS)
    for left in os.listdir(builds):
        if left.startswith(".") and left.endswith(".new"):
            shutil.rmtree(os.path.join(builds, left), ignore_errors=True)
    beside = os.path.join(builds, f".{os.urandom(4).hex()}.new")
    try:
        os.mkdir(beside, 0o755)
        for part in sorted(os.listdir(folder)):
            if part != C_LIBRARY:
                _copy_part(os.path.join(folder, part), os.path.join(beside, part))
        if _digest_of(scan(beside)) != expected:
            raise VerificationError("the self-contained build is damaged", remedy="pull the installer image again")
        sync(beside)
        target = os.path.join(builds, name)
        if os.path.lexists(target):  # damaged, since it is not what it should be
            shutil.rmtree(target)
        os.rename(beside, target)
        sync(builds)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _copy_part(source: str, target: str) -> None:
    if os.path.isdir(source):
        copy_tree(source, target)
        return
    shutil.copyfile(source, target, follow_symlinks=False)
    os.chmod(target, 0o755 if os.stat(source).st_mode & 0o100 else 0o644)


def _link(host: Beneath, target: str) -> None:
    folder = ownfolders.make(host, PROGRAM_LINK.rpartition("/")[0])
    link = os.path.join(folder, _PROGRAM)
    if os.path.lexists(link) and os.readlink(link) == target:
        return
    beside = os.path.join(folder, _BESIDE)
    with contextlib.suppress(FileNotFoundError):  # of a run that was killed
        os.unlink(beside)
    os.symlink(target, beside)
    try:
        os.rename(beside, link)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync(folder)


def _real(host: Beneath, path: str) -> str:
    return os.path.join(host.root, host.physical(path))


def _digest_of(sources: dict[str, Source]) -> Digest:
    """One digest over a build: names, kinds, executable bits, contents and targets; the C library is no part."""
    lines = [
        (path, str(s.entry.kind), bool(s.entry.mode & 0o100), _hash(s.file) if s.file else "", s.entry.target)
        for path, s in sorted(sources.items())
        if s.entry.kind is not Kind.DIR and not path.startswith(f"{C_LIBRARY}/")
    ]
    return of(msgspec.json.encode(lines))


def _hash(path: str) -> Digest:
    with open(path, "rb") as file:
        return of_hash(hashlib.file_digest(file, "sha256"))


def _architecture(program: str) -> str:
    with open(program, "rb") as file:
        head = file.read(20)
    number = int.from_bytes(head[18:20], "little" if head[5:6] == b"\x01" else "big")
    if head[:4] != b"\x7fELF" or number not in _MACHINES:
        raise OSError(8, "its program is for no machine that ashore knows")
    return _MACHINES[number]
