# SPDX-License-Identifier: Apache-2.0
"""policy.json: which rule applies, and what it lets through."""

import json
from collections.abc import Mapping

import pytest

from ashore.errors import InputError, VerificationError
from ashore.nouns.digest import of
from ashore.nouns.image import OCI_CONFIG, Descriptor, Image, ImageConfig, Manifest, RootFs, VerifiedImage
from ashore.nouns.reference import ImageReference, parse
from ashore.rules.images import verify as rules
from ashore.rules.images.policy import Policy, parse_policy
from ashore.rules.images.verify import Evidence, unjudged

ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
SIGNED = [{"type": "signedBy", "keyType": "GPGKeys"}]
IMAGE = Image(
    reference="r",
    digest=of(b"m"),
    manifest_digest=of(b"m"),
    manifest=Manifest(schema_version=2, config=Descriptor(media_type=OCI_CONFIG, digest=of(b"c"), size=1), layers=()),
    config=ImageConfig(architecture="amd64", os="linux", rootfs=RootFs(type="layers", diff_ids=())),
)


def verify(image: Image, name: ImageReference, asked: Policy) -> VerifiedImage:
    """Nothing is looked at beside the image."""
    return rules.verify(image, name, rules.demanded(name, asked), Evidence(pytest.fail, (), pytest.fail))


def policy(default: object = REJECT, **transports: Mapping[str, object]) -> Policy:
    document = {"default": default, "transports": {name.replace("_", "-"): found for name, found in transports.items()}}
    return parse_policy(json.dumps(document).encode(), "policy.json")


def test_without_a_policy_everything_is_admitted() -> None:
    assert unjudged(IMAGE).policy == "no policy"


NAMES = "reg.example.com:5000/team/app:1"


@pytest.mark.parametrize(
    ("reference", "scope"),
    [
        (NAMES, "reg.example.com:5000/team/app:1"),
        (NAMES, "reg.example.com:5000/team/app"),
        (NAMES, "reg.example.com:5000/team"),
        (NAMES, "reg.example.com:5000"),
        (NAMES, "*.example.com"),
        (NAMES, "*.com"),
        (NAMES, ""),
        (f"reg.example.com/app@{of(b'm')}", f"reg.example.com/app@{of(b'm')}"),
        ("busybox", "docker.io/library/busybox:latest"),
        ("oci:/srv/images/out:1", "/srv/images/out:1"),
        ("oci:/srv/images/out:1", "/srv/images/out"),
        ("oci:/srv/images/out:1", "/srv"),
        ("oci-archive:/srv/a.tar", "/srv/a.tar"),
        ("docker-archive:/srv/a.tar", ""),
    ],
)
def test_the_scope_applies(reference: str, scope: str) -> None:
    name = parse(reference)
    transport = name.transport.value.replace("-", "_")
    admitted = verify(IMAGE, name, policy(REJECT, **{transport: {scope: ACCEPT}}))
    assert admitted.image is IMAGE
    assert admitted.policy == f"{name.transport.value} {scope}".rstrip()
    with pytest.raises(VerificationError, match="rejected"):
        verify(IMAGE, name, policy(ACCEPT, **{transport: {scope: REJECT}}))


@pytest.mark.parametrize(
    ("reference", "scope"),
    [
        (NAMES, "reg.example.com:5000/team/app:2"),
        (NAMES, "reg.example.com:5000/te"),
        (NAMES, "reg.example.com"),
        (NAMES, "example.com"),
        (NAMES, "*.ple.com"),
        ("oci:/srv/images", "/srv/im"),
        ("docker-archive:/srv/a.tar", "/srv/a.tar"),
    ],
)
def test_another_scope_does_not(reference: str, scope: str) -> None:
    name = parse(reference)
    others = policy(REJECT, **{name.transport.value.replace("-", "_"): {scope: ACCEPT}})
    with pytest.raises(VerificationError):
        verify(IMAGE, name, others)


@pytest.mark.parametrize("scope", ["docker.io", "index.docker.io", "index.docker.io/library/app:1"])
@pytest.mark.parametrize("name", ["app:1", "docker.io/app:1", "index.docker.io/app:1"])
def test_docker_hub_has_two_names(scope: str, name: str) -> None:
    with pytest.raises(VerificationError, match="rejected"):
        verify(IMAGE, parse(name), policy(ACCEPT, docker={scope: REJECT}))


@pytest.mark.parametrize(
    ("reference", "scope"),
    [
        (NAMES.replace("reg", "REG"), "reg.example.com:5000"),
        (NAMES, "Reg.Example.com:5000/team"),
        (NAMES, "*.Example.com"),
        ("Index.Docker.io/foo/x:1", "docker.io"),
        ("foo/x:1", "INDEX.docker.io/foo"),
    ],
)
def test_no_spelling_of_a_host_leads_past_its_rule(reference: str, scope: str) -> None:
    with pytest.raises(VerificationError, match="rejected"):
        verify(IMAGE, parse(reference), policy(ACCEPT, docker={scope: REJECT}))


def test_rules_for_both_names_of_docker_hub_must_hold() -> None:
    for first, second in ((ACCEPT, REJECT), (REJECT, ACCEPT)):
        with pytest.raises(VerificationError, match="rejected"):
            verify(IMAGE, parse("app:1"), policy(ACCEPT, docker={"docker.io": first, "index.docker.io": second}))


def test_the_most_specific_scope_wins() -> None:
    scopes = {"": ACCEPT, "reg.example.com:5000": ACCEPT, "reg.example.com:5000/team": REJECT}
    with pytest.raises(VerificationError):
        verify(IMAGE, parse(NAMES), policy(ACCEPT, docker=scopes))
    assert verify(IMAGE, parse("reg.example.com:5000/other"), policy(REJECT, docker=scopes)).image is IMAGE


BOTH = f"reg.example/app:1@{of(b'm')}"
BY_TAG, BY_DIGEST = "reg.example/app:1", f"reg.example/app@{of(b'm')}"


@pytest.mark.parametrize(
    ("scopes", "rule"),
    [
        ({BY_DIGEST: ACCEPT}, BY_DIGEST),
        ({BY_TAG: ACCEPT, BY_DIGEST: ACCEPT}, BY_DIGEST),
        ({BY_TAG: ACCEPT, "reg.example/app": ACCEPT}, "reg.example/app"),
        ({"reg.example/app:2": REJECT, "reg.example/app": ACCEPT}, "reg.example/app"),
    ],
)
def test_a_tag_with_a_digest_is_admitted_by_its_digest(scopes: Mapping[str, object], rule: str) -> None:
    assert verify(IMAGE, parse(BOTH), policy(REJECT, docker=scopes)).policy == f"docker {rule}"


@pytest.mark.parametrize("scopes", [{}, {"reg.example/app": REJECT}])
def test_a_tag_s_rule_admits_no_digest_that_is_written_beside_it(scopes: Mapping[str, object]) -> None:
    with pytest.raises(VerificationError):
        verify(IMAGE, parse(BOTH), policy(REJECT, docker={BY_TAG: ACCEPT, **scopes}))


@pytest.mark.parametrize("bad", [REJECT, SIGNED])
@pytest.mark.parametrize(("one", "other"), [(BY_TAG, BY_DIGEST), (BY_DIGEST, BY_TAG)])
def test_a_tag_with_a_digest_is_rejected_by_either(bad: object, one: str, other: str) -> None:
    for scopes in ({one: bad}, {one: bad, other: ACCEPT}):
        with pytest.raises(VerificationError):
            verify(IMAGE, parse(BOTH), policy(ACCEPT, docker=scopes))


def test_a_digest_alone_has_no_tag() -> None:
    assert verify(IMAGE, parse(BY_DIGEST), policy(ACCEPT, docker={"reg.example/app:latest": REJECT})).image is IMAGE


@pytest.mark.parametrize("kind", ["signedBy", "signedBaseLayer"])
def test_what_cannot_be_checked_is_refused(kind: str) -> None:
    with pytest.raises(VerificationError, match="cannot be verified") as caught:
        verify(IMAGE, parse(NAMES), policy([{"type": kind, "keyPath": "/k"}]))
    assert kind in caught.value.cause


def test_all_requirements_must_hold() -> None:
    with pytest.raises(VerificationError):
        verify(IMAGE, parse(NAMES), policy([*ACCEPT, *SIGNED]))


def test_a_relative_path_does_not_slip_past_rules_for_absolute_ones() -> None:
    with pytest.raises(VerificationError, match="cannot be verified"):
        verify(IMAGE, parse("oci:out"), policy(ACCEPT, oci={"/srv": REJECT}))
    assert verify(IMAGE, parse("oci:out"), policy(ACCEPT)).policy == "default"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"default":[]}',
        b'{"default":[{"type":"insecureAcceptAnythin"}]}',
        b'{"default":[{}]}',
        b'{"default":[{"type":"reject"}],"transport":{}}',
        b'{"default":[{"type":"insecureAcceptAnything","keyPath":"/k"}]}',
        b'{"default":[{"type":"reject"}],"transports":{"docker":{"":[]}}}',
        b'{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}',
        b'{"default":[{"type":"reject"}],"transports":{"docker":[]}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_policy_with_a_mistake_admits_nothing(text: bytes) -> None:
    with pytest.raises(InputError, match=r"policy\.json is malformed"):
        parse_policy(text, "policy.json")
