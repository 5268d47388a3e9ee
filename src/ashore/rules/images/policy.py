# SPDX-License-Identifier: Apache-2.0
"""policy.json: its format, and which of its rules applies to a name. No I/O.

Source: containers-policy.json(5), "TRANSPORTS AND SCOPES" and "POLICY REQUIREMENTS".
"""

from collections.abc import Iterator, Mapping

import msgspec

from ashore.errors import InputError, VerificationError
from ashore.nouns import strictjson
from ashore.nouns.files import printable
from ashore.nouns.reference import (
    DEFAULT_TAG,
    ImageReference,
    Transport,
    is_location,
    parse_name,
    with_today_s_host,
)

_FORMAT = "put it right; its format: man 5 containers-policy.json"


class _Requirement(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class Accept(_Requirement, frozen=True, tag="insecureAcceptAnything", forbid_unknown_fields=True):
    """Whatever it is."""


class Reject(_Requirement, frozen=True, tag="reject", forbid_unknown_fields=True):
    """Nothing."""


class SignedBy(_Requirement, frozen=True, tag="signedBy"):
    """GPG's signatures; what else it says is for those who can check it."""


class SignedBaseLayer(_Requirement, frozen=True, tag="signedBaseLayer"):
    """Never implemented by anybody."""


class _Identity(msgspec.Struct, frozen=True, tag_field="type", rename="camel", forbid_unknown_fields=True):
    """Which name a signature has to be for."""


class MatchExact(_Identity, frozen=True, tag="matchExact"):
    """The very name that was asked for."""


class MatchRepoDigestOrExact(_Identity, frozen=True, tag="matchRepoDigestOrExact"):
    """The very name; where that has a digest, its repository."""


class MatchRepository(_Identity, frozen=True, tag="matchRepository"):
    """Any tag of the repository."""


class ExactReference(_Identity, frozen=True, tag="exactReference"):
    """This name, whatever was asked for."""

    docker_reference: str


class ExactRepository(_Identity, frozen=True, tag="exactRepository"):
    """This repository, whatever was asked for."""

    docker_repository: str


class RemapIdentity(_Identity, frozen=True, tag="remapIdentity"):
    """As `MatchRepoDigestOrExact`, of the name that a mirror's would have where it was signed."""

    prefix: str
    signed_prefix: str


Identity = MatchExact | MatchRepoDigestOrExact | MatchRepository | ExactReference | ExactRepository | RemapIdentity


class SigstoreSigned(
    _Requirement, frozen=True, tag="sigstoreSigned", rename="camel", forbid_unknown_fields=True, kw_only=True
):
    """A signature as cosign and skopeo make them. Key paths are the host's; key data are PEM."""

    key_path: str | None = None
    key_paths: tuple[str, ...] | None = None
    key_data: bytes | None = None
    key_datas: tuple[bytes, ...] | None = None
    fulcio: object = None
    pki: object = None
    rekor_public_key_path: object = None
    rekor_public_key_paths: object = None
    rekor_public_key_data: object = None
    rekor_public_key_datas: object = None
    signed_identity: Identity = MatchRepoDigestOrExact()

    @property
    def paths(self) -> tuple[str, ...]:
        """Where its keys lie, if they lie somewhere."""
        return self.key_paths or ((self.key_path,) if self.key_path is not None else ())

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Keys that the policy itself has."""
        return self.key_datas or ((self.key_data,) if self.key_data is not None else ())

    @property
    def unknown(self) -> str:
        """What it asks for and ashore cannot check; empty where there is no such thing."""
        given = (name for name in ("fulcio", "pki") if getattr(self, name) is not None)
        log = (name for name in self.__struct_fields__ if name.startswith("rekor") and getattr(self, name) is not None)
        return next(given, "") or ("a transparency log (rekorPublicKey...)" if any(log) else "")


Requirement = Accept | Reject | SignedBy | SignedBaseLayer | SigstoreSigned
Requirements = tuple[Requirement, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy.json: a default, and requirements by transport and scope."""

    default: Requirements
    transports: Mapping[str, Mapping[str, Requirements]] = {}


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy.json. A mistake in it must never admit more, so unknown keys are refused.

    Raises:
        InputError: it is malformed, or names a requirement that the format does not have.
    """
    try:
        policy = msgspec.convert(strictjson.loads(data), Policy)
        for rule, requirements in _every(policy):
            if not requirements:
                raise ValueError(f"{rule} has an empty list of requirements")
            for requirement in requirements:
                _check(requirement, rule)
    except ValueError as error:
        raise InputError(f"{where} is malformed", cause=printable(str(error)), remedy=_FORMAT) from error
    return msgspec.structs.replace(policy, transports={**policy.transports, **_by_today_s_host(policy)})


def _every(policy: Policy) -> Iterator[tuple[str, Requirements]]:
    """All rules, by their names for people."""
    yield "default", policy.default
    for transport, scopes in policy.transports.items():
        for scope, requirements in scopes.items():
            yield _rule(transport, scope), requirements


def _rule(transport: str, scope: str) -> str:
    return f"{transport} {scope}".rstrip()


def _check(requirement: Requirement, rule: str) -> None:
    """
    Raises:
        ValueError: keys or the identity say nothing, or several things.
    """
    if not isinstance(requirement, SigstoreSigned):
        return
    ways = ("key_path", "key_paths", "key_data", "key_datas", "fulcio", "pki")
    if sum(getattr(requirement, way) is not None for way in ways) != 1:
        raise ValueError(f"{rule}: a sigstoreSigned needs one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki")
    if requirement.key_paths == () or requirement.key_datas == ():
        raise ValueError(f"{rule}: a sigstoreSigned has an empty list of keys")
    identity = requirement.signed_identity
    if isinstance(identity, RemapIdentity):
        for prefix in (identity.prefix, identity.signed_prefix):
            if not is_location(prefix):
                raise ValueError(f"{rule}: {prefix[:200]!r} is no HOST[:PORT][/PATH] that names begin with")
    if isinstance(identity, ExactReference) and not _named(identity.docker_reference, rule):
        raise ValueError(f"{rule}: {identity.docker_reference[:200]!r} has neither a tag nor a digest")
    if isinstance(identity, ExactRepository):
        _named(identity.docker_repository, rule)


def _named(text: str, rule: str) -> bool:
    try:
        return parse_name(text)[1]
    except InputError as error:
        raise ValueError(f"{rule}: {error}") from error


def _by_today_s_host(policy: Policy) -> Mapping[str, Mapping[str, Requirements]]:
    """The registries' scopes, hosts in one spelling, Docker Hub by one name; what several say of one must all hold."""
    registries = Transport.REGISTRY.value
    scopes: dict[str, Requirements] = {}
    for scope, requirements in policy.transports.get(registries, {}).items():
        name = _one_spelling(scope)
        scopes[name] = (*scopes.get(name, ()), *requirements)
    return {registries: scopes}


def rules_for(reference: ImageReference, policy: Policy) -> tuple[tuple[str, Requirements], ...]:
    """The most specific rule that applies, with its name for people; and the tag's, where a digest is written as well.

    A tag's rule admits what the tag names. Who writes a digest beside it may mean anything else of the repository, so
    that it can only forbid there.

    Raises:
        VerificationError: whether a rule applies cannot be told.
    """
    scopes = policy.transports.get(reference.transport.value, {})
    local = reference.transport is not Transport.REGISTRY
    if local and not reference.place.startswith("/") and any(scope.startswith("/") for scope in scopes):
        raise VerificationError(
            f"{reference} cannot be verified",
            cause="policy.json has rules for absolute paths, and this one is relative",
            remedy="write the whole path",
        )
    found = [next((scope for scope in (*_scopes(reference), "") if scope in scopes), None)]
    if (tag := _beside_a_digest(reference)) in scopes:
        found.append(tag)
    return tuple(
        ("default", policy.default) if scope is None else (_rule(reference.transport.value, scope), scopes[scope])
        for scope in found
    )


def _beside_a_digest(reference: ImageReference) -> str:
    """The scope of the tag, where a registry's image has a digest as well; or none."""
    if reference.transport is not Transport.REGISTRY or not (reference.tag and reference.digest):
        return ""
    return _one_spelling(f"{reference.place}/{reference.repository}:{reference.tag}")


def _one_spelling(name: str) -> str:
    """A name or scope by which another spelling of its host does not lead past a rule."""
    host, slash, rest = name.partition("/")
    return with_today_s_host(f"{host.lower()}{slash}{rest}")


def _scopes(reference: ImageReference) -> Iterator[str]:
    """Most specific first, without the transport's own default (the empty scope)."""
    if reference.transport is not Transport.REGISTRY:
        yield from _path_scopes(reference)
        return
    name = _one_spelling(f"{reference.place}/{reference.repository}")
    yield f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag or DEFAULT_TAG}"
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    yield name
    host = name.partition(":")[0]
    while "." in host:
        yield f"*.{host.partition('.')[2]}"
        host = host.partition(".")[2]


def _path_scopes(reference: ImageReference) -> Iterator[str]:
    """For layouts and archives: the absolute path with the tag, and the folders above it; Docker's have none."""
    if reference.transport is Transport.DOCKER_ARCHIVE or not reference.place.startswith("/"):
        return
    path = reference.place.rstrip("/")
    if reference.tag:
        yield f"{path}:{reference.tag}"
    while path:
        yield path
        path = path.rpartition("/")[0]
