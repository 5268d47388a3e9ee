# SPDX-License-Identifier: Apache-2.0
"""Pushing to registries that break, demand, or forget."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from ashore.errors import RegistryError, VerificationError
from ashore.mechanisms.registry import Repository, urls
from ashore.mechanisms.registry.messages import Request
from ashore.mechanisms.registry.transport import Transport
from ashore.mechanisms.registry.upload import CHUNK
from ashore.nouns import digest as digests
from ashore.nouns.image import OCI_MANIFEST
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, Bytes, Lying, Waits, blob_of, manifest_of, open_at, settings_in

SMALL = b"small" * 1000
LARGE = os.urandom(2 * CHUNK + 12345)


_SIP = 64 << 10


class Push:
    """A registry that is empty, and a client that never waits."""

    def __init__(self, fake: FakeRegistry, folder: str) -> None:
        self.fake, self.waits = fake, Waits()
        self.repository: Repository = open_at(
            f"{fake.host}/team/app:1.0", settings_in(folder, waits=self.waits), push=True
        )

    def put(self, data: bytes) -> None:
        self.repository.put_blob(blob_of(data), Bytes(data))

    def holds(self, data: bytes) -> bool:
        return self.fake.blobs.get("team/app", {}).get(digests.of(data)) == data


@pytest.fixture
def push(tmp_path: str) -> Iterator[Push]:
    with FakeRegistry() as fake:
        yield Push(fake, str(tmp_path))


def test_a_small_blob_takes_two_requests(push: Push) -> None:
    push.put(SMALL)
    assert push.holds(SMALL)
    assert [seen.method for seen in push.fake.seen] == ["POST", "PUT"]


def test_a_large_blob_goes_in_chunks(push: Push) -> None:
    push.put(LARGE)
    assert push.holds(LARGE)
    assert [seen.method for seen in push.fake.seen] == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]
    assert max(len(seen.body) for seen in push.fake.seen) == CHUNK


def test_the_registry_may_demand_larger_chunks(push: Push) -> None:
    push.fake.least_chunk = CHUNK + 1000
    push.put(LARGE)
    assert push.holds(LARGE)
    assert next(len(seen.body) for seen in push.fake.seen if seen.method == "PATCH") == CHUNK + 1000


def test_a_registry_without_chunks_gets_the_whole(push: Push) -> None:
    push.fake.takes_chunks = False
    push.put(LARGE)
    assert push.holds(LARGE)
    assert [seen.method for seen in push.fake.seen] == ["POST", "PATCH", "POST", "PUT"]


def test_nothing_unverified_is_completed_without_chunks(push: Push) -> None:
    push.fake.takes_chunks = False
    with pytest.raises(VerificationError):
        push.repository.put_blob(blob_of(LARGE), Lying(LARGE))
    assert not push.holds(LARGE)


@pytest.mark.parametrize("kept", [[0], [1000], [CHUNK - 1], [1000, 2000, 0, 5]])
def test_a_chunk_that_breaks_is_finished(push: Push, kept: list[int]) -> None:
    push.fake.cut_uploads = list(kept)
    push.put(LARGE)
    assert push.holds(LARGE)
    assert sum(len(seen.body) for seen in push.fake.seen) == len(LARGE)


def test_breaking_is_bounded(push: Push) -> None:
    push.fake.cut_uploads = [0] * 100
    with pytest.raises(RegistryError, match="the connection broke"):
        push.put(LARGE)
    assert push.fake.count("PATCH") == LIMITS.retries + 1
    assert not push.holds(LARGE)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_troubles_of_a_small_blob(push: Push, method: str, status: int) -> None:
    push.fake.misbehave("blobs/uploads", replies.answer(status), method=method, times=2)
    push.put(SMALL)
    assert push.holds(SMALL)
    assert len(push.waits.seconds) == 2


def test_passing_troubles_of_a_chunk(push: Push) -> None:
    push.fake.misbehave("blobs/uploads", replies.answer(503), method="PATCH", times=2)
    push.put(LARGE)
    assert push.holds(LARGE)


def test_a_lost_answer_to_the_last_request(push: Push) -> None:
    push.fake.misbehave("blobs/uploads", replies.answer(504), method="PUT")
    push.put(LARGE)
    assert push.holds(LARGE)


@pytest.mark.parametrize("header", ["0-5", "0-99999999999", "bytes=0-7"])
def test_a_registry_that_forgets_is_found_out(push: Push, header: str) -> None:
    push.put(LARGE)
    push.fake.misbehave("blobs/uploads", replies.with_headers(Connection="keep-alive"), method="PATCH")
    push.fake.misbehave("blobs/uploads", replies.with_headers(Range=header), method="PATCH")
    with pytest.raises(RegistryError, match="lost what was sent"):
        push.put(LARGE + b"more")


def test_a_registry_that_keeps_nothing_is_given_up(push: Push) -> None:
    push.fake.misbehave("blobs/uploads", replies.with_headers(Range="0-0"), method="PATCH", times=1000)
    with pytest.raises(RegistryError):
        push.put(LARGE)
    assert push.fake.count("PATCH") < 20


@pytest.mark.parametrize(
    "location", ["", "javascript:x", "ftp://reg.example/x", "http://user:pw@reg.example/", "http://169.254.169.254/x\r\n"]
)  # fmt: skip
def test_a_location_that_leads_nowhere(push: Push, location: str) -> None:
    change = replies.answer(202, {"Location": location.strip()} if location else {})
    push.fake.misbehave("blobs/uploads", change, method="POST")
    with pytest.raises(RegistryError):
        push.put(SMALL)
    assert push.fake.count("PUT") == 0


def test_another_digest_stored_is_an_error(push: Push) -> None:
    lie = replies.with_headers(Docker_Content_Digest="sha256:" + "b" * 64)
    push.fake.misbehave("blobs/uploads", lie, method="PUT")
    with pytest.raises(RegistryError, match="stored something else"):
        push.put(SMALL)
    push.put(SMALL)
    push.put(b"{}")
    push.fake.misbehave("manifests", lie, method="PUT")
    with pytest.raises(RegistryError, match="stored something else"):
        push.repository.put_manifest(OCI_MANIFEST, manifest_of(b"{}", SMALL), named=True)


def test_a_mount_that_becomes_an_upload_is_cancelled(push: Push) -> None:
    assert not push.repository.mount(digests.of(SMALL), "team/other")
    assert push.fake.uploads == {}


def test_that_it_cannot_be_cancelled_is_no_fault(push: Push) -> None:
    push.fake.misbehave("blobs/uploads", replies.answer(500), method="DELETE", times=99)
    assert not push.repository.mount(digests.of(SMALL), "team/other")
    assert push.fake.count("DELETE") == 1


@pytest.mark.parametrize("whole", [True, False], ids=["bytes", "pieces"])
def test_what_is_sent_may_take_as_long_as_it_is_large(tmp_path: str, whole: bool) -> None:
    """The registry takes more than twice its patience to read it, and never rests that long."""
    data = bytes(8 << 20)
    limits = msgspec.structs.replace(LIMITS, idle_seconds=2.0)
    with SlowReader(seconds=5.0, size=len(data)) as slow:
        transport = Transport(str(tmp_path), {}, limits)
        body = data if whole else iter([data[: 4 << 20], data[4 << 20 :]])
        request = Request(method="PUT", url=urls.parse(slow.url), body=body, length=len(data))
        assert transport.send(request, verify=True).status == 201
        transport.close()
        assert slow.received == len(data)


class SlowReader:
    """An HTTP server for one request, that reads steadily and slowly."""

    def __init__(self, *, seconds: float, size: int) -> None:
        self.received, self._pause = 0, seconds / (size / _SIP)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SIP)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/v2/upload"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        client, _ = self._server.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        head, _, first = head.partition(b"\r\n\r\n")
        (length,) = (int(line.split()[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        self.received = len(first)
        while self.received < length and (piece := client.recv(_SIP)):
            self.received += len(piece)
            time.sleep(self._pause * len(piece) / _SIP)
        client.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        client.close()

    def __enter__(self) -> "SlowReader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join(10)


def test_a_manifest_before_its_blobs_is_refused_in_words(push: Push) -> None:
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        push.repository.put_manifest(OCI_MANIFEST, manifest_of(b"{}", SMALL), named=True)


def test_a_refusal_before_the_body_was_read_is_read(push: Push) -> None:
    push.fake.misbehave("blobs/uploads", replies.answer(413), method="PATCH", times=9)
    with pytest.raises(RegistryError, match="413"):
        push.put(LARGE)
