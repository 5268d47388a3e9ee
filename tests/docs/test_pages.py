# SPDX-License-Identifier: Apache-2.0
"""Every command of README.md and docs/ does what the page says, and no command stands where it would not be run."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ashore.cli import VERBS, Verbs
from tests.docs.pages import Page, matches, pages, parse
from tests.docs.shell import MismatchError, Reader, certificate
from tests.fakes.registry import FakeRegistry

PAGES = pages()
_PROGRAMS = (
    "ashore",
    "kubectl",
    "buildah",
    "podman",
    "docker",
    "skopeo",
    "systemctl",
    "journalctl",
    "make",
    "pip",
    "sudo",
    "cat",
)
_COMMAND = re.compile(rf"\s*(?:\$ |host# |control# |# )?(?:{'|'.join(_PROGRAMS)}) ")
_INLINE = re.compile(r"`(ashore [^`]+)`")


def by_name(page: Page) -> str:
    return page.name


@contextlib.contextmanager
def registry_for(page: Page, folder: Path) -> Iterator[str]:
    """The page's registry, in memory; its authority's certificate lies in the reader's folder."""
    with contextlib.ExitStack() as stack:
        files = None
        if "tls" in page.registry:
            ca, crt, key = stack.enter_context(certificate(folder.parent / "authority"))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ca.crt").write_bytes(ca.read_bytes())
            files = (str(crt), str(key))
        auth = "basic" if "login" in page.registry else ""
        yield stack.enter_context(FakeRegistry(auth=auth, user="ci", password="of-the-ci", certificate=files)).host


@pytest.mark.parametrize("page", [page for page in PAGES if page.runs], ids=by_name)
def test_every_command_of_a_page_does_what_the_page_says(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "you"
    with registry_for(page, folder) as registry:
        assert Reader(folder, registry).follow(page, real=False)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_no_command_stands_where_nothing_would_run_it(page: Page) -> None:
    outside = [
        f"{page.name}:{block.line + number}: {line}"
        for block in page.blocks
        if not block.is_console
        for number, line in enumerate(block.lines, 1)
        if _COMMAND.match(line)
    ]
    # An indented block is one as well.
    outside += [
        f"{page.name}:{number}: {line}"
        for number, line in enumerate(page.prose().splitlines(), 1)
        if line.startswith("    ") and _COMMAND.match(line)
    ]
    assert outside == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_in_a_sentence_exist_with_their_options(page: Page) -> None:
    wrong = [f"{text}: {problem}" for text in _INLINE.findall(page.prose()) if (problem := _unknown(text))]
    assert wrong == []


def _unknown(text: str) -> str:
    """What a mentioned command line has that the program has not."""
    words = [word.strip("[],.") for word in text.split()[1:]]
    if words[0].startswith("-"):
        return "" if words[0] in {"--version", "--help"} else f"no option {words[0]}"
    if words[0] not in VERBS:
        return f"no verb {words[0]}"
    command = Verbs(name="ashore").get_command(click.Context(click.Command("ashore")), words[0])
    assert command is not None
    if isinstance(command, click.Group) and len(words) > 1 and words[1] in command.commands:
        command = command.commands[words[1]]
    known = {"--help", *(option for p in command.params for option in (*p.opts, *p.secondary_opts))}
    unknown = [word for word in words[1:] if word.startswith("-") and word.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_within_the_documents_lead_somewhere(page: Page) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.prose())
    missing = [link for link in links if "://" not in link and not (page.path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_anchors_within_the_documents_lead_somewhere(page: Page) -> None:
    missing = []
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.prose()):
        target = page.path.parent / file if file else page.path
        if "://" not in file and target.suffix == ".md" and anchor not in _anchors(target):
            missing.append(f"{file}#{anchor}")
    assert missing == []


def _anchors(path: Path) -> set[str]:
    """The headings' names, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", parse(path, path.read_text()).prose(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a b"], ["a b"], True),
        (["a b"], ["a c"], False),
        (["a b"], ["a b", "c"], False),
        (["a ... z"], ["a b c z"], True),
        (["a ... z"], ["a b c y"], False),
        (["a", "..."], ["a"], True),
        (["a", "...", "z"], ["a", "b", "c", "z"], True),
        (["...", "z"], ["a", "z", "b"], False),
        (["a.c"], ["abc"], False),
        (["nothing"], [], False),
    ],
)
def test_what_a_page_shows_is_compared(shown: list[str], printed: list[str], same: bool) -> None:
    assert matches(tuple(shown), printed) is same


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$ false", "ended with 1"),
        ("$ echo one\ntwo", "the page shows:\n  | two\nit printed:\n  | one"),
        ("$ cat <<'X'\n> one\n> X\ntwo", "it printed:\n  | one"),
        ("$ cd /; export A=b\n$ echo $PWD$A\n/c", "it printed:\n  | /b"),
        ("$ echo $HOME\n/home/me", "it printed:\n  | /home/you"),
        ("$ ashore --version\nashore", "it printed:\n  | ashore 0."),
    ],
)
def test_a_page_that_says_something_else_fails(text: str, problem: str, tmp_path: Path) -> None:
    page = parse(Path(__file__).parents[2] / "x.md", f"```console\n{text}\n```\n")
    with pytest.raises(MismatchError, match=re.escape(problem)):
        Reader(tmp_path, "localhost:1").follow(page, real=False)


@pytest.mark.parametrize("text", ["ashore provide unit", "ashore install --force x", "ashore --quiet"])
def test_a_command_that_does_not_exist_is_noticed(text: str) -> None:
    assert _unknown(text)
