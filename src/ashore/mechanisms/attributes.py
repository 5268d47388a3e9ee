# SPDX-License-Identifier: Apache-2.0
"""A path's owner, mode and extended attributes: read and set without following symlinks."""

import errno
import os
import stat
from collections.abc import Mapping

from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.state.content import hash_file
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, Seen, Stat

# Set by the kernel or a policy of the host, not by who wrote the file.
_NOT_OURS = ("security.selinux", "security.ima", "security.evm", "trusted.overlay.", "user.overlay.")
_UNSUPPORTED = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)


def may_own() -> bool:
    """Whether files can be given to others: else everything belongs to who runs ashore, and is planned so."""
    return os.geteuid() == 0


def stat_of(status: os.stat_result) -> Stat:
    """The marks by which an unchanged path is known."""
    return Stat(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def kind_of(status: os.stat_result) -> Kind:
    if stat.S_ISREG(status.st_mode):
        return Kind.FILE
    if stat.S_ISDIR(status.st_mode):
        return Kind.DIR
    return Kind.SYMLINK if stat.S_ISLNK(status.st_mode) else Kind.OTHER


def see(directory: int, name: str, status: os.stat_result) -> Seen:
    """Read `name` whole: content hashed, attributes listed.

    Raises:
        OSError: it cannot be read, or changed kind since `status`.
    """
    kind = kind_of(status)
    mode = 0o777 if kind is Kind.SYMLINK else stat.S_IMODE(status.st_mode)
    digest, size, target, xattrs = Digest(""), 0, "", dict[str, bytes]()
    if kind is Kind.SYMLINK:
        target = os.readlink(name, dir_fd=directory)
    elif kind in (Kind.FILE, Kind.DIR):
        extra = os.O_DIRECTORY if kind is Kind.DIR else os.O_NONBLOCK
        with closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | extra, dir_fd=directory)) as descriptor:
            xattrs = read_xattrs(descriptor)
            if kind is Kind.FILE:
                digest, size = hash_file(descriptor)
    entry = Entry(
        kind=kind,
        mode=mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        digest=digest,
        target=target,
        xattrs=xattrs,
    )
    return Seen(entry=entry, stat=stat_of(status), links=status.st_nlink)


def read_xattrs(descriptor: int) -> dict[str, bytes]:
    """Extended attributes that somebody chose: capabilities, ACLs, ``user.*``."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise
    found = {}
    for name in names:
        if not name.startswith(_NOT_OURS):
            found[name] = os.getxattr(descriptor, name)
    return found


def give(descriptor: int, entry: Entry) -> int:
    """Make an open file or folder's owner, mode and attributes those of `entry`; return its inode's number.

    Order matters: a change of owner clears setuid bits and capabilities. What is right already is left.
    """
    status = os.fstat(descriptor)
    other = may_own() and (status.st_uid, status.st_gid) != (entry.uid, entry.gid)
    if other:
        os.fchown(descriptor, entry.uid, entry.gid)
    if other or stat.S_IMODE(status.st_mode) != entry.mode:
        os.fchmod(descriptor, entry.mode)
    _set_xattrs(descriptor, entry.xattrs)
    return status.st_ino


def passes_on(folder: int) -> bool:
    """Whether what is made in an open folder gets attributes from it: a default access control list (acl(5))."""
    return "system.posix_acl_default" in read_xattrs(folder)


def _set_xattrs(descriptor: int, wanted: Mapping[str, bytes]) -> None:
    present = read_xattrs(descriptor)
    for name in present.keys() - wanted.keys():
        os.removexattr(descriptor, name)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(descriptor, name, value)
