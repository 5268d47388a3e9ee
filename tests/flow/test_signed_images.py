# SPDX-License-Identifier: Apache-2.0
"""Images that the host's policy wants signed: installed with the signature beside them, and refused without."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ashore.nouns.digest import Digest, of
from ashore.nouns.image import OCI_INDEX, OCI_MANIFEST
from ashore.nouns.installer import ANNOTATION_ROLE, ROLE_BUNDLE
from ashore.nouns.limits import DEFAULT
from ashore.nouns.signature import Signature, signatures_tag
from tests.cli.shell import Ran, Shell, refused
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, altered
from tests.fakes.signer import Signer, attach, payload, put

SIGNER, STRANGER = Signer(), Signer()
REPOSITORY = "team/app"


def asks(shell: Shell, scope: str, *, transport: str = "docker", **requirement: Any) -> None:
    """The host wants images of `scope` signed by the key that lies on it."""
    signed = {"type": "sigstoreSigned", "keyPath": "/etc/pki/signer.pub", **requirement}
    rules = {"default": [{"type": "reject"}], "transports": {transport: {scope: [signed]}}}
    for path, text in (("containers/policy.json", json.dumps(rules)), ("pki/signer.pub", SIGNER.pem.decode())):
        (shell.root / "etc" / path).parent.mkdir(exist_ok=True)
        (shell.root / "etc" / path).write_text(text)


@pytest.fixture
def name(shell: Shell, registry: FakeRegistry) -> str:
    """A bundle in a registry whose images the host wants signed."""
    asks(shell, registry.host)
    return push(shell, registry, "1")


def push(shell: Shell, registry: FakeRegistry, version: str) -> str:
    named = f"{registry.host}/{REPOSITORY}:{version}"
    folder = shell.bundle("app", {"etc/app": version}, f'name = "app"\nversion = "{version}"\n')
    assert shell.ashore("build", str(folder), "-t", named, "--push").code == 0
    return named


def digest(registry: FakeRegistry, tag: str = "1") -> str:
    return registry.tags[REPOSITORY][tag]


def sign(registry: FakeRegistry, named: str, tag: str = "1") -> None:
    attach(registry, REPOSITORY, digest(registry, tag), SIGNER.image(digest(registry, tag), named))


def test_a_signed_image_is_installed_and_upgraded_and_an_unsigned_one_is_not(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    with shell.unchanged():
        refused(shell.on_root("install", name), 5, "is not signed as", ".sig", "cosign sign --key", "policy.json")
        refused(shell.on_root("plan", name), 5, "is not signed as")
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    assert (shell.root / "etc/app").read_text() == "1"
    second = push(shell, registry, "2")
    with shell.unchanged():
        refused(shell.on_root("install", second), 5, "is not signed as")
    sign(registry, second, "2")
    assert shell.on_root("install", second).code == 0
    assert (shell.root / "etc/app").read_text() == "2"
    # What lies on the host was verified when it came: to go back, nobody is asked.
    registry.seen.clear()
    assert shell.on_root("rollback").code == 0
    assert (shell.root / "etc/app").read_text() == "1" and not registry.seen


def test_of_what_is_installed_no_signature_is_asked_for_again(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    (shell.root / "etc/pki/signer.pub").write_bytes(STRANGER.pem)
    registry.seen.clear()
    again = shell.on_root("install", name)
    assert again.code == 0 and "nothing" in again.out + again.err
    assert shell.on_root("follow").code == 0
    assert registry.count("GET") == 0
    for verb in (["install", name, "--set", "x=1"], ["render", "/etc/app"], ["repair"]):
        ran = shell.on_root(*verb)
        assert ran.code == 0, (verb, ran)
    # A rule that admits nothing holds all the same.
    (shell.root / "etc/containers/policy.json").write_text('{"default": [{"type": "reject"}]}')
    refused(shell.on_root("install", name), 5, "is rejected")


def test_a_tag_that_moved_to_what_nobody_signed_brings_nothing(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    first = digest(registry)
    push(shell, registry, "2")
    registry.tags[REPOSITORY]["1"] = digest(registry, "2")
    for verb in (["install", name], ["upgrade"], ["follow"], ["plan", name], ["install", name, "--set", "x=1"]):
        with shell.unchanged():
            assert shell.on_root(*verb).code == 5, verb
    # Nor does an index around the image that is installed.
    entry = {"mediaType": OCI_MANIFEST, "digest": first, "size": len(registry.manifests[REPOSITORY][first][1])}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    registry.manifests[REPOSITORY][of(index)] = (OCI_INDEX, index)
    registry.tags[REPOSITORY]["1"] = of(index)
    del registry.tags[REPOSITORY][signatures_tag(Digest(first))]
    for verb in (["install", name], ["follow"]):
        refused(shell.on_root(*verb), 5, "is not signed as")


def test_the_same_image_from_elsewhere_is_asked_for_its_signature(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    other = f"{registry.host}/other/app:1"
    assert shell.ashore("copy", name, other).code == 0
    refused(shell.on_root("install", other), 5, "is not signed as")


def test_a_policy_behind_a_symlink_holds_for_what_is_installed_too(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    (shell.root / "usr").mkdir()
    (shell.root / "etc/containers").rename(shell.root / "usr/containers")
    (shell.root / "etc/containers").symlink_to("../usr/containers")
    (shell.root / "usr/containers/policy.json").write_text('{"default": [{"type": "reject"}]}')
    refused(shell.on_root("install", name), 5, "is rejected")


def test_another_tag_of_the_image_that_is_installed_is_asked_for_its_signature(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    assert shell.on_root("install", name).code == 0
    registry.tags[REPOSITORY]["2"] = digest(registry)
    refused(shell.on_root("install", f"{name[:-1]}2"), 5, f"a signature is for {name}")


def test_an_installer_that_is_older_than_its_tag(shell: Shell, registry: FakeRegistry, name: str) -> None:
    boot = installer(shell, name)
    first = digest(registry)
    push(shell, registry, "2")
    registry.tags[REPOSITORY]["1"] = digest(registry, "2")
    refused(boot(), 5, "is not signed as", signatures_tag(Digest(first)))
    attach(registry, REPOSITORY, first, SIGNER.image(first, name))
    del registry.tags[REPOSITORY]["1"]
    assert boot().code == 0


def test_an_installer_that_is_not_what_its_name_says(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    push(shell, registry, "2")
    other = digest(registry, "2")
    assert installer(shell, name, f"{name}@{digest(registry)}")().code == 0
    assert shell.on_root("remove", "app", "--purge").code == 0
    refused(installer(shell, name, f"{name}@{other}")(), 5, f"{name}@{other} was asked for")
    refused(installer(shell, name, "oci:/nowhere")(), 2, "is in no registry")


def installer(shell: Shell, name: str, said: str = "") -> Callable[[], Ran]:
    """Hands over what `name` is now, as often as it is called, under the name that is `said`."""
    (shell.root / "var/lib/ashore").mkdir(mode=0o700, exist_ok=True)
    kept, brought = f"oci:{shell.folder}/kept", shell.root / "var/lib/ashore/incoming/x"
    assert shell.ashore("copy", name, kept).code == 0

    def boot() -> Ran:
        assert shell.ashore("copy", kept, f"oci:{brought}").code == 0
        return shell.on_root("boot", said or name, "--brought", str(brought))

    return boot


def test_what_an_installer_brought_is_judged_by_its_name(shell: Shell, registry: FakeRegistry, name: str) -> None:
    boot = installer(shell, name)
    refused(boot(), 5, name, "is not signed as")
    assert not (shell.root / "etc/app").exists()
    # Any index on the way to it vouches for it, as it is named in the registry.
    bundle = digest(registry)
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": bundle,
                "size": len(registry.manifests[REPOSITORY][bundle][1]),
                "annotations": {ANNOTATION_ROLE: ROLE_BUNDLE},
            }
        ],
    }
    data = json.dumps(index).encode()
    registry.manifests[REPOSITORY][of(data)] = (OCI_INDEX, data)
    registry.tags[REPOSITORY]["1"] = of(data)
    sign(registry, name)
    ran = boot()
    assert ran.code == 0, ran
    # The next boot needs no registry.
    registry.tags.clear()
    assert boot().code == 0


def test_an_image_in_a_layout_is_signed_there(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    layout = shell.folder / "carried"
    asks(
        shell, str(layout), transport="oci",
        signedIdentity={"type": "exactRepository", "dockerRepository": name.rpartition(":")[0]},
    )  # fmt: skip
    assert shell.ashore("copy", name, f"oci:{layout}", "--referrers", "none").code == 0
    with shell.unchanged():
        refused(shell.on_root("install", f"oci:{layout}"), 5, "is not signed as")
    assert shell.ashore("copy", name, f"oci:{layout}", "--referrers", "all").code == 0
    assert shell.on_root("install", f"oci:{layout}").code == 0
    assert shell.on_root("install", f"oci:{layout}:1").code == 3


def test_what_holds_no_signatures_takes_no_signed_image(shell: Shell, registry: FakeRegistry, name: str) -> None:
    archive = shell.folder / "saved"
    there = f"docker-archive:{archive}:app:1"
    assert shell.ashore("copy", name, there, "--referrers", "all").code == 0, "nothing gets lost"
    archive.unlink()
    sign(registry, name)
    refused(shell.ashore("copy", name, there, "--referrers", "all"), 3, "holds nothing beside its image")
    assert not archive.exists()
    assert shell.ashore("copy", name, there).code == 0


def test_a_signature_goes_along_to_another_registry(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    with FakeRegistry() as mirror:
        there = f"{mirror.host}/mirrored/app:1"
        prefixes = {"prefix": f"{mirror.host}/mirrored", "signedPrefix": f"{registry.host}/team"}
        asks(shell, mirror.host, signedIdentity={"type": "remapIdentity", **prefixes})
        assert shell.ashore("copy", name, there).code == 0
        with shell.unchanged():
            refused(shell.on_root("install", there), 5, "is not signed as")
        assert shell.ashore("copy", name, there, "--referrers", "all").code == 0
        assert shell.on_root("install", there).code == 0


def test_what_others_signed_there_is_not_lost(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    subject = digest(registry)
    ours = SIGNER.image(subject, name)
    attach(registry, REPOSITORY, subject, ours)
    with FakeRegistry() as mirror:
        there = f"{mirror.host}/{REPOSITORY}:1"
        for place, put_there in ((there, True), (f"oci:{shell.folder}/there:1", False)):
            both = ("copy", name, place, "--referrers", "all")
            assert shell.ashore(*both).code == 0
            assert shell.ashore(*both).code == 0, "again, and nothing is new"
            if put_there:
                attach(mirror, REPOSITORY, subject, ours, STRANGER.image(subject, there))
                assert shell.ashore(*both).code == 0
                assert len(signatures_at(mirror, subject)) == 2, "what is there has all that came"
                attach(mirror, REPOSITORY, subject, STRANGER.image(subject, there))
                refused(shell.ashore(*both), 3, "would be lost", "--referrers deltas")
                assert len(signatures_at(mirror, subject)) == 1
        attach(registry, REPOSITORY, subject, ours, STRANGER.image(subject, name))
        assert shell.ashore("copy", name, f"oci:{shell.folder}/there:1", "--referrers", "all").code == 0
        assert (
            shell.ashore("copy", f"oci:{shell.folder}/there:1", f"{mirror.host}/new:1", "--referrers", "all").code == 0
        )
        assert len(signatures_at(mirror, subject, "new")) == 2, "more came than there were"


def signatures_at(registry: FakeRegistry, subject: str, repository: str = REPOSITORY) -> list[Any]:
    manifest = registry.tags[repository][signatures_tag(Digest(subject))]
    layers: list[Any] = json.loads(registry.manifests[repository][manifest][1])["layers"]
    return layers


def test_what_is_no_signature_there_is_not_lost_either(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    tag, layout = signatures_tag(Digest(digest(registry))), shell.folder / "there"
    with FakeRegistry() as mirror:
        there = f"{mirror.host}/{REPOSITORY}:1"
        assert shell.ashore("copy", name, there).code == 0
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
        mirror.manifests[REPOSITORY][of(index)] = (OCI_INDEX, index)
        mirror.tags[REPOSITORY][tag] = of(index)
        refused(shell.ashore("copy", name, there, "--referrers", "all"), 3, tag, "would be lost")
        assert mirror.tags[REPOSITORY][tag] == of(index)
    assert shell.ashore("copy", name, f"oci:{layout}:1", "--referrers", "all").code == 0
    listed = json.loads((layout / "index.json").read_text())
    other = dict(listed["manifests"][-1], annotations={"org.opencontainers.image.ref.name": tag})
    listed["manifests"].append(other)
    (layout / "index.json").write_text(json.dumps(listed))
    refused(shell.ashore("copy", name, f"oci:{layout}:1", "--referrers", "all"), 3, tag, "would be lost")


def test_a_registry_that_hides_its_tags_is_said(shell: Shell, registry: FakeRegistry, name: str) -> None:
    out = f"oci:{shell.folder}/out"
    for sought in (".sig", ".att", ".sbom"):
        hides = partial(_hidden, registry, sought)
        registry.misbehave("manifests", hides, times=99)
        refused(shell.ashore("copy", name, out, "--referrers", "all"), 4, sought, "signatures and the like")
        registry.behave()
    assert shell.ashore("copy", name, out).code == 0


def _hidden(registry: FakeRegistry, ending: str, reply: Reply) -> Reply:
    return Reply(403) if registry.seen[-1].path.endswith(ending) else reply


def test_a_key_that_is_missing_or_none_admits_nothing(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    key = shell.root / "etc/pki/signer.pub"
    for text in ("", "ssh-ed25519 AAAA", SIGNER.pem.decode()[:60]):
        key.write_text(text)
        with shell.unchanged():
            refused(shell.on_root("install", name), 5, "/etc/pki/signer.pub", "no public key", "remedy:")
    key.unlink()
    refused(shell.on_root("install", name), 5, "/etc/pki/signer.pub", "No such file", "remedy:")
    key.mkdir()
    refused(shell.on_root("install", name), 5, "/etc/pki/signer.pub")


def test_the_key_is_the_host_s_and_not_that_of_whoever_installs(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    (shell.root / "etc/pki/signer.pub").unlink()
    (shell.folder / "outside").write_bytes(SIGNER.pem)
    (shell.root / "etc/pki/signer.pub").symlink_to("../../../outside")
    with shell.unchanged():
        refused(shell.on_root("install", name), 5, "/etc/pki/signer.pub")


Attack = Callable[[FakeRegistry, str, str], object]
"""What is put beside an image, given the registry, the image's digest and its name."""


def many(registry: FakeRegistry, subject: str, named: str) -> object:
    """More than an image may have layers; none is of the key, and all but one are of no use."""
    useless = [Signature(payload(subject, named), "")] * 200
    return attach(registry, REPOSITORY, subject, *useless, STRANGER.image(subject, named))


def other(registry: FakeRegistry, subject: str, named: str) -> object:
    return attach(registry, REPOSITORY, subject, SIGNER.image("sha256:" + "0" * 64, named))


ATTACKS: dict[str, Attack] = {
    "another key": lambda r, d, n: attach(r, REPOSITORY, d, STRANGER.image(d, n)),
    "another image": other,
    "another name": lambda r, d, n: attach(r, REPOSITORY, d, SIGNER.image(d, "elsewhere.example/app:1")),
    "no annotation": lambda r, d, n: attach(r, REPOSITORY, d, Signature(payload(d, n), "")),
    "another kind": lambda r, d, n: attach(r, REPOSITORY, d, SIGNER.image(d, n), kind="application/vnd.dsse+json"),
    "too large": lambda r, d, n: attach(r, REPOSITORY, d, SIGNER.sign(payload(d, n) + b" " * DEFAULT.payload)),
    "too many": lambda r, d, n: attach(
        r, REPOSITORY, d, *[STRANGER.image(d, n)] * DEFAULT.signatures, SIGNER.image(d, n)
    ),
    "many of no use": many,
    "no manifest": lambda r, d, n: put(r, REPOSITORY, d, b"[]"),
    "half a manifest": lambda r, d, n: put(r, REPOSITORY, d, b'{"schemaVersion": 2,'),
    "an image": lambda r, d, n: put(r, REPOSITORY, d, r.manifests[REPOSITORY][d][1]),
    "no layers": lambda r, d, n: attach(r, REPOSITORY, d),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_lies_there_instead_of_a_signature(
    shell: Shell, registry: FakeRegistry, name: str, attack: Attack
) -> None:
    attack(registry, digest(registry), name)
    with shell.unchanged():
        refused(shell.on_root("install", name), 5, name)


def test_one_among_many_of_no_use_counts(shell: Shell, registry: FakeRegistry, name: str) -> None:
    subject = digest(registry)
    useless = [Signature(payload(subject, name), "")] * 200
    attach(registry, REPOSITORY, subject, *useless, SIGNER.image(subject, name))
    assert shell.on_root("install", name).code == 0


def test_a_payload_that_is_not_what_the_manifest_names(shell: Shell, registry: FakeRegistry, name: str) -> None:
    sign(registry, name)
    text = payload(digest(registry), name)
    registry.misbehave("blobs", altered(lambda data: b"x" * len(text) if data == text else data), times=99)
    with shell.unchanged():
        refused(shell.on_root("install", name), 5, "digest")


def test_a_registry_that_is_silent_about_signatures_is_no_fault_of_the_image(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    registry.auth = "basic"
    with shell.unchanged():
        assert shell.on_root("install", name).code == 4


def test_what_a_bundle_includes_is_held_to_the_policy_of_who_builds(
    shell: Shell, registry: FakeRegistry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ashore.cli.deltas.ROOT", str(shell.root))
    including = f'name = "more"\n[[include]]\nimage = "{name}"\npath = "ashore/root/etc/app"\nto = "etc/more"\n'
    folder = shell.bundle("more", {"etc/other": "x"}, including)
    built = f"oci:{shell.folder}/more.oci"
    refused(shell.ashore("build", str(folder), "-o", built), 5, "is not signed as")
    sign(registry, name)
    ran = shell.ashore("build", str(folder), "-o", built)
    assert ran.code == 0, ran


def test_an_index_vouches_for_its_images(shell: Shell, registry: FakeRegistry, name: str) -> None:
    folder = shell.bundle("app", {"etc/app": "both"})
    both = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    assert shell.ashore("build", str(folder), "-t", name, "--push", *both).code == 0
    index = digest(registry)
    (image, _) = (entry["digest"] for entry in json.loads(registry.manifests[REPOSITORY][index][1])["manifests"])
    with shell.unchanged():
        refused(shell.on_root("install", name), 5, "is not signed as", index.replace(":", "-"), image.replace(":", "-"))
    for signed in (index, image):
        tag = attach(registry, REPOSITORY, signed, SIGNER.image(signed, name))
        assert shell.on_root("install", name).code == 0
        assert shell.on_root("remove", "app").code == 0
        del registry.tags[REPOSITORY][tag]


def test_a_delta_is_made_of_images_whose_index_is_signed(
    shell: Shell, registry: FakeRegistry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ashore.cli.deltas.ROOT", str(shell.root))
    both = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    text = "\n".join(str(7919 * number) for number in range(60_000))
    for version in ("1", "2"):
        folder = shell.bundle("app", {"etc/app": version + text}, f'name = "app"\nversion = "{version}"\n')
        assert shell.ashore("build", str(folder), "-t", f"{name[:-1]}{version}", "--push", *both).code == 0
    delta = ("delta", name, f"{name[:-1]}2")
    sign(registry, name)
    refused(shell.ashore(*delta), 5, f"{name[:-1]}2 is not signed as")
    sign(registry, f"{name[:-1]}2", "2")
    ran = shell.ashore(*delta)
    assert ran.code == 0, ran


def test_a_mirror_that_serves_digests_alone_is_asked_for_no_signature(
    shell: Shell, registry: FakeRegistry, name: str
) -> None:
    sign(registry, name)
    asks(shell, registry.host, signedIdentity={"type": "matchRepository"})
    with FakeRegistry() as mirror:
        assert shell.ashore("copy", name, f"{mirror.host}/{REPOSITORY}:1").code == 0
        mirror.seen.clear()
        (shell.root / "etc/containers/registries.conf").write_text(
            f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\npull-from-mirror = "digest-only"\n'
        )
        pinned = f"{name.rpartition(':')[0]}@{digest(registry)}"
        assert shell.on_root("install", pinned).code == 0
        assert mirror.count("GET", "manifests/sha256:") and not mirror.count("GET", ".sig")
