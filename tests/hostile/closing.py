# SPDX-License-Identifier: Apache-2.0
"""A host for thousands of commands in one process, each of which would end with its process otherwise."""

import os
from pathlib import Path

from ashore.acts.tools import Tools
from ashore.nouns.ports import Systemd
from tests.fakes.bundles import FakeImages
from tests.flow.machine import Machine


class Closing(Machine):
    """A `Machine` whose descriptors are closed when the next command begins."""

    def __init__(self, folder: Path, images: FakeImages | None = None, systemd: Systemd | None = None) -> None:
        super().__init__(folder, images, systemd)
        self._last: Tools | None = None

    def tools(self) -> Tools:
        self.close()
        self._last = super().tools()
        return self._last

    def close(self) -> None:
        """Close what the last command opened."""
        if self._last is not None:
            if self._last.state._fd is not None:
                os.close(self._last.state._fd)
            self._last.host.close()
            self._last = None
