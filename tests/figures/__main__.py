# SPDX-License-Identifier: Apache-2.0
"""Run the harnesses, print their figures, and with ``--write`` put them into docs/reliability.md.

What each printed is kept in build/figures, so that a run that was broken off goes on where it was.

python -m tests.figures [--continue] [--write] [--only WORD] | --kept
"""

import argparse
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.figures.rows import HARNESSES, Harness
from tests.figures.rows_hostile import HARNESSES as HOSTILE

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/reliability.md"
KEPT = CHECKOUT / "build/figures"
_BEGIN, _END = "<!-- figures: written by make figures -->", "<!-- end of figures -->"
_LINE = re.compile(r"(?P<title>.+): (?P<passed>[\d,]+) / (?P<tried>[\d,]+)")


class Figure(msgspec.Struct, frozen=True):
    title: str
    passed: str
    tried: str


class Result(msgspec.Struct, frozen=True):
    """What a harness printed, and whether all of it was as expected."""

    command: str
    figures: tuple[Figure, ...]
    expected: bool
    seconds: float
    source: str = ""
    """What was tried: a digest of ashore and of the harnesses."""
    commit: str = ""
    """For readers: the commit that was checked out."""


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
    expected = process.returncode == 0 and bool(figures)
    return Result(harness.command, tuple(figures), expected, time.monotonic() - began, source(), commit())


def kept(harness: Harness, *, of_any: bool = False) -> Result | None:
    """What it printed the last time, if all was as expected; and if nothing that it tries has changed since, or of any
    commit."""
    try:
        result = msgspec.json.decode(_place(harness).read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return result if result.expected and (of_any or result.source == source()) else None


def keep(harness: Harness, result: Result) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    _place(harness).write_bytes(msgspec.json.encode(result))


def _place(harness: Harness) -> Path:
    return KEPT / f"{re.sub(r'[^a-z0-9]+', '-', harness.command)}.json"


@functools.cache
def source() -> str:
    """A digest of everything that a figure depends on."""
    hashed = hashlib.sha256()
    for folder in ("src", "tests/hostile", "tests/figures", "tests/flow", "tests/fakes", "tests/system"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            hashed.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
    return hashed.hexdigest()


@functools.cache
def commit() -> str:
    """Of the checkout, short; nothing where there is no git."""
    asked = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True).stdout.strip()


def table(results: Iterable[tuple[Harness, Result]], missing: Iterable[Harness] = ()) -> str:
    """The figures as a page's part: a table for each section, and which are still to be printed."""
    date, machine = time.strftime("%Y-%m-%d", time.gmtime()), f"Linux {platform.release()}, {os.cpu_count()} cores"
    lines = [f"Printed by `make figures` on {date}, {machine}, Python {platform.python_version()}."]
    sections: dict[str, list[tuple[Harness, Result]]] = {}
    for harness, result in results:
        sections.setdefault(harness.section, []).append((harness, result))
    for section, there in sections.items():
        lines += ["", f"### {section}", "", "| what | passed / tried | command |", "|---|---|---|"]
        for harness, result in there:
            for figure in result.figures:
                title = f"_{figure.title}_" if harness.beside else figure.title
                lines.append(f"| {title} | {figure.passed} / {figure.tried} | `{harness.command}` |")
        notes = [f"- `{h.command}`: {h.note} {r.seconds / 60:.0f} min{_of(r)}." for h, r in there]
        lines += ["", *notes]
    if not_run := [f"- `{harness.command}`" for harness in missing]:
        lines += ["", "### Not run yet", "", *not_run]
    return "\n".join(lines)


def _of(result: Result) -> str:
    return f", commit {result.commit}" if result.commit else ""


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
    parser.add_argument("--continue", action="store_true", dest="going_on", help="take what an earlier run has printed")
    parser.add_argument(
        "--kept", action="store_true", help="run nothing: write what earlier runs printed, and of which commit"
    )
    parser.add_argument("--only", default="", help="the harnesses whose command or section has this word")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many harnesses at a time")
    given = parser.parse_args(arguments)
    if given.kept:
        every = [(harness, kept(harness, of_any=True)) for harness in (*HARNESSES, *HOSTILE)]
        there = [(harness, result) for harness, result in every if result is not None]
        write(table(there, [harness for harness, result in every if result is None]))
        return 0
    if given.write and given.only:
        parser.error("a table of some of the figures would look like one of all")
    if os.geteuid() != 0:
        print("the figures need root: file systems are made, mounted and broken", file=sys.stderr)
        return 2
    chosen = [h for h in (*HARNESSES, *HOSTILE) if given.only.lower() in f"{h.section} {h.command}".lower()]

    def result_of(harness: Harness) -> Result:
        result = kept(harness) if given.going_on else None
        if result is None:
            result = run(harness)
            keep(harness, result)
        return result

    with ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(result_of, chosen))
    if given.write:
        write(table(zip(chosen, results, strict=True)))
    for result in results:
        if not result.expected:
            print(f"NOT AS EXPECTED: {result.command}", file=sys.stderr)
    return 0 if all(result.expected for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
