# SPDX-License-Identifier: Apache-2.0
"""The JSON of large records, a bounded piece at a time: nothing is held once more as text."""

from collections.abc import Iterable, Iterator

import msgspec

_AT_ONCE = 500
"""Elements."""
_encode = msgspec.json.Encoder(order="deterministic").encode


def pieces(value: object) -> Iterator[bytes]:
    """What `msgspec.json.encode` makes of a value, though a record's fields are all there, defaults too."""
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
