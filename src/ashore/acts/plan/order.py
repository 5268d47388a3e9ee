# SPDX-License-Identifier: Apache-2.0
"""On a host with a boot unit, the services of a bundle start after it: each gets a drop-in, as a file of the bundle."""

import re

import msgspec

from ashore.acts.tools import Tools
from ashore.nouns.bundle import Bundle
from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind, Wanted
from ashore.nouns.units import ADMIN_FOLDER
from ashore.rules.bundles.render import Rendered
from ashore.rules.provision.hostunits import BOOT_UNIT, drop_in, drop_in_path
from ashore.rules.units.enablement import unit_of

_EARLY = re.compile(r"^\s*DefaultDependencies\s*=\s*(no|false|off|0)\s*$", re.MULTILINE | re.IGNORECASE)


def ordered(tools: Tools, bundle: Bundle, done: Rendered) -> Rendered:
    """`done` with the drop-ins; as it is where nothing installs at boot.

    Sockets, timers and the like start before the boot unit can, and so do services without default
    dependencies: ordering those after it would be a cycle.
    """
    if tools.host.lstat(f"{ADMIN_FOLDER}/{BOOT_UNIT}") is None:
        return done
    text = drop_in().encode()
    digest = of(text)
    added = {}
    for path, wanted in done.wanted.items():
        unit = unit_of(path)
        if unit and path.endswith(f"/{unit}") and unit.endswith(".service") and wanted.entry.kind is Kind.FILE:
            data = done.contents.get(wanted.entry.digest) or bundle.texts.get(wanted.entry.digest) or b""
            if not _EARLY.search(data.decode(errors="replace")):
                added[drop_in_path(unit)] = Wanted(
                    path=drop_in_path(unit),
                    entry=Entry(kind=Kind.FILE, mode=0o644, size=len(text), digest=digest),
                    bundle=bundle.manifest.name,
                )
    return msgspec.structs.replace(done, wanted={**added, **done.wanted}, contents={**done.contents, digest: text})
