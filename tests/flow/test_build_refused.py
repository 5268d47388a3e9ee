# SPDX-License-Identifier: Apache-2.0
"""What is no bundle, or none that a host would take: build says so, all at once."""

import os
from pathlib import Path

import pytest

from ashore.acts.author.lint import lint
from ashore.errors import InputError
from ashore.nouns.image import Platform
from tests.flow.test_build import built, fetched
from tests.flow.test_build import bundle as bundle


def test_all_that_may_not_be_in_a_bundle_is_said_at_once(bundle: Path) -> None:
    root = bundle / "root"
    for name in ("proc", "run/x", "var/lib/ashore"):
        (root / name).mkdir(parents=True)
    os.mkfifo(root / "etc/fifo")
    with open(os.fsencode(root / "etc") + b"/caf\xe9", "wb"):
        pass
    with pytest.raises(InputError) as caught:
        built(bundle)
    where = {issue.where for issue in caught.value.issues}
    assert {"root/proc", "root/run", "root/var/lib/ashore", "root/etc/fifo", "root/etc/caf\\udce9"} <= where


def test_what_hosts_would_refuse_is_neither_built_nor_linted(bundle: Path) -> None:
    deep = "/".join(["d"] * 128)
    for name in ("etc/.wh.plain", "etc/.ashore.j2", deep):
        (bundle / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / "root" / name).write_text("x")
    expected = {f"root/{name}" for name in ("etc/.wh.plain", "etc/.ashore.j2", deep)}
    with pytest.raises(InputError) as caught:
        built(bundle)
    assert {issue.where for issue in caught.value.issues} == expected
    assert {found.where for found in lint(str(bundle)) if "private key" not in found.message} == expected


def test_what_lies_over_root_is_named_as_it_lies(bundle: Path) -> None:
    for name in ("root.amd64/etc/.wh.x", "root/etc/.wh.y"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text("x")
    with pytest.raises(InputError) as caught:
        built(bundle, Platform("amd64"))
    assert {issue.where for issue in caught.value.issues} == {"root.amd64/etc/.wh.x", "root/etc/.wh.y"}


@pytest.mark.parametrize("compression", ["zstd:chunked", "zstd"])
def test_zeros_that_hosts_would_take_for_a_bomb_are_not_built(bundle: Path, compression: str) -> None:
    with (bundle / "root/opt/disk.img").open("wb") as file:
        file.truncate(32 << 20)
    with pytest.raises(InputError, match="every host would refuse") as caught:
        built(bundle, compression=compression)
    assert "gzip" in caught.value.remedy
    tree, _ = fetched(built(bundle, compression="gzip"))
    assert tree["root/opt/disk.img"].size == 32 << 20


def test_zeros_among_much_else_are_no_bomb(bundle: Path) -> None:
    with (bundle / "root/etc/app/disk.img").open("wb") as file:
        file.truncate(18 << 20)
    (bundle / "root/opt/noise").write_bytes(os.urandom(200_000))
    tree, _ = fetched(built(bundle))
    assert tree["root/etc/app/disk.img"].size == 18 << 20


@pytest.mark.parametrize(
    "text",
    ['name = "a"\nnmae = "b"\n[values\n', 'name = "a"\nkeys = 1\nversoin = "1"\n'],
)
def test_a_broken_manifest_is_refused(bundle: Path, text: str) -> None:
    (bundle / "bundle.toml").write_text(text)
    with pytest.raises(InputError):
        built(bundle)


def test_no_folder_and_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in ("nothing", "x"):
        with pytest.raises(InputError):
            built(tmp_path / name)
