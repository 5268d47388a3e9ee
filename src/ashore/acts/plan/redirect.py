# SPDX-License-Identifier: Apache-2.0
"""Firmware on a host whose /usr is read-only goes where the kernel can be told to look (`rules.firmware`)."""

import os

import msgspec

from ashore.acts.tools import Tools
from ashore.mechanisms.host import kernel
from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind, Wanted, ancestors
from ashore.rules import firmware
from ashore.rules.bundles.render import Rendered
from ashore.rules.units.unitpaths import merged_usr


def redirected(tools: Tools, bundle: str, done: Rendered) -> Rendered:
    """`done` with its firmware elsewhere, and the file that tells the kernel so at boot; as it is where it can stay."""
    near = [path for path in done.wanted if "lib/firmware" in path]
    paths = {path: merged for path in near if firmware.moved(merged := merged_usr(path), "") != merged}
    if not paths or not _read_only(tools, firmware.USUAL):
        return done
    now = kernel.read(tools.host, [firmware.PARAMETER]).get(firmware.PARAMETER)
    if now is None and tools.live:
        return done  # This kernel asks for no firmware; that the folder is read-only is said as of any other.
    to = firmware.folder(now or "")
    wanted = {}
    for path, item in done.wanted.items():
        where = firmware.moved(paths[path], to) if path in paths else path
        entry = item.entry
        if entry.link in paths:
            entry = msgspec.structs.replace(entry, link=firmware.moved(paths[entry.link], to))
        wanted[where] = msgspec.structs.replace(item, path=where, entry=entry)
    text = firmware.setting_text(to).encode()
    setting = firmware.setting_path(bundle)
    entry = Entry(kind=Kind.FILE, mode=0o644, size=len(text), digest=of(text))
    wanted[setting] = Wanted(path=setting, entry=entry, bundle=bundle)
    note = f"/{firmware.USUAL} is read-only: firmware goes to /{to}, and the kernel is told to look there"
    return msgspec.structs.replace(
        done, wanted=wanted, contents={**done.contents, entry.digest: text}, notes=(*done.notes, note)
    )


def _read_only(tools: Tools, path: str) -> bool:
    """Whether the nearest folder that there is lies on something read-only."""
    path = tools.host.physical(path)
    for folder in (path, *reversed(ancestors(path)), ""):
        status = tools.host.lstat(folder)
        if status is not None:
            return bool(os.fstatvfs(tools.host.folder(folder)).f_flag & os.ST_RDONLY)
    return False
