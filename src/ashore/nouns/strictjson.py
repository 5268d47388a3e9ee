# SPDX-License-Identifier: Apache-2.0
"""JSON from outside, as one reader and the next cannot take it for two things."""

import json
from collections.abc import Sequence


def loads(data: bytes) -> object:
    """What `data` is.

    Raises:
        ValueError: it is no JSON, a key comes twice in one object, or a text is half of a character.
    """
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in data:  # as \ud800: nothing could print or hash it
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it is half of a character") from None
    return found


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")
