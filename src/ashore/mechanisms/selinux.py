# SPDX-License-Identifier: Apache-2.0
"""SELinux: the policy files of a root, whether the kernel enforces one, and labels on files."""

import errno
import os

from ashore.errors import UnchangedError, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import shown
from ashore.nouns.limits import MIB
from ashore.nouns.selinux import PolicyFiles

CONFIG = "etc/selinux/config"
_ENFORCE = "sys/fs/selinux/enforce"
_XATTR = "security.selinux"
_NO_RIGHT = (errno.EPERM, errno.EACCES, errno.EINVAL)
_LARGEST = 32 * MIB
_DEFAULT_TYPE = "targeted"  # libselinux's, where the configuration names none


def read_policy(host: Beneath) -> PolicyFiles | None:
    """The files that map this root's paths to labels; None where it has no policy, or has switched it off.

    Raises:
        UnchangedError: they are there and cannot be read.
    """
    config = _read(host, CONFIG)
    name = _policy_name(config) if config is not None else ""
    folder = f"etc/selinux/{name}/contexts/files"
    base = _read(host, f"{folder}/file_contexts") if name else None
    if base is None:
        return None
    others = ("homedirs", "local", "subs", "subs_dist")
    return PolicyFiles(
        folder=folder, base=base, **{n: _read(host, f"{folder}/file_contexts.{n}") or b"" for n in others}
    )


def enforcing(host: Beneath) -> bool:
    """Whether the kernel of a live root enforces its policy now (selinuxfs)."""
    try:
        return host.read_bytes(_ENFORCE, 16).startswith(b"1")
    except OSError:
        return False


def set_label(host: Beneath, directory: int, name: str, label: str) -> None:
    """Label `name` in an open folder: a file, a folder, or a symlink itself.

    A file system without labels is left to its mount's. Where nothing is enforced, a label that cannot be
    set (no right to, or foreign to the policy of the machine that prepares a root) is no fault.

    Raises:
        OSError: the kernel enforces a policy and refuses the label, or the file system cannot be written.
    """
    # A symlink cannot be opened, and setxattr takes no folder to begin in.
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        os.setxattr(path, _XATTR, os.fsencode(label) + b"\0", follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP or (error.errno in _NO_RIGHT and not enforcing(host)):
            return
        raise OSError(error.errno, f"cannot set the SELinux label {label}: {error.strerror}") from error


def _policy_name(config: bytes) -> str:
    """The policy's name of ``SELINUXTYPE=``; empty where SELINUX= says neither enforcing nor permissive."""
    active: bool | None = None
    name = _DEFAULT_TYPE
    for line in config.decode(errors="replace").splitlines():
        key, _, value = line.strip().partition("=")
        if key == "SELINUX":
            said = value.strip().lower()
            if active is None and said.startswith(("enforcing", "permissive", "disabled")):
                active = not said.startswith("disabled")
        elif key.upper() == "SELINUXTYPE":
            name = value.strip()
    return name if active else ""


def _read(host: Beneath, path: str) -> bytes | None:
    try:
        return host.read_bytes(path, _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnchangedError(f"cannot read {shown(path)}", cause=words_of(error)) from error
