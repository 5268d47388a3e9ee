# SPDX-License-Identifier: Apache-2.0
"""The bench's comparisons of updates by delta: made beforehand from the version before, beside ostree's."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import trees
from tests.bench.lab import Asked, Lab
from tests.bench.measure import Contender, Series, Usage, run
from tests.bench.peers import absent
from tests.bench.releases import PRODUCTS, Product, trees_of
from tests.bench.report import Claim, Peak, Table
from tests.bench.rows_updates import changed, updating

_MAKING = 10.0
"""Seconds."""
_PEAK = 80_000_000
_LARGE = 500_000_000
_EVERY = 5_000_000
_NOTE = (
    "Two adjacent releases, as their wheels have them. The share is of the new layer as `ashore build` compresses it. "
    "A delta of ostree is made with bsdiff, and once, without a round to warm up."
)


def one_file(lab: Lab) -> Iterator[Table]:
    """One configuration file of 2 KB, with a delta."""
    before = lab.push(lab.trees["tree"].folder, "parts", "zstd:chunked")
    after = changed(lab, 1, "zstd:chunked")
    making = _made(lab, before.reference, lab.images[after].reference, 1)
    asked = _asked(lab, "parts", after)
    bytes_met = _met(asked.bytes <= 60_000)
    requests_met = _met(len(asked.requests) <= 6)
    table = lab.compare(
        "One small file changed, with a delta",
        [updating(lab, "parts", after), lab.installing("parts", "ashore, cold install")],
        [Claim("ashore, cold install", 10, faster=True)],
        facts=[
            f"{asked}: bytes, target at most 60 kB: {bytes_met}; requests, target at most 6: {requests_met}",
            *_of_making(making),
        ],
    )
    table.series.append(making)
    yield table


def releases(lab: Lab, products: Sequence[Product] = PRODUCTS) -> Iterator[Table]:
    """Patch releases of programs in several languages."""
    for product in products:
        before, after = trees_of(product, lab.folder / "releases")
        tags = f"{product.package}-{product.before}", f"{product.package}-{product.after}"
        for tree, tag in ((before, tags[0]), (after, tags[1])):
            lab.push(tree, tag, "zstd:chunked")
        layer = lab.blob(tags[1]).stat().st_size
        making = _made(lab, lab.images[tags[0]].reference, lab.images[tags[1]].reference, 2)
        asked = _asked(lab, *tags)
        share = asked.bytes / layer
        fetched = f"{asked}, {share:.1%} of the layer's {layer / 1e3:,.0f} kB"
        target = f"target at most {product.share:.0%}: {_met(share <= product.share)}"
        facts = [f"{fetched}, {target}", *_of_making(making)]
        update = updating(lab, *tags, name="ashore, update with the delta")
        title = f"A patch release with a delta: {product.name}, {product.before} to {product.after}"
        table = lab.compare(
            title,
            [update, lab.installing(tags[1], "ashore, cold install")],
            [Peak(_PEAK)],
            note=_NOTE,
            facts=facts,
            rounds=2,
        )
        table.series.append(making)
        if missing := absent("ostree"):
            table.facts.append(f"LEFT OUT: ostree: missing: {missing}")
        elif not product.bsdiff:
            table.facts.append("LEFT OUT: ostree: its delta takes minutes and gigabytes to make")
        else:
            series, size = _ostree(lab.folder / "ostree", before, after)
            table.series += series
            table.facts.append(f"ostree's static delta: {size / 1e3:,.0f} kB, {size / layer:.1%} of the layer")
        shutil.rmtree(before.parent)
        shutil.rmtree(after.parent)
        yield table


def large_binary(lab: Lab) -> Iterator[Table]:
    """Memory of making and applying a delta of one large file."""
    tags = "large-before", "large-after"
    tree = lab.folder / "large-delta"
    made = trees.one_file(tree, _LARGE)
    lab.push(tree, tags[0], "zstd:chunked", "--level", "1")
    _edit(tree / "root/opt/bench/large")
    lab.push(tree, tags[1], "zstd:chunked", "--level", "1")
    shutil.rmtree(tree)
    making = _made(lab, lab.images[tags[0]].reference, lab.images[tags[1]].reference, 1)
    asked = _asked(lab, *tags)
    table = lab.compare(
        f"A delta of one file of {_LARGE / 1e6:.0f} MB",
        [updating(lab, *tags)],
        [Peak(_PEAK)],
        rounds=1,
        note=f"{made}, with 100 bytes more every {_EVERY / 1e6:.0f} MB.",
        facts=[f"{asked}", *_of_making(making)],
    )
    table.series.append(making)
    yield table


def _edit(path: Path) -> None:
    """A little more, all through the file: nothing after it lies where it lay."""
    aside = path.with_name("aside")
    with path.open("rb") as source, aside.open("wb") as target:
        while data := source.read(_EVERY):
            target.write(data)
            target.write(bytes(range(100)))
    aside.replace(path)


def _made(lab: Lab, old: str, new: str, times: int) -> Series:
    """A delta is made, so often."""
    making = Contender("ashore delta", lab.ashore("delta", old, new), env=lab.env)
    return Series(making.name, [run(making) for _ in range(times)])


def _of_making(making: Series) -> list[str]:
    return [f"making it takes {making.wall:.1f} s, target at most {_MAKING:.0f} s: {_met(making.wall <= _MAKING)}"]


def _asked(lab: Lab, before: str, after: str) -> Asked:
    """What the registry is asked on an update."""
    update = updating(lab, before, after)
    update.prepare()
    once = Contender(update.name, update.command, env=update.env)
    return lab.asked(lambda: run(once))


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _ostree(folder: Path, before: Path, after: Path) -> tuple[list[Series], int]:
    """ostree's own delta between the same trees: made and applied; and its bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source, host, delta = folder / "source", folder / "host", folder / "delta"
    commit = f"ostree --repo={source} commit -b bench --no-bindings --timestamp=2026-01-01 --tree=dir"
    first, second = f"$(cat {folder}/first)", f"$(cat {folder}/second)"
    _do(
        f"ostree --repo={source} init --mode=archive && {commit}={before}/root > {folder}/first"
        f" && {commit}={after}/root > {folder}/second"
        f" && ostree --repo={host} init --mode=bare-user"
        f" && ostree --repo={host} config set core.fsync false && ostree --repo={host} pull-local {source} {first}"
    )
    generate = f"ostree --repo={source} static-delta generate --from={first} --to={second}"
    options = f"--max-bsdiff-size=512 --min-fallback-size=0 --inline --filename={delta}"
    apply = f"ostree --repo={host} static-delta apply-offline {delta}"
    checkout = f"ostree --repo={host} checkout --user-mode {second} {folder}/out"
    making = Series("ostree static-delta generate", [_do(f"{generate} {options}")])
    applying = Series("ostree static-delta apply + checkout", [_do(f"{apply} && {checkout}")])
    size = delta.stat().st_size
    shutil.rmtree(folder)
    return [making, applying], size


def _do(script: str) -> Usage:
    return run(Contender("ostree", ["sh", "-c", f"set -e; {script}"]))
