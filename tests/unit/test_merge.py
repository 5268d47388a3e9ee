# SPDX-License-Identifier: Apache-2.0
"""The merge of texts: cases as files, what holds for all texts, and the same answers as a library that many use."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merge3 import Merge3

from ashore.rules.files.merge import matching, merge
from ashore.rules.files.threeway import LARGEST, Refusal

CASES = sorted((Path(__file__).parents[1] / "cases" / "merge").glob("*.toml"))
texts = st.lists(st.sampled_from("abcd"), max_size=12).map(lambda lines: "".join(f"{line}\n" for line in lines))
endings = st.sampled_from(["", "last"])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case(path: Path) -> None:
    case = tomllib.loads(path.read_text())
    found = merge(case["base"].encode(), case["ours"].encode(), case["theirs"].encode())
    expected = case["merged"].encode() if "merged" in case else Refusal(case["refused"])
    assert found == expected, case["about"]


class Matcher:
    """Our matching of lines, in the form that the library takes; and so it is asked about merging alone."""

    def __init__(self, _junk: object, a: Sequence[str], b: Sequence[str]) -> None:
        self.a, self.b = a, b

    def get_matching_blocks(self) -> list[tuple[int, int, int]]:
        places = matching(self.a, self.b)
        assert places is not None
        return [*((n, place, 1) for n, place in enumerate(places) if place is not None), (len(self.a), len(self.b), 0)]


@given(base=texts, ours=texts, theirs=texts, last=st.tuples(endings, endings, endings))
def test_it_answers_as_the_library_does(base: str, ours: str, theirs: str, last: tuple[str, str, str]) -> None:
    before, one, other = base + last[0], ours + last[1], theirs + last[2]
    sides = [text.splitlines(keepends=True) for text in (before, one, other)]
    groups = list(Merge3(sides[0], sides[1], sides[2], sequence_matcher=Matcher).merge_groups())
    found = merge(before.encode(), one.encode(), other.encode())
    if any(group[0] == "conflict" for group in groups):
        assert found is Refusal.OVERLAP
    else:
        assert found == "".join(line for group in groups for line in group[1]).encode()


@given(base=texts, ours=texts, theirs=texts)
def test_who_is_asked_first_makes_no_difference(base: str, ours: str, theirs: str) -> None:
    before, one, other = base.encode(), ours.encode(), theirs.encode()
    assert merge(before, one, other) == merge(before, other, one)


@given(base=texts, side=texts)
def test_where_one_side_did_nothing_the_other_has_its_way(base: str, side: str) -> None:
    before, changed = base.encode(), side.encode()
    assert merge(before, changed, before) == changed
    assert merge(before, before, changed) == changed
    assert merge(before, changed, changed) == changed


@given(st.data())
def test_changes_of_lines_that_lie_apart_both_come(data: st.DataObject) -> None:
    lines = [f"line {n}\n" for n in range(data.draw(st.integers(3, 40)))]
    mine = data.draw(st.integers(0, len(lines) - 3))
    yours = data.draw(st.integers(mine + 2, len(lines) - 1))
    one, other, both = list(lines), list(lines), list(lines)
    one[mine] = both[mine] = "mine\n"
    other[yours] = both[yours] = "yours\nand more\n"
    merged = merge(*("".join(text).encode() for text in (lines, one, other)))
    assert merged == "".join(both).encode()


def test_what_is_too_large_or_would_take_too_long_is_left() -> None:
    large = b"x\n" * (LARGEST // 2)
    assert merge(large, large + b"a\n", b"b\n" + large) is Refusal.LARGE
    alike = b"\n" * 3000
    assert merge(b"a\n" + alike + b"b\n", b"c\n" + alike + b"d\n", b"e\n" + alike + b"f\n") is Refusal.LARGE
    many = "".join(f"{n}\n" for n in range(5000))
    assert merge(many.encode(), many.replace("\n", " changed\n").encode(), b"new\n" + many.encode()) is Refusal.LARGE


def test_a_large_file_with_few_changes_is_merged() -> None:
    lines = [f"{n}\n" for n in range(50_000)]
    one, other = ["mine\n", *lines], [*lines, "yours\n"]
    merged = merge(*("".join(text).encode() for text in (lines, one, other)))
    assert merged == "".join(["mine\n", *lines, "yours\n"]).encode()


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"a\0b"])
def test_what_is_no_text_is_left(odd: bytes) -> None:
    assert merge(b"a\nb\n", b"a\nc\n", odd) is Refusal.BINARY
    assert merge(odd, b"a\nc\n", b"x\n") is Refusal.BINARY
