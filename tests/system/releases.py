# SPDX-License-Identifier: Apache-2.0
"""Programs as Debian's releases have them: this machine's, and a newer release's in a tree of its own.

A program of the tree sees this machine's network, processes, devices and `/tmp`, and the release's files.
"""

import functools

from tests.system import lab

OWN, NEWER = lab.SUITE, "trixie"
ENGINES = "podman,docker.io,docker-cli,ca-certificates,mount"
"""The packages of a tree with container engines."""
_SHARED = ("proc", "sys", "dev", "tmp")
# In a mount namespace of its own: nothing is left mounted when the program has ended.
_ENTER = "\n".join(
    [
        'mount --bind "$0" "$0"',
        'cd "$0"',
        *(f"mount --rbind /{shared} {shared}" for shared in _SHARED),
        "mount -t tmpfs tmpfs run",
        # Not by chroot: an engine makes its root private, which only a mount can be.
        "pivot_root . .",
        "umount --lazy .",
        'exec "$@"',
    ]
)


def command(release: str, *argv: str, packages: str = ENGINES) -> list[str]:
    """The command line that runs a program of a release; a newer one's tree has these packages, and `mount`."""
    if release == OWN:
        return list(argv)
    make = functools.partial(lab.make_tree, packages=packages, suite=release)
    tree = lab.cached("release", [release, packages], make)
    return ["unshare", "--mount", "sh", "-ec", _ENTER, str(tree), *argv]
