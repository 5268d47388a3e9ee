# SPDX-License-Identifier: Apache-2.0
"""Shell templates: ``$NAME`` and ``${NAME}`` stand for values, and nothing else is touched. No I/O.

A file of a shell script's making often goes through ``eval`` or ``envsubst``; the first would also run
``$(command)``. Here that is text, as are ``$1``, ``${x:-y}`` and ``$$``. ``\\$NAME`` is ``$NAME`` itself.
"""

import re

from ashore.errors import Issue
from ashore.rules.bundles.reads import MISSING, Failed, Scope, View, as_text

_NAME = re.compile(
    r"(?P<before> \\ | \$)? \$ (?: (?P<bare>[A-Za-z_][A-Za-z0-9_]*) | \{ (?P<braced>[A-Za-z_][A-Za-z0-9_]*) \} )",
    re.VERBOSE,
)


def expand(text: str, scope: Scope, where: str) -> tuple[str, list[Issue]]:
    """`text` with its names replaced, and what is wrong with the others, each with ``where:line``."""
    issues: list[Issue] = []

    def value(found: re.Match[str]) -> str:
        # $$ is systemd's and make's literal dollar: what follows it is no name of ours.
        if found["before"]:
            return found[0].removeprefix("\\")
        name = found["bare"] or found["braced"]
        read, problem = _value(name, scope)
        if problem:
            line = text.count("\n", 0, found.start()) + 1
            issues.append(
                Issue(where=f"{where}:{line}", message=problem, remedy=rf"write \${name} to keep it as it is")
            )
        return read

    return _NAME.sub(value, text), issues


def _value(name: str, scope: Scope) -> tuple[str, str]:
    """The text for a name, or what is wrong with it."""
    view = scope.values_view
    # The shell's names are upper case by custom, values' lower: public_ip answers to PUBLIC_IP too.
    known = scope.values.tree.keys() | scope.values.unset.keys()
    spelled = next((spelling for spelling in (name, name.lower()) if spelling in known), name)
    read = view.fetch(spelled)
    if read is MISSING:
        return "", f"${name}: {view.why_missing(spelled)}"
    if isinstance(read, Failed):
        return "", f"${name}: {read.why}"
    if isinstance(read, View | list):
        return "", f"${name}: the value {spelled} is a table or list, not text"
    return as_text(read), ""
