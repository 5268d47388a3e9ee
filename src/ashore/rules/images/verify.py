# SPDX-License-Identifier: Apache-2.0
"""policy.json decides which images are admitted. The only place that makes a `VerifiedImage`. No I/O.

Source: containers-policy.json(5), "TRANSPORTS AND SCOPES" and "POLICY REQUIREMENTS".
"""

from collections.abc import Iterator, Mapping

import msgspec

from ashore.errors import InputError, VerificationError
from ashore.nouns import strictjson
from ashore.nouns.files import printable
from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.reference import DEFAULT_TAG, ImageReference, Transport, with_today_s_host

NO_POLICY = "no policy"
_FORMAT = "put it right; its format: man 5 containers-policy.json"
_ACCEPT, _REJECT = "insecureAcceptAnything", "reject"
_KNOWN = {_ACCEPT, _REJECT, "signedBy", "sigstoreSigned", "signedBaseLayer"}


class Requirement(msgspec.Struct, frozen=True):
    """One requirement; what else it says is for those who can check it."""

    type: str


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy.json: a default, and requirements by transport and scope."""

    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]] = {}


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy.json. A mistake in it must never admit more, so unknown keys are refused.

    Raises:
        InputError: it is malformed, or names a requirement that the format does not have.
    """
    try:
        policy = msgspec.convert(strictjson.loads(data), Policy)
    except ValueError as error:
        raise InputError(f"{where} is malformed", cause=printable(str(error)), remedy=_FORMAT) from error
    for requirements in (
        policy.default,
        *(found for scopes in policy.transports.values() for found in scopes.values()),
    ):
        if not requirements:
            raise InputError(f"{where} is malformed", cause="a list of requirements is empty", remedy=_FORMAT)
        for requirement in requirements:
            if requirement.type not in _KNOWN:
                cause = f"unknown requirement {printable(requirement.type)!r}"
                raise InputError(f"{where} is malformed", cause=cause, remedy=_FORMAT)
    return msgspec.structs.replace(policy, transports={**policy.transports, **_by_today_s_host(policy)})


def _by_today_s_host(policy: Policy) -> Mapping[str, Mapping[str, tuple[Requirement, ...]]]:
    """The registries' scopes with Docker Hub by one name; if it has a scope by both, both must hold."""
    registries = Transport.REGISTRY.value
    scopes: dict[str, tuple[Requirement, ...]] = {}
    for scope, requirements in policy.transports.get(registries, {}).items():
        name = with_today_s_host(scope)
        scopes[name] = (*scopes.get(name, ()), *requirements)
    return {registries: scopes}


def verify(image: Image, reference: ImageReference, policy: Policy | None) -> VerifiedImage:
    """Admit `image` under `policy`; without one everything is admitted.

    Raises:
        VerificationError: the policy rejects it, or asks for what ashore cannot check.
    """
    return VerifiedImage(image=image, policy=NO_POLICY if policy is None else admit(reference, policy))


def admit(reference: ImageReference, policy: Policy) -> str:
    """The rule of `policy` by which images of that name are admitted.

    Raises:
        VerificationError: as `verify`.
    """
    rules = _rules(reference, policy)
    for rule, requirements in rules:
        for requirement in requirements:
            if requirement.type == _REJECT:
                raise VerificationError(
                    f"{reference} is rejected by policy.json",
                    cause=f"the rule {rule}",
                    remedy="the host's owner decides what is admitted, in /etc/containers/policy.json",
                )
            if requirement.type != _ACCEPT:
                raise VerificationError(
                    f"{reference} cannot be verified",
                    cause=f"policy.json's rule {rule} asks for {requirement.type}, which ashore cannot check yet",
                    remedy="check it by what can (podman, skopeo); what is admitted without, the host's owner decides"
                    " in /etc/containers/policy.json",
                )
    return rules[0][0]


def _rules(reference: ImageReference, policy: Policy) -> tuple[tuple[str, tuple[Requirement, ...]], ...]:
    """The most specific rule that applies, with its name for people; and the tag's, where a digest is written as well.

    A tag's rule admits what the tag names. Who writes a digest beside it may mean anything else of the repository, so
    that it can only forbid there.
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
        ("default", policy.default)
        if scope is None
        else (f"{reference.transport.value} {scope}".rstrip(), scopes[scope])
        for scope in found
    )


def _beside_a_digest(reference: ImageReference) -> str:
    """The scope of the tag, where a registry's image has a digest as well; or none."""
    if reference.transport is not Transport.REGISTRY or not (reference.tag and reference.digest):
        return ""
    return f"{reference.place}/{reference.repository}:{reference.tag}"


def _scopes(reference: ImageReference) -> Iterator[str]:
    """Most specific first, without the transport's own default (the empty scope)."""
    if reference.transport is not Transport.REGISTRY:
        yield from _path_scopes(reference)
        return
    name = f"{reference.place}/{reference.repository}"
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
