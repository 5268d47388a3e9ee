# SPDX-License-Identifier: Apache-2.0
"""The host's own programs: what triggers and a bundle's steps run."""

import os
from collections.abc import Mapping, Sequence

from ashore.mechanisms import process
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing

_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/systemd", "lib/systemd")


class HostPrograms:
    """The real `ports.Programs`: those that lie below a root. Only those of our own root can be run."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find(self, name: str) -> str:
        with Beneath(self._root) as host:
            for path in [name.strip("/")] if "/" in name else [f"{folder}/{name}" for folder in _FOLDERS]:
                try:
                    descriptor = host.open(path, os.O_PATH, follow=True)
                except OSError:
                    continue
                with closing(descriptor):
                    if os.fstat(descriptor).st_mode & 0o111:
                        return f"/{path}"
        return ""

    def run(self, argv: Sequence[str], *, seconds: float, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        return process.run_told(argv, seconds=seconds, stdin=stdin.encode(), env=env)
