# SPDX-License-Identifier: Apache-2.0
"""Rendering one template: its text, or what is wrong with it and in which line. No I/O."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ashore.errors import Issue
from ashore.nouns.facts import Facts
from ashore.nouns.files import printable
from ashore.nouns.limits import Limits
from ashore.rules.bundles.reads import Failed, Reads, Scope, Unusable, as_text
from ashore.rules.bundles.values import Deferred, Values

if TYPE_CHECKING:
    from ashore.rules.bundles.sandbox import Sandbox


_SURROGATE = re.compile("[\ud800-\udfff]")


class Templates:
    """The templates of one bundle on one host. `scope.reads` is what the last one read."""

    def __init__(self, facts: Facts, values: Values, limits: Limits, clock: Callable[[], float]) -> None:
        self.scope = Scope(facts, values, self._default)
        self._limits = limits
        self._clock = clock
        self._made: Sandbox | None = None

    @property
    def _sandbox(self) -> "Sandbox":
        # jinja2 costs 20 ms to import: a bundle without templates does not pay for it.
        from ashore.rules.bundles.budget import Budget
        from ashore.rules.bundles.sandbox import Sandbox

        if self._made is None:
            budget = Budget(self._clock, self._limits.template_seconds, self._limits.template)
            self._made = Sandbox(lambda: self.scope, budget)
        return self._made

    def render(self, path: str, data: bytes, *, shell: bool) -> tuple[bytes, list[Issue]]:
        """The file `path` below root/ as it goes to the host; with issues, its content means nothing."""
        self.scope.reads = Reads()
        where = printable(path)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            return b"", [Issue(where=f"{where}:{line}", message="a template must be UTF-8")]
        if shell:
            return self._expanded(text, where)
        rendered, problem, line = self._attempt(text, fresh=True)
        if problem:
            return b"", [Issue(where=f"{where}:{line}" if line else where, message=problem)]
        return _encoded(rendered, where)

    def text(self, text: str) -> tuple[str, str]:
        """A text of the manifest, rendered; with a problem, it means nothing."""
        self.scope.reads = Reads()
        rendered, problem, _ = self._attempt(text, fresh=True)
        # It goes to records and to systemd: bytes of the host that are no UTF-8 have no place in either.
        broken = "" if rendered.isascii() or not _SURROGATE.search(rendered) else "makes a text that is not UTF-8"
        return rendered, problem or broken

    def _expanded(self, text: str, where: str) -> tuple[bytes, list[Issue]]:
        from ashore.rules.bundles.shell import expand

        expanded, issues = expand(text, self.scope, where)
        if len(expanded) > self._limits.template:
            issues.append(Issue(where=where, message=f"makes more than {self._limits.template} characters"))
        data, unwritable = _encoded(expanded, where)
        return data, [*issues, *unwritable]

    def _default(self, default: Deferred, name: str) -> object:
        rendered, problem, _ = self._attempt(default.text, fresh=False)
        return Failed(problem) if problem else rendered

    def _attempt(self, text: str, *, fresh: bool) -> tuple[str, str, int]:
        """The rendered text, or a problem and its line. A default is on the budget of the file that reads it."""
        from ashore.rules.bundles.budget import Budget
        from ashore.rules.bundles.sandbox import line_of

        sandbox = self._sandbox
        if fresh:
            sandbox.budget = Budget(self._clock, self._limits.template_seconds, self._limits.template)
        try:
            return sandbox.rendered(text), "", 0
        except Exception as error:
            # A template can raise anything that an expression of its can: TypeError, ZeroDivisionError, ...
            return "", self._explained(error, text), line_of(error)

    def _explained(self, error: Exception, text: str) -> str:
        from ashore.rules.bundles.sandbox import is_template_error

        if isinstance(error, RecursionError | MemoryError):
            return "needs too much memory: it is nested or recurses too deeply"
        message = printable(str(getattr(error, "message", None) or error)) or type(error).__name__
        if not self.scope.reads.secrets or isinstance(error, Unusable):
            return message
        # Messages of Jinja's name things, others (TypeError, ValueError) may quote what they were given.
        if is_template_error(error) and not any(secret in message for secret in self._secret_texts()):
            return message
        return f"{type(error).__name__} in a template that reads secret values: its message is not shown"

    def _secret_texts(self) -> list[str]:
        """The texts of the secret values that were read, as a message would show them."""
        tree = self.scope.values.tree
        return [printable(text) for name in sorted(self.scope.reads.secrets) for text in _texts(tree.get(name)) if text]


def _encoded(text: str, where: str) -> tuple[bytes, list[Issue]]:
    """`text` as it goes to a file: bytes of the host that are no UTF-8 as they were."""
    try:
        return text.encode(errors="surrogateescape"), []
    except UnicodeEncodeError:
        return b"", [Issue(where=where, message=r"makes half of a surrogate pair (\ud800 to \udfff): no character")]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
    else:
        yield as_text(value)
