# SPDX-License-Identifier: Apache-2.0
"""What tests of the registry client share: streams, settings that never wait, an auth file."""

import base64
import json
import os

import msgspec

from ashore.errors import VerificationError
from ashore.mechanisms.registry import RegistrySettings, Repository, load_settings, open_repository
from ashore.nouns import digest as digests
from ashore.nouns.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Stream
from ashore.nouns.reference import parse

LIMITS = Limits(connect_seconds=5, idle_seconds=5)


class Bytes:
    """A stream of bytes that were checked before."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        amount = min(len(buffer), len(self._rest))
        buffer[:amount] = self._rest[:amount]
        self._rest = self._rest[amount:]
        return amount

    def close(self) -> None:
        self._rest = self._rest[:0]


class Lying(Bytes):
    """A stream that finds out at its end that it was not what it said."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        amount = super().readinto(buffer)
        if not amount:
            raise VerificationError("not what it said")
        return amount


class Waits:
    """A `sleep` that only remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Told:
    """A `ports.Progress` that remembers."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.lines: list[str] = []

    def begin(self, name: str, total: int) -> None:
        self.totals[name] = total

    def advance(self, name: str, amount: int) -> None:
        self.done[name] = self.done.get(name, 0) + amount

    def end(self, name: str) -> None:
        self.lines.append(f"end {name}")

    def say(self, line: str) -> None:
        self.lines.append(line)


def drain(stream: Stream, chunk: int = 64 * 1024) -> bytes:
    """All of a stream, and that it was closed."""
    data, buffer = bytearray(), bytearray(chunk)
    try:
        while amount := stream.readinto(buffer):
            data += buffer[:amount]
    finally:
        stream.close()
    return bytes(data)


def blob_of(data: bytes, media_type: str = OCI_LAYER) -> Descriptor:
    """The descriptor of `data`."""
    return Descriptor(media_type=media_type, digest=digests.of(data), size=len(data))


def manifest_of(config: bytes, *layers: bytes) -> bytes:
    """A manifest of an image with these blobs."""
    described = [msgspec.to_builtins(blob_of(layer)) for layer in layers]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": msgspec.to_builtins(blob_of(config, OCI_CONFIG)),
        "layers": described,
    }
    return json.dumps(document).encode()


def auth_file(folder: str, **credentials: tuple[str, str]) -> str:
    """Write an auth file; keys are hosts."""
    path = os.path.join(folder, "auth.json")
    auths = {host: {"auth": base64.b64encode(":".join(pair).encode()).decode()} for host, pair in credentials.items()}
    with open(path, "w") as file:
        json.dump({"auths": auths}, file)
    return path


def settings_in(
    folder: str,
    *,
    credentials: dict[str, tuple[str, str]] | None = None,
    environ: dict[str, str] | None = None,
    limits: Limits = LIMITS,
    waits: Waits | None = None,
) -> RegistrySettings:
    """Settings whose root and home are `folder`."""
    environment = dict(environ or {})
    if credentials is not None:
        environment["REGISTRY_AUTH_FILE"] = auth_file(folder, **credentials)
    made = load_settings(folder, environment, folder, limits=limits)
    return msgspec.structs.replace(made, sleep=waits or Waits(), jitter=lambda: 0.0)


def open_at(name: str, settings: RegistrySettings, *, push: bool = False, progress: Told | None = None) -> Repository:
    """The repository of a name."""
    return open_repository(parse(name), settings, push=push, progress=progress)
