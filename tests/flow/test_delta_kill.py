# SPDX-License-Identifier: Apache-2.0
"""SIGKILL while an upgrade makes files out of a delta: recovery leaves the old or the new version, and no litter."""

import os
import random
import shutil
from pathlib import Path
from typing import cast

import pytest

from ashore.cli import run
from ashore.mechanisms.images.transports import open_reader
from ashore.mechanisms.registry import RegistrySettings, load_settings
from ashore.nouns.limits import DEFAULT
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference
from tests.fakes.bundles import FakeImages
from tests.fakes.images import Silent
from tests.fakes.registry import FakeRegistry
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child, kill_and_recover


class Registry:
    """Images of a registry in another thread; the process that dies is a client of it."""

    def open(self, reference: ImageReference) -> ImageReader:
        def settings() -> RegistrySettings:
            return load_settings("/", os.environ, "/")

        return open_reader(reference, settings_factory=settings, progress=Silent(), limits=DEFAULT)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def published(registry: FakeRegistry, folder: Path) -> tuple[str, str]:
    """Two versions with a delta between them: a file of 400 KB and a config changed, one file new."""
    first, second = (f"{registry.host}/team/app:{n}" for n in (1, 2))
    big = bytearray(random.Random(1).randbytes(400_000))
    write(folder / "app/root/opt/big", bytes(big))
    config = "".join(f"{n} = {random.Random(n).random()}\n" for n in range(100)).encode()
    write(folder / "app/root/opt/etc/config", config)
    write(folder / "app/root/opt/t.j2", b"template\n")
    assert run(["build", str(folder / "app"), "-t", first, "--push"]) == 0
    big[200_000:200_000] = b"changed"
    write(folder / "app/root/opt/big", bytes(big))
    write(folder / "app/root/opt/etc/config", config + b"changed = 1\n")
    write(folder / "app/root/opt/t.j2", b"template two\n")
    write(folder / "app/root/opt/new", b"new\n")
    assert run(["build", str(folder / "app"), "-t", second, "--push", "--delta-from", first]) == 0
    return first, second


@pytest.mark.slow
def test_a_kill_before_any_call_leaves_the_old_or_the_new_version(quick_folder: Path) -> None:
    with FakeRegistry() as registry:
        first, second = published(registry, quick_folder)

        def machine(name: str, like: Machine | None = None) -> Machine:
            if like is not None:
                shutil.copytree(like.folder, quick_folder / name, symlinks=True)
            return Machine(quick_folder / name, cast("FakeImages", Registry()))

        def story(on: Machine) -> object:
            return on.install(second)

        template = machine("template")
        template.install(first)
        old = template.tree()
        whole = machine("whole", template)
        before = registry.sent
        total = in_child(story, whole, stop_at=-1)
        assert [s for s in registry.seen if "referrers" in s.path]
        assert registry.sent - before < 20_000, "the large file was made, not fetched"
        new = whole.tree()
        assert old != new
        outcomes: dict[bool, int] = {True: 0, False: 0}
        for at in range(total):
            victim = machine(str(at), template)
            kill_and_recover(story, victim, at)
            tree = victim.tree()
            assert tree in (old, new), f"killed before call {at} of {total}: neither old nor new"
            assert victim.leftovers() == [], f"killed before call {at} of {total}"
            outcomes[tree == new] += 1
            if at % 10 == 0:  # what the killed run left in the cache is no obstacle
                victim.install(second)
                assert victim.tree() == new
            shutil.rmtree(victim.folder)
        assert outcomes[True] and outcomes[False], outcomes


@pytest.fixture(autouse=True)
def cache(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(quick_folder / "author"))
