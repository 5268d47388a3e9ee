# SPDX-License-Identifier: Apache-2.0
"""Whatever a delta is, or what a registry says of deltas: the host gets the image, as if there were none."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ashore.cli import run
from ashore.nouns.delta import ARTIFACT
from ashore.nouns.image import OCI_INDEX, OCI_MANIFEST
from ashore.nouns.limits import DEFAULT
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Change, Reply
from tests.flow.machine import snapshot
from tests.hostile.deltas.published import NAME, Delta, Published, publish
from tests.hostile.deltas.tampered import TAMPERED

_MOST_MEMORY = 300_000_000
"""Bytes that the whole test process may have taken at its peak beyond what it had: no bomb went off."""


class Scene:
    """A host that has version 1, and a registry with both versions and the delta."""

    def __init__(self, registry: FakeRegistry, host: Path, folder: Path, expected: dict[str, tuple[object, ...]]):
        self.registry, self.host, self.folder, self.expected = registry, host, folder, expected

    def upgrade(self, tamper: Callable[[], object]) -> int:
        """Tamper, then install version 2; returns how many requests that took."""
        before = len(self.registry.seen)
        tamper()
        assert run(["install", f"{self.registry.host}/{NAME}:2", "--root", str(self.host)]) == 0
        assert snapshot(self.host) == self.expected
        assert not list((self.host / "var/lib/ashore/stage").iterdir())
        return len(self.registry.seen) - before


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Published, Path, dict[str, tuple[object, ...]]]]:
    """What is published, the folder with a host that has version 1, and what one with version 2 looks like."""
    folder = tmp_path_factory.mktemp("deltas")
    published = publish(folder)
    with pytest.MonkeyPatch.context() as patched, FakeRegistry() as registry:
        published.into(registry)
        for version in ("1", "2"):
            patched.setenv("ASHORE_CACHE", str(folder / f"cache{version}"))
            (folder / f"host{version}/var/lib").mkdir(parents=True)
            reference = f"{registry.host}/{NAME}:{version}"
            assert run(["install", reference, "--root", str(folder / f"host{version}")]) == 0
    yield published, folder, snapshot(folder / "host2")


@pytest.fixture
def scene(
    first: tuple[Published, Path, dict[str, tuple[object, ...]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    published, folder, expected = first
    shutil.copytree(folder / "host1", tmp_path / "host", symlinks=True)
    shutil.copytree(folder / "cache1", tmp_path / "cache")
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    with FakeRegistry() as registry:
        published.into(registry)
        yield Scene(registry, tmp_path / "host", folder, expected)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_delta_is_used_where_nobody_tampers(scene: Scene) -> None:
    """Without this, all of the others would say nothing."""
    scene.upgrade(lambda: None)
    assert not [seen for seen in scene.registry.seen if "blobs" in seen.path and seen.headers.get("Range") is None][1:]
    assert scene.registry.sent < 250_000


_ALONG = ("another content", "another table", "cut", "flipped bits", "a bomb", "a place outside", "no directory")


@pytest.mark.parametrize(
    ("name", "along"),
    [*((name, False) for name in TAMPERED), *((name, True) for name in _ALONG)],
    ids=lambda value: {True: "in the manifest", False: "in blobs"}.get(value, value),
)
def test_a_tampered_delta_is_passed_over(scene: Scene, name: str, along: bool) -> None:
    before = peak()

    def tamper() -> None:
        delta = Delta(scene.registry)
        delta.along = along
        TAMPERED[name](delta, scene.folder)
        delta.put()
        if name == "another subject":
            scene.registry.misbehave("referrers", listing(delta.digest), times=10)

    assert scene.upgrade(tamper) <= 12
    assert scene.registry.sent < 8_000_000, "twice what there is to fetch without a delta"
    assert peak() - before < _MOST_MEMORY


def listing(*digests: str, size: int = 1000) -> Change:
    """A list that names these manifests as deltas."""
    return lambda reply: Reply(200, {"Content-Type": OCI_INDEX}, listed(digests, size))


def listed(digests: tuple[str, ...], size: int) -> bytes:
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "artifactType": ARTIFACT} for digest in digests
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def endless_pages(reply: Reply) -> Reply:
    """Each page is empty, and says that there is another."""
    headers = {"Content-Type": OCI_INDEX, "Link": f'</v2/{NAME}/referrers/sha256:{"0" * 64}?page=next>; rel="next"'}
    return Reply(200, headers, listed((), 0))


LISTS: dict[str, Change] = {
    "endless pages": endless_pages,
    "an endless page": lambda reply: Reply(
        200, {"Content-Type": OCI_INDEX}, b'{"manifests":[' + b" " * 9999, endless=True
    ),
    "fifty thousand that are not there": listing(*(f"sha256:{number:064x}" for number in range(50_000))),
    "one that is not there": listing("sha256:" + "0" * 64),
    "itself": lambda reply: reply,
    "a page of another site": replies.answer(200, {"Content-Type": "text/html"}, b"<html>"),
    "JSON that is no list": replies.answer(200, {"Content-Type": OCI_INDEX}, b'{"manifests": {"a": 1}}'),
    "nested beyond all": replies.answer(200, {"Content-Type": OCI_INDEX}, b"[" * 1_000_000),
    "entries that make no sense": replies.answer(
        200, {"Content-Type": OCI_INDEX}, b'{"manifests": [1, null, {"digest": "../.."}, {"mediaType": 7}]}'
    ),
    "nothing": replies.answer(200, {}, b""),
    "a break": replies.cut(10, hard=True),
    "no such list": replies.answer(404),
    "no such thing": replies.answer(501),
    "forbidden": replies.answer(403),
    "a fault": replies.answer(500),
    "too many requests": replies.answer(429, {"Retry-After": "100000"}),
    "a redirect to itself": replies.redirected("/v2/x"),
}


@pytest.mark.parametrize("name", LISTS)
def test_whatever_a_registry_says_of_referrers_the_image_comes(scene: Scene, name: str) -> None:
    asked = scene.upgrade(lambda: scene.registry.misbehave("referrers", LISTS[name], times=1000))
    assert asked <= 10 + DEFAULT.referrer_pages


def test_a_silent_list_is_not_waited_for_again_and_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    import ashore.cli.wiring as wiring
    from ashore.nouns.limits import Limits

    monkeypatch.setattr(wiring, "_limits", lambda *_args, **_named: Limits(idle_seconds=1.0))
    scene.upgrade(lambda: scene.registry.misbehave("referrers", replies.stalled(5), times=1000))
    assert sum("referrers" in seen.path for seen in scene.registry.seen) == 1


def test_a_manifest_that_is_another_than_the_list_names(scene: Scene) -> None:
    delta = Delta(scene.registry)

    def swap() -> None:
        media_type, data = scene.registry.manifests[NAME][delta.digest]
        scene.registry.manifests[NAME][delta.digest] = (media_type, data + b" ")

    assert scene.upgrade(swap) <= 12


def test_a_manifest_without_its_blobs(scene: Scene) -> None:
    delta = Delta(scene.registry)

    def remove() -> None:
        for layer in delta.document["layers"]:
            del scene.registry.blobs[NAME][layer["digest"]]

    assert scene.upgrade(remove) <= 12


def test_a_manifest_over_the_limit(scene: Scene) -> None:
    delta = Delta(scene.registry)

    def grow() -> None:
        delta.document["annotations"] = {"x": "x" * (DEFAULT.manifest + 1)}
        delta.put()

    assert scene.upgrade(grow) <= 12


@pytest.mark.parametrize("status", [404, 416, 403])
def test_patches_that_do_not_come(scene: Scene, status: int) -> None:
    """Each answer to the patches' blob is a fault; the layer's own comes."""
    patches = Delta(scene.registry).document["layers"][1]["digest"]

    def refuse(reply: Reply) -> Reply:
        return replies.answer(status)(reply) if reply.headers.get("Docker-Content-Digest") == patches else reply

    scene.upgrade(lambda: scene.registry.misbehave("blobs", refuse, times=1000))


@pytest.mark.parametrize(
    "change",
    [replies.with_headers(Content_Range="bytes 0-9/10"), replies.cut(1000, hard=True), replies.cut(1000)],
    ids=["another range", "a break", "an end"],
)
def test_patches_that_come_wrong(scene: Scene, change: Change) -> None:
    patches = Delta(scene.registry).document["layers"][1]["digest"]

    def damage(reply: Reply) -> Reply:
        return change(reply) if reply.headers.get("Docker-Content-Digest") == patches else reply

    scene.upgrade(lambda: scene.registry.misbehave("blobs", damage, times=1000))


class TestCredentials:
    """A list of referrers is asked for as anything else: the credential goes to the registry alone."""

    @pytest.fixture
    def login(self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        import base64

        scene.registry.auth = "token"
        both = f"{scene.registry.user}:{scene.registry.password}".encode()
        auth = {"auths": {scene.registry.host: {"auth": base64.b64encode(both).decode()}}}
        (tmp_path / "auth.json").write_text(json.dumps(auth))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        return str(auth["auths"][scene.registry.host]["auth"])

    def test_it_is_asked_for_with_the_token(self, scene: Scene, login: str) -> None:
        scene.upgrade(lambda: None)
        (asked,) = [seen for seen in scene.registry.seen if "referrers" in seen.path]
        assert asked.headers["Authorization"].startswith("Bearer token-")

    @pytest.mark.parametrize("way", ["redirect", "next page", "patches"])
    def test_no_stranger_sees_it(self, scene: Scene, login: str, way: str) -> None:
        with FakeRegistry() as stranger:
            elsewhere = f"http://{stranger.host}/v2/{NAME}/referrers/sha256:{'0' * 64}"
            if way == "redirect":
                scene.registry.misbehave("referrers", replies.redirected(elsewhere), times=100, method="GET")
                scene.registry.misbehave("manifests", lambda reply: reply)
            elif way == "next page":
                link = {"Content-Type": OCI_INDEX, "Link": f'<{elsewhere}>; rel="next"'}
                scene.registry.misbehave(
                    "referrers", lambda r: r if r.status == 401 else Reply(200, link, listed((), 0)), times=100
                )
            else:
                patches = Delta(scene.registry).document["layers"][1]["digest"]

                def send(reply: Reply) -> Reply:
                    mine = reply.headers.get("Docker-Content-Digest") == patches
                    return replies.redirected(elsewhere)(reply) if mine else reply

                scene.registry.misbehave("blobs", send, times=100)
            scene.upgrade(lambda: None)
            assert bool(stranger.seen) is (way != "next page"), "the redirect was followed, the link was not"
            assert not [seen for seen in stranger.seen if login in seen.text or "token-" in seen.text]
