# SPDX-License-Identifier: Apache-2.0
"""A table of contents that leads out of the store: refused before one of its words names a file of the host."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ashore.cli import run
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.delta import INDEX
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import digest_of
from tests.flow.machine import snapshot
from tests.flow.test_partial import cache

__all__ = ["cache"]

REPOSITORY = "k8s/tool"
_TABLE = "io.github.containers.zstd-chunked."
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    (root / "var/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/victim").write_text("precious\n")
    return root


def published(registry: FakeRegistry, folder: Path, conf: str) -> str:
    """An image with a small file, `opt/conf`, that is configuration, and a large one."""
    bundle = folder / f"bundle-{conf}"
    (bundle / "root/opt").mkdir(parents=True)
    rule = '[[files]]\npath = "/opt/conf"\non_edit = "keep"\n'
    (bundle / "bundle.toml").write_text(f'name = "tool"\nversion = "{conf}"\n{rule}')
    (bundle / "root/opt/conf").write_text(conf)
    (bundle / "root/opt/large").write_bytes(random.Random(1).randbytes(600_000))
    assert run(["build", str(bundle), "-t", f"{registry.host}/{REPOSITORY}:{conf}", "--push"]) == 0
    return conf


def install(registry: FakeRegistry, tag: str, host: Path) -> int:
    return run(["install", f"{registry.host}/{REPOSITORY}:{tag}", "--root", str(host)])


def entry_of(table: dict[str, Any], path: str) -> dict[str, Any]:
    (entry,) = (entry for entry in table["entries"] if entry["name"].endswith(path))
    return cast("dict[str, Any]", entry)


def changed(
    registry: FakeRegistry, tag: str, change: Change, whole: Change = lambda table: None, *, frames: bytes = b""
) -> str:
    """The tag, moved to an image whose table says something else, of `opt/conf` or at all; its sums are right.

    With `frames`, these are where that file's content is.
    """
    manifests, blobs = registry.manifests[REPOSITORY], registry.blobs[REPOSITORY]
    kind, text = manifests[registry.tags[REPOSITORY][tag]]
    if "manifests" in (top := json.loads(text)):
        kind, text = manifests[top["manifests"][0]["digest"]]
    manifest = json.loads(text)
    layer = manifest["layers"][-1]
    words, blob = layer["annotations"], blobs[layer["digest"]]
    start, length, _, form = map(int, words[f"{_TABLE}manifest-position"].split(":"))
    table = json.loads(zstd.ZstdDecompressor().decompress(blob[start : start + length]))
    conf = entry_of(table, "opt/conf")
    if frames:
        conf.update(offset=len(blob), endOffset=len(blob) + len(frames))
        blob += frames
    change(conf)
    whole(table)
    del words[INDEX]  # known already, of the table as it was
    raw = json.dumps(table).encode()
    packed = zstd.compress(raw)
    words[f"{_TABLE}manifest-position"] = f"{len(blob)}:{len(packed)}:{len(raw)}:{form}"
    words[f"{_TABLE}manifest-checksum"] = digest_of(packed)
    blob += packed
    layer["digest"], layer["size"] = digest_of(blob), len(blob)
    blobs[layer["digest"]] = blob
    text = json.dumps(manifest).encode()
    manifests[digest_of(text)] = (kind, text)
    registry.tags[REPOSITORY][tag] = digest_of(text)
    return tag


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/victim",
        "sha256:/etc/victim",
        "../victim",
        "",
        "sha512:" + "0" * 64,
        "sha256:" + "G" * 64,
    ],
)
def test_a_digest_that_is_none_names_no_file_of_the_host(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str], digest: str
) -> None:
    first = published(registry, tmp_path, "one")
    assert install(registry, first, host) == 0
    (host / "opt/conf").write_text("edited")
    second = changed(registry, published(registry, tmp_path, "two"), lambda entry: entry.update(digest=digest))
    before, victim = snapshot(host), (host / "etc/victim").stat()
    for command in ("plan", "install"):
        capsys.readouterr()
        assert run([command, f"{registry.host}/{REPOSITORY}:{second}", "--root", str(host)]) == 3
        said = capsys.readouterr().err
        assert "its table of contents is malformed" in said
        assert "a file without a digest: 'ashore/root/opt/conf'" in said
    assert snapshot(host) == before
    now = (host / "etc/victim").stat()
    assert (now.st_mtime_ns, now.st_atime_ns) == (victim.st_mtime_ns, victim.st_atime_ns), "not even opened"


@pytest.mark.parametrize("value", ["\u00e9", "no base64!", "AAA"])
def test_an_attribute_that_is_no_base64_is_said(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert install(registry, published(registry, tmp_path, "one"), host) == 0
    second = changed(
        registry, published(registry, tmp_path, "two"), lambda entry: entry.update(xattrs={"user.x": value})
    )
    before = snapshot(host)
    assert install(registry, second, host) == 3
    assert "its table of contents is malformed" in capsys.readouterr().err
    assert snapshot(host) == before


def test_the_control_a_table_that_was_only_packed_again_is_taken(
    registry: FakeRegistry, tmp_path: Path, host: Path
) -> None:
    assert install(registry, published(registry, tmp_path, "one"), host) == 0
    second = changed(registry, published(registry, tmp_path, "two"), lambda entry: None)
    assert install(registry, second, host) == 0
    assert (host / "opt/conf").read_text() == "two"


def shares(table: dict[str, Any]) -> None:
    """Many files, each in all of the bytes of the large one."""
    large = entry_of(table, "opt/large")
    table["entries"] += [
        {**large, "name": f"ashore/root/opt/n{number}", "digest": f"sha256:{number:064}"} for number in range(3)
    ]


def expands(table: dict[str, Any]) -> None:
    entry_of(table, "opt/large")["size"] = 1 << 32


def is_too_large(table: dict[str, Any]) -> None:
    entry_of(table, "opt/large")["size"] = 1 << 40


def is_in_no_place(table: dict[str, Any]) -> None:
    """An empty file's place is not looked at: else it would count as bytes that need not be fetched."""
    table["entries"].append({"type": "reg", "name": "ashore/root/opt/empty", "offset": 10**18, "endOffset": 0})


def has_too_many(table: dict[str, Any]) -> None:
    table["entries"] += [{"type": "x", "name": ""}] * 2_100_000


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (shares, "files share the same bytes"),
        (expands, "expands beyond all measure"),
        (is_too_large, "an image may hold"),
        (has_too_many, "more than 1000000 entries"),
    ],
)
def test_a_table_may_claim_no_more_than_the_layer_could_hold(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str], whole: Change, said: str
) -> None:
    assert install(registry, published(registry, tmp_path, "one"), host) == 0
    second = changed(registry, published(registry, tmp_path, "two"), lambda entry: None, whole)
    before = snapshot(host)
    assert install(registry, second, host) == 3
    assert said in capsys.readouterr().err
    assert snapshot(host) == before


def test_an_empty_file_has_no_place(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    assert install(registry, published(registry, tmp_path, "one"), host) == 0
    second = changed(registry, published(registry, tmp_path, "two"), lambda entry: None, is_in_no_place)
    assert install(registry, second, host) == 0
    assert (host / "opt/empty").read_bytes() == b""


@pytest.mark.parametrize(("empty", "code"), [(10, 0), (1000, 5)], ids=["some", "too many"])
def test_frames_that_bring_nothing_are_counted(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str], empty: int, code: int
) -> None:
    assert install(registry, published(registry, tmp_path, "one"), host) == 0
    frames = zstd.compress(b"") * empty + zstd.compress(b"two")
    second = changed(registry, published(registry, tmp_path, "two"), lambda entry: None, frames=frames)
    assert install(registry, second, host) == code
    assert ("is in more than 19 parts" in capsys.readouterr().err) == bool(code)
    assert (host / "opt/conf").read_text() == ("one" if code else "two")
