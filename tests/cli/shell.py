# SPDX-License-Identifier: Apache-2.0
"""A user at a shell: a folder with bundles, a root to install on, and the command line."""

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ashore.cli import run
from tests.flow.machine import snapshot

NOBODY = 65534


@dataclass(frozen=True)
class Ran:
    """What a command line answered."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Everything lies below `folder`: bundles, layouts, the cache, and the host's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "host"
        for path in ("etc/systemd/system", "var/lib", "opt"):
            (self.root / path).mkdir(parents=True)
        (self.root / "etc/hostname").write_text("node-1\n")

    def ashore(self, *arguments: str) -> Ran:
        """In this process: as `python -m ashore` does, without its start-up."""
        out, err = _Text(), _Text()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
        return Ran(int(code), out.getvalue(), err.getvalue())

    def on_root(self, verb: str, *arguments: str) -> Ran:
        """A verb of a host, on this one."""
        return self.ashore(verb, *arguments, "--root", str(self.root))

    def process(self, *arguments: str, uid: int | None = None, env: Mapping[str, str] | None = None) -> Ran:
        """In a process of its own, as another user if need be."""
        command, path = [sys.executable, "-m", "ashore"], sys.path
        if uid is not None:
            command, path = self._for_user(uid, command, path)
        settings = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **(env or {})}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=settings)
        return Ran(done.returncode, done.stdout, done.stderr)

    def _for_user(self, uid: int, command: list[str], path: list[str]) -> tuple[list[str], list[str]]:
        """The command as another user, who may not be able to walk to the checkout or to its Python.

        A mount of its own shows both below the test's folder.
        """
        seen = {
            folder: self.folder / f"seen/{n}"
            for n, folder in enumerate([sys.base_prefix, *filter(os.path.isdir, path)])
        }
        for place in seen.values():
            place.mkdir(parents=True, exist_ok=True)
        mounts = "".join(f"mount --bind {shlex.quote(folder)} {place} && " for folder, place in seen.items())
        python = seen[sys.base_prefix] / os.path.relpath(os.path.realpath(sys.executable), sys.base_prefix)
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        wrapped = ["unshare", "--mount", "sh", "-c", f'{mounts} exec "$@"', "sh", *become, str(python), *command[1:]]
        return wrapped, [str(place) for folder, place in seen.items() if folder != sys.base_prefix]

    def bundle(self, name: str, files: Mapping[str, str], toml: str = "") -> Path:
        """Write a bundle's folder; paths are below root/."""
        folder = self.folder / name
        for path, text in files.items():
            file = folder / "root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        if toml:
            folder.mkdir(exist_ok=True)
            (folder / "bundle.toml").write_text(toml)
        return folder

    def image(self, name: str, files: Mapping[str, str], toml: str = "", *options: str) -> str:
        """Build it into a layout, and return how it is named."""
        place = f"oci:{self.folder}/{name}.oci"
        built = self.ashore("build", str(self.bundle(name, files, toml)), "-o", place, *options)
        assert built.code == 0, built.err
        return place

    def tree(self) -> Mapping[str, object]:
        """Everything below the root but ashore's own state."""
        return snapshot(self.root)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Names, modes, owners, xattrs and contents are afterwards as before."""
        before = self.tree()
        yield
        after = self.tree()
        assert after == before, sorted(p for p in {*before, *after} if before.get(p) != after.get(p))


def quiet_shell(folder: Path, environment: pytest.MonkeyPatch) -> Shell:
    """A shell in `folder` that sees nothing of the real machine's settings or cache."""
    environment.setenv("ASHORE_CACHE", str(folder / "cache"))
    environment.setenv("HOME", str(folder))
    environment.chdir(folder)
    for name in ("ASHORE_ROOT", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "http_proxy", "https_proxy", "no_proxy"):
        environment.delenv(name, raising=False)
    return Shell(folder)


class _Text(io.StringIO):
    """Where text goes, and what asks for the bytes below it."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = _Bytes(self)  # type: ignore[misc]


class _Bytes(io.BytesIO):
    def __init__(self, text: _Text) -> None:
        super().__init__()
        self._text = text

    def write(self, data: Any) -> int:
        return self._text.write(bytes(data).decode())


def refused(ran: Ran, code: int, *said: str) -> None:
    """The documented code, a message with cause and remedy as the case needs, and no traceback."""
    assert ran.code == code, (ran.code, ran.out, ran.err)
    assert ran.out == "" or code in (6, 10), "what failed has no result"
    assert "Traceback" not in ran.err and "fault:" not in ran.err
    assert "rror" in ran.err or code == 6
    for word in said:
        assert word in ran.err + ran.out, f"{word!r} is not in:\n{ran.err}"
