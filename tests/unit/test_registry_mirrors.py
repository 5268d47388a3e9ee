# SPDX-License-Identifier: Apache-2.0
"""Mirrors that give something wrong, break for good, or have no time: the next place is asked, and they are named."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ashore.acts.author.copy import copy
from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.errors import ElsewhereError, RegistryError, VerificationError
from ashore.mechanisms.images.streams import distrusted
from ashore.mechanisms.registry import Repository
from ashore.nouns import digest as digests
from ashore.nouns.limits import Limits
from ashore.nouns.reference import parse
from ashore.rules.images.verify import unjudged
from tests.fakes import registry_replies as replies
from tests.fakes.images import AMD64, MemorySink, MemoryStore, Silent, layer, member, put_image
from tests.fakes.mirrors import Mirrored
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, Told, Waits, blob_of, drain, open_at, settings_in

LAYER = os.urandom(300_000)
STREAMED = msgspec.structs.replace(LIMITS, manifest=4000)
"""The layer is larger than what is read before it is handed out."""
WRONG = replies.altered(lambda data: data[:-1] + bytes([data[-1] ^ 1]))


class Pull(Mirrored):
    """A client that never waits, and an image of one layer at both places."""

    def __init__(self, mirror: FakeRegistry, main: FakeRegistry, root: Path) -> None:
        super().__init__(mirror, main, root)
        self.manifest, _ = replies.put_image(main, "team/app", "1.0", LAYER)
        self.sync()
        self.waits, self.told = Waits(), Told()

    def open(self, limits: Limits = LIMITS) -> Repository:
        settings = settings_in(str(self.root), limits=limits, waits=self.waits)
        return open_at(f"{self.main.host}/team/app:1.0", settings, progress=self.told)

    def said(self, what: str) -> bool:
        """Whether a line has it, and that the mirror is at fault."""
        return any(what in line and f"the mirror {self.mirror.host} is not asked" in line for line in self.told.lines)


@pytest.fixture
def pull(tmp_path: Path) -> Iterator[Pull]:
    with FakeRegistry() as mirror, FakeRegistry() as main:
        yield Pull(mirror, main, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(WRONG, id="other bytes"),
        pytest.param(replies.altered(lambda data: data[:-1]), id="short"),
        pytest.param(replies.altered(lambda data: data + b"x"), id="long"),
        pytest.param(replies.endless, id="endless"),
        pytest.param(replies.with_headers(Content_Encoding="gzip"), id="encoded"),
    ],
)
def test_a_blob_that_comes_wrong_from_a_mirror_comes_from_the_next_place(pull: Pull, change: replies.Change) -> None:
    pull.mirror.misbehave("blobs", change, times=9)
    repository = pull.open()
    assert drain(repository.blob(blob_of(LAYER))) == drain(repository.blob(blob_of(LAYER))) == LAYER
    assert pull.mirror.count("GET", "blobs") == 1, "it is not asked again"
    assert pull.said(f"at {pull.mirror.host} is not what was asked for")


def test_what_is_wrong_everywhere_is_refused(pull: Pull) -> None:
    for fake in (pull.mirror, pull.main):
        fake.misbehave("blobs", WRONG, times=9)
    with pytest.raises(VerificationError) as caught:
        drain(pull.open().blob(blob_of(LAYER)))
    assert not isinstance(caught.value, ElsewhereError)
    assert "blob sha256" in str(caught.value)
    assert pull.mirror.host not in str(caught.value)


def test_a_large_blob_that_comes_wrong_names_the_mirror_and_comes_right_the_next_time(pull: Pull) -> None:
    pull.mirror.misbehave("blobs", WRONG, times=9)
    repository = pull.open(STREAMED)
    with pytest.raises(ElsewhereError, match=f"at {pull.mirror.host} is not what was asked for"):
        drain(repository.blob(blob_of(LAYER)))
    assert drain(repository.blob(blob_of(LAYER))) == LAYER


@pytest.mark.parametrize("limits", [LIMITS, STREAMED], ids=["held", "streamed"])
def test_a_blob_that_breaks_at_a_mirror_goes_on_at_the_next_place(pull: Pull, limits: Limits) -> None:
    pull.mirror.misbehave("blobs", replies.cut(10), times=99)
    assert drain(pull.open(limits).blob(blob_of(LAYER))) == LAYER
    assert pull.mirror.count("GET", "blobs") == 2, "a mirror is repeated once"
    assert [seen.headers["Range"] for seen in pull.main.seen] == ["bytes=20-"]
    assert len(pull.waits.seconds) == 1
    assert pull.said(f"{pull.main.host} (at {pull.mirror.host}): the connection broke")


def test_part_of_a_blob_that_breaks_at_a_mirror_goes_on_at_the_next_place(pull: Pull) -> None:
    pull.mirror.misbehave("blobs", replies.cut(10), times=99)
    stream = pull.open().blob_range(blob_of(LAYER), 5, 100_000)
    assert stream is not None
    assert drain(stream) == LAYER[5:100_005]
    assert [seen.headers["Range"] for seen in pull.main.seen] == ["bytes=25-100004"]


@pytest.mark.parametrize("at_first", [True, False])
def test_another_part_than_was_asked_for_is_asked_for_at_the_next_place(pull: Pull, at_first: bool) -> None:
    if not at_first:
        pull.mirror.misbehave("blobs", replies.cut(10))
    pull.mirror.misbehave("blobs", replies.with_headers(Content_Range="bytes 6-15/300000"), times=99)
    stream = pull.open().blob_range(blob_of(LAYER), 5, 100_000)
    assert stream is not None
    assert drain(stream) == LAYER[5:100_005]


def test_a_part_that_makes_no_sense_is_asked_for_elsewhere(pull: Pull) -> None:
    repository = pull.open()
    stream, again = (repository.blob_range(blob_of(LAYER), 5, 10) for _ in range(2))
    assert distrusted(stream)
    assert distrusted(again), "it came from there as well"
    assert pull.said(f"at {pull.mirror.host} is not what was asked for")
    other = repository.blob_range(blob_of(LAYER), 5, 10)
    assert not distrusted(other), "there is no other place"
    assert pull.main.count("GET", "blobs") == 1


def test_a_manifest_that_comes_wrong_from_a_mirror_comes_from_the_next_place(pull: Pull) -> None:
    pull.mirror.misbehave("manifests", replies.altered(lambda data: data + b" "), times=9)
    pull.open().manifest(digests.parse(pull.manifest))
    pull.mirror.misbehave("manifests", replies.altered(lambda _: b"<html>"), times=99)
    pull.open().manifest(digests.parse(pull.manifest))
    assert pull.main.count("GET", "manifests") == 2


def test_what_breaks_everywhere_names_who_was_asked_last(pull: Pull) -> None:
    for fake in (pull.mirror, pull.main):
        fake.misbehave("blobs", replies.cut(10), times=99)
    with pytest.raises(RegistryError) as caught:
        drain(pull.open(STREAMED).blob(blob_of(LAYER)))
    assert caught.value.message == f"{pull.main.host}: the connection broke"
    assert pull.main.count("GET", "blobs") == LIMITS.retries + 1


FILES = [member(f"ashore/root/{name}", os.urandom(5000)) for name in "abc"]


@pytest.mark.parametrize("at", [2000, 12_000, -1], ids=["early", "late", "its last byte"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_image_whose_layer_comes_wrong_is_fetched_anew(pull: Pull, at: int, compression: str) -> None:
    store, reference = MemoryStore(), parse(f"{pull.main.host}/team/app:2")
    put_image(store, [layer(*FILES[:1]), layer(*FILES)], compression=compression)
    settings = settings_in(str(pull.root), limits=STREAMED, waits=pull.waits)
    push = open_at(str(reference), settings, push=True)
    copy(reference, store, reference, push, platform=None, progress=Silent(), limits=LIMITS)
    pull.sync()

    def spoiled(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] if len(data) > 14_000 else data

    pull.mirror.misbehave("blobs", replies.altered(spoiled), times=99)
    reader = open_at(str(reference), settings)
    image = unjudged(resolve_image(reader, reference, AMD64, STREAMED))
    sink, right = MemorySink(), MemorySink()
    tree = fetch_tree(image, reader, sink, prefix="ashore", progress=Silent(), limits=STREAMED)
    assert tree == fetch_tree(image, store, right, prefix="ashore", progress=Silent(), limits=STREAMED)
    assert (sink.files, sink.digests, sink.open) == (right.files, right.digests, 0)


def test_a_blob_that_comes_wrong_is_copied_from_the_next_place(pull: Pull) -> None:
    pull.mirror.misbehave("blobs", WRONG, times=9)
    source, store = parse(f"{pull.main.host}/team/app:1.0"), MemoryStore()
    copy(source, pull.open(STREAMED), source, store, platform=None, progress=Silent(), limits=STREAMED)
    assert LAYER in store.blobs.values()


def all_of(repository: Repository) -> bytes:
    repository.manifest(repository.resolve().digest)
    return drain(repository.blob(blob_of(LAYER)))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("after", ["", "0", "1", "100"])
def test_a_mirror_that_has_no_time_is_repeated_once_or_not_at_all(pull: Pull, status: int, after: str) -> None:
    pull.mirror.misbehave("any", replies.answer(status, {"Retry-After": after} if after else {}), times=99)
    assert all_of(pull.open()) == LAYER
    assert len(pull.mirror.seen) == (1 if after == "100" else 2)
    assert sum(pull.waits.seconds) <= 1
    assert pull.said(f"cannot find {pull.main.host}/team/app:1.0 at {pull.mirror.host}: the registry ")
    assert all(pull.mirror.host in line for line in pull.told.lines if str(status) in line)


def test_a_mirror_that_runs_out_of_time_half_way(pull: Pull) -> None:
    pull.mirror.misbehave("blobs", replies.cut(100))
    pull.mirror.misbehave("blobs", replies.answer(429, {"Retry-After": "100"}), times=99)
    assert drain(pull.open(STREAMED).blob(blob_of(LAYER))) == LAYER
    assert max(pull.waits.seconds) < 1
    assert pull.main.seen[0].headers["Range"] == "bytes=100-"
