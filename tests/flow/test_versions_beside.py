# SPDX-License-Identifier: Apache-2.0
"""A new version that is not laid on the host, since an edit is kept there, is fetched before anything is staged."""

import random
from pathlib import Path

import pytest

from ashore.cli import run
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, answer
from tests.flow.machine import snapshot
from tests.flow.test_partial import cache, host, install

__all__ = ["cache", "host"]

CONF = "opt/tool/conf"


def published(registry: FakeRegistry, folder: Path, version: int) -> str:
    """A bundle with a large file, one that changes, and one that changes and is kept where it was edited."""
    made, numbers = folder / f"v{version}", random.Random(1)
    (made / "root/opt/tool").mkdir(parents=True)
    rule = f'[[files]]\npath = "/{CONF}"\non_edit = "keep"\n'
    (made / "bundle.toml").write_text(f'name = "tool"\nversion = "{version}"\n{rule}')
    (made / "root/opt/tool/large").write_bytes(numbers.randbytes(600_000))
    (made / "root/opt/tool/first").write_bytes(random.Random(version).randbytes(5000))
    (made / "root" / CONF).write_text(f"a conf of version {version}")
    tag = f"{registry.host}/k8s/tool:{version}"
    assert run(["build", str(made), "-t", tag, "--push"]) == 0
    return tag


def edited(registry: FakeRegistry, folder: Path, host: Path) -> str:
    """Version 1 is installed and edited; the reference of version 2."""
    assert install(published(registry, folder, 1), host) == 0
    (host / CONF).write_text("edited")
    second = published(registry, folder, 2)
    registry.seen.clear()
    return second


def test_it_waits_in_the_store_and_came_with_the_rest(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = edited(registry, tmp_path, host)
    assert install(second, host) == 0
    assert (host / CONF).read_text() == "edited"
    ranges = [seen.headers["Range"] for seen in registry.seen if "Range" in seen.headers]
    assert len(ranges) <= 3, "the table, what rules read, and all the rest at once"
    registry.close()
    assert run(["pending", "take", f"/{CONF}", "--root", str(host)]) == 0
    assert (host / CONF).read_text() == "a conf of version 2"


def test_where_it_does_not_come_the_host_is_as_it_was(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = edited(registry, tmp_path, host)
    before = snapshot(host)

    def lacks(reply: Reply) -> Reply:
        return answer(404)(reply) if reply.status == 206 and b"conf of version" in reply.body else reply

    registry.misbehave("blobs", lacks, times=1000)
    assert install(second, host) == 4
    assert "fault" not in capsys.readouterr().err
    assert snapshot(host) == before
    registry.behave()
    assert install(second, host) == 0
    assert (host / CONF).read_text() == "edited"
