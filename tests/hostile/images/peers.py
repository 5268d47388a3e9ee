# SPDX-License-Identifier: Apache-2.0
"""The same hostile images through what else one would unpack them with: for comparison, never a verdict."""

import gzip
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from ashore.mechanisms.images.layout import LayoutWriter
from ashore.mechanisms.images.streams import BytesStream
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.digest import hex_of
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import DEFAULT
from tests.hostile.images.case import Case, OpenStore
from tests.hostile.images.host import look

SECONDS = 20
_MOST = 256 << 20
Unpack = Callable[[OpenStore, Path], None]
"""Unpacks an image into a folder; raises whatever the peer says."""


def tarfile_data(store: OpenStore, root: Path) -> None:
    """Python's tarfile with ``filter="data"``, layer by layer, as its documentation shows it."""
    for blob in _layers(store):
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            archive.extractall(root, filter="data")


def umoci(store: OpenStore, root: Path) -> None:
    """``umoci unpack``, of a layout on disk."""
    with tempfile.TemporaryDirectory(dir=root.parent.parent) as made:
        write_layout(store, Path(made))
        bundle = root.parent / "unpacked"
        subprocess.run(
            ["umoci", "unpack", "--image", f"{made}:it", str(bundle)], check=True, capture_output=True, timeout=SECONDS
        )


def outcome(case: Case, unpack: Unpack) -> str:
    """``refused``, ``taken``, ``escaped`` if anything beside its folder changed, ``hung`` if time or memory ran out."""
    store = OpenStore()
    case.put(store)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "peer/root"
        root.mkdir(parents=True)
        for victim in ("peer/victim/hello", "peer/victim/file", "victim/hello", "peer/etc/victim", "etc/victim"):
            (folder / victim).parent.mkdir(parents=True, exist_ok=True)
            (folder / victim).write_text("the host's own\n")
        before = _outside(folder)
        code = _in_child(lambda: unpack(store, root))
        if _outside(folder) != before:
            return "escaped"
        return {0: "taken", 1: "refused"}.get(code, "hung")


def write_layout(store: OpenStore, folder: Path) -> None:
    """The image as a layout, its blobs under the names that its documents have for them."""
    assert store.named is not None
    writer = LayoutWriter(str(folder), "it", DEFAULT)
    for digest, data in (store.blobs | store.instead).items():
        writer.put_blob(Descriptor(media_type="", digest=digest, size=len(data)), BytesStream(data))
    for digest, (_, data) in store.manifests.items():
        writer.put_blob(Descriptor(media_type="", digest=digest, size=len(data)), BytesStream(data))
        assert (folder / "blobs/sha256" / hex_of(digest)).exists()
    writer.put_manifest(store.named.media_type, store.manifests[store.named.digest][1], named=True)


def _layers(store: OpenStore) -> list[bytes]:
    assert store.named is not None
    document = json.loads(store.manifests[store.named.digest][1])
    found = []
    for layer in document["layers"]:
        data = store.instead.get(layer["digest"], store.blobs.get(layer["digest"], b""))
        kind = layer["mediaType"].rpartition("+")[2]
        unpacked = gzip.decompress(data) if kind == "gzip" else zstd.decompress(data) if kind == "zstd" else data
        found.append(unpacked)
    return found


def _outside(folder: Path) -> list[object]:
    """All but what was unpacked, into which nobody looks: its paths may be too long for that."""
    victims = [look(folder / name, times=True) for name in ("victim", "etc", "peer/victim", "peer/etc")]
    inside = {"root", "unpacked"}
    return [*victims, sorted(os.listdir(folder)), sorted(set(os.listdir(folder / "peer")) - inside)]


def _in_child(call: Callable[[], None]) -> int:
    """0: it was done; 1: it raised an error; 2: it ran out of time or memory."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST, _MOST))
            call()
            code = 0
        except MemoryError:
            code = 2
        except BaseException:
            code = 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 2


PEERS: dict[str, Unpack] = {'tarfile, filter="data"': tarfile_data}
if shutil.which("umoci"):
    PEERS["umoci unpack"] = umoci
