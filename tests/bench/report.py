# SPDX-License-Identifier: Apache-2.0
"""Measurements as tables: on the terminal while they come, and as the page docs/performance.md."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import Series


@dataclass(frozen=True)
class Claim:
    """A target: the first contender, or the one named `ours`, against the one named `peer`."""

    peer: str
    factor: float
    faster: bool = False
    """At least `factor` times faster than the peer; else at most `factor` times as long."""
    of: str = "wall"
    ours: str = ""
    bound: str = ""
    """What nobody can be faster than; where the target is missed, how far that would come is said as well."""

    def ratio(self, ours: Series, peer: Series) -> float:
        mine, theirs = (ours.cpu, peer.cpu) if self.of == "cpu" else (ours.wall, peer.wall)
        return theirs / mine if self.faster else mine / theirs

    def text(self, ours: Series, peer: Series, bound: Series | None = None) -> str:
        """The ratio and the target, in words."""
        ratio = self.ratio(ours, peer)
        met = ratio >= self.factor if self.faster else ratio <= self.factor
        what = "" if self.of == "wall" else "processor: "
        words = "times faster, target at least" if self.faster else "times as much, target at most"
        said = f"{ratio:.2f} {words} {self.factor:g}"
        if self.faster and ratio < 1:
            said = f"{1 / ratio:.2f} times as long, target at least {self.factor:g} times faster"
        best = f" ({bound.name} itself: {self.ratio(bound, peer):.2f})" if bound is not None and not met else ""
        return f"{what}{said}: {'met' if met else 'MISSED'}{best}"


@dataclass(frozen=True)
class Peak:
    """A target in bytes of memory."""

    most: int
    ours: str = ""

    def text(self, ours: Series) -> str:
        met = ours.peak <= self.most
        return (
            f"{ours.peak / 1e6:.0f} MB at the peak, target at most {self.most / 1e6:.0f}: {'met' if met else 'MISSED'}"
        )


@dataclass(frozen=True)
class Written:
    """A target: at most `factor` times `size` bytes go to the disk."""

    factor: float
    size: int
    ours: str
    bound: str = ""
    """As in `Claim`."""

    def text(self, ours: Series, bound: Series | None = None) -> str:
        ratio = (ours.written or 0) / self.size
        met = ratio <= self.factor
        least = bound.written if bound is not None else None
        best = f" ({bound.name} itself: {least / self.size:.2f})" if bound is not None and least and not met else ""
        words = f"{ratio:.2f} times what is unpacked goes to the disk, target at most {self.factor:g}"
        return f"{words}: {'met' if met else 'MISSED'}{best}"


@dataclass
class Table:
    """One comparison. The first series is ashore; `control` is the same again: what of a ratio is noise."""

    title: str
    note: str
    series: list[Series]
    claims: Sequence[Claim | Peak | Written] = ()
    facts: list[str] = field(default_factory=list)
    control: Series | None = None
    picture: str = ""
    """A file beside the page."""
    when: str = ""
    """UTC, with `load`, the machine's then: other work makes all figures worse, and ratios less sharp."""
    load: float = 0.0

    def lines(self) -> list[str]:
        """Targets and facts in words."""
        by_name = {series.name: series for series in self.series}
        ours, found = self.series[0], []
        for claim in self.claims:
            if isinstance(claim, Peak):
                mine = by_name[claim.ours] if claim.ours else ours
                found.append(f"{mine.name}: {claim.text(mine)}")
            elif isinstance(claim, Written):
                found.append(f"{claim.ours}: {claim.text(by_name[claim.ours], by_name.get(claim.bound))}")
            elif claim.peer in by_name:
                mine = by_name[claim.ours] if claim.ours else ours
                named = f"{mine.name} against" if claim.ours else "against"
                found.append(f"{named} {claim.peer}: {claim.text(mine, by_name[claim.peer], by_name.get(claim.bound))}")
        if self.control is not None:
            found.append(
                f"control: {self.control.name} measured twice differs by {self.control.wall / self._same():.2f}"
            )
        return found + self.facts

    def _same(self) -> float:
        assert self.control is not None
        return next(s.wall for s in self.series if s.name == self.control.name)

    def head(self) -> tuple[str, ...]:
        """The columns' names; what was not counted has none."""
        return HEAD if any(series.written is not None for series in self.series) else HEAD[:-1]

    def rows(self) -> list[tuple[str, ...]]:
        """Name, median, spread, processor, memory, bytes written."""
        return [
            (
                series.name,
                f"{series.wall * 1000:,.0f}",
                "{:,.0f} - {:,.0f}".format(*(bound * 1000 for bound in series.spread)),
                f"{series.cpu * 1000:,.0f}",
                f"{series.peak / 1e6:,.0f}",
                "-" if series.written is None else f"{series.written / 1e6:,.0f}",
            )[: len(self.head())]
            for series in self.series
        ]


LEFT_OUT = "LEFT OUT: "
HEAD = ("", "median, ms", "fastest - slowest", "processor, ms", "memory, MB", "written, MB")


def as_text(table: Table) -> str:
    """A table for the terminal."""
    rows = [table.head(), *table.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head()))]
    lines = ["", f"== {table.title}", *([f"   {table.note}"] if table.note else [])]
    for row in rows:
        first, *rest = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("   " + "  ".join([first, *rest]))
    return "\n".join([*lines, *(f"   -> {line}" for line in table.lines())])


def as_markdown(table: Table) -> str:
    """A table for the page."""
    lines = [f"## {table.title}", ""]
    if table.note:
        lines += [table.note, ""]
    if table.picture:
        lines += [f"![{table.title}]({table.picture})", ""]
    lines += ["| " + " | ".join(table.head()) + " |", "|---|" + "--:|" * (len(table.head()) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in table.rows()]
    lines += ["", *(f"- {line}" for line in table.lines())]
    if table.when:
        runs = max(len(series.runs) for series in table.series)
        lines.append(
            f"- measured {table.when} UTC, {runs} rounds; load {table.load:.1f} on {os.cpu_count()} cores then"
        )
    lines += [""]
    return "\n".join(lines)


def page(tables: Sequence[Table], skipped: Sequence[str], *, command: str, ground: str, tree: str) -> str:
    """docs/performance.md."""
    absent = [
        f"- {table.title}: {fact.removeprefix(LEFT_OUT)}"
        for table in tables
        for fact in table.facts
        if fact.startswith(LEFT_OUT)
    ]
    left_out = [*(f"- {line}" for line in skipped), *absent] or ["- none"]
    return "\n".join(
        [
            "# Performance",
            "",
            "Written by the command below; nothing here was typed. A ratio counts, a millisecond does not: all",
            "contenders of a table ran in turn, in one run, on one machine, with the same image, registry and disk.",
            "",
            f"    {command}",
            "",
            f"- machine: {machine()}",
            f"- files go to: {ground}",
            f"- the tree: {tree}, real files of the machine",
            "- rounds: as each table says, after one to warm up; times are medians, memory is the largest of all",
            "- ashore runs with full durability; of the peers, none syncs what it wrote",
            "- written: what the disk took, with all that was on its way when the program ended; -: nobody looked",
            "- left out:",
            *(f"  {line}" for line in left_out),
            "",
            *(as_markdown(table) for table in tables),
        ]
    )


def machine() -> str:
    """Processor, cores, memory, kernel."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), model
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {system}"
