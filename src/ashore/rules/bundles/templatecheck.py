# SPDX-License-Identifier: Apache-2.0
"""What can be said of a template without a host: its syntax, and names that nothing can stand behind. No I/O.

This module imports jinja2: import it where it is needed.
"""

from collections.abc import Iterable, Iterator

import msgspec
from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from ashore.errors import Issue
from ashore.nouns.bundle import BundleManifest
from ashore.nouns.facts import Facts
from ashore.nouns.limits import DEFAULT
from ashore.nouns.shape import nearest
from ashore.rules.bundles.budget import Budget
from ashore.rules.bundles.reads import Scope
from ashore.rules.bundles.sandbox import Sandbox
from ashore.rules.bundles.values import Values

_GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner", "facts", "values"})
_GUARDS = frozenset({"defined", "undefined"})
_TABLE = frozenset({"items", "keys", "values", "get"})
"""What every table has besides its names."""
_CONDITIONS = (nodes.If, nodes.CondExpr, nodes.And, nodes.Or)


class Checker:
    """Reads the templates of one bundle."""

    def __init__(self, manifest: BundleManifest | None) -> None:
        """Without a manifest, or with one that declares no value, nothing is said of names: they are the host's."""
        self.known = set(manifest.values) if manifest else set()
        scope = Scope(Facts(), Values(tree={}), lambda *_: "")
        self.sandbox = Sandbox(lambda: scope, Budget(lambda: 0.0, 1.0, DEFAULT.template))

    def issues(self, text: str, where: str, first_line: int = 1) -> list[Issue]:
        """All that is wrong with a template; its line 1 is `first_line` of `where`."""
        try:
            tree = self.sandbox.parsed(text)
            self.sandbox.compile(tree, filename=where)
        except TemplateSyntaxError as error:
            return [Issue(where=f"{where}:{error.lineno + first_line - 1}", message=error.message or "not a template")]
        except RecursionError:
            return [Issue(where=where, message="nested too deeply")]
        return _placed(self._facts(tree), where, first_line)

    def undeclared(self, text: str, where: str, first_line: int = 1) -> list[Issue]:
        """What a template, which is one, reads and the bundle does not declare: a host may have it all the same."""
        if not self.known:
            return []
        try:
            tree = self.sandbox.parsed(text)
        except (TemplateSyntaxError, RecursionError):
            return []
        found = [*self._bare_names(tree), *self._names_below_values(tree)]
        remedy = "every host has to give it, or declare it under [values]"
        return _placed(found, where, first_line, remedy)

    def values_in(self, text: str) -> set[str]:
        """The names that a template, which is one, may read a value by."""
        tree = self.sandbox.parsed(text)
        paths = (_path(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem)))
        below = {path[1] for path in paths if path is not None and path[0] == "values" and path[1] not in _TABLE}
        return (find_undeclared_variables(tree) - _GLOBALS) | below

    def _bare_names(self, tree: nodes.Template) -> list[tuple[int, str]]:
        own = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}  # perhaps in one branch only
        undeclared = find_undeclared_variables(tree) - self.known - _GLOBALS - own
        guarded = {id(node) for node in _guarded(tree)}
        return [
            (node.lineno, f"{node.name} is not a value of this bundle{nearest(node.name, self.known | _GLOBALS)}")
            for node in tree.find_all(nodes.Name)
            if node.ctx == "load" and node.name in undeclared and id(node) not in guarded
        ]

    def _names_below_values(self, tree: nodes.Template) -> list[tuple[int, str]]:
        return [
            (line, f"values.{path[1]} is not a value of this bundle{nearest(path[1], self.known)}")
            for line, path in _paths(tree)
            if path[0] == "values" and len(path) == 2 and path[1] not in self.known | _TABLE
        ]

    @staticmethod
    def _facts(tree: nodes.Template) -> list[tuple[int, str]]:
        paths = ((line, path) for line, path in _paths(tree) if path[0] == "facts")
        return [(line, wrong) for line, path in paths if (wrong := _wrong_fact(path[1:]))]


def _placed(found: Iterable[tuple[int, str]], where: str, first_line: int, remedy: str = "") -> list[Issue]:
    placed = {Issue(where=f"{where}:{line + first_line - 1}", message=text, remedy=remedy) for line, text in found}
    return sorted(placed, key=lambda issue: (issue.where, issue.message))


def _paths(tree: nodes.Template) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each name of several parts that is known before rendering, with its line, unless its absence is provided for."""
    guarded = {id(node) for node in _guarded(tree)}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(node)
        if path is not None and id(node) not in guarded:
            yield node.lineno, path


def _guarded(tree: nodes.Template) -> list[nodes.Node]:
    """Expressions whose absence the template provides for: ``x is defined``, ``x | default(...)``.

    And whatever names the same in all that hangs on such a test: ``{% if x is defined %}{{ x }}{% endif %}``.
    """
    tests = [node.node for node in tree.find_all(nodes.Test) if node.name in _GUARDS]
    filters = [node.node for node in tree.find_all(nodes.Filter) if node.name in {"default", "d"} and node.node]
    hanging = [node for condition in tree.find_all(_CONDITIONS) for node in _hanging(condition)]
    return [*tests, *filters, *hanging]


def _hanging(condition: nodes.Node) -> list[nodes.Node]:
    """What lies in `condition` and names something that its test asks for."""
    test = condition.test if isinstance(condition, nodes.If | nodes.CondExpr) else condition
    asked = [one for one in (test, *test.find_all(nodes.Test)) if isinstance(one, nodes.Test) and one.name in _GUARDS]
    paths = {_value(path) for one in asked if (path := _path(one.node))}
    if not paths:
        return []
    found = condition.find_all((nodes.Name, nodes.Getattr, nodes.Getitem))
    return [n for n in found if (path := _path(n)) and any(_value(path)[: len(p)] == p for p in paths)]


def _value(path: tuple[str, ...]) -> tuple[str, ...]:
    """`path` as it reads with the bare name of a value."""
    return path[1:] if path[0] == "values" and len(path) > 1 else path


def _path(node: nodes.Expr) -> tuple[str, ...] | None:
    """``facts.network.default`` -> its parts; None for what is not known before rendering."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        above = _path(node.node)
        return (*above, node.attr) if above else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        above = _path(node.node)
        return (*above, node.arg.value) if above else None
    return None


def _wrong_fact(path: tuple[str, ...]) -> str:
    """What is wrong with a fact's name, as far as the type of facts tells."""
    kind = msgspec.inspect.type_info(Facts)
    for number, part in enumerate(path):
        if isinstance(kind, msgspec.inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
        if isinstance(kind, msgspec.inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, msgspec.inspect.StructType):
            fields = {field.name: field.type for field in kind.fields}
            if part in _TABLE - fields.keys():
                return ""
            if part not in fields:
                return f"facts.{'.'.join(path[: number + 1])} is not a fact{nearest(part, fields)}"
            kind = fields[part]
        else:
            return ""
    return ""
