# SPDX-License-Identifier: Apache-2.0
"""Parts of a blob that are asked for before somebody reads them: the same answers, and nothing asked twice."""

import os
import time
from collections.abc import Iterator

import msgspec
import pytest

from ashore.mechanisms.registry import Repository
from ashore.nouns.limits import Limits
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, Waits, blob_of, drain, open_at, settings_in

LAYER = os.urandom(300_000)
BLOB = blob_of(LAYER)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    monkeypatch.setattr("ashore.mechanisms.registry.transport._NEAR", 60.0)  # however busy this machine is
    with FakeRegistry() as made:
        replies.put_image(made, "team/app", "1.0", LAYER)
        yield made


def opened(fake: FakeRegistry, folder: str, limits: Limits = LIMITS, waits: Waits | None = None) -> Repository:
    """A repository that was asked for something already, so that it is known to be near."""
    settings = settings_in(folder, limits=limits, waits=waits or Waits())
    repository = open_at(f"{fake.host}/team/app:1.0", settings)
    repository.resolve()
    fake.seen.clear()
    return repository


def part(repository: Repository, start: int, length: int) -> bytes:
    stream = repository.blob_range(BLOB, start, length)
    assert stream is not None
    try:
        return drain(stream)
    finally:
        stream.close()


def dies(reply: replies.Reply) -> replies.Reply:
    """The server hangs up without an answer."""
    raise OSError


def wait_for(fake: FakeRegistry, count: int) -> None:
    end = time.monotonic() + 5
    while len(fake.seen) < count and time.monotonic() < end:
        time.sleep(0.01)


def test_what_is_expected_is_asked_at_once_and_once(fake: FakeRegistry, tmp_path: str) -> None:
    repository = opened(fake, str(tmp_path))
    starts = [0, 1000, 70_000, 200_000]
    for start in (*starts, *starts):
        repository.expect_range(BLOB, start, 500)
    wait_for(fake, len(starts))
    assert len(fake.seen) == len(starts), "nobody has read anything yet"
    for start in reversed(starts):
        assert part(repository, start, 500) == LAYER[start : start + 500]
    assert len(fake.seen) == len(starts)
    repository.close()


def test_a_far_one_is_asked_on_the_connection_that_is_idle_and_no_other(
    fake: FakeRegistry, tmp_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ashore.mechanisms.registry.transport._NEAR", 0.0)
    repository = opened(fake, str(tmp_path))
    for start in (0, 1000, 2000):
        repository.expect_range(BLOB, start, 500)
    time.sleep(0.2)
    assert len(fake.seen) == 1
    assert part(repository, 2000, 500) == LAYER[2000:2500]
    repository.close()


def test_who_must_show_a_token_shows_it_ahead_as_well(tmp_path: str) -> None:
    with FakeRegistry(auth="token", public=True) as fake:
        replies.put_image(fake, "team/app", "1.0", LAYER)
        repository = opened(fake, str(tmp_path))
        repository.expect_range(BLOB, 0, 500)
        assert part(repository, 0, 500) == LAYER[:500]
        assert [seen.method for seen in fake.seen] == ["GET"]
        repository.close()


def test_what_is_expected_need_not_be_read(fake: FakeRegistry, tmp_path: str) -> None:
    repository = opened(fake, str(tmp_path))
    repository.expect_range(BLOB, 0, 500)
    assert part(repository, 9, 500) == LAYER[9:509], "another part, though some of the same"
    repository.close()


BREAKS = {"dies": dies, "503": replies.answer(503), "bye": replies.with_headers(Connection="close")}


@pytest.mark.parametrize("how", BREAKS)
def test_an_expected_answer_that_fails_is_asked_for_again(fake: FakeRegistry, tmp_path: str, how: str) -> None:
    waits = Waits()
    repository = opened(fake, str(tmp_path), waits=waits)
    fake.misbehave("blobs", BREAKS[how])
    repository.expect_range(BLOB, 0, 500)
    assert part(repository, 0, 500) == LAYER[:500]
    assert part(repository, 0, 500) == LAYER[:500], "an answer is read once"
    assert len(waits.seconds) == (how == "503"), "a connection that broke meanwhile is no reason to wait"


def test_an_expected_part_from_a_server_without_ranges_is_none(fake: FakeRegistry, tmp_path: str) -> None:
    repository = opened(fake, str(tmp_path))
    fake.misbehave("blobs", replies.answer(200, {}, LAYER))
    repository.expect_range(BLOB, 0, 500)
    assert repository.blob_range(BLOB, 0, 500) is None
    repository.expect_range(BLOB, 1000, 500)
    assert len(fake.seen) == 1, "it is not asked for parts any more"
    repository.close()


def test_nothing_is_asked_ahead_where_the_rate_is_limited_or_nobody_was_asked_yet(
    fake: FakeRegistry, tmp_path: str
) -> None:
    slow = opened(fake, str(tmp_path), msgspec.structs.replace(LIMITS, rate=1_000_000))
    slow.expect_range(BLOB, 0, 500)
    unknown = open_at(f"{fake.host}/team/app:1.0", settings_in(str(tmp_path), waits=Waits()))
    unknown.expect_range(BLOB, 0, 500)
    time.sleep(0.1)
    assert fake.seen == []
    assert part(slow, 0, 500) == part(unknown, 0, 500) == LAYER[:500]
