# SPDX-License-Identifier: Apache-2.0
"""A plan fetches what it reads, and the install that follows the rest; what is printed is as if all had come."""

import os
import random
from pathlib import Path

import pytest

from ashore.cli import run
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, answer
from tests.flow.machine import snapshot

_FILES = 200
_CONF = "root/opt/share/plain.conf"
_EDITED = "root/etc/edited.conf"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_cache(tmp_path, "cache", monkeypatch)
    return new_root(tmp_path / "host")


def use_cache(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / name))


def new_root(root: Path) -> Path:
    (root / "var/lib").mkdir(parents=True)
    return root


def numbered(seed: int, count: int = 60) -> str:
    return "".join(f"key{n} = {random.Random(seed * 1000 + n).random()}\n" for n in range(count))


def bundle(made: Path, version: int) -> Path:
    """Files that do not compress, two names of one of them, a template, a unit, two configs and a library."""
    numbers = random.Random(1)
    for number in range(_FILES):
        path = made / f"root/opt/share/d{number % 7}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(3000))
    for name, text in {
        "bundle.toml": f'name = "many"\nversion = "{version}"\n[values]\nport = 1\n',
        "root/etc/many.conf.j2": f"port={{{{ port }}}} version={version}\n",
        "root/etc/systemd/system/many.service": f"[Unit]\nDescription={version}\n[Service]\nExecStart=/opt/x\n",
        "root/etc/sysctl.d/many.conf": f"vm.swappiness = {version}\n",
        "root/usr/lib/libmany.so.1": f"no ELF {version}\n",
        _CONF: numbered(version),
        _EDITED: numbered(3).replace("key50", f"key{version}50"),
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    os.link(made / _CONF, made / "root/opt/share/other.conf")
    if version == 2:
        (made / "root/opt/share/d3/f3").write_bytes(numbers.randbytes(50_000))
        (made / "root/opt/share/added").write_bytes(numbers.randbytes(50_000))
    return made


def publish(registry: FakeRegistry, tmp_path: Path, version: int) -> str:
    tag = f"{registry.host}/team/many:{version}"
    assert run(["build", str(bundle(tmp_path / f"v{version}", version)), "-t", tag, "--push"]) == 0
    registry.seen.clear()
    return tag


def prepared(registry: FakeRegistry, tmp_path: Path, host: Path) -> str:
    """Version 1 is installed, one of its files edited; returns the reference of version 2."""
    assert run(["install", publish(registry, tmp_path, 1), "--root", str(host)]) == 0
    edited = host / _EDITED.removeprefix("root/")
    edited.write_text("# ours\n" + edited.read_text())
    return publish(registry, tmp_path, 2)


def layer(registry: FakeRegistry) -> bytes:
    return max((b for blobs in registry.blobs.values() for b in blobs.values()), key=len)


def ignore_ranges(registry: FakeRegistry, times: int) -> None:
    whole = layer(registry)
    registry.misbehave("blobs", lambda r: answer(200, {}, whole)(r) if r.status == 206 else r, times=times)


def ranges(registry: FakeRegistry) -> list[str]:
    return [seen.headers["Range"] for seen in registry.seen if "Range" in seen.headers]


def printed(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(list(command)) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("damaged", [False, True], ids=["", "what the record has is not there"])
def test_the_plan_of_an_upgrade_is_the_same_for_a_few_kilobytes(
    registry: FakeRegistry,
    tmp_path: Path,
    host: Path,
    form: list[str],
    damaged: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = prepared(registry, tmp_path, host)
    if damaged:
        os.truncate(host / "opt/share/d0/f0", 10)
        os.truncate(host / "opt/share/plain.conf", 10)
    sent = registry.sent
    found = printed(capsys, "plan", second, "--root", str(host), *form)
    assert registry.sent - sent < len(layer(registry)) / 10
    assert len(registry.seen) <= 10
    use_cache(tmp_path, "another", monkeypatch)
    ignore_ranges(registry, times=1)
    assert found == printed(capsys, "plan", second, "--root", str(host), *form)
    assert "+key250" in found, "the difference of a config is shown"


def test_a_second_plan_asks_for_no_content(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = prepared(registry, tmp_path, host)
    found = printed(capsys, "plan", second, "--root", str(host))
    registry.seen.clear()
    assert printed(capsys, "plan", second, "--root", str(host)) == found
    assert len(registry.seen) == 2, "the manifest and the config"


def test_an_install_fetches_the_rest_and_nothing_twice(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = prepared(registry, tmp_path, host)
    assert run(["plan", second, "--root", str(host)]) == 0
    registry.seen.clear()
    assert run(["install", second, "--root", str(host)]) == 0
    spans = [[*map(int, found.removeprefix("bytes=").split("-"))] for found in ranges(registry)]
    assert len(spans) == 2, "the two files that no plan shows"
    assert sum(end + 1 - start for start, end in spans) < 101_000
    assert {entry.name for entry in (tmp_path / "cache").iterdir()} == {"known"}
    (host / "etc/edited.conf").write_text((tmp_path / f"v2/{_EDITED}").read_text())
    fresh = new_root(tmp_path / "fresh")
    assert run(["install", second, "--root", str(fresh)]) == 0
    assert snapshot(host) == snapshot(fresh)


def test_without_ranges_the_layer_comes_once_for_plan_and_install(
    registry: FakeRegistry, tmp_path: Path, host: Path
) -> None:
    second = prepared(registry, tmp_path, host)
    ignore_ranges(registry, times=1000)
    assert run(["plan", second, "--root", str(host)]) == 0
    assert run(["install", second, "--root", str(host)]) == 0
    assert len(ranges(registry)) == 1


def test_ranges_that_end_half_way_cost_the_layer_and_nothing_else(
    registry: FakeRegistry,
    tmp_path: Path,
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = prepared(registry, tmp_path, host)
    found = printed(capsys, "plan", second, "--root", str(host))
    asked = len(ranges(registry))
    whole, count = layer(registry), 0

    def ends(reply: Reply) -> Reply:
        nonlocal count
        count += reply.status == 206
        return answer(200, {}, whole)(reply) if reply.status == 206 and count >= asked else reply

    use_cache(tmp_path, "another", monkeypatch)
    registry.misbehave("blobs", ends, times=1000)
    assert printed(capsys, "plan", second, "--root", str(host)) == found
    assert count == asked


def test_what_was_kept_and_is_damaged_comes_again(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = prepared(registry, tmp_path, host)
    found = printed(capsys, "plan", second, "--root", str(host))
    kept = [file for file in (tmp_path / "cache").glob("*-*/*") if file.is_file()]
    assert kept
    for file in kept:
        file.write_bytes(b"?" + file.read_bytes()[1:])
    assert printed(capsys, "plan", second, "--root", str(host)) == found


@pytest.mark.parametrize(
    "command",
    [["plan"], ["inspect"], ["inspect", "--json"], ["render", "etc/many.conf", "--image"]],
    ids=["plan", "inspect", "inspect --json", "render"],
)
def test_whoever_only_looks_fetches_what_is_shown(
    registry: FakeRegistry,
    tmp_path: Path,
    host: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = publish(registry, tmp_path, 1)
    sent = registry.sent
    found = printed(capsys, *command, first, "--root", str(host))
    assert registry.sent - sent < len(layer(registry)) / 10
    use_cache(tmp_path, "another", monkeypatch)
    ignore_ranges(registry, times=1)
    assert printed(capsys, *command, first, "--root", str(host)) == found


def test_an_image_is_looked_at_whatever_the_host_is_like(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = prepared(registry, tmp_path, host)
    (host / "var/lib/ashore/current").write_text("?")
    assert run(["inspect", second, "--root", str(host)]) == 0
