# SPDX-License-Identifier: Apache-2.0
"""push, pull and copy from the command line, against a registry in memory."""

import json
import os
from pathlib import Path

import pytest

from ashore.cli import run
from ashore.mechanisms.images.layout import REF_NAME
from tests.fakes.registry import FakeRegistry


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """A layout with an index of two platforms."""
    for name in ("root/etc", "root.amd64/etc"):
        (tmp_path / "worker" / name).mkdir(parents=True)
    (tmp_path / "worker/root/etc/x").write_bytes(os.urandom(100_000))
    (tmp_path / "worker/root.amd64/etc/y").write_text("amd64")
    place = f"oci:{tmp_path}/out"
    assert cli("build", tmp_path / "worker", "-o", place, "--platform", "amd64", "--platform", "linux/arm64") == 0
    return place


def cli(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def digest_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli(*arguments, "--json") == 0
    digest: str = json.loads(capsys.readouterr().out)["digest"]
    return digest


def test_an_index_goes_round(
    registry: FakeRegistry, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{registry.host}/team/worker:1"
    pushed = digest_of(capsys, "push", layout, name)
    assert digest_of(capsys, "pull", name, f"oci:{tmp_path}/back:v1") == pushed
    assert digest_of(capsys, "copy", f"oci:{tmp_path}/back", f"oci-archive:{tmp_path}/archive") == pushed
    index = json.loads((tmp_path / "back/index.json").read_text())
    assert [entry["annotations"][REF_NAME] for entry in index["manifests"]] == ["v1"]
    assert sorted(os.listdir(tmp_path / "back/blobs/sha256")) == sorted(os.listdir(tmp_path / "out/blobs/sha256"))


def test_a_platform_is_taken_out_of_an_index(
    registry: FakeRegistry, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = digest_of(capsys, "push", layout, f"{registry.host}/team/worker:1")
    one = digest_of(capsys, "push", layout, f"{registry.host}/team/worker:arm", "--platform", "linux/arm64")
    assert one != whole
    saved = f"docker-archive:{tmp_path}/saved"
    assert cli("pull", f"{registry.host}/team/worker:1", saved) == 3
    assert not (tmp_path / "saved").exists()
    assert cli("pull", f"{registry.host}/team/worker:1", saved, "--platform", "arm64") == 0
    assert cli("copy", layout, saved, "--platform", "riscv64") == 3


def test_a_second_push_moves_nothing(registry: FakeRegistry, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{registry.host}/team/worker:1"
    assert cli("push", layout, name) == 0
    capsys.readouterr()
    assert cli("push", layout, name) == 0
    talk = capsys.readouterr().err
    assert "is there already" in talk
    assert "done" not in talk


def test_blobs_are_taken_over_within_one_registry(
    registry: FakeRegistry, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed = digest_of(capsys, "push", layout, f"{registry.host}/team/worker:1")
    assert cli("copy", f"{registry.host}/team/worker:1", f"{registry.host}/other/worker:1") == 0
    talk = capsys.readouterr().err
    assert "taken over" in talk
    assert digest_of(capsys, "copy", f"{registry.host}/other/worker@{pushed}", layout + "2") == pushed


def test_what_is_not_there(registry: FakeRegistry, layout: str, tmp_path: Path) -> None:
    assert cli("pull", f"{registry.host}/team/none:1", f"oci:{tmp_path}/x") == 4
    assert cli("push", f"oci:{tmp_path}/none", f"{registry.host}/team/x:1") == 3
    assert cli("push", layout + ":none", f"{registry.host}/team/x:1") == 3
    assert not (tmp_path / "x").exists()


def test_build_pushes(registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "worker/root").mkdir(parents=True)
    (tmp_path / "worker/root/x").write_text("x")
    name = f"{registry.host}/team/worker:1"
    assert cli("build", tmp_path / "worker", "-t", name, "--push", "-o", f"oci:{tmp_path}/out", "--json") == 0
    built = json.loads(capsys.readouterr().out)
    assert built["images"] == [f"oci:{tmp_path}/out", name]
    assert digest_of(capsys, "pull", name, f"oci:{tmp_path}/back") == built["built"]["digest"]
