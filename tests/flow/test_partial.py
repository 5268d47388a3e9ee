# SPDX-License-Identifier: Apache-2.0
"""An upgrade fetches what the host lacks, and is right whatever the registry makes of its questions."""

import os
import random
import re
from pathlib import Path

import pytest

from ashore.cli import run
from tests.fakes.mirrors import Mirrored
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, altered, answer
from tests.flow.machine import snapshot

_FILES = 300


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    (root / "var/lib").mkdir(parents=True)
    return root


def bundle(folder: Path, version: int) -> Path:
    """300 files that do not compress, a template, a unit; version 2 changes one file and adds one."""
    made = folder / f"v{version}"
    numbers = random.Random(1)
    for number in range(_FILES):
        path = made / f"root/opt/share/d{number % 7}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(3000))
    for name, text in {
        "bundle.toml": f'name = "many"\nversion = "{version}"\n[values]\nport = 1\n',
        "root/etc/many.conf.j2": f"port={{{{ port }}}} version={version}\n",
        "root/etc/systemd/system/many.service": "[Service]\nExecStart=/opt/x\n[Install]\nWantedBy=a.target\n",
        "root/opt/empty": "",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    if version == 2:
        (made / "root/opt/share/d3/f3").write_bytes(numbers.randbytes(5000))
        (made / "root/opt/share/added").write_text("new")
        (made / "root/opt/share/empty-too").write_text("")
    return made


def publish(registry: FakeRegistry, folder: Path, version: int, *, compression: str = "zstd:chunked") -> str:
    tag = f"{registry.host}/k8s/many:{version}"
    assert run(["build", str(bundle(folder, version)), "-t", tag, "--push", "--compression", compression]) == 0
    return tag


def install(tag: str, host: Path) -> int:
    return run(["install", tag, "--root", str(host)])


def prepared(registry: FakeRegistry, tmp_path: Path, host: Path) -> str:
    """Version 1 is installed; returns the reference of version 2."""
    assert install(publish(registry, tmp_path, 1), host) == 0
    second = publish(registry, tmp_path, 2)
    registry.seen.clear()
    return second


def expected(tmp_path: Path, registry: FakeRegistry) -> dict[str, tuple[object, ...]]:
    """A host that has version 2 and never had another."""
    root = tmp_path / "expected"
    (root / "var/lib").mkdir(parents=True)
    assert install(f"{registry.host}/k8s/many:2", root) == 0
    return snapshot(root)


def largest(registry: FakeRegistry) -> bytes:
    return max((b for blobs in registry.blobs.values() for b in blobs.values()), key=len)


def test_one_changed_file_of_300_comes_alone(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = prepared(registry, tmp_path, host)
    assert install(second, host) == 0
    assert re.search(r": fetched [\d.]+ kB of [89]\d\d\.\d kB\n", capsys.readouterr().err)
    ranges = [seen.headers["Range"] for seen in registry.seen if "Range" in seen.headers]
    asked = sum(int(r.partition("-")[2]) - int(r.partition("=")[2].partition("-")[0]) + 1 for r in ranges)
    assert asked < len(largest(registry)) / 10
    assert len(registry.seen) <= 10
    assert snapshot(host) == expected(tmp_path, registry)


def test_the_first_install_streams_the_layer_once(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    first = publish(registry, tmp_path, 1)
    registry.seen.clear()
    assert install(first, host) == 0
    assert not [seen for seen in registry.seen if "Range" in seen.headers]
    assert registry.count("GET", "blobs/") == 2, "the config and the layer"


def test_a_registry_that_ignores_ranges_is_read_whole(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = prepared(registry, tmp_path, host)
    whole = largest(registry)
    with_ranges = {seen.path for seen in registry.seen}
    assert not with_ranges

    def ignore(reply: Reply) -> Reply:
        return answer(200, {}, whole)(reply) if reply.status == 206 else reply

    registry.misbehave("blobs", ignore, times=1000)
    assert install(second, host) == 0
    asked = [seen.path for seen in registry.seen if seen.method == "GET" and "/blobs/" in seen.path]
    assert len(asked) == len(set(asked)) == 2, "the config, and the layer: the answer to the first range is read on"
    assert snapshot(host) == expected(tmp_path, registry)


@pytest.mark.parametrize("status", [200, 416, 501])
def test_a_registry_without_ranges_is_read_whole_when_the_table_is_known_as_well(
    registry: FakeRegistry, tmp_path: Path, host: Path, status: int
) -> None:
    second = prepared(registry, tmp_path, host)
    whole = largest(registry)

    def ignore(reply: Reply) -> Reply:
        return answer(status, {}, whole if status == 200 else b"")(reply) if reply.status == 206 else reply

    (host / "opt/share/added").write_text("somebody's own")
    assert install(second, host) == 6, "the table is known from here on"
    (host / "opt/share/added").unlink()
    registry.seen.clear()
    registry.misbehave("blobs", ignore, times=1000)
    assert install(second, host) == 0
    asked = [seen.headers.get("Range", "") for seen in registry.seen if "/blobs/" in seen.path]
    assert asked.count("") == (1 if status == 200 else 2), "the config, and the layer where no answer goes on as it"
    assert snapshot(host) == expected(tmp_path, registry)


@pytest.mark.parametrize(
    ("at", "byte", "said"),
    [
        (1, -1, "its table of contents"),
        (2, -1, "entry root/etc/many.conf.j2 is not"),
        (2, 0, "entry bundle.toml is not"),
    ],
    ids=["the table", "a file", "what a file's frame begins with"],
)
def test_a_wrong_byte_in_a_part_is_refused_and_nothing_changes(
    registry: FakeRegistry,
    tmp_path: Path,
    host: Path,
    at: int,
    byte: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = prepared(registry, tmp_path, host)
    before = snapshot(host)
    count = 0

    def flipped(body: bytes) -> bytes:
        changed = bytearray(body)
        changed[byte] ^= 1
        return bytes(changed)

    def flip(reply: Reply) -> Reply:
        nonlocal count
        count += reply.status == 206
        return altered(flipped)(reply) if reply.status == 206 and count == at else reply

    registry.misbehave("blobs", flip, times=1000)
    assert install(second, host) == 5
    error = capsys.readouterr().err
    assert "layer 1" in error and said in error, error
    assert snapshot(host) == before
    assert not list(host.rglob("stage/*"))


def test_a_registry_that_dies_half_way_leaves_the_host_as_it_was(
    registry: FakeRegistry, tmp_path: Path, host: Path
) -> None:
    second = prepared(registry, tmp_path, host)
    before = snapshot(host)
    registry.misbehave("blobs", lambda r: answer(404)(r) if r.status == 206 else r, times=1000)
    assert install(second, host) in (0, 4)
    assert snapshot(host) in (before, expected(tmp_path, registry))


def test_what_the_host_lost_comes_again(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = prepared(registry, tmp_path, host)
    victim = host / "opt/share/d0/f0"
    os.truncate(victim, 10)  # damaged in place: it is kept as an edit, and its content is in no store
    assert install(second, host) == 0
    assert victim.stat().st_size == 10
    assert run(["diff", "--root", str(host), "--exit-code"]) == 10


def test_layers_of_other_compressions_are_streamed(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    assert install(publish(registry, tmp_path, 1, compression="gzip"), host) == 0
    assert install(publish(registry, tmp_path, 2, compression="zstd"), host) == 0
    assert not [seen for seen in registry.seen if "Range" in seen.headers]
    assert snapshot(host) == expected(tmp_path, registry)


@pytest.mark.parametrize("at", [1, 2], ids=["the table", "a file"])
def test_a_part_that_comes_wrong_from_a_mirror_comes_from_the_registry(
    registry: FakeRegistry, tmp_path: Path, host: Path, at: int
) -> None:
    second = prepared(registry, tmp_path, host)
    with FakeRegistry() as mirror:
        mirrored = Mirrored(mirror, registry, host)
        mirrored.sync()
        count = 0

        def flip(reply: Reply) -> Reply:
            nonlocal count
            count += reply.status == 206
            changed = altered(lambda body: bytes([*body[:-1], body[-1] ^ 1]))
            return changed(reply) if reply.status == 206 and count >= at else reply

        mirror.misbehave("blobs", flip, times=1000)
        assert install(second, host) == 0
        assert any("Range" in seen.headers for seen in registry.seen)
        (host / "etc/containers/registries.conf").unlink()
        os.rmdir(host / "etc/containers")
    assert snapshot(host) == expected(tmp_path, registry)
