# SPDX-License-Identifier: Apache-2.0
"""The host's programs in memory: each does to a folder what the real one does, as far as anything here depends on it.

Held to `tests/contract/test_programs.py`, as the real ones. They write as programs do: not atomically.
"""

import fnmatch
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ashore.errors import AshoreError
from ashore.rules.libraries import linker
from ashore.rules.libraries.elf import soname
from ashore.rules.triggers import sysctl
from ashore.rules.triggers.sysusers import newcomers
from ashore.rules.triggers.table import PROGRAMS

_TOPS = ("etc", "usr/local/lib", "usr/lib")


class FakePrograms:
    """`ports.Programs` of the root at `folder`. `log` has every run; `fails` has words of lines that fail, and why."""

    def __init__(self, folder: Path, lacking: Sequence[str] = ()) -> None:
        self.folder, self.lacking = folder, set(lacking)
        self.log: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        self.fails: dict[str, str] = {}
        self.extra: dict[str, str] = {}
        """Scripts of the root that stand for programs, by their names."""
        self.commands: dict[str, Callable[[], str]] = {}
        """What commands of a bundle's steps do, by their whole line."""

    def find(self, name: str) -> str:
        if "/" in name:
            return name if os.access(self.folder / name.strip("/"), os.X_OK) else ""
        if name in self.extra:
            return self.extra[name]
        return f"/usr/bin/{name}" if name in PROGRAMS and name not in self.lacking else ""

    def run(self, argv: Sequence[str], *, seconds: float, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        line = " ".join(argv)
        name, arguments = argv[0].rpartition("/")[2], list(argv[1:])
        self.log.append(" ".join([name, *arguments]))
        self.environments.append(env or {})
        script = self.folder / argv[0].strip("/")
        if line in self.commands:
            said = self.commands[line]()
        elif script.is_file() and not os.access(script, os.X_OK):
            raise AshoreError(f"cannot run {line}", cause="Permission denied")
        elif script.is_file():
            done = subprocess.run(
                [script, *arguments], capture_output=True, text=True, input=stdin, env={**os.environ, **(env or {})}
            )
            said = (done.stdout + done.stderr).strip()
            if done.returncode:
                raise AshoreError(f"{line} ended with {done.returncode}", cause=said)
        else:
            does: Callable[[list[str], str], None] | None = getattr(self, "_" + re.sub(r"\W", "_", name), None)
            if does is None:
                raise AshoreError(f"cannot run {line}", cause="No such file or directory")
            does(arguments, stdin)
            said = f"{name} did it"
        for word, why in self.fails.items():
            if word in line:
                raise AshoreError(f"{line} ended with 1", cause=why)
        return said

    def _systemd_sysusers(self, arguments: list[str], stdin: str) -> None:
        made = newcomers(stdin)
        for path, names in (("etc/passwd", made.users), ("etc/group", made.groups)):
            text = self._text(path)
            known = {line.partition(":")[0] for line in text.splitlines()}
            for name in sorted(names - known):
                number = 999 - len(text.splitlines())
                rest = f":{number}::/:/usr/sbin/nologin" if path == "etc/passwd" else ":"
                text += f"{name}:x:{number}{rest}\n"
            self._write(path, text)

    def _systemd_sysctl(self, arguments: list[str], stdin: str) -> None:
        words = [word.partition("--prefix=") for word in arguments]
        prefixes = [sysctl.ROOT + prefix for _, option, prefix in words if option]
        named = [self._text(path.lstrip("/"), needed=True) for path, option, _ in words if not option]
        texts = named or self._drop_ins("sysctl.d", ".conf")
        settings = [str(p.relative_to(self.folder)) for p in (self.folder / "proc/sys").rglob("*") if p.is_file()]
        for pattern, value in sysctl.all_assignments(texts).items():
            for path in fnmatch.filter(settings, pattern):
                if not prefixes or any(path == p or path.startswith(p + "/") for p in prefixes):
                    self._write(path, value + "\n")
        if faults := [message for text in texts for _, message in sysctl.faults(text)]:
            raise AshoreError("systemd-sysctl ended with 1", cause=faults[0])

    def _ldconfig(self, arguments: list[str], stdin: str) -> None:
        texts = {"etc/ld.so.conf": self._text("etc/ld.so.conf")}
        for path in (self.folder / "etc/ld.so.conf.d").glob("*"):
            texts[str(path.relative_to(self.folder))] = path.read_text()
        found = []
        for folder in linker.search_folders(texts):
            for path in sorted((self.folder / folder).glob("*")):
                if path.is_symlink() and not path.exists() and linker.looks_like_library(path.name):
                    path.unlink()  # a name whose library is gone
                if path.is_symlink() or not path.is_file() or not linker.looks_like_library(path.name):
                    continue
                name = _soname(path.read_bytes()) or path.name
                link = path.with_name(name)
                if name != path.name and not link.exists():
                    link.symlink_to(path.name)
                found.append(f"{name} => /{folder}/{path.name}")
        self._write("etc/ld.so.cache", "\n".join(found) + "\n")

    def _depmod(self, arguments: list[str], stdin: str) -> None:
        folder = f"usr/lib/modules/{arguments[0]}"
        if not (self.folder / folder).is_dir():
            raise AshoreError(f"depmod {arguments[0]} ended with 1", cause="could not open directory")
        names = sorted(str(p.relative_to(self.folder / folder)) for p in (self.folder / folder).rglob("*.ko*"))
        for made in ("modules.dep", "modules.alias"):
            self._write(f"{folder}/{made}", "".join(f"{name}:\n" for name in names))

    def _systemd_modules_load(self, arguments: list[str], stdin: str) -> None:
        for argument in arguments:
            self._text(argument.lstrip("/"), needed=True)

    def _systemd_hwdb(self, arguments: list[str], stdin: str) -> None:
        where = "usr/lib/udev/hwdb.bin" if "--usr" in arguments else "etc/udev/hwdb.bin"
        texts = [p.read_text() for top in _TOPS for p in sorted((self.folder / top / "udev/hwdb.d").glob("*.hwdb"))]
        self._write(where, "".join(texts))

    def _udevadm(self, arguments: list[str], stdin: str) -> None:
        return

    def _systemd_tmpfiles(self, arguments: list[str], stdin: str) -> None:
        for argument in arguments:
            text = self._text(argument.lstrip("/"), needed=True) if argument.startswith("/") else ""
            for words in (line.split() for line in text.splitlines()):
                if words and words[0] == "d":
                    (self.folder / words[1].lstrip("/")).mkdir(parents=True, exist_ok=True)
                elif words and words[0] == "w":
                    self._write(words[1].lstrip("/"), words[-1] + "\n")

    def _update_ca_certificates(self, arguments: list[str], stdin: str) -> None:
        store = self.folder / "etc/ssl/certs"
        local = self.folder / "usr/local/share/ca-certificates"
        for link in store.glob("*.pem") if "--fresh" in arguments else ():
            link.unlink()
        store.mkdir(parents=True, exist_ok=True)
        found = sorted(local.rglob("*.crt"))
        for path in found:
            link = store / f"{path.stem}.pem"
            if not link.is_symlink():
                link.symlink_to(f"/{path.relative_to(self.folder)}")
        text = "".join(path.read_text() for path in found)
        self._write("etc/ssl/certs/ca-certificates.crt", self._text("usr/share/ca-certificates/base") + text)

    def _drop_ins(self, folder: str, suffix: str) -> list[str]:
        """The files that count, in order: of one name the first place's."""
        found: dict[str, Path] = {}
        for top in _TOPS:
            for path in (self.folder / top / folder).glob(f"*{suffix}"):
                found.setdefault(path.name, path)
        return [found[name].read_text() for name in sorted(found)]

    def _text(self, path: str, *, needed: bool = False) -> str:
        try:
            return (self.folder / path).read_text()
        except FileNotFoundError as error:
            if needed:
                raise AshoreError(f"{path} is not there") from error
            return ""

    def _write(self, path: str, text: str) -> None:
        """In two pieces, by calls that a sweep counts: who is killed in between leaves half a file."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        data = text.encode()
        os.write(descriptor, data[: len(data) // 2])
        os.write(descriptor, data[len(data) // 2 :])
        os.close(descriptor)


def _soname(data: bytes) -> str:
    return soname(lambda offset, length: data[offset : offset + length])
