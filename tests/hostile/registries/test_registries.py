# SPDX-License-Identifier: Apache-2.0
"""A misbehaving registry: the right exit code in a bounded time, and no credential for anybody else."""

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.images.host import quick_folder
from tests.hostile.registries.behaviours import BEHAVIOURS
from tests.hostile.registries.certificate import certificate_in
from tests.hostile.registries.world import World, judge


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    try:
        return certificate_in(tmp_path_factory.mktemp("tls"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no certificate could be made: {error}")


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


def test_there_are_as_many_as_promised() -> None:
    assert len(BEHAVIOURS) >= 60


def test_what_a_stranger_hears_is_counted(folder: Path) -> None:
    world = World(folder, auth="basic")
    try:
        secret = world.secrets()[1]
        assert world.spilled() == 0
        urllib.request.urlopen(
            urllib.request.Request(f"{world.stranger.url}/v2/", headers={"Authorization": f"Basic {secret}"})
        )
        assert world.spilled() == len(secret)
    finally:
        world.close()


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_misbehaving_registry(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    behaviour = BEHAVIOURS[name]
    pair = request.getfixturevalue("certificate") if behaviour.tls else None
    world = World(folder, auth=behaviour.auth, certificate=pair)
    try:
        assert judge(behaviour, world) == []
    finally:
        world.close()
