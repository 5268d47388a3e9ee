# SPDX-License-Identifier: Apache-2.0
"""Every content that a plan needs: at hand before anything is touched, fetched again where this host has lost it."""

from collections.abc import Sequence

from ashore.acts.fetch.obtain import obtain
from ashore.acts.fetch.places import IntoStaging
from ashore.acts.plan.desire import Part
from ashore.acts.recorded import here
from ashore.acts.tools import Tools
from ashore.acts.transaction.stage import check_room, versions_beside
from ashore.errors import InputError, Issue, RegistryError, UnchangedError
from ashore.mechanisms.stage.staging import Staging
from ashore.mechanisms.stage.supply import Opener, Supply
from ashore.nouns import reference
from ashore.nouns.digest import Digest
from ashore.nouns.files import shown
from ashore.nouns.generation import BundleRecord
from ashore.nouns.plan import Plan


def complete(tools: Tools, staging: Staging, plan: Plan, parts: Sequence[Part], supply: Supply) -> Supply:
    """Have every content at hand before anything is touched; what is gone from the host is fetched again.

    Raises:
        UnchangedError: something is nowhere to be had, or there is no room for it.
    """
    loose = staging.open_loose
    supply = Supply([supply.open, loose])
    needed = plan.contents
    beside = versions_beside(tools.content, plan)
    wanted = needed | {record.entry.digest for _, record in beside}
    check_room(staging, plan)
    for part in parts:
        if part.more is not None:
            part.more({d for d in wanted - here(tools) if not staging.lies_ready(d)})
    missing = set(supply.missing(d for d in wanted if not staging.lies_ready(d)))
    for path, record in beside:
        if record.pending and record.entry.digest in missing:
            label = shown(path)
            tools.progress.say(f"what waits for {label} is no longer here; ashore pending take {label} fetches it")
    missing &= needed
    if not missing:
        return supply
    lacking = sorted({s.bundle for s in plan.steps if s.new is not None and s.new.digest in missing})
    tools.progress.say(f"contents of {', '.join(lacking)} are no longer on this host; fetching them")
    cause = ""
    try:
        for part in parts:
            if part.record.name in lacking:
                supply = Supply([supply.open, _fetched_again(tools, staging, part.record, missing)])
    except (RegistryError, InputError) as error:
        cause = str(error)  # There is no registry, or no such layout or archive any more.
    missing = set(supply.missing(missing))
    if missing:
        paths = sorted(s.path for s in plan.steps if s.new is not None and s.new.digest in missing)
        raise UnchangedError(
            "contents are nowhere to be had; nothing was changed",
            cause=cause,
            issues=[Issue(where=shown(p), message="its content is gone from this host") for p in paths],
            remedy="try again when the registry can be reached" if cause else "install the bundle again, by its image",
        )
    return supply


def _fetched_again(tools: Tools, staging: Staging, record: BundleRecord, missing: set[Digest]) -> Opener:
    """The contents of an installed bundle, from where it came."""
    written = reference.parse(record.reference)
    place = IntoStaging(tools, staging)
    got = obtain(
        tools,
        written.pinned(record.digest),
        place,
        root_in_image=record.root_in_image,
        name=record.name,
        judged=written,
        is_installed=True,
    )
    if got.more is not None:
        got.more(missing)
    return got.contents
