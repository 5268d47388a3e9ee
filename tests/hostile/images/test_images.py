# SPDX-License-Identifier: Apache-2.0
"""Every hostile image through the whole of install: refused before the first host path changes, or contained."""

import os
from collections.abc import Iterator

import pytest

from tests.hostile.images import archives, breakouts, bundles, documents, others, streams
from tests.hostile.images.case import Case
from tests.hostile.images.container import tried_in_container
from tests.hostile.images.host import Host, quick_folder

TABLES = {
    "containerd": breakouts.CASES,
    "": others.CASES | archives.CASES | streams.CASES | documents.CASES | bundles.CASES,
}
CASES: dict[str, Case] = {f"{t}/{n}".lstrip("/"): c for t, cases in TABLES.items() for n, c in cases.items()}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with quick_folder() as folder:
        yield Host(folder)


def test_there_are_as_many_as_promised() -> None:
    assert sum(case.code != 0 for case in CASES.values()) >= 120


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_image_changes_nothing_beyond_what_policy_allows(name: str, host: Host) -> None:
    problems = host.tries(CASES[name])
    assert problems == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a container")
def test_nor_does_it_from_within_a_container_through_rootfs() -> None:
    with quick_folder() as folder:
        assert tried_in_container(folder, CASES, sorted(CASES)[::4]) == {}
