# SPDX-License-Identifier: Apache-2.0
"""The three-way merge of a text by lines: what both sides did to one base, or why that is not to be had. Pure.

The algorithm is that of diff3 (Khanna, Kunal, Pierce: A Formal Investigation of Diff3, 2007): lines that all three
texts share hold the sides together; between them one side may differ from the base, or both in the same way.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

from ashore.rules.files.diffs import is_binary, split_lines
from ashore.rules.files.threeway import LARGEST, Refusal

_MOST_CHANGED = 4000
"""Lines of one side between the first and the last change: difflib's time grows with their square."""
_MOST_PAIRS = 2_000_000
"""Pairs of equal lines to look at: files of thousands of equal lines would take minutes."""


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | Refusal:
    """`base` with what `ours` and `theirs` each changed of it; never a guess where they are not apart.

    Changes that touch each other, without a line between them that all three share, are one change.
    """
    if max(len(base), len(ours), len(theirs)) > LARGEST:
        return Refusal.LARGE
    if any(is_binary(text) for text in (base, ours, theirs)):
        return Refusal.BINARY
    lines, one, other = (split_lines(text) for text in (base, ours, theirs))
    to_one, to_other = matching(lines, one), matching(lines, other)
    if to_one is None or to_other is None:
        return Refusal.LARGE
    result: list[str] = []
    at = (0, 0, 0)
    for begin, length in _anchors(to_one, to_other, (len(lines), len(one), len(other))):
        before, left, right = (side[a:b] for side, a, b in zip((lines, one, other), at, begin, strict=True))
        if left == right or right == before:
            result += left
        elif left == before:
            result += right
        else:
            return Refusal.OVERLAP
        result += lines[begin[0] : begin[0] + length]
        at = (begin[0] + length, begin[1] + length, begin[2] + length)
    return "".join(result).encode()


def matching(base: Sequence[str], side: Sequence[str]) -> list[int | None] | None:
    """For each line of `base` its place in `side`, None where it is gone; None for texts that would take too long."""
    start = end = 0
    shorter = min(len(base), len(side))
    while start < shorter and base[start] == side[start]:
        start += 1
    while end < shorter - start and base[-1 - end] == side[-1 - end]:
        end += 1
    inner, other = base[start : len(base) - end], side[start : len(side) - end]
    often = Counter(other)
    if max(len(inner), len(other)) > _MOST_CHANGED or sum(often[line] for line in inner) > _MOST_PAIRS:
        return None
    places: list[int | None] = [None] * len(base)
    places[:start] = range(start)
    places[len(base) - end :] = range(len(side) - end, len(side))
    for block in difflib.SequenceMatcher(None, inner, other, autojunk=False).get_matching_blocks():
        first = start + block.a
        places[first : first + block.size] = range(start + block.b, start + block.b + block.size)
    return places


def _anchors(
    to_one: Sequence[int | None], to_other: Sequence[int | None], ends: tuple[int, int, int]
) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Runs of lines that all three have: where they begin in each, and their length; the last is the end, of none."""
    begin, length = (0, 0, 0), 0
    for number, (one, other) in enumerate(zip(to_one, to_other, strict=True)):
        if one is None or other is None:
            continue
        if length and (number, one, other) == (begin[0] + length, begin[1] + length, begin[2] + length):
            length += 1
            continue
        if length:
            yield begin, length
        begin, length = (number, one, other), 1
    if length:
        yield begin, length
    yield ends, 0
