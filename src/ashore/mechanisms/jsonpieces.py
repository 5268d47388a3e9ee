# SPDX-License-Identifier: Apache-2.0
"""The JSON of large records, a bounded piece at a time: nothing is held once more as text.

JSON has no surrogates, and a host may have names that are not UTF-8. A piece with one is escaped: NUL, which no name
has, and four hexadecimal digits. NUL itself is escaped as well, so all of a value is read back exactly.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from ashore.nouns.surrogates import texts

T = TypeVar("T")

_AT_ONCE = 500
"""Elements."""
_ENCODE = msgspec.json.Encoder(order="deterministic").encode
_NUL = b"\\u0000"
"""As JSON has it."""
_HARD = re.compile("[\0\ud800-\udfff]")
_ESCAPE = re.compile("\0([0-9a-f]{4})")


def pieces(value: object) -> Iterator[bytes]:
    """What `msgspec.json.encode` makes of a value, though a record's fields are all there, defaults too.

    Where one of them is `escaped`, `plain` reads it all.
    """
    if not isinstance(value, msgspec.Struct) or value.__struct_config__.tag is not None:
        yield from _value(value)
        return
    before = b"{"
    for field in msgspec.structs.fields(value):
        yield before + _encode(field.encode_name) + b":"
        yield from _value(getattr(value, field.name))
        before = b","
    yield b"}" if before == b"," else b"{}"


def _value(value: object) -> Iterator[bytes]:
    """The elements of a long tuple or mapping come by the hundred."""
    if isinstance(value, tuple) and len(value) > _AT_ONCE:
        yield from _elements(b"[", (value[at : at + _AT_ONCE] for at in range(0, len(value), _AT_ONCE)), b"]")
    elif isinstance(value, dict) and len(value) > _AT_ONCE:
        names = sorted(value)
        some = (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))
        yield from _elements(b"{", ({name: value[name] for name in part} for part in some), b"}")
    else:
        yield _encode(value)


def _elements(begin: bytes, parts: Iterable[object], end: bytes) -> Iterator[bytes]:
    before = begin
    for part in parts:
        yield before + _encode(part)[1:-1]
        before = b","
    yield end


def _encode(value: object) -> bytes:
    try:
        data = _ENCODE(value)
    except UnicodeEncodeError:
        data = _NUL
    if _NUL not in data:
        return data
    return _ENCODE(texts(msgspec.to_builtins(value), _HARD, lambda found: f"\0{ord(found[0]):04x}"))


def escaped(piece: bytes) -> bool:
    """Whether something in it may be escaped; what is not reads the same either way."""
    return _NUL in piece


def plain(data: bytes | msgspec.Raw, type_: type[T]) -> T:
    """The value of pieces that were `escaped`.

    Raises:
        msgspec.DecodeError: it is none of that type.
    """
    value = msgspec.json.decode(data)
    return msgspec.convert(texts(value, _ESCAPE, lambda found: chr(int(found[1], 16))), type_)
