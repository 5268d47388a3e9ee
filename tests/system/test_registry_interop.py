# SPDX-License-Identifier: Apache-2.0
"""The tools that people have beside ashore: what podman logs in to, and what skopeo reads and writes."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ashore.mechanisms.registry import load_settings
from ashore.nouns import digest as digests
from ashore.nouns.image import DOCKER_MANIFEST, OCI_MANIFEST, Descriptor
from tests.fakes.registry_client import Bytes, blob_of, drain, manifest_of, open_at
from tests.system.registry_server import RegistryServer, available

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0
        or not (available() and shutil.which("podman") and shutil.which("skopeo") and shutil.which("htpasswd")),
        reason="needs root, docker-registry, podman, skopeo and htpasswd (apt-get install apache2-utils)",
    ),
]


def _layer() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("etc/motd")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"hi\n"))
    return file.getvalue()


def test_podman_logs_in_and_skopeo_copies_both_ways(tmp_path: Path) -> None:
    layer, auth = _layer(), str(tmp_path / "auth.json")
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digests.of(layer)]},
        }
    ).encode()

    def run(*argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    with RegistryServer(str(tmp_path / "registry"), user="ann", password="pass:word") as server:
        run("podman", "login", "--authfile", auth, "--tls-verify=false", "-u", "ann", "-p", "pass:word", server.host)
        settings = load_settings(str(tmp_path), {"REGISTRY_AUTH_FILE": auth}, os.devnull)
        ours = open_at(f"{server.host}/team/ours:1.0", settings, push=True)
        for blob in (config, layer):
            ours.put_blob(blob_of(blob), Bytes(blob))
        ours.put_manifest(OCI_MANIFEST, manifest_of(config, layer), named=True)
        place, login = f"oci:{tmp_path}/layout:1.0", ("--authfile", auth)
        run("skopeo", "copy", *login, "--src-tls-verify=false", f"docker://{server.host}/team/ours:1.0", place)
        to = f"docker://{server.host}/team/docker:1.0"
        run("skopeo", "copy", *login, "--dest-tls-verify=false", "--format", "v2s2", place, to)
        theirs = open_at(f"{server.host}/team/docker:1.0", settings)
        media_type, data = theirs.manifest(theirs.resolve().digest)
        assert media_type == DOCKER_MANIFEST
        described = json.loads(data)["layers"][0]
        packed = Descriptor(
            media_type=described["mediaType"], digest=digests.parse(described["digest"]), size=described["size"]
        )
        assert len(drain(theirs.blob(packed))) == described["size"]


def test_what_ashore_keeps_podman_and_skopeo_find_and_the_other_way_round(tmp_path: Path) -> None:
    auth = str(tmp_path / "auth.json")

    def run(*argv: str, stdin: str = "", code: int = 0) -> str:
        environ = {**os.environ, "REGISTRY_AUTH_FILE": auth}
        done = subprocess.run(argv, capture_output=True, text=True, input=stdin, env=environ)
        assert done.returncode == code, done.stderr
        return done.stdout

    ashore = (sys.executable, "-m", "ashore")
    with RegistryServer(str(tmp_path / "registry"), user="ann", password="pass:word") as server:
        run(*ashore, "login", "-u", "ann", "--password-stdin", server.host, stdin="wrong\n", code=4)
        assert not os.path.exists(auth)
        run(*ashore, "login", "-u", "ann", "--password-stdin", server.host, stdin="pass:word\n")
        assert run("podman", "login", "--get-login", server.host).strip() == "ann"
        run("skopeo", "login", "--tls-verify=false", server.host)  # it has one, and has it checked
        run("podman", "logout", server.host)
        assert run(*ashore, "logout", server.host) == ""

        run("podman", "login", "--tls-verify=false", "-u", "ann", "-p", "pass:word", server.host)
        assert server.host in run(*ashore, "logout", server.host)
        run("podman", "login", "--get-login", server.host, code=125)
        run(*ashore, "login", "-u", "ann", "--password-stdin", f"{server.host}/team", stdin="pass:word\n")
        assert run("skopeo", "login", "--get-login", f"{server.host}/team").strip() == "ann"
