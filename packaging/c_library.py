# SPDX-License-Identifier: Apache-2.0
"""Write into a build which glibc it needs, and beside it the C library of this machine, for images without any.

``glibc`` holds the highest version that a program or library of the build asks for. ``c-library/`` is for the
installer image alone, in which nothing else is; a host never uses it.
"""

import re
import shutil
import subprocess  # noqa: TID251 - no part of the program
import sys
from pathlib import Path

VERSION = re.compile(rb"GLIBC_(\d+(?:\.\d+)+)")
FOUND = re.compile(r"(?:=> )?(/\S+/(ld-linux[^/ ]*|lib(?:c|m|dl|pthread|rt|util|resolv)\.so\.\d+)) \(0x")


def main(build: Path) -> None:
    """Look at every ELF file of `build`."""
    files = [f for f in build.rglob("*") if f.is_file() and not f.is_symlink() and f.read_bytes()[:4] == b"\x7fELF"]
    versions, libraries = set[tuple[int, ...]](), set[str]()
    for file in files:
        symbols = subprocess.run(["objdump", "-T", str(file)], capture_output=True, check=True).stdout
        versions |= {tuple(map(int, found.split(b"."))) for found in VERSION.findall(symbols)}
        needs = subprocess.run(["ldd", str(file)], capture_output=True, check=True, text=True).stdout
        libraries |= {found[0] for found in FOUND.findall(needs)}
    (build / "glibc").write_text(".".join(map(str, max(versions))) + "\n")
    for path in sorted(libraries):
        target = build / "c-library" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
