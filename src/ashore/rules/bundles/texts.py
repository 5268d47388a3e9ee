# SPDX-License-Identifier: Apache-2.0
"""Values of a template on their way into a text: how long it gets, and what has none. No I/O.

This module imports jinja2: import it where it is needed.
"""

from collections.abc import Callable, Iterator, Mapping

from jinja2 import TemplateError, Undefined

from ashore.rules.bundles.reads import View


class NoTextError(TemplateError):
    """A value was to be written that has no text: its object's place in memory is another in each process."""


def amount(value: object, fits: Callable[[int], None], *, written: bool) -> int:
    """The characters and items that `value` holds, at any depth; a list that is in it twice counts twice.

    `fits` is asked on the way, so that what is too large is not walked to its end.

    Raises:
        NoTextError: it is to be `written`, and cannot be.
    """
    left, size = [value], 0
    while left:
        item = left.pop()
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, int):
            size += item.bit_length() // 4 + 1
        elif isinstance(item, View):
            left.append(item.data)  # not by its own methods: nothing of it is read
        elif isinstance(item, list | tuple | set | frozenset | Mapping):
            size += len(item)
            fits(size)
            left += item
            left += item.values() if isinstance(item, Mapping) else ()
        elif written:
            _check_text(item)
        fits(size)
    return size


def _check_text(value: object) -> None:
    if isinstance(value, Undefined):  # its own error says more
        return
    if isinstance(value, Iterator):
        raise NoTextError("a list whose items are made one by one has no text: add | list")
    if callable(value):
        raise NoTextError("a function has no text: call it, as in name()")
    if type(value).__repr__ is object.__repr__:
        raise NoTextError(f"a {type(value).__name__} has no text")
