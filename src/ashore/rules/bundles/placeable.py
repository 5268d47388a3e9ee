# SPDX-License-Identifier: Apache-2.0
"""What of an image no host can be given: it is refused before anything is tried. No I/O.

Source of the attributes' formats: capability.h and posix_acl_xattr.h of Linux; xattr(7).
"""

import struct
from collections.abc import Mapping

from ashore.nouns.files import printable, shown
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import Limits

FORBIDDEN = ("proc", "sys", "dev", "run", "var/lib/ashore", ".ashore")
WHITEOUT = ".wh."
HOST_ATTRIBUTES = ("security.selinux",)
"""The host's own policy says these; an image's are left out."""
_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_USER = "user."
_LONGEST_ATTRIBUTE = 255
_EFFECTIVE = 1
_CAPABILITY_SIZES = {0x02000000: 20, 0x03000000: 24}
_ACL_VERSION = 2
_OWNER, _USERS, _GROUP, _GROUPS, _MASK, _OTHERS = 1, 2, 4, 8, 16, 32


def entry_problem(entry: TarEntry, path: str, limits: Limits) -> str:
    """Why an entry, at `path` below the bundle's folder, may not be placed on any host; empty if it may."""
    if entry.kind is Member.OTHER:
        return f"{entry.what} cannot be placed"
    if why := path_problem(entry.name, path, limits):
        return why
    if entry.kind is Member.SYMLINK and (why := target_problem(entry.target, limits)):
        return why
    return attributes_problem(entry.xattrs, limits) if entry.xattrs else ""


def path_problem(name: str, path: str, limits: Limits) -> str:
    """Why nothing may be called `name` in an image, which is `path` below the bundle's folder; empty if it may."""
    if not name.isascii() and not is_text(name):
        return "its name is not UTF-8"
    if path.count("/") >= limits.depth:
        return f"more than {limits.depth} folders deep"
    size = len(name.encode())
    if size > limits.path or (size > limits.name and any(len(p.encode()) > limits.name for p in path.split("/"))):
        return "its name is too long"
    if WHITEOUT in name and any(p.startswith(WHITEOUT) for p in path.split("/")):
        return f"names that begin with {WHITEOUT} are reserved"
    return ""


def target_problem(target: str, limits: Limits) -> str:
    """Why no symlink may have this target; empty if one may."""
    if not is_text(target):
        return "its target is not UTF-8"
    return "its target is too long" if len(target.encode()) > limits.path else ""


def attributes_problem(xattrs: Mapping[str, bytes], limits: Limits) -> str:
    """Why no file on any host may have these; empty if one may."""
    if sum(len(value) + len(name) for name, value in xattrs.items()) > limits.xattrs:
        return f"more than {limits.xattrs} bytes of extended attributes"
    for name, value in xattrs.items():
        if name not in HOST_ATTRIBUTES and (why := _attribute_problem(name, value)):
            return f"the extended attribute '{printable(name)}' cannot be placed: {why}"
    return ""


def _attribute_problem(name: str, value: bytes) -> str:
    if name == _CAPABILITY:
        return "" if _is_capability(value) else "this is no capability"
    if name in _ACLS:
        return "" if _is_acl(value) else "this is no access control list"
    if not name.startswith(_USER):
        return "only user attributes, capabilities and access control lists can"
    if not is_text(name):
        return "its name is not UTF-8"
    possible = name != _USER and "\0" not in name and len(name.encode()) <= _LONGEST_ATTRIBUTE
    return "" if possible else "no such name is possible"


def _is_capability(value: bytes) -> bool:
    revision = int.from_bytes(value[:4], "little") & ~_EFFECTIVE
    return _CAPABILITY_SIZES.get(revision) == len(value)


def _is_acl(value: bytes) -> bool:
    """Each class once and in order, named users and groups only with a mask."""
    if len(value) < 4 or (len(value) - 4) % 8 or int.from_bytes(value[:4], "little") != _ACL_VERSION:
        return False
    entries = list(struct.iter_unpack("<HHI", value[4:]))
    tags = [tag for tag, _, _ in entries]
    singles = [tag for tag in tags if tag not in (_USERS, _GROUPS)]
    right = [_OWNER, _GROUP, _MASK, _OTHERS] if _MASK in tags else [_OWNER, _GROUP, _OTHERS]
    named = len(tags) > len(singles)
    whole = tags == sorted(tags) and singles == right and (_MASK in tags or not named)
    return whole and all(permissions <= 7 for _, permissions, _ in entries)


def is_text(name: str) -> bool:
    """Whether it is UTF-8: bytes that are not are surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def forbidden(path: str) -> str:
    """Why nothing may be placed at `path`, as written or as it lies on a host; empty if it may."""
    if not path.startswith(FORBIDDEN):
        return ""
    found = next((f for f in FORBIDDEN if path == f or path.startswith(f + "/")), "")
    return f"nothing may be placed below {shown(found)}" if found else ""


def taken(path: str) -> str:
    """The same, for a name that is not the bundle's to give."""
    return "nothing may be called .ashore: transactions use it" if "/.ashore/" in f"/{path}/" else ""
