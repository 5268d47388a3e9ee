# SPDX-License-Identifier: Apache-2.0
"""Jinja2 for templates that a stranger may have written: no loader, no mutation, bounded time and size. No I/O.

Jinja's own sandbox keeps templates away from Python's internals; it does not keep them from asking for
ten gigabytes or a day. A loop that writes nothing gives no chance to look at the clock between pieces,
so a check is put into every loop's body, and what can multiply a text is asked for its size before.
This module imports jinja2: import it where it is needed.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from ashore.rules.bundles.budget import Budget
from ashore.rules.bundles.filters import PARTS, TEXTS, join, to_json
from ashore.rules.bundles.looks import Looks
from ashore.rules.bundles.reads import MISSING, Failed, Scope, View, as_text
from ashore.rules.bundles.texts import NoTextError, amount

FILENAME = "<ashore template>"
_WIDTHS = frozenset(
    {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "batch", "slice", "tojson", "round"}
)
_MULTIPLYING = frozenset({"translate", "encode", "to_bytes"})
"""Methods that can make much of little, and that no template needs."""
_WIDEST = 10_000
_WIDE_FORMAT = re.compile(r"\d{5}|%[^%a-zA-Z]*\*|\{[^{}]*:[^{}]*\{")
_MOST_BITS = 4096
_OTHER_TEMPLATES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class Unknown(StrictUndefined):
    """A name that means nothing here; the message says what would.

    What is looked up in it is unknown as well: ``facts.cloud.region | default("here")`` is one thought.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> "Unknown":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, name: object) -> "Unknown":  # type: ignore[override]
        return self

    def __repr__(self) -> str:
        """Where it stands in a list or table that is written: an error there as well."""
        return self.__str__()

    @property
    def _undefined_message(self) -> str:
        if not self._undefined_hint and self._undefined_obj is missing:
            return f"{self._undefined_name} is not a value of this bundle or host, and not facts or values"
        return super()._undefined_message


class Names(Context):
    """Where a bare name is looked up: the template's own, Jinja's, `facts`, `values`, and each value."""

    def resolve_or_missing(self, key: str) -> Any:
        found = super().resolve_or_missing(key)
        assert isinstance(self.environment, Sandbox)
        return self.environment.named(key) if found is missing else found


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one bundle's templates."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    context_class = Names

    def __init__(self, scope: Callable[[], Scope], budget: Budget) -> None:
        super().__init__(undefined=Unknown, keep_trailing_newline=True, cache_size=0, finalize=self._out)
        self.scope = scope
        self.budget = budget
        self.undefined = self._unknown  # type: ignore[assignment] # Jinja calls it, and asks no more of it
        # The same inputs give the same files.
        del self.filters["random"], self.globals["lipsum"]
        self.filters["tojson"] = to_json
        self.filters["string"] = self.text
        self.filters["join"] = join
        self.filters = {name: self._guarded(name, function) for name, function in self.filters.items()}

    def parsed(self, text: str) -> nodes.Template:
        """The template's syntax tree.

        Raises:
            TemplateSyntaxError: it is none, or it reads other templates.
        """
        tree = self.parse(text, filename=FILENAME)
        for node in tree.find_all(_OTHER_TEMPLATES):
            word = {"fromimport": "import"}.get(type(node).__name__.lower(), type(node).__name__.lower())
            raise TemplateSyntaxError(f"{{% {word} %}} is not possible: a template stands alone", node.lineno)
        return tree

    def rendered(self, text: str) -> str:
        """`text` rendered.

        Raises:
            TemplateError: and whatever else a template can cause; `line_of` tells where.
        """
        tree = Looks(self).visit(self.parsed(text))
        code = self.compile(tree, filename=FILENAME)
        template = Template.from_code(self, code, self.make_globals(None))
        scope = self.scope()
        outer, scope.source = scope.source, text
        try:
            return self._written(template)
        finally:
            scope.source = outer

    def _written(self, template: Template) -> str:
        pieces = []
        size = 0
        for piece in template.generate():
            self.budget.tick()
            size += len(piece)
            self.budget.fits(size)
            pieces.append(piece)
        return "".join(pieces)

    def named(self, name: str) -> Any:
        """What a bare name means."""
        scope = self.scope()
        if name in {"facts", "values"}:
            return scope.facts_view if name == "facts" else scope.values_view
        known = name in scope.values.tree or name in scope.values.unset
        return self._fetched(scope.values_view, name) if known else missing

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, View):
            if attribute not in obj.data and attribute in {"items", "keys", "values", "get"}:
                return getattr(obj, attribute)
            return self._fetched(obj, attribute)
        self._check_format(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, View):
            return self._fetched(obj, argument)
        self._check_format(obj, argument)
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _MULTIPLYING and super().is_safe_attribute(obj, attr, value)

    def _fetched(self, view: View, name: object) -> Any:
        found = view.fetch(name)
        if found is MISSING:
            return self._unknown(view.why_missing(name), name=name)
        if isinstance(found, Failed):
            return self._unknown(f"{view.kind}.{'.'.join((*view.path, str(name)))}: {found.why}", name=name)
        return found

    def _unknown(
        self, hint: str | None = None, obj: Any = missing, name: Any = None, exc: type[TemplateError] = UndefinedError
    ) -> Unknown:
        if name is not None and not self.scope().tells(name):
            hint = "a name that is computed is not there; it is not shown, as the template reads secret values"
        return Unknown(hint, obj, name, exc)  # type: ignore[arg-type] # SecurityError as well

    def _check_format(self, obj: Any, attribute: object) -> None:
        if attribute in {"format", "format_map"} and isinstance(obj, str) and _WIDE_FORMAT.search(obj):
            raise SecurityError("formats with a width that is not a small number")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.budget.tick()
        if operator == "%" and isinstance(left, str):
            self._check_format(left, "format")
            amount(right, self.budget.fits, written=True)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _small(left.bit_length() * right)
        if operator == "*" and isinstance(left, int) and isinstance(right, int):
            _small(left.bit_length() + right.bit_length())
        elif operator == "*":
            many, times = (right, left) if isinstance(left, int) else (left, right)
            if hasattr(many, "__len__") and isinstance(times, int):
                self.budget.fits(len(many) * times)
        return self._sized(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.budget.tick()
        name = getattr(obj, "__name__", "")
        self._check(name, (getattr(obj, "__self__", None), *args), kwargs)
        if name in {"format", "format_map"}:
            amount([*args, *kwargs.values()], self.budget.fits, written=True)
        return self._sized(super().call(context, obj, *args, **kwargs))

    def tick(self) -> bool:
        """What every loop calls."""
        return self.budget.tick()

    def concat_checked(self, *parts: object) -> str:
        """What ``~`` calls."""
        texts = [self.text(part) for part in parts]
        self.budget.fits(sum(map(len, texts)))
        return "".join(texts)

    def _out(self, value: Any) -> Any:
        if isinstance(value, StrictUndefined):
            return value
        return self.budget.passes(self.text(value))

    def text(self, value: Any) -> str:
        """`value` as it is written."""
        if not isinstance(value, str):
            amount(value, self.budget.fits, written=True)
        return as_text(value)

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.budget.tick()
            given = args[hasattr(function, "jinja_pass_arg") :]
            self._check(name, given, kwargs)
            if name not in PARTS:  # of a long list, in a loop over it, that would take too long
                amount([*given, *kwargs.values()], self.budget.fits, written=name in TEXTS)
            return self._sized(function(*args, **kwargs))

        return guarded

    def _check(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Ask what can multiply a text how large it would get. The first of `args` is what it is made of."""
        given = [*args, *kwargs.values()]
        texts = [arg for arg in given if isinstance(arg, str)]
        if name in _WIDTHS:
            widths = [arg for arg in (*args[1:], *kwargs.values()) if isinstance(arg, int)]
            if any(abs(width) > _WIDEST for width in widths):
                raise SecurityError(f"asks {name} for a width of more than {_WIDEST}")
            if name in {"indent", "expandtabs"} and texts:
                widest = max([*widths, *map(len, texts[1:])], default=8)
                self.budget.fits((texts[0].count("\n") + texts[0].count("\t")) * widest)
        elif name == "replace" and len(texts) >= 3:
            self.budget.fits(texts[0].count(texts[1]) * len(texts[2]))
        elif name == "join":
            rows = [arg for arg in given if isinstance(arg, list | tuple)]
            for row in rows:
                between = sum(map(len, texts)) * len(row)
                self.budget.fits(between + sum(len(item) for item in row if isinstance(item, str)))
        elif name == "format" and texts and _WIDE_FORMAT.search(texts[0]):
            raise SecurityError("formats with a width that is not a small number")

    def _sized(self, value: Any) -> Any:
        if isinstance(value, str | bytes | list | tuple | dict):
            self.budget.fits(len(value))
        return value


def line_of(error: BaseException) -> int:
    """The line of the template that `error` comes from; 0 if it does not say."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line = 0
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == FILENAME:
            line = at.tb_lineno
        at = at.tb_next
    return line


def is_template_error(error: BaseException) -> bool:
    """Whether `error` is Jinja's or this module's own, whose text names things and not their contents.

    Others of Jinja's (no such filter, a filter's wrong argument) may name what was computed.
    """
    return isinstance(error, TemplateSyntaxError | UndefinedError | SecurityError | NoTextError)


def _small(bits: int) -> None:
    if bits > _MOST_BITS:
        raise SecurityError("computes with a number of more than a thousand digits")
