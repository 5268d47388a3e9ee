# SPDX-License-Identifier: Apache-2.0
"""What cosign and skopeo signed, ashore admits and refuses as skopeo does, but for what is named here."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.shell import Shell, quiet_shell, refused
from tests.system.lab import LabError
from tests.system.registry_server import available
from tests.system.signed_images import Requirement, Site, signed_images
from tests.system.signing import Policy

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (available() and shutil.which("mmdebstrap") and shutil.which("openssl")),
        reason="needs root, docker-registry, openssl, and mmdebstrap for cosign and skopeo of a newer Debian",
    ),
]

_REJECT, _ACCEPT = {"type": "reject"}, {"type": "insecureAcceptAnything"}
_EXACT, _REPOSITORY = {"type": "matchExact"}, {"type": "matchRepository"}
Table = Mapping[str, tuple[str, Sequence[Requirement]]]
"""Cases by name: an image, and what is asked of it."""


def by(*keys: str, identity: Requirement | None = None) -> Requirement:
    """A signature of any of the keys is asked for; without an identity the default holds, matchRepoDigestOrExact."""
    paths = [f"KEYS/{key}.pub" for key in keys]
    return _signed({"keyPath": paths[0]} if len(paths) == 1 else {"keyPaths": paths}, identity)


def by_data(*keys: str, identity: Requirement | None = None) -> Requirement:
    """The same with the keys in the policy."""
    data = [f"DATA({key})" for key in keys]
    return _signed({"keyData": data[0]} if len(data) == 1 else {"keyDatas": data}, identity)


def _signed(keys: Requirement, identity: Requirement | None) -> Requirement:
    return {"type": "sigstoreSigned", **keys, **({"signedIdentity": identity} if identity else {})}


def reference(name: str) -> Requirement:
    return {"type": "exactReference", "dockerReference": f"HOST/{name}"}


def repository(name: str) -> Requirement:
    return {"type": "exactRepository", "dockerRepository": f"HOST/{name}"}


def remap(here: str, signed: str) -> Requirement:
    return {"type": "remapIdentity", "prefix": here, "signedPrefix": signed}


_OURS = by("ours", identity=_REPOSITORY)
_HUB = {"type": "exactRepository", "dockerRepository": "docker.io/library/app"}
_MIRRORED = remap("HOST/mirror", "HOST")

# Images: `NAME:TAG`, or `NAME@TAG` for the digest that the tag has. In policies HOST is the registry.
ADMITTED: Table = {
    "cosign's, whatever the tag": ("cosign:1", [_OURS]),
    "cosign's, by digest": ("cosign@1", [_OURS]),
    "cosign's, told a tag, default identity": ("named:1", [by("ours")]),
    "cosign's, told a tag, exactly": ("named:1", [by("ours", identity=_EXACT)]),
    "skopeo's, default identity": ("skopeo:1", [by("ours")]),
    "skopeo's, by digest, default identity": ("skopeo@1", [by("ours")]),
    "skopeo's, exactly": ("skopeo:1", [by("ours", identity=_EXACT)]),
    "skopeo's, another tag of the repository": ("skopeo:other", [_OURS]),
    "exactly this reference, wherever it lies": ("mirror/skopeo:1", [by("ours", identity=reference("skopeo:1"))]),
    "this reference, by another tag": ("skopeo:other", [by("ours", identity=reference("skopeo:1"))]),
    "exactly this repository": ("cosign:1", [by("ours", identity=repository("cosign"))]),
    "exactly this repository, wherever it lies": ("mirror/cosign:1", [by("ours", identity=repository("cosign"))]),
    "remapped": ("mirror/skopeo:1", [by("ours", identity=_MIRRORED)]),
    "remapped, one repository": ("mirror/skopeo:1", [by("ours", identity=remap("HOST/mirror/skopeo", "HOST/skopeo"))]),
    "remapped, by digest": ("mirror/skopeo@1", [by("ours", identity=_MIRRORED)]),
    "another prefix is remapped": ("skopeo:1", [by("ours", identity=_MIRRORED)]),
    "Docker Hub by its other name": (
        "hub:1",
        [by("ours", identity=_HUB)],
    ),
    "Docker Hub without its name": ("hub:1", [by("ours", identity=_HUB | {"dockerRepository": "app"})]),
    "the first of two keys": ("cosign:1", [by("ours", "theirs", identity=_REPOSITORY)]),
    "the second of two keys": ("theirs:1", [by("ours", "theirs", identity=_REPOSITORY)]),
    "a key in the policy": ("cosign:1", [by_data("ours", identity=_REPOSITORY)]),
    "the second of two keys in the policy": ("theirs:1", [by_data("ours", "theirs", identity=_REPOSITORY)]),
    "one of two signatures": ("both:1", [_OURS]),
    "two signatures, both asked for": ("both:1", [_OURS, by("theirs", identity=_REPOSITORY)]),
    "anything beside": ("cosign:1", [_ACCEPT, _OURS]),
    "an index signed with its images": ("each:1", [_OURS]),
    "an index signed with its images by skopeo": ("skopeo-each:1", [by("ours")]),
    "an index signed with its images, by digest": ("each@1", [_OURS]),
    "an index signed with its images by skopeo, by digest": ("skopeo-each@1", [by("ours")]),
    "an image signed with its index": ("each:one", [_OURS]),
    "another kind, ECDSA with P-384": ("ecdsa-p384:1", [by("ecdsa-p384", identity=_REPOSITORY)]),
    "another kind, Ed25519": ("ed25519:1", [by("ed25519", identity=_REPOSITORY)]),
    "another kind, RSA": ("rsa-3072:1", [by("rsa-3072", identity=_REPOSITORY)]),
    "kinds of keys beside each other": ("rsa-3072:1", [by("ours", "ed25519", "rsa-3072", identity=_REPOSITORY)]),
}
REFUSED: Table = {
    "unsigned": ("unsigned:1", [_OURS]),
    "unsigned, by digest": ("unsigned@1", [_OURS]),
    "unsigned, and anything beside": ("unsigned:1", [_ACCEPT, _OURS]),
    "signed, and reject beside": ("cosign:1", [_OURS, _REJECT]),
    "another key": ("theirs:1", [_OURS]),
    "another key in the policy": ("theirs:1", [by_data("ours", identity=_REPOSITORY)]),
    "neither of two keys": ("ed25519:1", [by("ours", "theirs", identity=_REPOSITORY)]),
    "one signature, two asked for": ("cosign:1", [_OURS, by("theirs", identity=_REPOSITORY)]),
    "the signature of another image": ("cosign:moved", [_OURS]),
    "the signature of another image, by digest": ("cosign@moved", [_OURS]),
    "signed for another repository": ("mirror/cosign:1", [_OURS]),
    "signed for another repository, by digest": ("mirror/skopeo@1", [by("ours")]),
    "cosign names no tag, default identity": ("cosign:1", [by("ours")]),
    "cosign names no tag, exactly": ("cosign:1", [by("ours", identity=_EXACT)]),
    "cosign names no digest, exactly": ("cosign@1", [by("ours", identity=_EXACT)]),
    "cosign names no tag, one reference": ("cosign:1", [by("ours", identity=reference("cosign:1"))]),
    "cosign names no tag, remapped": ("mirror/cosign:1", [by("ours", identity=_MIRRORED)]),
    "cosign names no tag, by digest, default identity": ("cosign@1", [by("ours")]),
    "cosign names no tag, by digest, remapped": ("mirror/cosign@1", [by("ours", identity=_MIRRORED)]),
    "signed as another tag, default identity": ("skopeo:other", [by("ours")]),
    "signed as another tag, exactly": ("skopeo:other", [by("ours", identity=_EXACT)]),
    "signed as a tag, by digest, exactly": ("skopeo@1", [by("ours", identity=_EXACT)]),
    "another reference": ("skopeo:1", [by("ours", identity=reference("skopeo:other"))]),
    "another repository": ("cosign:1", [by("ours", identity=repository("skopeo"))]),
    "a repository above": ("mirror/cosign:1", [by("ours", identity=repository("mirror"))]),
    "remapped to another repository": ("mirror/skopeo:1", [by("ours", identity=remap("HOST/mirror", "HOST/away"))]),
    "remapped by half a name": ("mirror/skopeo:1", [by("ours", identity=remap("HOST/mirror/sko", "HOST/sko"))]),
    "an image whose index alone is signed": ("index:one", [_OURS]),
    "an index with a signature by another key": ("index:1", [by("theirs", identity=_REPOSITORY)]),
}
# An index vouches for its images.
ADMITTED_BY_ASHORE_ALONE: Table = {
    "an index signed without its images": ("index:1", [_OURS]),
    "an index signed without its images, by digest": ("index@1", [_OURS]),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with signed_images(tmp_path_factory.mktemp("signed")) as site:
        yield site


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return quiet_shell(tmp_path, monkeypatch)


def asked(site: Site, case: tuple[str, Sequence[Requirement]]) -> tuple[str, Policy]:
    """A case's image and policy, as this registry has them."""
    return site.image(case[0]), site.policy(case[1])


def admitted(shell: Shell, image: str) -> None:
    """It is installed."""
    done = shell.on_root("install", image)
    assert done.code == 0, done.err
    assert (shell.root / "etc/signed").exists()


def turned_away(shell: Shell, image: str) -> None:
    """It is refused, and the host is as it was."""
    with shell.unchanged():
        ran = shell.on_root("install", image)
    refused(ran, 5, "policy.json")
    assert "cannot check" not in ran.err, "it was checked"


@pytest.mark.parametrize("case", ADMITTED)
def test_it_is_admitted_as_by_skopeo(case: str, site: Site, shell: Shell) -> None:
    image, policy = asked(site, ADMITTED[case])
    assert site.tools.refused(f"docker://{image}", policy) == ""
    site.ask_of(shell, policy)
    admitted(shell, image)


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_as_by_skopeo(case: str, site: Site, shell: Shell) -> None:
    image, policy = asked(site, REFUSED[case])
    assert site.tools.refused(f"docker://{image}", policy)
    site.ask_of(shell, policy)
    turned_away(shell, image)


@pytest.mark.parametrize("case", ADMITTED_BY_ASHORE_ALONE)
def test_it_is_admitted_where_skopeo_asks_for_more(case: str, site: Site, shell: Shell) -> None:
    image, policy = asked(site, ADMITTED_BY_ASHORE_ALONE[case])
    assert re.search("no signature exists|is not accepted", site.tools.refused(f"docker://{image}", policy))
    site.ask_of(shell, policy)
    admitted(shell, image)


def test_an_rsa_key_is_too_short_that_skopeo_takes(site: Site, shell: Shell) -> None:
    image, policy = site.image("rsa-1024:1"), site.policy([by("rsa-1024", identity=_REPOSITORY)])
    assert site.tools.refused(f"docker://{image}", policy) == ""
    site.ask_of(shell, policy)
    turned_away(shell, image)


def test_a_tag_beside_a_digest_does_not_count_where_skopeo_takes_only_one_of_them(site: Site, shell: Shell) -> None:
    both, policy = site.image("skopeo@1").replace("@", ":another@"), site.policy([by("ours")])
    with pytest.raises(LabError, match="not supported"):
        site.tools.refused(f"docker://{both}", policy)
    site.ask_of(shell, policy)
    admitted(shell, both)


@pytest.mark.parametrize("name", ["cosign:1", "skopeo:1", "each:1"])
def test_all_find_the_signatures_that_ashore_copied(name: str, site: Site, shell: Shell) -> None:
    source, policy = site.image(name), site.policy([by("ours", identity=repository(name.partition(":")[0]))])
    for referrers in ("none", "all"):
        image = site.image(f"{referrers}/{name}")
        copied = shell.ashore("copy", f"docker://{source}", f"docker://{image}", "--referrers", referrers)
        assert copied.code == 0, copied.err
    site.ask_of(shell, policy)
    assert "no signature exists" in site.tools.refused(f"docker://{site.image(f'none/{name}')}", policy)
    turned_away(shell, site.image(f"none/{name}"))
    assert site.tools.refused(f"docker://{site.image(f'all/{name}')}", policy) == ""
    site.tools.verify_by_cosign("ours", site.image(f"all/{name}"))
    admitted(shell, site.image(f"all/{name}"))


@pytest.mark.parametrize("name", ["cosign:1", "skopeo:1", "each:1", "index:1"])
def test_a_layout_s_signatures_count_where_skopeo_looks_for_none(name: str, site: Site, shell: Shell) -> None:
    policy = site.policy([by("ours", identity=repository(name.partition(":")[0]))], "oci", scope="")
    places = {referrers: f"oci:{shell.folder}/{referrers}:1" for referrers in ("none", "all")}
    for referrers, place in places.items():
        copied = shell.ashore("copy", f"docker://{site.image(name)}", place, "--referrers", referrers)
        assert copied.code == 0, copied.err
    assert "no signature exists" in site.tools.refused(places["all"], policy)
    site.ask_of(shell, policy)
    turned_away(shell, places["none"])
    admitted(shell, places["all"])


@pytest.mark.parametrize("name", ["cosign:1", "index:1"])
def test_what_cosign_saved(name: str, site: Site, shell: Shell) -> None:
    folder = site.tools.folder / f"saved-{name.partition(':')[0]}"
    site.tools.save(site.image(name), folder)
    asked = by("ours", identity=repository(name.partition(":")[0]))
    site.ask_of(shell, site.policy([asked], "oci", scope=""))
    admitted(shell, f"oci:{folder}")


def test_signatures_that_cosign_saved_are_of_no_other_image(site: Site, shell: Shell) -> None:
    folder = site.tools.folder / "saved-other"
    site.tools.save(site.image("index:1"), folder)
    copied = shell.ashore("copy", f"oci:{folder}", f"docker://{site.image('saved:1')}", "--referrers", "all")
    assert copied.code == 0, copied.err
    site.tools.verify_by_cosign("ours", site.image("saved:1"))
    asked = by("ours", identity=repository("index"))
    assert "no signature exists" in site.tools.refused(f"docker://{site.image('saved:1')}", site.policy([asked]))
    site.ask_of(shell, site.policy([asked]))
    admitted(shell, site.image("saved:1"))


def test_what_is_refused_leaves_what_is_installed(site: Site, shell: Shell) -> None:
    site.ask_of(shell, site.policy([_OURS]))
    admitted(shell, site.image("cosign:1"))
    turned_away(shell, site.image("cosign:moved"))


def test_what_lies_elsewhere_is_judged_by_the_name_that_it_is_asked_by(site: Site, shell: Shell) -> None:
    registries = f"""
[[registry]]
prefix = "registry.example/team/app"
location = "{site.image("named-elsewhere")}"
insecure = true
"""
    there, name = site.image("named-elsewhere:1"), "registry.example/team/app:1"
    by_name = site.policy([by("ours")], scope="registry.example")
    assert "is not accepted" in site.tools.refused(f"docker://{there}", site.policy([by("ours")]))
    assert site.tools.refused(f"docker://{name}", by_name, registries) == ""
    site.ask_of(shell, by_name)
    (shell.root / "etc/containers/registries.conf").write_text(registries)
    admitted(shell, name)


def test_a_key_that_lies_on_this_machine_is_not_the_root_s(site: Site, shell: Shell) -> None:
    site.ask_of(shell, site.policy([_OURS]))
    (shell.root / site.tools.public("ours").relative_to("/")).unlink()
    turned_away(shell, site.image("cosign:1"))
