# SPDX-License-Identifier: Apache-2.0
"""The documents as data: what a reader would type, what they would see, and the files they are told to write.

- A block of language ``console`` holds commands, after ``$ `` (the reader's machine), ``host# `` (root on a host) or
  ``control# `` (root on another), and what they print. A line of ``> `` goes on with the command above it.
- ``console real`` is such a block for what takes a booted host, or another real program.
- A block whose info string has a path (``toml worker/bundle.toml``) is a file with that content.
- A comment ``<!-- registry: login tls -->`` says what the registry of the page is like, ``<!-- needs: kubernetes -->``
  that it is about a cluster of two hosts, ``<!-- needs: cosign -->`` that it signs.
"""

import re
from pathlib import Path

import msgspec

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"

_FENCE = re.compile(r"^( *)(`{3,})\s*(.*?)\s*$")
_PROMPT = re.compile(r"(\$|(host|control)#) (.*)")
_REGISTRY = re.compile(r"<!-- registry:([a-z ]*)-->")
_NEEDS = re.compile(r"<!-- needs:([a-z ]*)-->")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command and what it shall print; without `shown` it may print what it likes."""

    line: int
    text: str
    shown: tuple[str, ...]
    host: str
    """Where: empty is the reader's machine."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A fenced block: its line in the page, its info string's words, its text."""

    line: int
    info: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def language(self) -> str:
        return self.info[0] if self.info else ""

    @property
    def is_console(self) -> bool:
        return self.language == "console"

    @property
    def is_real(self) -> bool:
        return self.is_console and "real" in self.info

    @property
    def file(self) -> str:
        """The path of the file that the block is, if it is one."""
        return self.info[1] if len(self.info) > 1 and not self.is_console else ""

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def commands(self) -> list[Command]:
        """What there is to type, in order."""
        found: list[Command] = []
        for number, line in enumerate(self.lines, self.line + 1):
            prompt = _PROMPT.fullmatch(line)
            if prompt:
                found.append(Command(line=number, text=prompt[3], shown=(), host=prompt[2] or ""))
            elif not found:
                raise ValueError(f"line {number}: a console block begins with a command")
            elif line.startswith("> ") and not found[-1].shown:
                found[-1] = msgspec.structs.replace(found[-1], text=f"{found[-1].text}\n{line[2:]}")
            else:
                found[-1] = msgspec.structs.replace(found[-1], shown=(*found[-1].shown, line))
        return found


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A document."""

    path: Path
    text: str
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        return str(self.path.relative_to(CHECKOUT))

    @property
    def registry(self) -> frozenset[str]:
        """What the registry of this page is like: ``login``, ``tls``."""
        found = _REGISTRY.search(self.text)
        return frozenset(found[1].split()) if found else frozenset()

    @property
    def needs(self) -> frozenset[str]:
        """What the page takes besides a registry and a host."""
        found = _NEEDS.search(self.text)
        return frozenset(found[1].split()) if found else frozenset()

    @property
    def runs(self) -> bool:
        return any(block.is_console and not block.is_real for block in self.blocks)

    @property
    def runs_real(self) -> bool:
        return any(block.is_real for block in self.blocks)

    def prose(self) -> str:
        """The text outside of fenced blocks, line for line."""
        lines = self.text.splitlines()
        for block in self.blocks:
            for number in range(block.line, block.line + len(block.lines) + 2):
                lines[number - 1] = ""
        return "\n".join(lines)


def pages() -> list[Page]:
    """README.md and everything below docs/."""
    paths = [CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [parse(path, path.read_text()) for path in paths if path.exists()]


def parse(path: Path, text: str) -> Page:
    """Find the blocks of a page.

    Raises:
        ValueError: a fence is not closed.
    """
    blocks: list[Block] = []
    opened: tuple[int, str, str, tuple[str, ...]] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, inside = (number, fence[1], fence[2], tuple(fence[3].split())), []
        elif opened is not None and fence and fence[2] == opened[2] and not fence[3]:
            blocks.append(Block(line=opened[0], info=opened[3], lines=tuple(inside)))
            opened = None
        elif opened is not None:
            inside.append(line.removeprefix(opened[1]))
    if opened is not None:
        raise ValueError(f"{path}: the block of line {opened[0]} is not closed")
    return Page(path=path, text=text, blocks=tuple(blocks))


def matches(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether what a page shows is what was printed: ``...`` is any text, on a line of its own any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else r".*".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
        for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None
