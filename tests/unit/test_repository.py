# SPDX-License-Identifier: Apache-2.0
"""What holds for every file of the repository: licence, size, and nothing of the machine that it was made on."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SPDX = "SPDX-License-Identifier: Apache-2.0"
LINES = 500
"""A file with more is refused; one with more than 300 must be named below, with the reason."""
REVIEW = 300
REVIEWED = {
    "src/ashore/nouns/shape.py": "the shapes of configuration, a small class each",
    "tests/fakes/registry.py": "a whole registry, held to the contract of the real one",
    "tests/system/lab.py": "a host of the laboratory, from its tree to its network",
}
_NO_COMMENTS = {"LICENSE", ".gitignore"}
# A package index or mirror: https://host/simple/, a --index-url, a deb line.
_INDEX = re.compile(r"--(?:extra-)?index-url|PIP_INDEX_URL|https?://[^\s\"')]+/simple\b|^deb(?:-src)? \S", re.MULTILINE)
_KEY = re.compile(r"^-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}", re.MULTILINE)


def tracked() -> list[str]:
    """The paths that git knows or would add; all files, where this is no clone."""
    # A clone may belong to somebody else than who runs the tests.
    command = [
        "git",
        "-c",
        f"safe.directory={CHECKOUT}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone: what belongs to the repository cannot be told")
    return [path for path in done.stdout.split("\0") if path and (CHECKOUT / path).is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every tracked text by its path."""
    return dict(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for path in tracked():
        try:
            yield path, (CHECKOUT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_every_source_file_says_its_licence(texts: dict[str, str]) -> None:
    sources = [
        path
        for path, text in texts.items()
        if text and Path(path).name not in _NO_COMMENTS and (Path(path).suffix == ".py" or _is_script(path, text))
    ]
    assert len(sources) > 100
    assert [path for path in sources if SPDX not in "".join(texts[path].splitlines(keepends=True)[:2])] == []


def _is_script(path: str, text: str) -> bool:
    return text.startswith("#!") or Path(path).name in {"Makefile", "pyproject.toml", "bundle.toml"}


def test_the_licence_is_there_whole(texts: dict[str, str]) -> None:
    assert "Apache License" in texts["LICENSE"]
    assert texts["LICENSE"].rstrip().endswith("limitations under the License.")


def test_files_are_as_long_as_a_reader_can_bear(texts: dict[str, str]) -> None:
    lengths = {path: text.count("\n") for path, text in texts.items() if path.endswith(".py")}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}
    unreviewed = {p: n for p, n in lengths.items() if n > REVIEW and p not in REVIEWED and not _is_test(p)}
    assert unreviewed == {}, "split it, or name it in REVIEWED with the reason"
    # One that shrank a little may grow again.
    assert [path for path in REVIEWED if lengths.get(path, 0) < REVIEW * 0.9] == [], "REVIEWED has what is short again"


def _is_test(path: str) -> bool:
    """A file of cases: long when there are many, each read on its own. Still refused above LINES."""
    return Path(path).name.startswith("test_")


@pytest.mark.parametrize("banned", [_INDEX, _KEY], ids=["index address", "private key"])
def test_nothing_of_one_machine_is_in_the_repository(texts: dict[str, str], banned: re.Pattern[str]) -> None:
    here = Path(__file__).relative_to(CHECKOUT).as_posix()
    assert [path for path, text in texts.items() if path != here and banned.search(text)] == []


def test_no_module_is_called_after_nothing(texts: dict[str, str]) -> None:
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "manager.py"}
    assert [path for path in texts if Path(path).name in vague] == []


def test_make_has_what_the_documents_name(texts: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", texts["Makefile"], re.MULTILINE))
    pages = {path: text for path, text in texts.items() if path.endswith(".md") or path == ".ci/run"}
    named = {
        (path, t)
        for path, text in pages.items()
        for t in re.findall(r"(?:`|^ {4}|exec )make ([a-z-]+)", text, re.MULTILINE)
    }
    assert {target for _, target in named} >= {"demo", "test", "check"}
    assert {(path, target) for path, target in named if target not in targets} == set()


def test_what_is_run_can_be_run(texts: dict[str, str]) -> None:
    scripts = [path for path, text in texts.items() if text.startswith("#!") and not path.endswith((".py", ".md"))]
    assert ".ci/run" in scripts
    assert [path for path in scripts if not (CHECKOUT / path).stat().st_mode & 0o100] == []
