# SPDX-License-Identifier: Apache-2.0
"""cosign and skopeo of a newer Debian: they sign images in a plain registry on loopback, and skopeo judges them.

This machine's Debian has no cosign, and its skopeo was built without sigstore: it neither signs nor verifies.
"""

import base64
import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.system.lab import LabError
from tests.system.releases import NEWER, command

_PACKAGES = "cosign,skopeo,ca-certificates,mount"
_SECONDS = 60
_PLAIN = ("--allow-http-registry", "--allow-insecure-registry")
_REJECTED = "Source image rejected"

Policy = Mapping[str, object]
"""A whole policy.json."""


class Tools:
    """The tools, with keys and settings in a folder of their own, which lies below /tmp: that is what they see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._passphrase = folder / "passphrase"
        self._passphrase.write_text("")
        self._settings = folder / "registries.d"
        self._settings.mkdir()
        self._registries = folder / "registries.conf"
        self._registries.write_text("")
        (self._settings / "all.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")

    def make_key(self, name: str) -> None:
        """A key pair by cosign: ECDSA with P-256."""
        self._run("cosign", "generate-key-pair", "--output-key-prefix", str(self.folder / name))

    def make_openssl_key(self, name: str, *algorithm: str) -> None:
        """A key pair of another kind, as `openssl genpkey -algorithm` names it."""
        private = str(self._private(name))
        _do(["openssl", "genpkey", "-quiet", "-out", private, "-algorithm", *algorithm])
        _do(["openssl", "pkey", "-in", private, "-pubout", "-out", str(self.public(name))])

    def public(self, name: str) -> Path:
        """The file of a public key."""
        return self.folder / f"{name}.pub"

    def sign_by_cosign(self, key: str, image: str, *, recursive: bool = False, identity: str = "") -> None:
        """Sign as a repository without a tag, which is cosign's way, or as `identity`."""
        options = ["--tlog-upload=false", f"--recursive={str(recursive).lower()}", *_PLAIN]
        options += [f"--sign-container-identity={identity}"] if identity else []
        self._run("cosign", "sign", "--key", str(self._private(key)), *options, image)

    def sign_by_openssl(self, key: str, image: str, *how: str) -> None:
        """Sign cosign's payload, and have cosign attach it: Debian's takes no other ECDSA than P-256, and no RSA."""
        payload, signature = self.folder / "payload", self.folder / "signature"
        payload.write_text(self._run("cosign", "generate", *_PLAIN, image))
        sign = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(self._private(key)), "-in", str(payload), *how]
        signature.write_bytes(base64.b64encode(subprocess.run(sign, capture_output=True, check=True).stdout))
        files = ("--payload", str(payload), "--signature", str(signature))
        self._run("cosign", "attach", "signature", *_PLAIN, *files, image)

    def sign_by_skopeo(self, key: str, source: str, target: str, *options: str) -> None:
        """Copy an image, and sign it as the target's whole name."""
        keys = ("--sign-by-sigstore-private-key", str(self._private(key)))
        options += ("--preserve-digests", *keys, "--sign-passphrase-file", str(self._passphrase))
        self._skopeo_copy(source, f"docker://{target}", *options)

    def verify_by_cosign(self, key: str, image: str) -> None:
        """
        Raises:
            LabError: cosign finds no signature by the key.
        """
        self._run("cosign", "verify", "--key", str(self.public(key)), "--insecure-ignore-tlog", *_PLAIN, image)

    def copy_with_signatures(self, source: str, target: str) -> None:
        """Copy an image with the tag of its signatures to another repository."""
        self._run("cosign", "copy", *_PLAIN, source, target)

    def save(self, image: str, folder: Path) -> None:
        """Put an image and its signatures into a layout, as cosign does."""
        self._run("cosign", "save", *_PLAIN, "--dir", str(folder), image)

    def move_signatures(self, source: str, target: str) -> None:
        """Put the signatures of an image (`NAME@sha256:...`) where those of another are looked for."""
        self._skopeo_copy(signatures_of(source), f"docker://{signatures_of(target)}")

    def refused(self, place: str, policy: Policy, registries: str = "") -> str:
        """Why skopeo refuses an image, `docker://...` or `oci:...`, under a policy and a registries.conf; empty if
        it admits it.

        Raises:
            LabError: it failed at something else.
        """
        file, out = self.folder / "policy.json", self.folder / "out"
        file.write_text(json.dumps(policy))
        self._registries.write_text(registries)
        copied = self._skopeo(file, place, f"dir:{out}", "--src-tls-verify=false")
        shutil.rmtree(out, ignore_errors=True)
        if copied.returncode and _REJECTED not in copied.stderr:
            raise LabError(f"skopeo: {copied.stderr}")
        return copied.stderr if copied.returncode else ""

    def _private(self, key: str) -> Path:
        return self.folder / f"{key}.key"

    def _skopeo_copy(self, source: str, target: str, *options: str) -> None:
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        copied = self._skopeo(None, f"docker://{source}", target, *plain, *options)
        if copied.returncode:
            raise LabError(f"skopeo: {copied.stderr}")

    def _skopeo(
        self, policy: Path | None, source: str, target: str, *options: str
    ) -> "subprocess.CompletedProcess[str]":
        under = ["--insecure-policy"] if policy is None else ["--policy", str(policy)]
        own = [*under, "--registries.d", str(self._settings), "--registries-conf", str(self._registries)]
        return self._start(["skopeo", *own, "copy", "--quiet", *options, source, target])

    def _run(self, *argv: str) -> str:
        done = self._start(argv)
        if done.returncode:
            raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _start(self, argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        # With a home of its own: nothing is written into the tree, and nobody is logged in.
        settings = ["env", f"HOME={self.folder}", "COSIGN_PASSWORD=", "COSIGN_YES=true"]
        line = command(NEWER, *settings, *argv, packages=_PACKAGES)
        return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_SECONDS)


def cosign_at(folder: Path) -> None:
    """Put a `cosign` there for people's command lines: it works in the folder where it is started, below /tmp."""
    # By its path: PATH may have this one first.
    line = command(NEWER, "sh", "-ec", 'cd "$0"; exec /usr/bin/cosign "$@"', packages=_PACKAGES)
    program = folder / "cosign"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(line)} "$PWD" "$@"\n')
    program.chmod(0o755)


def signatures_of(image: str) -> str:
    """Where the signatures of `NAME@sha256:...` are, by cosign's naming."""
    name, _, digest = image.partition("@")
    return f"{name}:{digest.replace(':', '-')}.sig"


def _do(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stderr}")
