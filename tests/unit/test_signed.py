# SPDX-License-Identifier: Apache-2.0
"""What a policy's sigstoreSigned lets through: by the key, by what was signed, by the name it was signed under."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ashore.errors import InputError, VerificationError
from ashore.nouns.digest import Digest, of
from ashore.nouns.reference import parse
from ashore.nouns.signature import Signature
from ashore.rules.images.policy import parse_policy
from ashore.rules.images.verify import Evidence, demanded, verify
from tests.fakes.signer import Signer, payload
from tests.unit.test_verify import IMAGE as SOME

IMAGE, OTHER = of(b"image"), of(b"other")
NAME = "reg.example/team/app:1"
SIGNER, STRANGER = Signer(), Signer()
KEY = "/etc/pki/key.pub"
ANY_TAG = {"type": "matchRepository"}


def policy(*requirements: Mapping[str, Any]) -> bytes:
    asked = [{"type": "sigstoreSigned", **requirement} for requirement in requirements]
    return json.dumps({"default": asked}).encode()


def check(
    *signatures: Signature,
    asked: str = NAME,
    named: Sequence[Digest] = (IMAGE,),
    pem: bytes = SIGNER.pem,
    of_: Digest = IMAGE,
    **requirement: Any,
) -> None:
    """Raises VerificationError if `signatures`, of the image `of_`, are not what the requirement asks."""
    rules = parse_policy(policy({"keyPath": KEY, **requirement} if "keyPath" not in requirement else requirement), "it")
    beside = {of_: signatures}
    evidence = Evidence({KEY: pem}.__getitem__, named, lambda digest: beside.get(digest, ()))
    verify(SOME, parse(asked), demanded(parse(asked), rules), evidence)


def refused(*signatures: Signature, said: str, **how: Any) -> None:
    with pytest.raises(VerificationError, match="is not signed as") as caught:
        check(*signatures, **how)
    assert said in caught.value.cause, caught.value.cause


def test_a_signature_of_the_key_for_the_name() -> None:
    check(SIGNER.image(IMAGE, NAME))
    check(STRANGER.image(IMAGE, NAME), SIGNER.image(IMAGE, NAME))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_keys_of_each_kind(key: Any) -> None:
    signer = Signer(key)
    check(signer.image(IMAGE, NAME), pem=signer.pem)
    refused(STRANGER.image(IMAGE, NAME), pem=signer.pem, said="of another key")
    refused(signer.image(IMAGE, NAME), said="of another key")


def test_no_signature() -> None:
    refused(said=f"none of {IMAGE.replace(':', '-')}.sig")


def test_a_signature_of_another_key() -> None:
    refused(STRANGER.image(IMAGE, NAME), said="of another key, or of something else")


def test_a_signature_of_another_image() -> None:
    refused(SIGNER.image(OTHER, NAME), said=f"of another image, {OTHER}")


def test_an_index_vouches_for_its_images() -> None:
    check(SIGNER.image(IMAGE, NAME), named=(IMAGE, OTHER))
    check(SIGNER.image(IMAGE, NAME), named=(OTHER, IMAGE))
    # What lies beside one is not of the other.
    refused(SIGNER.image(OTHER, NAME), named=(IMAGE, OTHER), said="of another image")


def changed(signature: Signature, **other: bytes | str) -> Signature:
    return Signature(**{"payload": signature.payload, "text": signature.text, **other})  # type: ignore[arg-type]


GOOD = SIGNER.image(IMAGE, NAME)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (changed(GOOD, payload=GOOD.payload + b" "), "of something else"),
        (changed(GOOD, payload=b""), "of something else"),
        (changed(GOOD, text=""), "of another key"),
        (changed(GOOD, text="no base64!"), "not base64"),
        (changed(GOOD, text=GOOD.text + "\n"), "not base64"),
        (changed(GOOD, text=GOOD.text + "ü"), "not base64"),
        (changed(GOOD, text=GOOD.text.rstrip("=")[:-1]), ""),
        (changed(GOOD, text=base64.b64encode(b"\0" * 64).decode()), "of another key"),
        (changed(GOOD, text=base64.b64encode(b"x" * 70).decode()), "of another key"),
    ],
)
def test_a_signature_that_was_changed(signature: Signature, said: str) -> None:
    refused(signature, said=said)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        payload(IMAGE, NAME) + b"x",
        payload(IMAGE, NAME, type="atomic container signature"),
        payload(IMAGE, NAME, more="x"),
        payload(IMAGE, NAME, image={"docker-manifest-digest": IMAGE, "x": 1}),
        payload(IMAGE, NAME, image={"Docker-manifest-digest": IMAGE}),
        payload(IMAGE, NAME, image={"docker-manifest-digest": [IMAGE]}),
        payload(IMAGE, NAME, identity={}),
        payload(IMAGE, NAME, identity={"docker-reference": None}),
        payload(IMAGE, NAME, identity={"docker-reference": ""}),
        payload(IMAGE, NAME, identity={"docker-reference": "reg.example/Team/App:1"}),
        payload(IMAGE, NAME).replace(b'"optional"', b'"critical": {}, "optional"'),
        payload(OTHER, NAME).replace(b'"image"', f'"image": {{"docker-manifest-digest": "{IMAGE}"}}, "image"'.encode()),
        payload(IMAGE.upper(), NAME),
        payload(f"{IMAGE} ", NAME),
    ],
)  # fmt: skip
def test_what_was_signed_is_no_image(text: bytes) -> None:
    refused(SIGNER.sign(text), said="")


@pytest.mark.parametrize(
    ("identity", "asked", "signed"),
    [
        (None, NAME, NAME),
        (None, f"reg.example/team/app@{IMAGE}", "reg.example/team/app:2"),
        (None, f"{NAME}@{IMAGE}", "reg.example/team/app:2"),
        (None, "reg.example/team/app", "reg.example/team/app:latest"),
        (None, "busybox:1", "index.docker.io/library/busybox:1"),
        (None, "docker.io/busybox:1", "busybox:1"),
        ({"type": "matchRepoDigestOrExact"}, NAME, NAME),
        ({"type": "matchExact"}, NAME, NAME),
        ({"type": "matchExact"}, f"reg.example/team/app@{IMAGE}", f"reg.example/team/app@{IMAGE}"),
        (ANY_TAG, NAME, "reg.example/team/app"),
        (ANY_TAG, NAME, "reg.example/team/app:2"),
        ({"type": "exactReference", "dockerReference": "there.example/x:1"}, NAME, "there.example/x:1"),
        ({"type": "exactReference", "dockerReference": "there.example/x:1"}, "oci:/srv/x:1", "there.example/x:1"),
        ({"type": "exactRepository", "dockerRepository": "there.example/x"}, NAME, "there.example/x:1"),
        ({"type": "exactRepository", "dockerRepository": "there.example/x"}, "oci-archive:/x", "there.example/x"),
        ({"type": "remapIdentity", "prefix": "reg.example", "signedPrefix": "up.io/a"}, NAME, "up.io/a/team/app:1"),
        ({"type": "remapIdentity", "prefix": "reg.example/team/app", "signedPrefix": "up.io/x"}, NAME, "up.io/x:1"),
        ({"type": "remapIdentity", "prefix": "other.example", "signedPrefix": "up.example"}, NAME, NAME),
        ({"type": "remapIdentity", "prefix": "index.docker.io", "signedPrefix": "up.io"}, "a/b:1", "up.io/a/b:1"),
        ({"type": "remapIdentity", "prefix": "reg.example", "signedPrefix": "index.docker.io"}, NAME, "team/app:1"),
    ],
)  # fmt: skip
def test_names_that_fit(identity: object, asked: str, signed: str) -> None:
    how: dict[str, Any] = {"signedIdentity": identity} if identity else {}
    check(SIGNER.image(IMAGE, signed), asked=asked, **how)


@pytest.mark.parametrize(
    ("identity", "asked", "signed"),
    [
        (None, NAME, "reg.example/team/app"),
        (None, NAME, "reg.example/team/app:2"),
        (None, NAME, "reg.example/team/app2:1"),
        (None, NAME, "reg.example:443/team/app:1"),
        (None, NAME, f"{NAME}@{IMAGE}"),
        (None, "reg.example/team/app", "reg.example/team/app"),
        (None, f"reg.example/team/app@{IMAGE}", "reg.example/team/app"),
        (None, f"reg.example/team/app@{IMAGE}", "reg.example/team"),
        (None, "oci:/srv/app:1", NAME),
        (ANY_TAG, "oci:/srv/app:1", "srv/app:1"),
        ({"type": "matchExact"}, f"reg.example/team/app@{IMAGE}", "reg.example/team/app:1"),
        ({"type": "matchExact"}, NAME, "reg.example/team/app"),
        (ANY_TAG, NAME, "reg.example/team/other"),
        ({"type": "exactReference", "dockerReference": "there.example/x:1"}, NAME, NAME),
        ({"type": "exactReference", "dockerReference": "there.example/x:latest"}, NAME, "there.example/x"),
        ({"type": "exactRepository", "dockerRepository": "reg.example/team"}, NAME, NAME),
        ({"type": "remapIdentity", "prefix": "reg.exam", "signedPrefix": "up.exam"}, NAME, "up.example/team/app:1"),
        ({"type": "remapIdentity", "prefix": "reg.example", "signedPrefix": "up.example"}, NAME, NAME),
        ({"type": "remapIdentity", "prefix": "reg.example/team/app", "signedPrefix": "up.io"}, NAME, "up.io:1"),
        ({"type": "remapIdentity", "prefix": "reg.example/team", "signedPrefix": "ex"}, NAME, "ex/app:1"),
    ],
)
def test_names_that_do_not_fit(identity: object, asked: str, signed: str) -> None:
    how: dict[str, Any] = {"signedIdentity": identity} if identity else {}
    refused(SIGNER.image(IMAGE, signed), asked=asked, said=f"a signature is for {signed}", **how)


def test_cosign_s_names_have_no_tag_and_that_is_said() -> None:
    refused(SIGNER.image(IMAGE, "reg.example/team/app"), said="matchRepository")


def test_one_of_several_keys_is_enough_and_all_requirements_must_hold() -> None:
    first, second = SIGNER.image(IMAGE, NAME), STRANGER.image(IMAGE, NAME)
    evidence = {"/a": SIGNER.pem, "/b": STRANGER.pem}
    data = [base64.b64encode(pem).decode() for pem in evidence.values()]

    def judge(rules: bytes, *signatures: Signature) -> None:
        found = parse_policy(rules, "it")
        seen = Evidence(evidence.__getitem__, (IMAGE,), lambda _: signatures)
        verify(SOME, parse(NAME), demanded(parse(NAME), found), seen)

    for several in ({"keyPaths": ["/a", "/b"]}, {"keyDatas": data}):
        judge(policy(several), second)
    judge(policy({"keyData": data[0]}), first)
    both = policy({"keyPath": "/a"}, {"keyPath": "/b"})
    judge(both, first, second)
    for one in (first, second):
        with pytest.raises(VerificationError):
            judge(both, one)


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (Signer(rsa.generate_private_key(65537, 1024)).pem, "1024 bits"),
        (Signer(ec.generate_private_key(ec.SECP256K1())).pem, "secp256k1"),
        (x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
         "not of ECDSA"),
    ],
)  # fmt: skip
def test_a_key_that_is_none(pem: bytes, said: str) -> None:
    with pytest.raises(VerificationError, match="cannot be verified") as caught:
        check(GOOD, pem=pem)
    assert KEY in caught.value.cause and said in caught.value.cause


@pytest.mark.parametrize(
    "requirement",
    [
        {"fulcio": {}},
        {"pki": {}},
        {"keyPath": KEY, "rekorPublicKeyPath": "/r"},
        {"keyPath": KEY, "rekorPublicKeyDatas": []},
    ],
)
def test_what_is_asked_beyond_keys_cannot_be_checked(requirement: Mapping[str, object]) -> None:
    with pytest.raises(VerificationError, match="cannot be verified") as caught:
        demanded(parse(NAME), parse_policy(policy(requirement), "it"))
    assert "sigstoreSigned with" in caught.value.cause


@pytest.mark.parametrize(
    "requirement",
    [
        {},
        {"keyPath": KEY, "keyData": ""},
        {"keyPath": KEY, "fulcio": {}},
        {"keyPaths": []},
        {"keyDatas": []},
        {"keyData": "no base64"},
        {"keyPath": KEY, "kePath": KEY},
        *(
            {"keyPath": KEY, "signedIdentity": {"type": "remapIdentity", "prefix": p, "signedPrefix": s}}
            for p, s in (("a.io/", "b.io"), ("a.io", "b.io:0"), ("a.io", ""), ("A/B", "b.io"))
        ),
        {"keyPath": KEY, "signedIdentity": {}},
        {"keyPath": KEY, "signedIdentity": {"type": "matchAll"}},
        {"keyPath": KEY, "signedIdentity": {"type": "exactReference"}},
        {"keyPath": KEY, "signedIdentity": {"type": "matchRepository", "x": 1}},
        {"keyPath": KEY, "signedIdentity": {"type": "exactRepository", "dockerRepository": "No Name"}},
        {"keyPath": KEY, "signedIdentity": {"type": "exactReference", "dockerReference": "a.example/x"}},
        {"keyPath": KEY, "signedIdentity": {"type": "remapIdentity", "prefix": "a.example", "signedPrefix": ""}},
    ],
)
def test_a_requirement_with_a_mistake(requirement: Mapping[str, object]) -> None:
    with pytest.raises(InputError, match="it is malformed"):
        parse_policy(policy(requirement), "it")


def test_a_mistake_is_told_with_the_rule_that_has_it() -> None:
    rules = {"default": [{"type": "reject"}], "transports": {"docker": {"reg.example": [{"type": "sigstoreSigned"}]}}}
    with pytest.raises(InputError) as caught:
        parse_policy(json.dumps(rules).encode(), "it")
    assert "docker reg.example: a sigstoreSigned needs one of" in caught.value.cause


def test_the_rule_that_asks_is_named_and_not_another_that_admits() -> None:
    signed = {"type": "sigstoreSigned", "keyPath": KEY}
    rules = {"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {NAME: [signed]}}}
    evidence = Evidence({KEY: SIGNER.pem}.__getitem__, (IMAGE,), lambda _: ())
    with pytest.raises(VerificationError, match=f"the rule docker {NAME} asks|rule docker {NAME} asks"):
        both = parse(f"{NAME}@{IMAGE}")
        verify(SOME, both, demanded(both, parse_policy(json.dumps(rules).encode(), "it")), evidence)


def test_what_is_hinted_at_would_help() -> None:
    other = SIGNER.image(IMAGE, "reg.example/other")
    for identity in (ANY_TAG, {"type": "exactRepository", "dockerRepository": "reg.example/team/app"}):
        with pytest.raises(VerificationError) as caught:
            check(other, signedIdentity=identity)
        assert "cosign's have no tag" not in caught.value.cause
