# SPDX-License-Identifier: Apache-2.0
"""Run the harnesses, print their figures, and with ``--write`` put them into docs/reliability.md.

python -m tests.figures [--write] [--only WORD]
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.figures.rows import HARNESSES, Harness
from tests.figures.rows_hostile import HARNESSES as HOSTILE

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_BEGIN, _END = "<!-- figures: written by make figures -->", "<!-- end of figures -->"
_LINE = re.compile(r"(?P<title>.+): (?P<passed>[\d,]+) / (?P<tried>[\d,]+)")


@dataclass(frozen=True)
class Figure:
    title: str
    passed: str
    tried: str


@dataclass(frozen=True)
class Result:
    """What a harness printed, and whether all of it was as expected."""

    harness: Harness
    figures: tuple[Figure, ...]
    expected: bool
    seconds: float


def run(harness: Harness) -> Result:
    """Run one harness; what it prints is shown as it comes."""
    began = time.monotonic()
    figures = []
    with subprocess.Popen(
        [sys.executable, "-m", harness.module, *harness.arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{harness.command}: {line}", end="", flush=True)
            if match := _LINE.fullmatch(line.strip()):
                figures.append(Figure(**match.groupdict()))
    return Result(harness, tuple(figures), process.returncode == 0 and bool(figures), time.monotonic() - began)


def table(results: Iterable[Result]) -> str:
    """The figures as a page's part: a table for each section."""
    date, machine = time.strftime("%Y-%m-%d", time.gmtime()), f"Linux {platform.release()}, {os.cpu_count()} cores"
    lines = [f"Printed by `make figures` on {date}, {machine}, Python {platform.python_version()}."]
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(result.harness.section, []).append(result)
    for section, there in sections.items():
        lines += ["", f"### {section}", "", "| what | passed / tried | command |", "|---|---|---|"]
        for result in there:
            for figure in result.figures:
                title = f"_{figure.title}_" if result.harness.beside else figure.title
                lines.append(f"| {title} | {figure.passed} / {figure.tried} | `{result.harness.command}` |")
        notes = [f"- `{r.harness.command}`: {r.harness.note} {r.seconds / 60:.0f} min." for r in there]
        lines += ["", *notes]
    return "\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Put the figures where the page has a place for them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for figures")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md; only when all is run")
    parser.add_argument("--only", default="", help="the harnesses whose command or section has this word")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many harnesses at a time")
    given = parser.parse_args(arguments)
    if given.write and given.only:
        parser.error("a table of some of the figures would look like one of all")
    if os.geteuid() != 0:
        print("the figures need root: file systems are made, mounted and broken", file=sys.stderr)
        return 2
    chosen = [h for h in (*HARNESSES, *HOSTILE) if given.only.lower() in f"{h.section} {h.command}".lower()]
    with ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(run, chosen))
    if given.write:
        write(table(results))
    for result in results:
        if not result.expected:
            print(f"NOT AS EXPECTED: {result.harness.command}", file=sys.stderr)
    return 0 if all(result.expected for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
