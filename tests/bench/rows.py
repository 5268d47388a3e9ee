# SPDX-License-Identifier: Apache-2.0
"""The comparisons of the bench, each a function from the lab to tables."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import trees
from tests.bench.lab import BARE, Lab, bare
from tests.bench.measure import Contender, run
from tests.bench.peers import absent
from tests.bench.report import Claim, Peak, Table, Written
from tests.bench.trees import Shape

_PEAK = Peak(80_000_000)
_WITHOUT_SYNCS = """
import os, sys
from ashore.mechanisms import syscalls
os.fsync = os.fdatasync = syscalls.syncfs = lambda descriptor: None
from ashore.cli import run
sys.exit(run(sys.argv[1:]))
"""


def start_up(lab: Lab) -> Iterator[Table]:
    """`ashore --version`."""
    version = Contender("ashore --version", lab.ashore("--version"))
    yield lab.compare("Start-up", [version, bare()], [Claim(BARE, 4)], control=BARE, rounds=lab.short)


def nothing_to_do(lab: Lab) -> Iterator[Table]:
    """Installing what is installed."""
    run(lab.installing("zstd"))
    arguments = ("install", lab.images["zstd"].reference, "--root", str(lab.ground.root))
    asked = lab.asked(lambda: lab.do(*arguments)).requests
    yield lab.compare(
        "Nothing to do",
        [Contender("ashore install, again", lab.ashore(*arguments), env=lab.env), bare()],
        [Claim(BARE, 12)],
        note=f"The image is installed ({lab.trees['tree']}); each path's stat is compared with its record.",
        control=BARE,
        rounds=lab.short,
        facts=[f"{len(asked)} request(s): {', '.join(asked)}; target: one HEAD"],
    )


def status_and_diff(lab: Lab) -> Iterator[Table]:
    """A host with many bundles, unchanged."""
    files = min(5000, lab.shape.files)
    lab.ground.fresh()
    root = str(lab.ground.root)
    layouts = []
    for number, bundle in enumerate(trees.many(lab.folder / "many", 20, files)):
        layouts.append(f"oci:{lab.folder}/layout{number:02}")
        lab.do("build", str(bundle), "-o", layouts[-1])
    lab.do("install", *layouts, "--root", root)
    yield lab.compare(
        f"status and diff with {files:,} files in {len(layouts)} bundles",
        [
            Contender("ashore status", lab.ashore("status", "--root", root), env=lab.env),
            Contender("ashore diff", lab.ashore("diff", "--root", root), env=lab.env),
            bare(),
        ],
        [Claim(BARE, 20, ours="ashore status"), Claim(BARE, 20, ours="ashore diff")],
        control=BARE,
        rounds=lab.short,
    )


def durability(lab: Lab) -> Iterator[Table]:
    """What the syncs add, and what syncing file by file would."""
    tree = lab.folder / "small"
    if not tree.exists():
        trees.make(tree, Shape(lab.shape.files, 3_000_000))
    lab.push(tree, "small", "zstd")
    install = lab.installing("small")
    program = [sys.executable, "-m", "tests.bench.syncs"]
    each = [
        Contender(
            name, [*program, mode, str(tree / "root"), str(lab.ground.scratch)], lab.ground.fresh, disk=lab.ground.disk
        )
        for name, mode in (
            ("plain copy, no sync", "none"),
            ("plain copy, syncfs", "syncfs"),
            ("plain copy, fsync each", "fsync"),
        )
    ]
    bare_install = Contender(
        "ashore, its syncs left out",
        [sys.executable, "-c", _WITHOUT_SYNCS, *install.command[1:]],
        lab.ground.fresh,
        env=lab.env,
        disk=lab.ground.disk,
    )
    table = lab.compare(
        f"Durability: {lab.shape.files:,} small files",
        [install, bare_install, *each],
        control="ashore",
        note="The copies write each file under a new name and rename it, with the syncs that their names say.",
    )
    by_name = {series.name: series.wall for series in table.series}
    added = by_name["ashore"] - by_name["ashore, its syncs left out"]
    amount = f"{added:.2f} s" if added > 0 else "nothing that can be measured"
    table.facts.append(f"the syncs add {amount}, target at most 0.3 s: {'met' if added <= 0.3 else 'MISSED'}")
    per_file = by_name["plain copy, fsync each"] / by_name["plain copy, syncfs"]
    table.facts.append(f"fsync of each file takes {per_file:.1f} times as long as one syncfs")
    yield table


_SHARE = "root/opt/bench/share"
_ROLLBACK = (
    "Every file is hashed as it leaves the store, exchanged, hashed again as it is displaced, and moved there: "
    "three renames and two readings each, where a cold install writes a new folder at once and renames it as a whole. "
    "So the better the install, the farther its fifth. The floor does this alone, to the same files, "
    "with one rename less."
)


def roll_back(lab: Lab) -> Iterator[Table]:
    """All small files changed, and back again."""
    second = lab.folder / "changed/tree"
    if not second.exists():
        shutil.copytree(lab.trees["tree"].folder, second, symlinks=True)
        for path in sorted((second / _SHARE).rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("ab") as file:
                    file.write(b"\n")
    lab.push(second, "changed", "zstd")
    root = str(lab.ground.root)

    def forward() -> None:
        lab.do("install", lab.images["changed"].reference, "--root", root)

    cold = lab.compare("", [lab.installing("zstd", "ashore, cold install")])
    command = lab.ashore("rollback", "--root", root)
    back = Contender("ashore rollback", command, forward, env=lab.env, disk=lab.ground.disk)
    floor = _floor_back(lab, lab.trees["tree"].folder / _SHARE, second / _SHARE)
    forward()
    asked = lab.asked(lambda: lab.do("rollback", "--root", root)).requests
    table = lab.compare(
        f"Rollback of {lab.shape.files:,} files",
        [back, floor],
        [Claim("ashore, cold install", 5, faster=True, bound=floor.name)],
        facts=[f"{len(asked)} requests; target: none"],
        note=_ROLLBACK,
    )
    table.series += cold.series
    yield table


def _floor_back(lab: Lab, old: Path, new: Path) -> Contender:
    place = str(lab.ground.scratch / "floor")
    program = [sys.executable, "-m", "tests.bench.floor_back"]

    def prepare() -> None:
        run(Contender("the floor's files", [*program, "lay", str(old), str(new), place]))
        os.sync()

    return Contender("the floor", [*program, "back", place], prepare)


def building(lab: Lab) -> Iterator[Table]:
    """`ashore build` beside buildah."""
    folder = lab.trees["tree"].folder
    out = lab.folder / "built"

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    contenders = [
        Contender(
            f"ashore build, {compression}",
            lab.ashore("build", str(folder), "-o", f"oci:{out}/image", "--compression", compression),
            clear,
        )
        for compression in ("zstd:chunked", "zstd", "gzip")
    ]
    claims: list[Claim | Peak | Written] = [_PEAK]
    if os.geteuid() == 0 and not absent("buildah"):
        dockerfile = lab.folder / "Dockerfile"
        dockerfile.write_text("FROM scratch\nCOPY root/ /ashore/root/\n")
        buildah = f"buildah --root {out}/storage --runroot {out}/run"
        bud = f"{buildah} bud -q -f {dockerfile} -t bench {folder}"
        contenders.append(Contender("buildah bud", ["sh", "-c", bud], clear))
        contenders.append(
            Contender(
                "buildah bud + push to a layout",
                ["sh", "-c", f"{bud} && {buildah} push -q bench oci:{out}/image"],
                clear,
            )
        )
        claims.append(Claim("buildah bud", 1, faster=True))
    digests = set()
    for _ in range(2):
        clear()
        digests.add(lab.do("build", str(folder), "-o", f"oci:{out}/image").rpartition("@")[2].strip())
    fact = f"built twice: {'the same digest' if len(digests) == 1 else 'DIFFERENT digests'}"
    yield lab.compare("Build", contenders, claims, control="ashore build, zstd:chunked", facts=[fact])
    clear()


def memory(lab: Lab, sizes: tuple[int, ...]) -> Iterator[Table]:
    """Peak memory of installing images of a size."""
    for size in sizes:
        tree: Path = lab.folder / f"large{size}"
        made = trees.make(tree, Shape(lab.shape.files, size - 35_000_000))
        lab.push(tree, f"large{size}", "zstd", "--level", "1")
        shutil.rmtree(tree)
        yield lab.compare(f"Memory: an image of {made}", [lab.installing(f"large{size}")], [_PEAK], rounds=1)
