# SPDX-License-Identifier: Apache-2.0
"""Images that other tools made: from a Dockerfile, in several layers, with whiteouts, gzip and zstd."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.mechanisms.images.transports import open_reader
from ashore.nouns.files import Entry
from ashore.nouns.image import Platform
from ashore.nouns.limits import DEFAULT
from ashore.nouns.reference import parse
from ashore.rules.images.imagetree import tree_prefix
from ashore.rules.images.verify import unjudged
from tests.fakes.images import MemorySink, Silent

pytestmark = pytest.mark.real

DOCKERFILE = """\
FROM scratch
COPY worker/ /ashore/
COPY one /ashore/root/etc/gone
COPY old/ /worker-root/
LABEL io.ashore.root=/worker-root
"""
SECOND = """\
cd "$1/ashore/root"
rm etc/gone etc/replaced
rm -r etc/folder; mkdir etc/folder; echo new > etc/folder/new
ln -s /nowhere etc/replaced
echo two > etc/two; ln etc/two etc/three
chown 7:8 opt/tool; chmod 4755 opt/tool
"""


@pytest.fixture(scope="module")
def made() -> Iterator[str]:
    """A folder with layouts: a Dockerfile's image, changed in a second layer, in every compression."""
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("needs root and buildah (apt-get install buildah)")
    with tempfile.TemporaryDirectory(prefix="bah") as top:
        _context(Path(top))
        base = ["--root", f"{top}/s", "--runroot", f"{top}/r", "--storage-driver", "vfs"]

        def buildah(*arguments: str) -> str:
            done = subprocess.run(["buildah", *base, *arguments], check=True, capture_output=True, text=True)
            return done.stdout.strip()

        buildah("bud", "-q", "--layers", "-t", "first", top)
        container = buildah("from", "--pull-never", "first")
        mount = buildah("mount", container)
        subprocess.run(["sh", "-eu", "-c", SECOND, "sh", mount], check=True)
        buildah("umount", container)
        buildah("commit", "-q", container, "second")
        for compression in ("gzip", "zstd"):
            buildah("push", "-q", "--compression-format", compression, "second", f"oci:{top}/{compression}")
        for name in ("docker", "named:team/worker:1"):
            buildah("push", "-q", "second", f"docker-archive:{top}/{name}")
        buildah("push", "-q", "second", f"oci-archive:{top}/archive")
        yield top


def _context(top: Path) -> None:
    root = top / "worker/root"
    for name in ("etc/folder", "opt", "empty"):
        (root / name).mkdir(parents=True)
    (top / "worker/bundle.toml").write_text('name = "worker"\n')
    (root / "etc/folder/old").write_text("old")
    (root / "etc/replaced").write_text("old")
    (root / "etc/kept").write_text("kept")
    (root / "opt/tool").write_bytes(os.urandom(100_000) * 30)
    (top / "one").write_text("one")
    (top / "old/etc").mkdir(parents=True)
    (top / "old/etc/older").write_text("older")
    (top / "Dockerfile").write_text(DOCKERFILE)


def fetched(name: str, prefix: str = "") -> tuple[dict[str, Entry], MemorySink]:
    reference = parse(name)
    reader = open_reader(reference, settings_factory=_no_settings, progress=Silent(), limits=DEFAULT)
    image = resolve_image(reader, reference, Platform(_architecture()), DEFAULT)
    sink = MemorySink()
    prefix = prefix or tree_prefix(image.config)
    verified = unjudged(image)
    tree = fetch_tree(verified, reader, sink, prefix=prefix, progress=Silent(), limits=DEFAULT)
    return dict(tree), sink


def _no_settings() -> Any:
    raise AssertionError("no registry is asked here")


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


PLACES = (
    *("oci:{}/gzip", "oci:{}/zstd", "oci-archive:{}/archive"),
    *("docker-archive:{}/docker", "docker-archive:{}/named:team/worker:1"),
)


@pytest.mark.parametrize("place", PLACES)
def test_layers_and_whiteouts_of_other_tools(made: str, place: str) -> None:
    tree, sink = fetched(place.format(made), "ashore")
    shape = {
        path: entry.target or sink.digests.get(entry.digest, b"").decode()
        for path, entry in tree.items()
        if entry.kind != "dir" and not path.endswith("tool")
    }
    assert shape == {
        "bundle.toml": 'name = "worker"\n',
        "root/etc/folder/new": "new\n",
        "root/etc/kept": "kept",
        "root/etc/replaced": "/nowhere",
        "root/etc/three": "two\n",
        "root/etc/two": "two\n",
    }
    assert tree["root/etc/two"].link == tree["root/etc/three"].link == "root/etc/three"
    tool = tree["root/opt/tool"]
    assert (oct(tool.mode), tool.uid, tool.gid, tool.size) == ("0o4755", 7, 8, 3_000_000)
    assert tree["root/empty"].kind == "dir"


@pytest.mark.parametrize("place", PLACES)
def test_an_older_image_names_its_tree_by_label(made: str, place: str) -> None:
    tree, sink = fetched(place.format(made))
    assert set(tree) == {"root", "root/etc", "root/etc/older"}
    assert sink.files == {"root/etc/older": b"older"}
