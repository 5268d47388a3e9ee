# SPDX-License-Identifier: Apache-2.0
"""The bench's comparisons of an update: little changed in a large image."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.lab import Lab
from tests.bench.measure import Contender, run
from tests.bench.peers import updaters
from tests.bench.report import Claim, Table

_CHANGED = 20
_DOCKER, _PODMAN = "docker pull + docker run installer", "podman partial pull + rsync"


def few_files(lab: Lab) -> Iterator[Table]:
    """Twenty small files of all."""
    after, after_gzip = (changed(lab, _CHANGED, kind) for kind in ("zstd:chunked", "gzip"))
    before = lab.push(lab.trees["tree"].folder, "parts", "zstd:chunked"), lab.images["gzip"]
    images = lab.images[after], lab.images[after_gzip]
    with updaters(before, images, lab.ground, lab.folder) as (others, _):
        asked = [(one.name, _asked(lab, one)) for one in (updating(lab, "parts", after), *others)]
        table = lab.compare(
            f"{_CHANGED} of {lab.trees['tree'].files:,} files changed",
            [updating(lab, "parts", after), *others],
            [Claim(_DOCKER, 10, faster=True), Claim(_PODMAN, 4, faster=True)],
            control="ashore",
            facts=[f"{name}: {count / 1e3:,.0f} kB fetched" for name, count in asked],
        )
    fetched = dict(asked)
    if _DOCKER in fetched:
        ratio = fetched[_DOCKER] / fetched["ashore"]
        met = "met" if ratio >= 100 else "MISSED"
        table.facts.append(f"{ratio:.0f} times fewer bytes than docker, target at least 100: {met}")
    yield table


def one_file(lab: Lab) -> Iterator[Table]:
    """One configuration file of 2 KB, by the table of contents alone."""
    lab.push(lab.trees["tree"].folder, "parts", "zstd:chunked")
    after = changed(lab, 1, "zstd:chunked")
    updating(lab, "parts", after).prepare()
    asked = lab.asked(lambda: lab.do("install", lab.images[after].reference, "--root", str(lab.ground.root)))
    met = "met" if asked.bytes <= 450_000 else "MISSED"
    yield lab.compare(
        "One small file changed, without a delta",
        [updating(lab, "parts", after), lab.installing("parts", "ashore, cold install")],
        [Claim("ashore, cold install", 10, faster=True)],
        facts=[f"{asked}, target at most 450 kB: {met}"],
    )


def changed(lab: Lab, count: int, compression: str) -> str:
    """The tag of an image whose first `count` small files have a line more."""
    folder = lab.folder / f"changed{count}" / "tree"
    if not folder.exists():
        shutil.copytree(lab.trees["tree"].folder, folder, symlinks=True)
        for path in _small(folder)[:count]:
            path.write_bytes(path.read_bytes() + b"\n")
    tag = f"changed{count}-{compression.partition(':')[0]}"
    lab.push(folder, tag, compression)
    return tag


def _small(folder: Path) -> list[Path]:
    """Small files, spread over the tree."""
    found = [p for p in sorted((folder / "root/opt/bench/share").rglob("*")) if p.is_file() and not p.is_symlink()]
    small = [path for path in found if path.stat().st_size < 3000]
    return small[:: max(1, len(small) // (2 * _CHANGED))]


def updating(lab: Lab, before: str, after: str, name: str = "ashore") -> Contender:
    """An update on a host that has the version before."""
    root = str(lab.ground.root)

    def prepare() -> None:
        lab.ground.fresh()
        lab.do("install", lab.images[before].reference, "--root", root)

    command = lab.ashore("install", lab.images[after].reference, "--root", root)
    return Contender(name, command, prepare, env=lab.env, disk=lab.ground.disk)


def _asked(lab: Lab, contender: Contender) -> int:
    """The bytes that one run of it gets from the registry."""
    contender.prepare()
    once = Contender(contender.name, contender.command, finish=contender.finish, env=contender.env)
    return lab.asked(lambda: run(once)).bytes
