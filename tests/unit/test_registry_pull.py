# SPDX-License-Identifier: Apache-2.0
"""Pulling from registries that break, lie, or lead astray."""

import gzip
import os
import time
from collections.abc import Iterator

import msgspec
import pytest

from ashore.errors import InputError, RegistryError, VerificationError
from ashore.mechanisms.images import streams
from ashore.mechanisms.images.compression import open_layer
from ashore.mechanisms.images.readahead import ReadAhead
from ashore.mechanisms.registry import Repository
from ashore.mechanisms.registry.wire import Pace
from ashore.nouns import digest as digests
from ashore.nouns.image import OCI_LAYER, OCI_MANIFEST
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Stream
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, Told, Waits, blob_of, drain, manifest_of, open_at, settings_in

LAYER = os.urandom(300_000)
QUICK = msgspec.structs.replace(LIMITS, idle_seconds=0.3)


class Pull:
    """A registry with one image, and a client that never waits."""

    def __init__(self, fake: FakeRegistry, folder: str) -> None:
        self.fake, self.folder = fake, folder
        self.manifest, self.layer = replies.put_image(fake, "team/app", "1.0", LAYER)
        self.waits, self.told = Waits(), Told()

    def open(self, tag: str = ":1.0", limits: Limits = LIMITS) -> Repository:
        settings = settings_in(self.folder, limits=limits, waits=self.waits)
        return open_at(f"{self.fake.host}/team/app{tag}", settings, progress=self.told)

    def blob(self, limits: Limits = LIMITS) -> Stream:
        return self.open(limits=limits).blob(blob_of(LAYER))


@pytest.fixture
def pull(tmp_path: str) -> Iterator[Pull]:
    with FakeRegistry() as fake:
        yield Pull(fake, str(tmp_path))


def test_the_usual_way_costs_one_request_each(pull: Pull) -> None:
    repository = pull.open()
    digest = repository.resolve().digest
    repository.manifest(digest)
    drain(repository.blob(blob_of(LAYER)))
    assert [(seen.method, seen.path.rpartition("/")[2]) for seen in pull.fake.seen] == [
        ("HEAD", "1.0"), ("GET", digest), ("GET", pull.layer),
    ]  # fmt: skip
    assert pull.waits.seconds == []


@pytest.mark.parametrize(
    "change",
    [
        replies.with_headers(Docker_Content_Digest=""),
        replies.with_headers(Docker_Content_Digest="sha256:../../../etc/passwd"),
        replies.with_headers(Docker_Content_Digest="sha512:" + "a" * 128),
        replies.with_headers(Docker_Content_Digest="SHA256:" + "A" * 64),
        replies.with_headers(Content_Type=""),
        replies.with_headers(Content_Type="application/json"),
        replies.with_headers(Content_Type="application/octet-stream"),
        replies.answer(405),
        replies.answer(403),
    ],
)
def test_a_head_that_says_too_little_is_asked_as_get(pull: Pull, change: replies.Change) -> None:
    pull.fake.misbehave("manifests", change, method="HEAD")
    assert pull.open().resolve().digest == pull.manifest
    assert pull.fake.count("GET", "manifests/1.0") == 1


def test_a_head_is_not_believed_beyond_its_shape(pull: Pull) -> None:
    lie = "sha256:" + "b" * 64
    pull.fake.misbehave("manifests", replies.with_headers(Docker_Content_Digest=lie), times=9)
    repository = pull.open()
    assert repository.resolve().digest == lie
    pull.fake.manifests["team/app"][lie] = pull.fake.manifests["team/app"][pull.manifest]
    with pytest.raises(VerificationError, match="not what was asked for"):
        repository.manifest(digests.parse(lie))


def test_a_pinned_digest_is_checked_whatever_the_header_says(pull: Pull) -> None:
    other = manifest_of(b"{}")
    pull.fake.misbehave("manifests", replies.altered(lambda _: other), times=9)
    with pytest.raises(VerificationError) as caught:
        pull.open(f"@{pull.manifest}").resolve()
    assert caught.value.code == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (replies.altered(lambda data: data + b" "), VerificationError),
        (replies.altered(lambda data: data + b" " * LIMITS.manifest), InputError),
        (replies.endless, InputError),
        (replies.altered(lambda _: b"not json"), InputError),
        (replies.with_headers(Content_Type="application/vnd.docker.distribution.manifest.v1+json"), VerificationError),
        (replies.with_headers(Content_Type="application/vnd.oci.image.index.v1+json"), VerificationError),
    ],
)  # fmt: skip
def test_manifests_that_are_not_right(pull: Pull, change: replies.Change, error: type[Exception]) -> None:
    pull.fake.misbehave("manifests", change, times=9, method="GET")
    with pytest.raises(error):
        pull.open().manifest(digests.parse(pull.manifest))


def test_a_vague_content_type_is_read_from_the_document(pull: Pull) -> None:
    pull.fake.misbehave("manifests", replies.with_headers(Content_Type="application/json; charset=utf-8"))
    assert pull.open().manifest(digests.parse(pull.manifest))[0] == OCI_MANIFEST


@pytest.mark.parametrize("size", ["99999999", "1" * 30])
def test_a_manifest_over_the_limit_is_not_fetched(pull: Pull, size: str) -> None:
    pull.fake.misbehave("manifests", replies.with_headers(Content_Length=size), method="HEAD")
    with pytest.raises(InputError, match="too large"):
        pull.open().resolve()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(replies.altered(lambda data: data[:-1] + bytes([data[-1] ^ 1])), id="other bytes"),
        pytest.param(replies.altered(lambda data: data[:-1]), id="short"),
        pytest.param(replies.altered(lambda data: data + b"x"), id="long"),
        pytest.param(replies.altered(lambda _: b""), id="nothing"),
        pytest.param(replies.endless, id="endless"),
        pytest.param(replies.with_headers(Content_Encoding="gzip"), id="encoded"),
    ],
)
def test_blobs_that_are_not_right(pull: Pull, change: replies.Change) -> None:
    pull.fake.misbehave("blobs", change, times=9)
    with pytest.raises(VerificationError) as caught:
        drain(pull.blob())
    assert caught.value.code == 5
    assert pull.fake.count("GET", "blobs") == 1


TRAILER = b"X: " + b"y" * 1000 + b"\r\n"


def in_chunks(*chunks: bytes, size: bytes = b"%x", end: bytes = b"") -> replies.Change:
    """The body in these chunks, each with its `size`, and fields after the last."""
    body = b"".join(size % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in chunks) + b"0\r\n" + end + b"\r\n"
    return lambda reply: replies.Reply(reply.status, dict(reply.headers) | {"Transfer-Encoding": "chunked"}, body)


def test_chunks_of_one_byte_are_nothing_bad(pull: Pull) -> None:
    pull.fake.misbehave("blobs", in_chunks(*(LAYER[n : n + 1] for n in range(len(LAYER))), end=TRAILER))
    assert drain(pull.blob()) == LAYER


def test_what_is_no_part_of_a_body_is_read_for_a_while_only(pull: Pull) -> None:
    pull.fake.misbehave(
        "blobs", in_chunks(*(LAYER[n : n + 1] for n in range(300)), LAYER[300:], size=b"%x;" + TRAILER[:999] * 60)
    )
    with pytest.raises(RegistryError, match="no usable answer"):
        drain(pull.blob())


def test_a_document_that_ends_with_endless_fields_is_refused(pull: Pull) -> None:
    (_, data) = pull.fake.manifests["team/app"][pull.manifest]
    pull.fake.misbehave("manifests", in_chunks(data, end=TRAILER * 4000), method="GET")
    repository = pull.open(f"@{pull.manifest}")
    with pytest.raises(RegistryError, match="no usable answer"):
        repository.manifest(repository.resolve().digest)


def test_fields_that_drip_behind_a_body_are_no_sign_of_life() -> None:
    pace = Pace(1.0)
    pace.wanted(1)
    pace.received(2000, 2.0)  # with a byte of the body, perhaps
    with pytest.raises(TimeoutError):
        pace.received(2000, 2.0)


def test_the_last_bytes_of_a_wrong_blob_are_not_handed_out(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.altered(lambda data: b"\0" + data[1:]))
    stream, got, buffer = pull.blob(), 0, bytearray(len(LAYER))
    with pytest.raises(VerificationError):
        while amount := stream.readinto(buffer):
            got += amount
    assert got < len(LAYER)


@pytest.mark.parametrize("framed", [True, False])
def test_broken_downloads_go_on_where_they_broke(pull: Pull, framed: bool) -> None:
    for after in (100_000, 0, 50_000):
        pull.fake.misbehave("blobs", replies.cut(after, framed=framed))
    assert drain(pull.blob()) == LAYER
    ranges = [seen.headers.get("Range", "") for seen in pull.fake.seen]
    assert ranges == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert len(pull.waits.seconds) == 3


def test_a_connection_that_is_reset_is_resumed(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.cut(200_000, hard=True), times=3)
    assert drain(pull.blob()) == LAYER


def test_a_server_that_ignores_ranges_sends_it_all_again(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.cut(100_000))
    pull.fake.misbehave("blobs", replies.answer(200, {}, LAYER))
    assert drain(pull.blob()) == LAYER
    assert pull.fake.count("GET", "blobs") == 2


@pytest.mark.parametrize(
    "header",
    [
        "bytes 0-299999/300000",
        "bytes 100001-299999/300000",
        "bytes 5-6/7",
        "",
        "bytes */300000",
        "bytes 1e5-299999/300000",
    ],
)
def test_a_wrong_range_is_refused(pull: Pull, header: str) -> None:
    pull.fake.misbehave("blobs", replies.cut(100_000))
    stream = pull.blob()
    pull.fake.misbehave("blobs", replies.with_headers(Content_Range=header), times=9)
    with pytest.raises(VerificationError, match="blob"):
        drain(stream)


def test_resuming_is_bounded(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.cut(10), times=1000)
    with pytest.raises(RegistryError, match="the connection broke") as caught:
        drain(pull.blob())
    assert caught.value.code == 4
    assert pull.fake.count("GET", "blobs") == LIMITS.retries + 1


def test_silence_is_broken_off_and_resumed(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.stalled(1000))
    assert drain(pull.blob(QUICK)) == LAYER
    assert pull.fake.count("GET", "blobs") == 2


def test_who_stops_reading_does_not_wait_for_a_slow_server(pull: Pull) -> None:
    packed = gzip.compress(LAYER, 1)
    replies.put_image(pull.fake, "team/app", "2.0", packed)
    pull.fake.misbehave("blobs", replies.stalled(100_000))
    told = streams.Told(pull.open(":2.0", QUICK).blob(blob_of(packed)), lambda _: None)
    layer = open_layer(ReadAhead(told), OCI_LAYER + "+gzip", LIMITS, None, through=ReadAhead)
    layer.close()
    assert pull.fake.count("GET", "blobs") == 1, "nobody wanted the rest"
    assert drain(pull.blob()) == LAYER


def test_who_stops_reading_hears_of_no_other_attempt(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.stalled(1000))
    stream = pull.blob()
    assert stream.readinto(bytearray(1000)) == 1000
    ahead = ReadAhead(stream)
    time.sleep(0.1)  # by then it waits for more
    ahead.close()
    assert pull.waits.seconds == []
    assert not [line for line in pull.told.lines if "again" in line]


def test_silence_before_the_first_byte(pull: Pull) -> None:
    pull.fake.misbehave("manifests", replies.stalled(0), times=99)
    with pytest.raises(RegistryError, match="does not answer in time"):
        pull.open(limits=QUICK).manifest(digests.parse(pull.manifest))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_troubles_are_repeated(pull: Pull, status: int) -> None:
    pull.fake.misbehave("manifests", replies.answer(status), times=2)
    assert pull.open().resolve().digest == pull.manifest
    assert pull.waits.seconds == [0.25, 0.5]
    assert sum("trying again" in line for line in pull.told.lines) == 2


@pytest.mark.parametrize("status", [400, 404, 410, 416, 418, 501])
def test_lasting_troubles_are_not(pull: Pull, status: int) -> None:
    pull.fake.misbehave("blobs", replies.answer(status), times=99)
    with pytest.raises(RegistryError):
        pull.blob()
    assert pull.fake.count("GET", "blobs") == 1


def test_retry_after_is_capped(pull: Pull) -> None:
    pull.fake.misbehave("manifests", replies.answer(429, {"Retry-After": "1000000000"}), times=99)
    with pytest.raises(RegistryError, match="429"):
        pull.open().resolve()
    assert pull.waits.seconds == [30.0] * LIMITS.retries


def test_what_a_registry_says_is_escaped_and_cut(pull: Pull) -> None:
    evil = b'{"errors":[{"code":"DENIED","message":"\\u001b[2Jgone\\u202e ' + b"x" * 10_000 + b'"}]}'
    pull.fake.misbehave("manifests", replies.answer(400, {"Content-Type": "application/json"}, evil), times=9)
    with pytest.raises(RegistryError) as caught:
        pull.open().manifest(digests.parse(pull.manifest))
    text = str(caught.value)
    assert "DENIED: \\x1b[2Jgone\\u202e xxx" in text
    assert text.isprintable()
    assert len(text) < 1000


def test_html_is_not_repeated_to_the_user(pull: Pull) -> None:
    pull.fake.misbehave(
        "manifests", replies.answer(400, {"Content-Type": "text/html"}, b"<html>portal</html>"), times=9
    )
    with pytest.raises(RegistryError) as caught:
        pull.open().manifest(digests.parse(pull.manifest))
    assert "portal" not in str(caught.value)


def test_nobody_listens(tmp_path: str) -> None:
    with FakeRegistry() as fake:
        host = fake.host
    waits = Waits()
    with pytest.raises(RegistryError, match="connection refused") as caught:
        open_at(f"{host}/a:1", settings_in(str(tmp_path), waits=waits)).resolve()
    assert (caught.value.code, len(waits.seconds)) == (4, LIMITS.retries)


def test_no_such_host(tmp_path: str) -> None:
    waits = Waits()
    with pytest.raises(RegistryError, match=r"reg\.invalid: no such host"):
        open_at("reg.invalid/a:1", settings_in(str(tmp_path), waits=waits)).resolve()
    assert len(waits.seconds) == LIMITS.retries


def test_part_of_a_blob_from_a_server_without_ranges(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.answer(200, {}, LAYER))
    assert pull.open().blob_range(blob_of(LAYER), 5, 10) is None


def test_part_of_a_blob_that_is_another_part(pull: Pull) -> None:
    pull.fake.misbehave("blobs", replies.with_headers(Content_Range="bytes 6-15/300000"))
    with pytest.raises(VerificationError, match="another range"):
        pull.open().blob_range(blob_of(LAYER), 5, 10)


@pytest.mark.parametrize("framed", [True, False])
def test_part_of_a_blob_that_breaks_goes_on_where_it_broke(pull: Pull, framed: bool) -> None:
    for cut in (1000, 0, 50_000):
        pull.fake.misbehave("blobs", replies.cut(cut, framed=framed))
    stream = pull.open().blob_range(blob_of(LAYER), 5, 100_000)
    assert stream is not None
    assert drain(stream) == LAYER[5:100_005]
    ranges = [seen.headers["Range"] for seen in pull.fake.seen]
    assert ranges == [f"bytes={start}-100004" for start in (5, 1005, 1005, 51_005)]
    assert len(pull.waits.seconds) == 3


@pytest.mark.parametrize("framed", [True, False])
def test_part_of_a_blob_that_breaks_for_ever(pull: Pull, framed: bool) -> None:
    pull.fake.misbehave("blobs", replies.cut(10, framed=framed), times=99)
    stream = pull.open().blob_range(blob_of(LAYER), 5, 100_000)
    assert stream is not None
    with pytest.raises(RegistryError):
        drain(stream)
    assert len(pull.waits.seconds) == LIMITS.retries


@pytest.mark.parametrize(
    "other", [replies.answer(200, {}, LAYER), replies.with_headers(Content_Range="bytes 5-100004/300000")]
)
def test_part_of_a_blob_that_goes_on_with_something_else(pull: Pull, other: replies.Change) -> None:
    pull.fake.misbehave("blobs", replies.cut(1000))
    pull.fake.misbehave("blobs", other, times=99)
    stream = pull.open().blob_range(blob_of(LAYER), 5, 100_000)
    assert stream is not None
    with pytest.raises(VerificationError):
        drain(stream)


def test_kept_connections_survive_a_server_that_drops_them(pull: Pull) -> None:
    repository = pull.open()
    for _ in range(3):
        repository.resolve()
        pull.fake.misbehave("manifests", replies.with_headers(Connection="close"))
    assert pull.waits.seconds == []


class Mirrored:
    """An image at its place and at a mirror."""

    def __init__(self, mirror: FakeRegistry, main: FakeRegistry, folder: str) -> None:
        self.mirror, self.main, self.waits = mirror, main, Waits()
        for fake in (mirror, main):
            self.manifest, _ = replies.put_image(fake, "team/app", "1.0", LAYER)
        os.makedirs(os.path.join(folder, "etc/containers"))
        with open(os.path.join(folder, "etc/containers/registries.conf"), "w") as file:
            file.write(f'[[registry]]\nlocation = "{main.host}"\n[[registry.mirror]]\nlocation = "{mirror.host}"\n')
        settings = settings_in(folder, waits=self.waits)
        self.repository = open_at(f"{main.host}/team/app:1.0", settings)


@pytest.fixture
def mirrored(tmp_path: str) -> Iterator[Mirrored]:
    with FakeRegistry() as mirror, FakeRegistry() as main:
        yield Mirrored(mirror, main, str(tmp_path))


def _all_of(repository: Repository) -> bytes:
    repository.manifest(repository.resolve().digest)
    return drain(repository.blob(blob_of(LAYER)))


def test_a_mirror_is_asked_first(mirrored: Mirrored) -> None:
    assert _all_of(mirrored.repository) == LAYER
    assert (len(mirrored.mirror.seen), len(mirrored.main.seen)) == (3, 0)


def test_a_mirror_without_the_image_is_passed_over(mirrored: Mirrored) -> None:
    mirrored.mirror.tags.clear()
    mirrored.mirror.manifests.clear()
    mirrored.mirror.blobs.clear()
    assert _all_of(mirrored.repository) == LAYER


def test_a_mirror_that_is_gone_is_tried_once(mirrored: Mirrored) -> None:
    mirrored.mirror.close()
    assert _all_of(mirrored.repository) == LAYER
    assert len(mirrored.waits.seconds) == 1


def test_a_mirror_that_breaks_half_way(mirrored: Mirrored) -> None:
    mirrored.mirror.misbehave("blobs", replies.cut(100_000))
    mirrored.mirror.misbehave("blobs", replies.answer(404), times=9)
    assert drain(mirrored.repository.blob(blob_of(LAYER))) == LAYER
    assert mirrored.main.seen[0].headers["Range"] == "bytes=100000-"


def test_all_that_were_asked_are_named(mirrored: Mirrored) -> None:
    mirrored.mirror.tags.clear()
    mirrored.main.tags.clear()
    with pytest.raises(RegistryError, match="has no tag") as caught:
        mirrored.repository.resolve()
    assert [issue.where for issue in caught.value.issues] == [mirrored.mirror.host]


def test_a_rate_holds_for_all_that_is_read(pull: Pull) -> None:
    slow = msgspec.structs.replace(LIMITS, rate=1000)
    drain(pull.blob(limits=slow))
    # Nobody waits in this test, so what is still due grows to all that the bytes may take.
    assert len(LAYER) / 1000 - 60 < max(pull.waits.seconds) <= len(LAYER) / 1000
    assert len(pull.waits.seconds) > 100, "in pieces, so that no server waits long for the next one"


@pytest.mark.parametrize("after", [0, 1000])
def test_what_can_be_done_without_is_waited_for_once(pull: Pull, after: int) -> None:
    pull.fake.misbehave("blobs", replies.stalled(after), times=99)
    once = pull.open(limits=QUICK).once()
    with pytest.raises(RegistryError, match="does not answer in time"):
        drain(once.blob(blob_of(LAYER)))
    part = once.blob_range(blob_of(LAYER), 5, 100_000)
    assert part is not None
    with pytest.raises(RegistryError, match="does not answer in time"):
        drain(part)
    pull.fake.misbehave("manifests", replies.answer(503), times=99)
    with pytest.raises(RegistryError, match="503"):
        once.manifest(digests.parse(pull.manifest))
    assert len(pull.fake.seen) == 3
    assert pull.waits.seconds == []


def test_who_asks_once_shares_what_is_known(pull: Pull) -> None:
    repository = pull.open()
    repository.manifest(digests.parse(pull.manifest))
    repository.once().manifest(digests.parse(pull.manifest))
    pull.fake.misbehave("blobs", replies.answer(200, {}, LAYER))
    assert repository.once().blob_range(blob_of(LAYER), 5, 10) is None
    assert repository.blob_range(blob_of(LAYER), 5, 10) is None
    assert len(pull.fake.seen) == 2
