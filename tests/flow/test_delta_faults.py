# SPDX-License-Identifier: Apache-2.0
"""A delta is a way to fetch less: whatever is wrong with it is asked once, and then done without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ashore.cli import run
from ashore.nouns.delta import ARTIFACT
from ashore.nouns.reference import parse
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Change, Reply, altered, answer, cut
from tests.flow.machine import snapshot
from tests.flow.test_delta import Author, as_if_new, author, big, host, install  # noqa: F401 - fixtures


class Delta:
    """The one delta of a repository, whose patches are a blob of their own."""

    def __init__(self, fake: FakeRegistry, repository: str = "team/many") -> None:
        self.registry = fake
        held = ((digest, json.loads(data)) for digest, (_, data) in fake.manifests[repository].items())
        self.digest, document = next((d, document) for d, document in held if document.get("artifactType") == ARTIFACT)
        self.patches: dict[str, Any] = document["layers"][-1]

    def spoil(self, digest: str, change: Change) -> Callable[[], int]:
        """Have each answer with that document or blob changed; returns how many there were."""
        count = 0

        def changed(reply: Reply) -> Reply:
            nonlocal count
            if reply.headers.get("Docker-Content-Digest") != digest:
                return reply
            count += 1
            return change(reply)

        self.registry.misbehave("any", changed, times=10_000)
        return lambda: count


@pytest.fixture
def published(registry: FakeRegistry, author: Author, host: Path) -> str:  # noqa: F811
    """Version 1 is installed; returns the reference of version 2, which has a delta."""
    author.write("root/opt/bin/big", big(1))
    first = author.publish("1")
    install(first, host)
    author.write("root/opt/bin/big", big(1, changed=True))
    author.change("root/etc/many.conf.j2", b"more={{ port }}\n")
    return author.publish("2", "--delta-from", first)


CHANGES = {"500": answer(500), "503": answer(503, {"Retry-After": "3"}), "breaks": cut(10), "gone": answer(404)}


@pytest.mark.parametrize(
    ("what", "how"), [("manifest", "500"), ("patches", "503"), ("patches", "breaks"), ("patches", "gone")]
)
def test_what_fails_of_a_delta_is_asked_once_and_done_without(
    registry: FakeRegistry,
    published: str,
    host: Path,  # noqa: F811
    tmp_path: Path,
    what: str,
    how: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    delta = Delta(registry)
    asked = delta.spoil(delta.digest if what == "manifest" else delta.patches["digest"], CHANGES[how])
    install(published, host)
    assert asked() == 1
    said = capsys.readouterr().err
    assert said.count("its delta is passed over") == 1
    assert "trying again" not in said
    assert snapshot(host) == as_if_new(published, tmp_path)


def test_a_list_of_referrers_that_fails_is_asked_for_once(
    registry: FakeRegistry,
    published: str,
    host: Path,  # noqa: F811
) -> None:
    registry.misbehave("referrers", answer(503), times=99)
    registry.seen.clear()
    install(published, host)
    assert registry.count("GET", "/referrers/") == 1


WRONG = altered(lambda data: data[:-1] + bytes([data[-1] ^ 1]))
SPOILED = {"gone": answer(404), "wrong": WRONG, "short": altered(lambda data: data[:-1])}


@pytest.mark.parametrize(
    ("way", "what", "how"),
    [
        ("registry", "manifest", "gone"),
        ("registry", "manifest", "wrong"),
        ("registry", "patches", "gone"),
        ("registry", "patches", "wrong"),
        ("oci:{}/out", "patches", "short"),
        ("oci-archive:{}/out.tar", "patches", "wrong"),
    ],
)
def test_an_image_whose_delta_cannot_be_read_is_copied_without_it(
    published: str, tmp_path: Path, way: str, what: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry() as other:
        source = parse(published)
        assert run(["copy", published, f"{other.host}/team/many:2"]) == 0
        delta = Delta(other)
        delta.spoil(delta.digest if what == "manifest" else delta.patches["digest"], SPOILED[how])
        target = f"{source.place}/copied/many:2" if way == "registry" else way.format(tmp_path)
        verb = "copy" if way == "registry" else "pull"
        capsys.readouterr()
        assert run([verb, f"{other.host}/team/many:2", target]) == 0
        assert f"copied without its delta {delta.digest}: " in capsys.readouterr().err
        assert run([verb, f"{other.host}/team/many:2", f"{target}-all", "--referrers", "all"]) in (3, 4, 5)
    root = tmp_path / "copied"
    (root / "var/lib").mkdir(parents=True)
    install(target, root)


def test_a_target_that_does_not_take_a_delta_is_told_of(
    registry: FakeRegistry,
    published: str,
) -> None:
    with FakeRegistry() as other:
        delta = Delta(registry)
        size = delta.patches["size"]

        def refuse(reply: Reply) -> Reply:
            sent = sum(len(seen.body) for seen in other.seen[-1:])
            return answer(403)(reply) if sent == size else reply

        other.misbehave("blobs/uploads", refuse, times=99)
        assert run(["copy", published, f"{other.host}/team/many:2"]) == 4
        assert "2" not in other.tags.get("team/many", {})
