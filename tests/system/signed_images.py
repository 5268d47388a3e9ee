# SPDX-License-Identifier: Apache-2.0
"""A registry with images that real tools signed, in every way that a policy may tell apart."""

import base64
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell, quiet_shell
from tests.system.registry_server import RegistryServer
from tests.system.signing import Policy, Tools

Requirement = Mapping[str, object]
_INDEX = ("--platform", "linux/amd64", "--platform", "linux/arm64")
_OWN_PLATFORM = "linux/arm64" if os.uname().machine == "aarch64" else "linux/amd64"
_OPENSSL = {
    "ecdsa-p384": (("EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("-digest", "sha256")),
    "ed25519": (("ED25519",), ()),
    "rsa-1024": (("RSA", "-pkeyopt", "rsa_keygen_bits:1024"), ("-digest", "sha256")),
    "rsa-3072": (("RSA", "-pkeyopt", "rsa_keygen_bits:3072"), ("-digest", "sha256")),
}
"""Kinds of keys: how openssl makes one, and signs with it."""


@dataclass(frozen=True)
class Site:
    """A registry with the images, and the keys."""

    host: str
    tools: Tools
    digests: Mapping[str, str]

    def image(self, name: str) -> str:
        """The reference of `NAME:TAG` or, by digest, `NAME@TAG`."""
        repository, at, tag = name.partition("@")
        return f"{self.host}/{repository}@{self.digests[f'{repository}:{tag}']}" if at else f"{self.host}/{name}"

    def policy(self, requirements: Sequence[Requirement], transport: str = "docker", scope: str = "HOST") -> Policy:
        """A policy that rejects everything else."""
        text = json.dumps({"default": [{"type": "reject"}], "transports": {transport: {scope: requirements}}})
        text = text.replace("HOST", self.host).replace("KEYS", str(self.tools.folder))
        policy: Policy = json.loads(re.sub(r"DATA\((.+?)\)", lambda found: self._data(found[1]), text))
        return policy

    def ask_of(self, shell: Shell, policy: Policy) -> None:
        """Give the host a policy, and the keys by the names that skopeo finds them by."""
        folder = shell.root / "etc/containers"
        folder.mkdir()
        (folder / "policy.json").write_text(json.dumps(policy))
        keys = shell.root / self.tools.folder.relative_to("/")
        keys.mkdir(parents=True)
        for key in self.tools.folder.glob("*.pub"):
            shutil.copy(key, keys)

    def _data(self, key: str) -> str:
        return base64.b64encode(self.tools.public(key).read_bytes()).decode()


class Maker:
    """Fills the registry."""

    def __init__(self, shell: Shell, host: str, tools: Tools) -> None:
        self._shell, self._host, self._tools = shell, host, tools
        self.digests: dict[str, str] = {}

    def build(self, name: str, *options: str) -> str:
        """An image like no other; returns its reference by digest."""
        bundle = self._shell.bundle(name.replace(":", "-"), {"etc/signed": f"{name}\n"})
        built = self._ashore("build", str(bundle), "-t", f"{self._host}/{name}", "--push", *options)["built"]
        return self._named(name, built["digest"])

    def copy(self, source: str, name: str, *options: str) -> None:
        """An image by another name, without signatures."""
        places = (f"docker://{self._host}/{tagged}" for tagged in (source, name))
        self._named(name, self._ashore("copy", *places, *options)["digest"])

    def mirror(self, name: str) -> None:
        """An image in another repository, with its signatures."""
        self._tools.copy_with_signatures(f"{self._host}/{name}", f"{self._host}/mirror/{name}")
        self.digests[f"mirror/{name}"] = self.digests[name]

    def _named(self, name: str, digest: str) -> str:
        self.digests[name] = digest
        return f"{self._host}/{name.partition(':')[0]}@{digest}"

    def _ashore(self, *command: str) -> Any:
        done = self._shell.ashore(*command, "--json")
        assert done.code == 0, done.err
        return done.json()


@contextlib.contextmanager
def signed_images(folder: Path) -> Iterator[Site]:
    """The registry, its storage and its author's bundles below `folder`."""
    (folder / "author").mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="ashore-signing-", dir="/tmp") as own,
        RegistryServer(str(folder / "registry")) as server,
    ):
        tools = Tools(Path(own))
        with pytest.MonkeyPatch.context() as environment:
            maker = Maker(quiet_shell(folder / "author", environment), server.host, tools)
            _fill(maker, tools, server.host)
        yield Site(server.host, tools, maker.digests)


def _fill(maker: Maker, tools: Tools, host: str) -> None:
    tools.make_key("ours")
    tools.make_key("theirs")
    maker.build("unsigned:1")
    signed = maker.build("cosign:1")
    tools.sign_by_cosign("ours", signed)
    tools.sign_by_cosign("ours", maker.build("named:1"), identity=f"{host}/named:1")
    # As cosign signs what lies at Docker Hub.
    tools.sign_by_cosign("ours", maker.build("hub:1"), identity="index.docker.io/library/app")
    tools.sign_by_cosign("ours", maker.build("named-elsewhere:1"), identity="registry.example/team/app:1")
    tools.move_signatures(signed, maker.build("cosign:moved"))
    tools.sign_by_cosign("theirs", maker.build("theirs:1"))
    both = maker.build("both:1")
    tools.sign_by_cosign("theirs", both)
    tools.sign_by_cosign("ours", both)
    # Signed while it is copied onto itself.
    tools.sign_by_skopeo("ours", maker.build("skopeo:1"), f"{host}/skopeo:1")
    maker.copy("skopeo:1", "skopeo:other")
    tools.sign_by_cosign("ours", maker.build("index:1", *_INDEX))
    tools.sign_by_cosign("ours", maker.build("each:1", *_INDEX), recursive=True)
    # It keeps its digest: skopeo finds its own mark of zstd in the index.
    maker.build("skopeo-each:1", *_INDEX)
    tools.sign_by_skopeo("ours", f"{host}/skopeo-each:1", f"{host}/skopeo-each:1", "--all")
    for name in ("index", "each"):
        maker.copy(f"{name}:1", f"{name}:one", "--platform", _OWN_PLATFORM)
    for name in ("cosign:1", "skopeo:1"):
        maker.mirror(name)
    for kind, (algorithm, how) in _OPENSSL.items():
        tools.make_openssl_key(kind, *algorithm)
        tools.sign_by_openssl(kind, maker.build(f"{kind}:1"), *how)
