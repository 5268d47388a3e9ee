# SPDX-License-Identifier: Apache-2.0
"""A TOML document that knows on which line each of its keys stands (TOML 1.0.0). Pure.

`tomllib` says what a document holds but not where; errors that do not name a line are not worth much.
"""

import datetime
import re
from collections.abc import Mapping

import msgspec

from ashore.errors import InputError, Issue

Key = tuple[str | int, ...]
"""``("files", 0, "path")``: table keys and array indexes from the document's root."""

_LINE = re.compile(r" ?\(at line (\d+), column \d+\)$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r'''
      """ (?: [^\\] | \\. )*? """ "{0,2}
    | \'{3} .*? \'{3} \'{0,2}
    | " (?: [^"\\\n] | \\. )* "
    | \' [^\'\n]* \'
    ''',
    re.DOTALL | re.VERBOSE,
)
_DEEPEST = 100
_SCALAR = re.compile(r"[^,\]}\n#]*")


_DEEP = re.compile(
    r"""(?<! [A-Za-z0-9_\\-] )
    (?: (?: [A-Za-z0-9_-]++ | "(?:[^"\\\n]|\\.)*+" | '[^'\n]*+' ) [ \t]*+ \. [ \t]*+ ){50}""",
    re.VERBOSE,
)
"""A key of more parts: the standard library's parser takes quadratic time and memory for one.

Looked for where a name can begin and nowhere within one, or this would be quadratic itself.
"""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a TOML file holds, and the line of each key."""

    where: str
    data: Mapping[str, object]
    lines: Mapping[Key, int]

    def place(self, key: Key) -> str:
        """``file:line`` of `key`, or of the nearest thing around it that has a line."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.where}:{self.lines[key]}" if key else self.where


def parse(data: bytes, where: str, *, values: str | None = None) -> Document:
    """Read a TOML document. `values` is the table, empty for all of it, that templates get: made as `plain` says.

    Raises:
        InputError: it is not UTF-8 or not TOML; the issue names ``file:line``. Or a value is no plain one.
    """
    import tomllib  # late: most commands read no TOML, and its patterns take time to compile

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_toml(f"{where}:{line}", where, "not UTF-8") from error
    if deep := _DEEP.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        raise _not_toml(f"{where}:{line}", where, "a dotted name of more than 50 parts")
    try:
        holds = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _not_toml(
            f"{where}:{line}", where, _LINE.sub("", str(error)).removesuffix(" (at end of document)")
        ) from error
    except RecursionError as error:
        raise _not_toml(where, where, "nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, a day that is in no calendar
        raise _not_toml(where, where, str(error).partition(":")[0]) from error
    if _too_deep(holds):
        raise _not_toml(where, where, f"nested more than {_DEEPEST} deep")
    document = Document(where=where, data=holds, lines=_Locator(text.replace("\r\n", "\n")).lines)
    return document if values is None else _with_plain(document, values)


def _too_deep(holds: object) -> bool:
    """Whether there are more levels than what reads and writes values can go down."""
    level = [holds]
    for _ in range(_DEEPEST + 1):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [below for item in inner for below in (item.values() if isinstance(item, dict) else item)]
    return bool(level)


def plain(value: object, key: Key = ()) -> tuple[object, tuple[Key, ...]]:
    """A value as records keep it, and the keys of numbers that none of them can: those beyond 64 bits.

    Dates and times become texts, so that a template sees the same at each rendering.
    """
    match value:
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat(), ()
        case int():
            return value, () if -(1 << 63) <= value < 1 << 64 else (key,)
        case dict():
            table = {name: plain(item, (*key, name)) for name, item in value.items()}
            return {name: item for name, (item, _) in table.items()}, tuple(k for _, ks in table.values() for k in ks)
        case list():
            items = [plain(item, (*key, number)) for number, item in enumerate(value)]
            return [item for item, _ in items], tuple(k for _, keys in items for k in keys)
        case _:
            return value, ()


def _with_plain(document: Document, name: str) -> Document:
    data = {key: value for key, value in document.data.items() if name in ("", key)}
    try:
        made, large = plain(data)
    except RecursionError as error:
        raise _not_toml(document.where, document.where, "nested too deeply") from error
    if large:
        remedy = "write it as a text, in quotes"
        issues = [Issue(where=document.place(k), message="a number of more than 64 bits", remedy=remedy) for k in large]
        raise InputError(f"{document.where} cannot be read", issues=issues)
    assert isinstance(made, dict)
    return msgspec.structs.replace(document, data={**document.data, **made})


def _not_toml(place: str, where: str, message: str) -> InputError:
    issue = Issue(where=place, message=message, remedy="see https://toml.io")
    return InputError(f"{where} is not TOML", issues=(issue,))


class _Locator:
    """Walks a text that is known to be TOML, and notes where its keys are."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.counted = 0
        self.line = 1
        self.lines: dict[Key, int] = {}
        self.arrays: dict[Key, int] = {}
        self._document()

    def _document(self) -> None:
        table: Key = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self._header(2)
            elif self.text[self.at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Key:
        self.at += brackets
        path: Key = ()
        names = self._names()
        for number, (name, line) in enumerate(names):
            path = (*path, name)
            self.lines.setdefault(path, line)
            if brackets == 2 and number == len(names) - 1:
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path])
                self.lines.setdefault(path, line)
        self.at = self.text.index("]", self.at) + brackets
        return path

    def _pair(self, table: Key) -> None:
        path = table
        for name, line in self._names():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _names(self) -> list[tuple[str, int]]:
        import tomllib

        names = []
        while True:
            self._skip(_SPACE)
            line = self._count()
            if bare := _BARE.match(self.text, self.at):
                self.at, name = bare.end(), bare[0]
            else:
                quoted = self._string()
                name = str(tomllib.loads(f"x = {quoted}")["x"])
            names.append((name, line))
            if self._skip(_SPACE) >= len(self.text) or self.text[self.at] != ".":
                return names
            self.at += 1

    def _value(self, path: Key) -> None:
        self._skip(_SPACE)
        match self.text[self.at : self.at + 1]:
            case '"' | "'":
                self._string()
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: Key) -> None:
        self.at += 1
        number = 0
        while self._skip(_BLANK) < len(self.text) and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.lines.setdefault((*path, number), self._count())
            self._value((*path, number))
            number += 1
        self.at += 1

    def _inline(self, path: Key) -> None:
        self.at += 1
        while self._skip(_BLANK) < len(self.text) and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)
        self.at += 1

    def _string(self) -> str:
        found = _STRING.match(self.text, self.at)
        assert found, "the text is TOML: tomllib read it"
        self.at = found.end()
        return found[0]

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _count(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line
