# SPDX-License-Identifier: Apache-2.0
"""Every question about a host has an answer: status, history, diff, owns. Nothing is changed by asking."""

import os
from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts.desire import Ask, desire
from ashore.acts.obtain import IntoCache
from ashore.acts.planning import on_host
from ashore.acts.tools import Tools
from ashore.errors import InputError
from ashore.mechanisms import journal
from ashore.mechanisms.host.observe import observe
from ashore.mechanisms.secrets import Secrets
from ashore.mechanisms.supply import Supply
from ashore.nouns.files import Kind, shown
from ashore.nouns.generation import EMPTY, FileRecord, Generation
from ashore.nouns.journal import Held
from ashore.nouns.units import UnitState
from ashore.rules.diffs import unified
from ashore.rules.drift import Drift, drift


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed, and whether it still is so."""

    generation: Generation
    drift: tuple[Drift, ...]
    pending: tuple[str, ...]
    units: Mapping[str, UnitState]
    held: Mapping[str, Held]
    interrupted: bool
    """A transaction was cut short; the next change, or `ashore recover`, deals with it."""
    disk: int
    """Bytes in ashore's content store."""


def status(tools: Tools, *, verify: bool = False) -> Status:
    """The host at a glance; content is read only where a stat changed, or with `verify`."""
    generation = tools.history.current()
    enabled = [unit for bundle in generation.bundles for unit in bundle.enabled]
    return Status(
        generation=generation,
        drift=host_drift(tools, generation, verify=verify),
        pending=tuple(sorted(path for path, record in generation.files.items() if record.pending)),
        units=tools.systemd.states(enabled) if tools.systemd is not None and enabled else {},
        held=tools.history.held(),
        interrupted=journal.exists(tools.state),
        disk=sum(size for _, size in tools.content.digests()),
    )


def host_drift(tools: Tools, generation: Generation, *, verify: bool = False) -> tuple[Drift, ...]:
    """How the host differs from `generation`."""
    return drift(generation, observe(tools.host, generation.files, generation.files, read_all=verify))


def diff(tools: Tools, paths: Sequence[str] = (), *, verify: bool = False) -> tuple[tuple[Drift, str], ...]:
    """Drift with the unified diff from what ashore placed to what lies there, where both can be read."""
    generation = tools.history.current()
    found = host_drift(tools, generation, verify=verify)
    if paths:
        wanted = [tools.host.physical(path.strip("/")) for path in paths]
        found = tuple(d for d in found if any(d.path == w or d.path.startswith(f"{w}/") for w in wanted))
    supply = Supply(on_host(tools, EMPTY))
    return tuple((item, _difference(tools, item, generation.files[item.path], supply)) for item in found)


def _difference(tools: Tools, item: Drift, record: FileRecord, supply: Supply) -> str:
    placed = record.placed
    if placed.kind is not Kind.FILE or placed.size > tools.limits.template:
        return ""
    before = supply.read(placed.digest, tools.limits.template)
    if before is None:
        return ""
    try:
        after = tools.host.read_bytes(item.path, tools.limits.template)
    except FileNotFoundError:
        after = None
    except OSError:
        return ""
    label = shown(item.path)
    return unified(before, after, old_label=label, new_label=label, secret=record.secret)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a path is."""

    path: str
    bundle: str
    kind: Kind
    mode: int
    digest: str
    adopted: bool
    """Something lay there before ashore; it comes back on removal."""


def owns(tools: Tools, path: str) -> Owner | None:
    """Which bundle owns a path, by any of its names (``/lib/x`` for ``/usr/lib/x``)."""
    physical = tools.host.physical(path.strip("/"))
    record = tools.history.current().files.get(physical)
    if record is None:
        return None
    return Owner(
        path=physical,
        bundle=record.bundle,
        kind=record.entry.kind,
        mode=record.entry.mode,
        digest=record.entry.digest,
        adopted=record.original is not None,
    )


def render_file(tools: Tools, ask: Ask, path: str) -> bytes:
    """One file of a bundle as it would lie on this host.

    Raises:
        InputError: the bundle has no such file, or it holds a secret value.
    """
    part = desire(tools, ask, tools.history.current(), IntoCache(tools.cache), Secrets(tools.state).salt(create=False))
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
    return Supply(part.openers).read(found.entry.digest, found.entry.size) or b""
