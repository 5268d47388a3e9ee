# SPDX-License-Identifier: Apache-2.0
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.rules.files.diffs import unified


def diff(old: bytes | None, new: bytes | None, *, secret: bool = False) -> str:
    return unified(old, new, old_label="a/x", new_label="b/x", secret=secret)


def test_equal_contents_have_none() -> None:
    assert diff(b"a\n", b"a\n") == ""
    assert diff(None, None) == ""


def test_changed_lines_with_their_neighbours() -> None:
    before = b"".join(b"%d\n" % n for n in range(20))
    assert diff(before, before.replace(b"10\n", b"ten\n")).splitlines() == [
        "--- a/x",
        "+++ b/x",
        "@@ -8,7 +8,7 @@",
        " 7",
        " 8",
        " 9",
        "-10",
        "+ten",
        " 11",
        " 12",
        " 13",
    ]


def test_a_new_and_a_removed_file() -> None:
    assert diff(None, b"a\n") == "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n"
    assert diff(b"a\n", None) == "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_a_missing_newline_at_the_end_is_a_difference() -> None:
    assert diff(b"a\n", b"a").splitlines()[-3:] == ["-a", "+a", "\\ No newline at end of file"]


@pytest.mark.parametrize("data", [b"\x7fELF\0\0", b"\xff\xfe"])
def test_binary_content_is_not_shown(data: bytes) -> None:
    assert diff(b"text\n", data) == "Binary files a/x and b/x differ\n"


def test_a_secret_is_not_shown() -> None:
    shown = diff(b"old-password\n", b"new-password\n", secret=True)
    assert "password" not in shown and "differ" in shown


def test_nothing_that_a_terminal_obeys_gets_through() -> None:
    shown = diff(b"a\n", "\x1b[2J\u202e\tb\r\n".encode())
    assert "\x1b" not in shown and "\u202e" not in shown and "\r" not in shown
    assert "\\x1b[2J\\u202e\tb\\r" in shown


def test_what_would_take_too_long_is_counted() -> None:
    many = b"".join(b"%d\n" % n for n in range(10_000))
    assert "too many to compare" in diff(b"", many)
    assert "-5000\n" in diff(many, many.replace(b"5000\n", b"")), "a small change in a large file is shown"


_line = st.sampled_from(["a\n", "b\n", "c\n", "\n"])
_text = st.lists(_line, max_size=40).map("".join).flatmap(lambda t: st.sampled_from([t, t + "end"]))


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@settings(max_examples=25, deadline=None)
@given(_text, _text)
def test_patch_makes_the_new_of_the_old(tmp_path_factory: pytest.TempPathFactory, old: str, new: str) -> None:
    # patch removes a file that becomes empty
    if old == new or not old or not new:
        return
    path: Path = tmp_path_factory.mktemp("patch") / "x"
    path.write_text(old)
    done = subprocess.run(
        ["patch", "-s", str(path)], input=diff(old.encode(), new.encode()).encode(), capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert path.read_text() == new
