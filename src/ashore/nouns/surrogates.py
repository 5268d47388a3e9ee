# SPDX-License-Identifier: Apache-2.0
"""JSON of values with surrogates, which stand for what is not UTF-8 in a name of the host: JSON cannot have them."""

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

_SURROGATE = re.compile("[\ud800-\udfff]")


def told(value: object, order: Literal["sorted"] | None = None) -> bytes:
    """`value` for people and their programs, who get ``\\udcff`` as text for a byte that is not UTF-8."""
    try:
        return msgspec.json.encode(value, order=order)
    except UnicodeEncodeError:
        value = texts(msgspec.to_builtins(value), _SURROGATE, lambda found: f"\\u{ord(found[0]):04x}")
        return msgspec.json.encode(value, order=order)


def texts(value: Any, pattern: re.Pattern[str], other: Callable[[re.Match[str]], str]) -> Any:
    """`value`, with what matches in each text replaced."""
    if isinstance(value, str):
        return pattern.sub(other, value)
    if isinstance(value, dict):
        return {texts(key, pattern, other): texts(item, pattern, other) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [texts(item, pattern, other) for item in value]
    return value
