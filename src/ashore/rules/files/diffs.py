# SPDX-License-Identifier: Apache-2.0
"""Two contents -> a unified diff that is safe to print. No I/O."""

from collections.abc import Iterator, Sequence

from ashore.nouns.files import printable

_MOST_CHANGED = 4000
"""Lines: difflib's time grows with their square."""
_CONTEXT = 3
_NO_NEWLINE = "\\ No newline at end of file"


def unified(old: bytes | None, new: bytes | None, *, old_label: str, new_label: str, secret: bool = False) -> str:
    """What turns `old` into `new`, in the form that patch(1) reads; empty where they are equal.

    None stands for a path where nothing lies. Contents of secret files are never shown, of binary and
    very large ones only that they differ. Control characters are escaped.
    """
    if old == new:
        return ""
    names = f"{printable(old_label)} and {printable(new_label)}"
    if secret:
        return f"Secret files {names} differ: the content is not shown\n"
    if is_binary(old or b"") or is_binary(new or b""):
        return f"Binary files {names} differ\n"
    before, after = split_lines(old), split_lines(new)
    start, before_end, after_end = _changed(before, after)
    if max(before_end, after_end) - start > _MOST_CHANGED:
        return f"Files {names} differ: {len(before)} and {len(after)} lines, too many to compare\n"
    head = [
        f"--- {printable(old_label) if old is not None else '/dev/null'}",
        f"+++ {printable(new_label) if new is not None else '/dev/null'}",
    ]
    first = max(0, start - _CONTEXT)
    body = _hunks(before[first : before_end + _CONTEXT], after[first : after_end + _CONTEXT], first)
    return "\n".join([*head, *body]) + "\n"


def is_binary(data: bytes) -> bool:
    """Whether this is no text: a NUL in it, or no UTF-8."""
    if b"\0" in data:
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def split_lines(data: bytes | None) -> list[str]:
    """Lines with their ends, split only where patch(1) splits."""
    if not data:
        return []
    lines = data.decode().split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _changed(before: Sequence[str], after: Sequence[str]) -> tuple[int, int, int]:
    """Where the contents begin to differ, and where in each they are the same again to the end."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return start, len(before) - end, len(after) - end


def _hunks(before: Sequence[str], after: Sequence[str], first: int) -> Iterator[str]:
    import difflib

    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        old = _range(first + group[0][1], first + group[-1][2])
        new = _range(first + group[0][3], first + group[-1][4])
        yield f"@@ -{old} +{new} @@"
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                yield from _shown(" ", before[i1:i2])
            else:
                yield from _shown("-", before[i1:i2])
                yield from _shown("+", after[j1:j2])


def _range(start: int, stop: int) -> str:
    length = stop - start
    # Ranges count from 1; an empty one names the line before it.
    begin = start + 1 if length else start
    return f"{begin}" if length == 1 else f"{begin},{length}"


def _shown(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        text = line.removesuffix("\n")
        yield mark + "\t".join(printable(part) for part in text.split("\t"))
        if text == line:
            yield _NO_NEWLINE
