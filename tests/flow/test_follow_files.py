# SPDX-License-Identifier: Apache-2.0
"""Following what was installed from a folder or an archive: it may not be there any more."""

from pathlib import Path

import msgspec
import pytest

from ashore.acts.boot.follow import Round, follow
from ashore.errors import ExitCode, InputError
from ashore.nouns.follow import Finding
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference, Transport
from tests.flow.machine import Machine

APP, OTHER = "reg.example/app:stable", "reg.example/other:stable"


@pytest.fixture
def live(host: Machine) -> Machine:
    host.images.add(APP, {"etc/app": "1"})
    host.images.add(OTHER, {"etc/other": "1"})
    host.install(APP, OTHER)
    host.images.add(OTHER, {"etc/other": "2"})
    return host


def findings(done: Round) -> dict[str, Finding]:
    return {item.bundle: item.finding for item in done.found}


def test_an_image_on_disk_that_is_gone_stays_as_with_an_upgrade(live: Machine, tmp_path: Path) -> None:
    tools = live.tools()
    generation = tools.history.current()
    gone = f"oci-archive:{tmp_path}/stick/app.tar"
    bundles = tuple(msgspec.structs.replace(b, reference=gone) if b.name == "app" else b for b in generation.bundles)
    tools.history.write(msgspec.structs.replace(generation, bundles=bundles))
    done = follow(tools)
    assert findings(done) == {"app": Finding.SKIPPED, "other": Finding.NEW} and done.code is ExitCode.DONE
    assert "no longer there" in done.found[0].why and live.read("etc/other") == "2"


def test_an_image_on_disk_that_cannot_be_read_is_one_bundles_affair(live: Machine, tmp_path: Path) -> None:
    tools = live.tools()
    layout = f"oci:{tmp_path}/layout:app"
    (tmp_path / "layout").mkdir()

    def open_image(name: ImageReference) -> ImageReader:
        if name.transport is Transport.REGISTRY:
            return tools.open_image(name)
        raise InputError(f"{name} is not there")

    generation = tools.history.current()
    bundles = tuple(msgspec.structs.replace(b, reference=layout) if b.name == "app" else b for b in generation.bundles)
    tools.history.write(msgspec.structs.replace(generation, bundles=bundles))
    done = follow(msgspec.structs.replace(tools, open_image=open_image))
    assert findings(done) == {"app": Finding.UNREACHABLE, "other": Finding.NEW} and done.code is ExitCode.NETWORK
    assert layout in done.found[0].why and live.read("etc/other") == "2"
