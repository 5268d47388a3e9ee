# SPDX-License-Identifier: Apache-2.0
"""What is installed, rendered anew from what the host kept of its image: where a fact or value changed meanwhile."""

from collections.abc import Sequence

import msgspec

from ashore.acts.change.holding import held_back
from ashore.acts.change.noop import is_gone, same_inputs
from ashore.acts.change.wishes import Target, Wish, with_others
from ashore.acts.fetch.places import Place
from ashore.acts.plan.desire import Part, as_recorded, desire, desire_again
from ashore.acts.recorded import record_for
from ashore.acts.tools import Tools
from ashore.errors import AshoreError, InputError, RegistryError
from ashore.nouns.ask import Ask
from ashore.nouns.generation import BundleRecord, Generation


def changed_inputs(tools: Tools, asks: Sequence[Ask]) -> bool:
    """Whether what is installed for `asks` would be rendered otherwise now, as far as facts and values tell."""
    current = tools.history.current()
    return any(_stale(tools, ask, record) for ask in asks if (record := record_for(ask, current)) is not None)


def wish_upgraded(tools: Tools, asks: Sequence[Ask], *, all_of_them: bool = False) -> Wish:
    """These bundles by their references; where a registry does not answer, what is installed with what changed here.

    `all_of_them`: nobody named one, so what is held stays as it is too.
    """

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        parts: list[tuple[Ask, Part]] = []
        unreached: list[tuple[Ask, AshoreError]] = []
        passed: list[tuple[Ask, str]] = []
        for ask in asks:
            try:
                if all_of_them and (held := held_back(tools, ask, record_for(ask, current))):
                    passed.append((ask, f"{held[0]}; ashore upgrade {ask.name} takes it"))
                    continue
                parts.append((ask, desire(tools, ask, current, place, salt)))
            except (RegistryError, InputError) as error:
                if isinstance(error, InputError) and _answers(tools, ask):
                    raise  # What is wrong is the bundle, or that it cannot be rendered here.
                unreached.append((ask, error))
        silent = [ask for ask, _ in unreached if not ((parts or passed) and is_gone(ask.reference))]
        if silent and not any(_changed(tools, ask, current, salt) for ask, _ in unreached):
            raise unreached[0][1]
        passed += [(ask, f"nothing answers ({error})") for ask, error in unreached]
        parts += [(ask, _as_far_as_known(tools, ask, current, salt, why)) for ask, why in passed]
        return with_others(tools, current, parts)

    return wish


def wish_anew(tools: Tools, asks: Sequence[Ask]) -> Wish:
    """The bundles that are installed for `asks`, with the facts and values of now; no registry is asked."""

    def wish(current: Generation, _place: Place, salt: bytes) -> Target:
        return with_others(tools, current, [(ask, _as_far_as_known(tools, ask, current, salt, "")) for ask in asks])

    return wish


def _as_far_as_known(tools: Tools, ask: Ask, current: Generation, salt: bytes, why: str) -> Part:
    record = record_for(ask, current)
    if record is None:
        raise RegistryError(f"{ask.written or ask.reference} is not installed, and no registry was asked")
    part = _changed(tools, ask, current, salt)
    said = "is rendered anew from the image that is installed" if part else "stays as it is"
    notes = (f"{why}; {record.name} {said}",) if why else ()
    part = part or as_recorded(current, record.name)
    return msgspec.structs.replace(part, notes=(*part.notes, *notes))


def _changed(tools: Tools, ask: Ask, current: Generation, salt: bytes) -> Part | None:
    """What is installed, rendered anew; None where that is the same, or cannot be done here."""
    record = record_for(ask, current)
    if record is None or not _stale(tools, ask, record):
        return None
    part = desire_again(tools, ask, record, current, salt)
    # What was said may be nothing that the bundle takes.
    return part if part is None or part.record.inputs != record.inputs else None


def _answers(tools: Tools, ask: Ask) -> bool:
    """Whether there is such a layout or archive at all."""
    try:
        tools.open_image(ask.reference).resolve()
    except InputError:
        return False
    return True


def _stale(tools: Tools, ask: Ask, record: BundleRecord | None) -> bool:
    """Whether rendering again would give something else, and can be done here."""
    if record is None or not record.source or not tools.content.has(record.source):
        return False
    return bool(ask.reset or ask.unset) or not same_inputs(tools, ask, record)
