# SPDX-License-Identifier: Apache-2.0
"""One file of a bundle, as it would lie on a host."""

import os

from ashore.acts.fetch.bases import on_host
from ashore.acts.fetch.obtain import obtain
from ashore.acts.fetch.places import IntoCache
from ashore.acts.plan.desire import desire
from ashore.acts.tools import Tools
from ashore.errors import InputError
from ashore.mechanisms.stage.supply import Opener, Supply, checked
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.digest import Digest
from ashore.nouns.files import Kind, shown


def render_file(tools: Tools, ask: Ask, path: str) -> bytes:
    """One file of a bundle as it would lie on this host.

    Raises:
        InputError: the bundle has no such file, it holds a secret value, or its content is nowhere.
        RegistryError, VerificationError: its image cannot be had.
    """
    current = tools.history.current()
    part = desire(tools, ask, current, IntoCache(tools), Secrets(tools.state).salt(create=False))
    wanted = path.strip("/")
    physical = tools.host.physical(wanted)
    found = next((w for w in part.wanted if w.path in (physical, wanted, wanted.removesuffix(".j2"))), None)
    if found is None or found.entry.kind is not Kind.FILE:
        near = sorted(shown(w.path) for w in part.wanted if os.path.basename(w.path) == os.path.basename(wanted))
        raise InputError(
            f"the bundle {part.record.name} has no file {shown(wanted)}",
            remedy=f"there is {', '.join(near)}" if near else "ashore inspect IMAGE lists its files",
        )
    if found.secret:
        raise InputError(f"{shown(wanted)} holds a secret value; it is shown nowhere")
    # Of an image that is installed only what the host lacks by its record is fetched: the rest lies here, unless
    # somebody edited it.
    at_hand = map(checked, (*part.openers, *on_host(tools, current), _in_image(tools, ask)))
    data = Supply(tuple(at_hand)).read(found.entry.digest, found.entry.size)
    if data is None:
        raise InputError(f"the content of {shown(wanted)} is neither on this host nor in {part.record.reference}")
    return data


def _in_image(tools: Tools, ask: Ask) -> Opener:
    """Contents from the image itself, fetched when one of them is asked for."""

    def open_it(digest: Digest) -> int | None:
        got = obtain(tools, ask.reference, IntoCache(tools), root_in_image=ask.root_in_image, name=ask.name)
        if got.more is not None:
            got.more([digest])
        return got.contents(digest)

    return open_it
