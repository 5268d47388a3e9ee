# SPDX-License-Identifier: Apache-2.0
"""Processes in memory: a table of who has which file there. Held to `tests/contract/test_processes.py`."""

from collections.abc import Mapping

from ashore.nouns.ports import Identity


class FakeProcesses:
    """`ports.Processes` over a table: the files that each unit's processes have in memory."""

    def __init__(self) -> None:
        self.table: dict[str, set[Identity]] = {}
        self.looks = 0
        self.gone: set[Identity] = set()

    def map(self, unit: str, identity: Identity) -> None:
        self.table.setdefault(unit, set()).add(identity)

    def mapping(self, files: Mapping[Identity, str], *, gone: bool = False) -> Mapping[str, tuple[str, ...]]:
        self.looks += 1
        files = {identity: path for identity, path in files.items() if identity in self.gone or not gone}
        found = {unit: tuple(sorted(files[i] for i in mapped & files.keys())) for unit, mapped in self.table.items()}
        return {unit: paths for unit, paths in sorted(found.items()) if paths}
