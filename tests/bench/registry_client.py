# SPDX-License-Identifier: Apache-2.0
"""What the registry client costs: import time, and a blob from Debian's docker-registry over loopback.

    python -m tests.bench.registry_client [MIB]

Beside it, for as far as they are installed: http.client alone, urllib3, requests. Nothing is asserted.
"""

import hashlib
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from ashore.mechanisms.registry import open_repository
from ashore.nouns import digest as digests
from ashore.nouns.image import OCI_LAYER, Descriptor
from ashore.nouns.reference import parse
from tests.fakes.registry_client import Bytes, blob_of, settings_in
from tests.system.registry_server import available, registry_server

IMPORTS = {
    "nothing": "pass",
    "ashore's client": "import ashore.mechanisms.registry",
    "the same, and a first connection": "import ashore.mechanisms.registry, ashore.mechanisms.registry.wire",
    "http.client and ssl": "import http.client, ssl",
    "urllib3": "import urllib3",
    "requests": "import requests",
}
ROUNDS = 11
BUFFER = 1024 * 1024


def imports() -> None:
    """The median of `ROUNDS` fresh interpreters, in milliseconds."""
    for name, code in IMPORTS.items():
        if name in ("urllib3", "requests") and not importlib.util.find_spec(name):
            print(f"{name:36} not installed")
            continue
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append((time.perf_counter() - begun) * 1000)
        print(f"{name:36} {statistics.median(taken):7.1f} ms")


def ours(host: str, digest: str, size: int) -> str:
    """Read a blob with `Repository.blob`."""
    stream = open_repository(parse(f"{host}/bench/blob:1"), settings_in(os.devnull)).blob(descriptor_of(digest, size))
    buffer = bytearray(BUFFER)
    while stream.readinto(buffer):
        pass
    return digest


def plain(host: str, digest: str, size: int) -> str:
    """http.client, hashing and nothing else: the least it can cost."""
    import http.client

    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/v2/bench/blob/blobs/{digest}")
    response, seen, buffer = connection.getresponse(), hashlib.sha256(), memoryview(bytearray(BUFFER))
    while amount := response.readinto(buffer):
        seen.update(buffer[:amount])
    return "sha256:" + seen.hexdigest()


def with_urllib3(host: str, digest: str, size: int) -> str:
    """urllib3, hashing."""
    urllib3 = importlib.import_module("urllib3")
    seen = hashlib.sha256()
    url = f"http://{host}/v2/bench/blob/blobs/{digest}"
    response = urllib3.PoolManager().request("GET", url, preload_content=False)
    for piece in response.stream(BUFFER):
        seen.update(piece)
    return "sha256:" + seen.hexdigest()


def descriptor_of(digest: str, size: int) -> Descriptor:
    """The blob's descriptor."""
    return Descriptor(media_type=OCI_LAYER, digest=digests.parse(digest), size=size)


def transfers(mebibytes: int) -> None:
    """Wall clock and processor time of each way, the median of five."""
    data = os.urandom(mebibytes * 1024 * 1024)
    with registry_server() as server:
        descriptor = blob_of(data)
        begun = time.perf_counter()
        repository = open_repository(parse(f"{server.host}/bench/blob:1"), settings_in(os.devnull), push=True)
        repository.put_blob(descriptor, Bytes(data))
        print(f"{'push, ours':36} {mebibytes / (time.perf_counter() - begun):7.0f} MiB/s")
        ways: dict[str, Callable[[str, str, int], str]] = {"pull, ours": ours, "pull, http.client": plain}
        if importlib.util.find_spec("urllib3"):
            ways["pull, urllib3"] = with_urllib3
        for name, way in ways.items():
            wall, processor = [], []
            for _ in range(5):
                begun, used = time.perf_counter(), _processor()
                if way(server.host, descriptor.digest, len(data)) != descriptor.digest:
                    raise SystemExit(f"{name}: wrong bytes")
                wall.append(time.perf_counter() - begun)
                processor.append(_processor() - used)
            speed = mebibytes / statistics.median(wall)
            print(f"{name:36} {speed:7.0f} MiB/s  {statistics.median(processor):6.2f} s of processor")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print everything."""
    imports()
    if available():
        transfers(int(sys.argv[1]) if len(sys.argv) > 1 else 256)
    else:
        print("docker-registry is not installed: no transfers")


if __name__ == "__main__":
    main()
