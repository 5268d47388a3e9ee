# SPDX-License-Identifier: Apache-2.0
"""What bundles want on this host: a new one fetched and rendered, an installed one as it was recorded."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from ashore.acts.fetch.obtain import Known, Obtained, obtain
from ashore.acts.fetch.places import More, Place
from ashore.acts.plan.order import ordered
from ashore.acts.plan.physical import physical
from ashore.acts.plan.redirect import redirected
from ashore.acts.recorded import never_set, renamed, secret_names, sets_with, source_of
from ashore.acts.tools import Tools
from ashore.mechanisms.host.users import read_owners
from ashore.mechanisms.host.values import read_values
from ashore.mechanisms.stage.supply import Opener, rendered
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.bundle import Bundle
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Kind, Wanted, printable
from ashore.nouns.generation import BundleRecord, Generation, SetValue
from ashore.rules.bundles.bundle import is_unit_file
from ashore.rules.bundles.inputs import fingerprint
from ashore.rules.bundles.layers import layers
from ashore.rules.bundles.render import Rendered, render
from ashore.rules.bundles.values import merge_values
from ashore.rules.sources import pack
from ashore.rules.units.enablement import has_install, is_template, unit_of
from ashore.rules.units.unitpaths import shipped


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle wants: its record, its paths, and where their contents come from."""

    record: BundleRecord
    named: bool = False
    """Its reference was asked just now, and names this version."""
    wanted: tuple[Wanted, ...]
    openers: tuple[Opener, ...] = ()
    more: More | None = None
    """Fetches contents that the host turned out not to have."""
    texts: Mapping[str, str] = {}
    """Unit files and drop-ins by path."""
    enable: tuple[str, ...] | None = None
    """Units to enable, until `enabling.enabled` has found their links: it takes the other bundles' units for that."""
    notes: tuple[str, ...] = ()
    secrets: Mapping[str, object] = {}
    """Values to keep in the secret store, by the name that the record has for them."""


def desire(tools: Tools, ask: Ask, current: Generation, place: Place, salt: bytes) -> Part:
    """Fetch, read and render a bundle for this host; its units are enabled later, by what the other bundles have.

    Raises:
        InputError, RegistryError, VerificationError: nothing on the host was changed.
    """
    known = _known(tools, ask, current)
    got = obtain(
        tools, ask.reference, place, root_in_image=ask.root_in_image, name=ask.name, known=known, judged=ask.judged
    )
    part = _rendered(tools, ask, got, current, salt)
    by_tag = ask.judged == ask.reference and not ask.reference.digest
    return msgspec.structs.replace(part, named=by_tag)


def desire_again(tools: Tools, ask: Ask, record: BundleRecord, current: Generation, salt: bytes) -> Part | None:
    """An installed bundle, rendered with what this host is now: no image is asked for.

    None where the host did not keep what that takes.

    Raises:
        InputError: it cannot be rendered any more.
    """
    bundle = source_of(tools, record)
    if bundle is None:
        return None
    got = Obtained(
        bundle=bundle, digest=record.digest, manifest_digest=record.manifest_digest, contents=lambda _digest: None
    )
    return _rendered(tools, ask, got, current, salt)


def _known(tools: Tools, ask: Ask, current: Generation) -> Known:
    """What the host kept of an image that is installed: it need not be fetched to be rendered again."""

    def known(manifest_digest: Digest) -> Bundle | None:
        key = (manifest_digest, ask.root_in_image)
        same = [b for b in current.bundles if (b.manifest_digest, b.root_in_image) == key]
        return source_of(tools, same[0]) if same and ask.name in ("", same[0].name) else None

    return known


def _rendered(tools: Tools, ask: Ask, got: Obtained, current: Generation, salt: bytes) -> Part:
    manifest = got.bundle.manifest
    previous = current.bundle(manifest.name) or renamed(ask, current, manifest.name)
    source = pack(got.bundle)
    sets = sets_with(tools, previous, ask)
    host_values = read_values(tools.host)
    values = merge_values(manifest, host_values, sets, secret_names(previous, ask))
    facts = tools.facts()
    done = render(got.bundle, facts, values, read_owners(tools.host), limits=tools.limits)
    done = redirected(tools, manifest.name, ordered(tools, got.bundle, done))
    files = physical(tools, done.wanted, current)
    texts = _unit_texts(got, done, files)
    # What goes to several bundles may be the secret of another one: here nobody would say that it is one.
    unknown = {key for key in ask.sets if key.partition(".")[0] in done.stray}
    if unknown:
        told = {key: value for key, value in ask.sets.items() if key not in unknown}
        sets = sets_with(tools, previous, msgspec.structs.replace(ask, sets=told))
    recorded = {key: _recorded(tools, key, value, values.secrets, salt) for key, value in sets.items()}
    record = BundleRecord(
        name=manifest.name,
        version=manifest.version,
        reference=ask.written or str(ask.reference),
        digest=got.digest,
        manifest_digest=got.manifest_digest,
        inputs=fingerprint(facts, done.facts_used, layers(manifest.name, host_values), sets, salt),
        facts_used=done.facts_used,
        values_used=done.values_used,
        sets=recorded,
        units=tuple(sorted({u for p in texts if (u := unit_of(p))})),
        health=done.health,
        steps=manifest.steps,
        confirm=manifest.confirm,
        root_in_image=ask.root_in_image,
        source=of(source),
    )
    return Part(
        record=record,
        wanted=files,
        openers=(rendered({**done.contents, of(source): source}), got.contents),
        more=got.more,
        texts=texts,
        enable=_to_enable(done.enable, texts),
        notes=(*done.notes, *_not_kept(unknown, manifest.name), *never_set(previous, ask, manifest.name)),
        secrets={recorded[key].secret: sets[key] for key in sets if recorded[key].secret},
    )


def _not_kept(unknown: Collection[str], name: str) -> tuple[str, ...]:
    return tuple(f"--set {printable(key)} is not recorded for the bundle {name}" for key in sorted(unknown))


def as_recorded(generation: Generation, name: str, *, settled: bool = True) -> Part:
    """What an installed bundle wants, from its record: no image is needed.

    `settled`: the bundle stays as it is, edits included; otherwise its version is what somebody goes back to.
    """
    record = generation.bundle(name)
    assert record is not None
    wanted = tuple(
        Wanted(
            path=path,
            entry=file.entry if file.bundle == name else file.others[name],
            bundle=name,
            on_edit=file.on_edit,
            adopt=file.original is not None,
            settled=settled,
            restored=not settled,
            absent=file.deleted and not settled,
            edit=None if settled else file.put or file.base,
            edit_of=None if settled else file.base,
            through=file.through,
            secret=file.secret,
            validate=file.validate,
            reload=file.reload,
            restart=file.restart,
        )
        for path, file in generation.files.items()
        if file.bundle == name or name in file.others
    )
    return Part(record=record, wanted=wanted)


def _recorded(tools: Tools, key: str, value: object, secret: Iterable[str], salt: bytes) -> SetValue:
    if key.partition(".")[0] in secret:
        return SetValue(secret=Secrets(tools.state).name(value, salt))
    return SetValue(value=value)


def _to_enable(asked: tuple[str, ...] | None, texts: Mapping[str, str]) -> tuple[str, ...]:
    if asked is not None:
        return asked
    return tuple(sorted(u for u, s in shipped(texts).items() if has_install(s.text) and not is_template(u)))


def _unit_texts(got: Obtained, done: Rendered, files: Iterable[Wanted]) -> dict[str, str]:
    texts = {}
    for wanted in files:
        if wanted.entry.kind is Kind.FILE and is_unit_file(wanted.path):
            digest: Digest = wanted.entry.digest
            data = done.contents.get(digest) or got.bundle.texts.get(digest) or b""
            texts[wanted.path] = data.decode(errors="replace")
    return texts
