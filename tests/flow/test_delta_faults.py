# SPDX-License-Identifier: Apache-2.0
"""A delta is a way to fetch less: whatever is wrong with it is asked once, and then done without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ashore.nouns.delta import ARTIFACT
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Change, Reply, answer, cut
from tests.flow.machine import snapshot
from tests.flow.test_delta import Author, as_if_new, author, big, host, install, registry  # noqa: F401 - fixtures


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
    for number in range(2):
        author.write(f"root/opt/bin/big{number}", big(number))
    first = author.publish("1")
    install(first, host)
    for number in range(2):
        author.write(f"root/opt/bin/big{number}", big(number, changed=True))
    author.change("root/etc/many.conf.j2", b"more={{ port }}\n")
    return author.publish("2", "--delta-from", first)


CHANGES = {"500": answer(500), "503": answer(503, {"Retry-After": "3"}), "breaks": cut(10), "gone": answer(404)}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("what", ["manifest", "patches"])
def test_what_fails_of_a_delta_is_asked_once_and_done_without(
    registry: FakeRegistry,  # noqa: F811
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
    registry: FakeRegistry,  # noqa: F811
    published: str,
    host: Path,  # noqa: F811
) -> None:
    registry.misbehave("referrers", answer(503), times=99)
    registry.seen.clear()
    install(published, host)
    assert registry.count("GET", "/referrers/") == 1
