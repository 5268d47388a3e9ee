# SPDX-License-Identifier: Apache-2.0
"""The bench's comparisons of an install on an empty host."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import trees
from tests.bench.lab import Lab
from tests.bench.measure import Contender, run
from tests.bench.peers import absent, peers
from tests.bench.plot import svg
from tests.bench.report import Claim, Peak, Table, Written
from tests.bench.trees import Shape

PICTURE = "performance-growth.svg"
_PEAK = 80_000_000
_NOTE = (
    "From a registry on loopback to files in place. The floor reads the blob from a file, decompresses and hashes it, "
    "writes the same files and syncs once: no swap, no record, no way back. The image in zstd is what `ashore build` "
    "makes; beside it stand the peers with an image that all of them read, and those that read zstd with that."
)

_SMALL = (
    "tar has the blob in a file, hashes nothing, records nothing and leaves it to the kernel when to write. The floor "
    "reads the same file, hashes blob and files, and syncs once."
)


def cold_install(lab: Lab) -> Iterator[Table]:
    """An empty host, an image of each compression, and what somebody would run instead."""
    ours = [lab.installing(tag, f"ashore, {tag}") for tag in ("gzip", "zstd")]
    floors = [_floor(lab, tag) for tag in ("gzip", "zstd")]
    with (
        peers(lab.images["gzip"], lab.ground, lab.folder) as (others, _),
        peers(lab.images["zstd"], lab.ground, lab.folder) as (zstd, _),
    ):
        yield lab.compare(
            "Cold install",
            [*ours, *floors, *others, *zstd],
            [*_claims("gzip", 3, 1.6, lab), *_claims("zstd", 4, 2, lab)],
            note=_NOTE,
            control="ashore, gzip",
        )


def _claims(tag: str, engines: float, tar: float, lab: Lab) -> Iterator[Claim | Peak | Written]:
    ours, floor = f"ashore, {tag}", f"the floor, {tag}"
    yield Claim(floor, 1.35, ours=ours)
    for image in dict.fromkeys(("gzip", tag)):
        yield Claim(f"skopeo copy + GNU tar, {image}", tar, faster=True, ours=ours, bound=floor)
        for name in ("docker pull + docker run installer", "podman pull + cp -a", "skopeo copy + umoci unpack + cp -a"):
            yield Claim(f"{name}, {image}", engines, faster=True, ours=ours, bound=floor)
    for name in ("docker pull + docker run installer", "podman pull + cp -a"):
        yield Claim(f"{name}, gzip", 3, faster=True, of="cpu", ours=ours, bound=floor)
    yield Peak(_PEAK, ours)
    yield Written(1.1, lab.trees["tree"].bytes, ours, floor)


def _floor(lab: Lab, tag: str, compression: str = "") -> Contender:
    blob, index = lab.blob(tag), lab.folder / f"{tag}.index"
    program, kind = [sys.executable, "-m", "tests.bench.floor"], compression or tag
    if not index.exists():
        listing = " ".join([*program, "list", str(blob), kind])
        run(Contender("the floor's index", ["sh", "-c", f"{listing} > {index}"]))
    command = [*program, "write", str(blob), kind, str(index), str(lab.ground.root)]
    return Contender(f"the floor, {kind}", command, lab.ground.fresh, disk=lab.ground.disk)


def small_files(lab: Lab, count: int) -> Iterator[Table]:
    """Many small files, beside GNU tar, which has the blob at hand and neither syncs nor records."""
    tree = lab.folder / "many-small"
    made = trees.make(tree, Shape(count, 0))
    lab.push(tree, "many-small", "zstd")
    floor = _floor(lab, "many-small", "zstd")
    contenders = [lab.installing("many-small"), floor]
    if not absent("tar", "zstd"):
        script = f"zstd -dcq {lab.blob('many-small')} | tar -C {lab.ground.root} -xf -"
        contenders.append(Contender("GNU tar + zstd", ["sh", "-c", script], lab.ground.fresh, disk=lab.ground.disk))
    claim = Claim("GNU tar + zstd", 1.4, bound=floor.name)
    yield lab.compare(f"Small files: {made}", contenders, [claim], control="ashore", note=_SMALL)


def growth(lab: Lab, folder: Path) -> Iterator[Table]:
    """Time and memory at 1, 10 and 100 times the files and bytes."""
    points: list[tuple[int, float, float]] = []
    contenders = []
    made = []
    for count in (300, 3_000, 30_000):
        tree = lab.folder / f"growth{count}"
        made.append(trees.make(tree, Shape(count, count * 2_000)))
        lab.push(tree, f"growth{count}", "zstd", "--level", "1")
        contenders.append(lab.installing(f"growth{count}", str(made[-1])))
    table = lab.compare("Growth", contenders, rounds=2, note="Installs of 1, 10 and 100 times the files and bytes.")
    for tree_made, series in zip(made, table.series, strict=True):
        points.append((tree_made.files, series.wall * 1000, series.peak / 1e6))
    lines = {
        "milliseconds": [(x, wall) for x, wall, _ in points],
        "memory at the peak, MB": [(x, peak) for x, _, peak in points],
    }
    (folder / PICTURE).write_text(svg("Cold installs", "files", "", lines))
    table.picture = PICTURE
    (first, begin, _), *_, (last, end, _) = points
    table.facts.append(f"{last / first:.0f} times the files and bytes take {end / begin:.0f} times the time")
    yield table
