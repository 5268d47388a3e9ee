# SPDX-License-Identifier: Apache-2.0
"""Speed and memory, side by side with what one would run instead: `python -m tests.bench.bench`.

Figures, never a verdict: nothing is asserted and the exit code is 0. `--write` makes docs/performance.md.
"""

import argparse
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from tests.bench import report, rows, rows_cold, rows_deltas, rows_updates, trees
from tests.bench.ground import ground, leave_mounts_alone
from tests.bench.lab import Lab
from tests.bench.measure import FailedError
from tests.bench.peers import peers
from tests.bench.releases import PRODUCTS
from tests.bench.report import Table
from tests.bench.trees import Shape
from tests.system.registry_server import PROGRAM, available, registry_server

_PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"
_KEPT = _PAGE.parents[1] / "build/bench"
_FULL, _QUICK = Shape(5000, 225_000_000), Shape(1000, 20_000_000)
_MARGIN = 1 << 30
_LARGE = (300_000_000, 3_000_000_000)
Row = Callable[[Lab], Iterator[Table]]


def main() -> None:
    """Measure, print, and write the page if that is asked for."""
    options = _options()
    if not available():
        say(f"SKIPPED: everything: {PROGRAM} is not installed")
        return
    leave_mounts_alone()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="ashore-bench-", dir=options.folder and Path(options.folder).resolve()
    ) as folder:
        tables, skipped, lab = _measure(Path(folder), options)
        if options.write:
            command = " ".join(["python -m tests.bench.bench", *sys.argv[1:]])
            tree = str(lab.trees["tree"])
            text = report.page(tables, skipped, command=command, ground=str(lab.ground), tree=tree)
            _PAGE.write_text(text)
            say(f"\nwrote {_PAGE}")
    say(f"\n{time.monotonic() - begun:.0f} s in all")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small trees and few rounds: under two minutes")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (5; with --quick 2)")
    parser.add_argument("--only", action="append", metavar="ROW", help="this row alone; can be repeated")
    parser.add_argument("--minutes", type=float, help="no row begins later than that")
    parser.add_argument("--continue", action="store_true", help="take what an earlier run measured, below build/")
    parser.add_argument("--folder", help="where everything is put (a temporary folder)")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.name}")
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace) -> tuple[list[Table], list[str], Lab]:
    begun = time.monotonic()
    shape, rounds, short = (_QUICK, 2, 7) if options.quick else (_FULL, 5, 21)
    sizes = _LARGE[:1] if options.quick else _LARGE
    every: dict[str, Row] = {
        "start-up": rows.start_up,
        "nothing": rows.nothing_to_do,
        "status": rows.status_and_diff,
        "cold": rows_cold.cold_install,
        "small": partial(rows_cold.small_files, count=1_000 if options.quick else 30_000),
        "few": rows_updates.few_files,
        "one": rows_updates.one_file,
        "one-delta": rows_deltas.one_file,
        "releases": partial(rows_deltas.releases, products=PRODUCTS[2:3] if options.quick else PRODUCTS),
        "durability": rows.durability,
        "rollback": rows.roll_back,
        "build": rows.building,
        "memory": partial(rows.memory, sizes=sizes),
        "large-delta": rows_deltas.large_binary,
        "growth": partial(rows_cold.growth, folder=_PAGE.parent if options.write else folder),
    }
    if unknown := set(options.only or ()) - every.keys():
        sys.exit(f"no such row: {', '.join(unknown)}; there are {', '.join(every)}")
    with registry_server() as registry, ground(folder, size=3 * max(sizes) + _MARGIN) as place:
        lab = Lab(folder, place, registry, shape, options.rounds or rounds, short)
        say(f"machine: {report.machine()}\nground: {place}, in {folder}")
        lab.do("--help")  # bytecode is made by the first start, as an installation has it
        lab.trees["tree"] = trees.make(folder / "tree", shape)
        say(f"tree: {lab.trees['tree']}; {lab.rounds} rounds after one to warm up")
        for compression in ("gzip", "zstd"):
            lab.push(folder / "tree", compression, compression)
        with peers(lab.images["gzip"], place, folder) as (_, skipped):
            for line in skipped:
                say(f"SKIPPED: {line}")
        known = _known(options, every)
        for name in options.only or every:
            if name in known:
                continue
            if options.minutes and time.monotonic() - begun > 60 * options.minutes:
                say(f"LEFT OUT: row {name}: no time was left")
                skipped.append(f"row {name}: no time was left for it")
                continue
            try:
                for table in every[name](lab):
                    say(report.as_text(table))
                    table.when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
                    table.load = os.getloadavg()[1]
                    known.setdefault(name, []).append(table)
                _keep(name, known[name], options)
            except FailedError as error:
                say(f"FAILED: row {name}: {error}")
                skipped.append(f"row {name}: it failed")
        return [table for name in every for table in known.get(name, ())], skipped, lab


def _known(options: argparse.Namespace, names: Iterable[str]) -> dict[str, list[Table]]:
    """With --continue the rows that an earlier run has measured."""
    there = {name: _KEPT / f"{name}.pickle" for name in names if getattr(options, "continue")}
    return {name: pickle.loads(path.read_bytes()) for name, path in there.items() if path.exists()}


def _keep(name: str, tables: list[Table], options: argparse.Namespace) -> None:
    if not options.quick:
        _KEPT.mkdir(parents=True, exist_ok=True)
        (_KEPT / f"{name}.pickle").write_bytes(pickle.dumps(tables))


def say(text: str) -> None:
    """To the terminal, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    if shutil.which("podman"):
        os.environ.setdefault("STORAGE_DRIVER", "overlay")
    main()
