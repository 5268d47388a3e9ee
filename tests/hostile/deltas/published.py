# SPDX-License-Identifier: Apache-2.0
"""Two versions of a bundle with a delta between them, in a registry's memory, to be tampered with; and a host."""

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ashore.cli import run
from ashore.mechanisms.images.directory import read_directory
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.delta import ARTIFACT
from ashore.nouns.limits import DEFAULT, MIB
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import digest_of

NAME = "team/app"
BIG, SMALL = "opt/big", "opt/small.conf"


class Published(msgspec.Struct, frozen=True):
    """What the registry holds, by its own words."""

    blobs: Mapping[str, dict[str, bytes]]
    manifests: Mapping[str, dict[str, tuple[str, bytes]]]
    tags: Mapping[str, dict[str, str]]

    def into(self, registry: FakeRegistry) -> None:
        """Have a registry hold it."""
        registry.blobs, registry.manifests = copy.deepcopy(dict(self.blobs)), copy.deepcopy(dict(self.manifests))
        registry.tags = copy.deepcopy(dict(self.tags))


def publish(folder: Path) -> Published:
    """Version 1 has a file of 3 MB and a small one; version 2 has both changed."""
    numbers = random.Random(1)
    big = bytearray(numbers.randbytes(3 * MIB))
    small = "".join(f"key{n} = {numbers.random()}\n" for n in range(60))
    with FakeRegistry() as registry:
        for version in ("1", "2"):
            write(folder / "app/root" / BIG, bytes(big))
            write(folder / "app/root" / SMALL, small.encode())
            write(folder / "app/bundle.toml", b'name = "app"\n')
            for number in range(20):
                write(folder / f"app/root/opt/more/{number}", random.Random(number).randbytes(20_000))
            given = ["--delta-from", f"{registry.host}/{NAME}:1"] if version == "2" else []
            assert run(["build", str(folder / "app"), "-t", f"{registry.host}/{NAME}:{version}", "--push", *given]) == 0
            for _ in range(20_000):
                big[numbers.randrange(len(big))] ^= 0x55
            small += "changed = 1\n"
        return Published(registry.blobs, registry.manifests, registry.tags)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Delta:
    """The delta in a registry's memory, taken apart; `put` puts it back in the place of what was there."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.digest, self.document = next(deltas(registry))
        blobs = registry.blobs[NAME]
        directory, patches = (blobs[layer["digest"]] for layer in self.document["layers"])
        self.patches = bytearray(patches)
        self.directory: dict[str, Any] = msgspec.to_builtins(read_directory(directory, len(patches), DEFAULT))
        self.raw_directory: bytes | None = None
        self.along = False
        """Whether patches and directory come along in the manifest."""

    def of(self, path: str, folder: Path) -> dict[str, Any]:
        """The patch that makes the file `path` of version 2, whose bundle lies in `folder`."""
        digest = digest_of((folder / "app/root" / path).read_bytes())
        return next(patch for patch in self.directory["patches"] if patch["new"] == digest)

    def put(self) -> None:
        """Have it in the registry as it is now."""
        text = json.dumps(self.directory).encode()
        directory = zstd.compress(text) if self.raw_directory is None else self.raw_directory
        for layer, data in zip(self.document["layers"], (directory, bytes(self.patches)), strict=False):
            layer.pop("data", None)
            layer |= {"digest": digest_of(data), "size": len(data)}
            if self.along:
                layer["data"] = base64.b64encode(data).decode()
            self.registry.blobs[NAME][digest_of(data)] = data
        data = json.dumps(self.document).encode()
        held = self.registry.manifests[NAME]
        media_type, _ = held.pop(self.digest)
        self.digest = digest_of(data)
        held[self.digest] = (media_type, data)


def deltas(registry: FakeRegistry) -> Iterator[tuple[str, dict[str, Any]]]:
    for digest, (_, data) in list(registry.manifests[NAME].items()):
        document = json.loads(data)
        if document.get("artifactType") == ARTIFACT:
            yield digest, document


Tamper = Callable[[Delta, Path], object]
