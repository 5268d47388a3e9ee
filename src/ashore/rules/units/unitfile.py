# SPDX-License-Identifier: Apache-2.0
"""Unit files as systemd reads them: systemd.syntax(7), and quoting of systemd.service(5) "COMMAND LINES"."""

import re
from collections.abc import Iterable

import msgspec

_COMMENTS = ("#", ";")
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "s": " ",
}
_CODED = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One assignment, as it stands: `line` is the first of its lines, counted from 1."""

    section: str
    key: str
    value: str
    line: int = 0


def parse(text: str) -> tuple[Setting, ...]:
    """The assignments of a unit file or drop-in, in order.

    Lines that systemd ignores with a warning (no ``=``, before any section, a broken section header)
    are ignored here as well.
    """
    settings = []
    section = ""
    for number, line in _logical_lines(text.removeprefix("\ufeff")):
        if line.startswith("["):
            section = line[1:-1] if line.endswith("]") else section
            continue
        key, equals, value = line.partition("=")
        if equals and section:
            settings.append(Setting(section=section, key=key.rstrip(), value=value.lstrip(), line=number))
    return tuple(settings)


def merged(texts: Iterable[str]) -> tuple[Setting, ...]:
    """The unit file and its drop-ins, in the order in which systemd reads them."""
    return tuple(setting for text in texts for setting in parse(text))


def values(settings: Iterable[Setting], section: str, key: str) -> tuple[str, ...]:
    """All values of a key that takes a list; an empty assignment resets those before it."""
    found: list[str] = []
    for setting in settings:
        if (setting.section, setting.key) == (section, key):
            found = [*found, setting.value] if setting.value else []
    return tuple(found)


def last(settings: Iterable[Setting], section: str, key: str, default: str = "") -> str:
    """The value of a key that takes one: the last assignment wins."""
    found = values(settings, section, key)
    return found[-1] if found else default


def is_true(value: str) -> bool:
    """Whether systemd reads `value` as yes."""
    return value.lower() in {"1", "yes", "y", "true", "t", "on"}


def names(settings: Iterable[Setting], section: str, key: str) -> tuple[str, ...]:
    """The unit names of a key like ``WantedBy=``, each once, in order."""
    return tuple(dict.fromkeys(word for value in values(settings, section, key) for word in words(value)))


def words(value: str) -> tuple[str, ...]:
    """Split a command line or list as systemd does: quotes around a whole or a part of a word, C escapes."""
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    rest = iter(range(len(value)))
    for at in rest:
        char = value[at]
        if char == "\\":
            decoded, length = _escape(value[at + 1 :])
            word = [*(word or []), decoded]
            for _ in range(length):
                next(rest, None)
        elif quote:
            if char == quote:
                quote = ""
            elif word is not None:
                word.append(char)
        elif char in "\"'":
            quote, word = char, word or []
        elif char.isspace():
            if word is not None:
                found.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
    return (*found, "".join(word)) if word is not None else tuple(found)


def _escape(rest: str) -> tuple[str, int]:
    """What follows a backslash -> the character it stands for, and how many characters it took."""
    if rest[:1] in _ESCAPES:
        return _ESCAPES[rest[0]], 1
    if coded := _CODED.match(rest):
        digits = next(group for group in coded.groups() if group)
        code = int(digits, 8 if coded.group(4) else 16)
        # Out of Unicode's range: systemd refuses the line; here it stays text, which names no file.
        return (chr(code), coded.end()) if code < 0x110000 else ("\\", 0)
    return "\\", 0


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Stripped lines with continuations joined; comments between the parts of one are skipped."""
    begun, joined = 0, ""
    for number, line in enumerate(re.split(r"\r?\n|\r|\0", text), 1):
        line = line.lstrip()
        if line.startswith(_COMMENTS):
            continue
        begun = begun or number
        joined += line
        if _continues(joined):
            joined = joined[:-1] + " "
            continue
        if joined.strip():
            yield begun, joined.strip()
        begun, joined = 0, ""
    if joined.strip():
        yield begun, joined.strip()


def _continues(line: str) -> bool:
    """Whether `line` ends in a backslash that no other escapes."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1
