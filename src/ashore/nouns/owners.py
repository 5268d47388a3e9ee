# SPDX-License-Identifier: Apache-2.0
"""Users and groups of a host by name: what a bundle's `owner` and `group` mean there."""

from collections.abc import Mapping

import msgspec


class Owners(msgspec.Struct, frozen=True, kw_only=True):
    """Ids by name, as the target root's own passwd and group say."""

    users: Mapping[str, int] = {}
    groups: Mapping[str, int] = {}

    def user(self, name: str) -> int | None:
        """The id of a user's name or number; None if the host has no such user."""
        return int(name) if name.isdecimal() else self.users.get(name)

    def group(self, name: str) -> int | None:
        """The id of a group's name or number; None if the host has no such group."""
        return int(name) if name.isdecimal() else self.groups.get(name)

    def of(self, uid: int, gid: int) -> str:
        """``user:group``, each by its name, or its number where the host has no name for it."""
        user = next((name for name, number in self.users.items() if number == uid), str(uid))
        group = next((name for name, number in self.groups.items() if number == gid), str(gid))
        return f"{user}:{group}"
