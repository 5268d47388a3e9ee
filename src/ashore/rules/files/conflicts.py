# SPDX-License-Identifier: Apache-2.0
"""What somebody has to decide on at one path, in words. Pure."""

from ashore.nouns.files import Wanted
from ashore.nouns.plan import Conflict

IN_THE_WAY = "it was in the way; it stays in the store"
"""Of what nobody was asked about."""


def not_ours(path: str, wanted: Wanted, package: str) -> Conflict:
    """Something lies there that no bundle has."""
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner=f"package {package}" if package else "nobody",
        message=f"it exists and belongs to {'package ' + package if package else 'no bundle and no package'}",
        remedy="move it away, or let the bundle take it over: adopt = true under [[files]], or --adopt",
    )


def folder_in_the_way(path: str, wanted: Wanted, owner: str) -> Conflict:
    """A folder is never replaced."""
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner=owner,
        message="a folder lies where the bundle has a file",
        remedy="move the folder away; ashore never replaces one",
    )


def edited_meanwhile(path: str, wanted: Wanted, verdict: str) -> Conflict:
    """Its edit or deletion was to stop a new version, by the bundle's word."""
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner="the administrator",
        message=f"it was {verdict} on this host, the new version changes it, and on_edit is abort",
        remedy="put it back (ashore diff shows what changed), or choose another on_edit",
    )
