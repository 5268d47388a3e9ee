# SPDX-License-Identifier: Apache-2.0
"""Undoing a finished generation asks the registry only for what somebody damaged in place, however it has it."""

from pathlib import Path

import pytest

from ashore.cli import run
from tests.fakes.registry import FakeRegistry


def publish(registry: FakeRegistry, folder: Path, version: int, compression: str) -> str:
    bundle = folder / "tool"
    for path, text in {
        "bundle.toml": '[[files]]\npath = "opt/tool"\non_edit = "replace"\n',
        "root/opt/tool": "a large program\n",
        "root/etc/tool.conf": f"version {version}\n",
    }.items():
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).write_text(text)
    name = f"{registry.host}/team/tool:{version}"
    assert run(["build", str(bundle), "-t", name, "--push", "--compression", compression]) == 0
    return name


@pytest.mark.parametrize("compression", ["zstd:chunked", "gzip"])
@pytest.mark.parametrize("cached", [True, False])
def test_a_damaged_file_is_fetched_by_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, cached: bool
) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "host"
    (root / "etc").mkdir(parents=True)
    with FakeRegistry() as registry:
        names = [publish(registry, tmp_path, version, compression) for version in (1, 2)]
        for name in names:
            assert run(["install", name, "--root", str(root)]) == 0
        if cached:
            assert run(["inspect", names[0], "--root", str(root)]) == 0
        (root / "opt/tool").write_text("broken\n")
        assert run(["rollback", "--root", str(root)]) == 0
    assert (root / "opt/tool").read_text() == "a large program\n"
    assert (root / "etc/tool.conf").read_text() == "version 1\n"
