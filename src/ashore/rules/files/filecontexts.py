# SPDX-License-Identifier: Apache-2.0
"""The SELinux label that a policy gives a path: what selabel_lookup(3) answers, without libselinux. Pure.

Of all specifications that match, the last counts; those without a regular expression come after those with
one, and ``homedirs`` and ``local`` after the base. A path is first translated by ``subs``, then by
``subs_dist``, of each the last line that fits.
"""

import functools
import re

from ashore.errors import Issue, UnchangedError
from ashore.nouns.files import Kind, printable, shown
from ashore.nouns.selinux import PolicyFiles

_KINDS = {Kind.FILE: b"--", Kind.DIR: b"-d", Kind.SYMLINK: b"-l"}
_TYPES = (b"--", b"-d", b"-l", b"-b", b"-c", b"-p", b"-s")
_NONE = b"<<none>>"
# What stands for itself, up to the first thing that does not; a quantifier takes back what it applies to.
_LITERAL = re.compile(rb"(?:(?:[^\\.^$?*+|\[({]|\\[^0-9A-Za-z])(?![?*+{]))*", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ALTERNATIVES = re.compile(rb"\\.|\[\^?\]?[^\]]*\]|[()|]", re.DOTALL)

Subs = tuple[tuple[bytes, bytes], ...]


class _Spec:
    """One line. Its expression is compiled when a path first gets that far: a policy has thousands."""

    __slots__ = ("_regex", "kind", "label", "order", "pattern", "prefix")

    def __init__(self, order: int, pattern: bytes, prefix: bytes, kind: bytes, label: bytes) -> None:
        self.order, self.pattern, self.prefix, self.kind, self.label = order, pattern, prefix, kind, label
        self._regex: re.Pattern[bytes] | None = None

    def matches(self, path: bytes) -> bool:
        """Whether the whole of `path` matches.

        Raises:
            re.error: the expression is none, or one that only PCRE knows.
        """
        if not path.startswith(self.prefix):
            return False
        if self._regex is None:
            if b"[:" in self.pattern:
                raise re.error("character classes by name are not understood", self.pattern)
            self._regex = re.compile(b"^" + self.pattern + b"$", re.DOTALL)
        return self._regex.search(path) is not None


class FileContexts:
    """A policy's answer for any path."""

    def __init__(self, specs: list[_Spec], subs: Subs, subs_dist: Subs) -> None:
        self._subs, self._subs_dist = subs, subs_dist
        self._exact: dict[bytes, list[_Spec]] = {}
        self._below: dict[bytes, list[_Spec]] = {}
        for spec in reversed(specs):
            if _is_exact(spec.pattern):
                self._exact.setdefault(spec.prefix, []).append(spec)
            else:
                self._below.setdefault(spec.prefix.rpartition(b"/")[0], []).append(spec)
        self._candidates = functools.cache(self._find_candidates)

    def label_for(self, path: str, kind: Kind) -> str | None:
        """The label of a physical path; None where the policy has none, or says ``<<none>>``."""
        key = _substitute(self._subs, b"/" + path.encode(errors="surrogateescape"))
        key = _substitute(self._subs_dist, key)
        kinds = (b"", _KINDS.get(kind))
        try:
            for specs in (self._exact.get(key, ()), self._candidates(key.rpartition(b"/")[0])):
                for spec in specs:
                    if spec.kind in kinds and spec.matches(key):
                        return None if spec.label == _NONE else spec.label.decode(errors="surrogateescape")
        except re.error:
            pass  # Whether it matches cannot be told, so neither can what comes after it.
        return None

    def _find_candidates(self, folder: bytes) -> list[_Spec]:
        """The specifications that can match something in `folder`, the last first."""
        parts = folder.split(b"/")
        found = [spec for n in range(len(parts)) for spec in self._below.get(b"/".join(parts[: n + 1]), ())]
        return sorted(found, key=lambda spec: spec.order, reverse=True)


def parse(files: PolicyFiles) -> FileContexts:
    """Read a policy's files.

    Raises:
        UnchangedError: a line is no specification; as libselinux, nothing is then believed of it.
    """
    specs: list[_Spec] = []
    issues: list[Issue] = []
    for suffix, data in (("", files.base), (".homedirs", files.homedirs), (".local", files.local)):
        for number, line in enumerate(data.split(b"\n"), 1):
            words = line.split(None, 3)
            if not words or words[0].startswith(b"#"):
                continue
            kind = words[1] if len(words) > 2 else b""
            if len(words) < 2 or (kind and kind not in _TYPES):
                where = f"{shown(files.folder)}/file_contexts{suffix}:{number}"
                issues.append(Issue(where=where, message=f"not understood: {printable(repr(line)[2:-1])}"))
                continue
            label = words[2] if kind else words[1]
            specs.append(_Spec(len(specs), words[0], _prefix(words[0]), kind, label))
    if issues:
        raise UnchangedError("the SELinux policy of this host is damaged", remedy="run: semodule -B", issues=issues)
    return FileContexts(specs, _parse_subs(files.subs), _parse_subs(files.subs_dist))


def _is_exact(pattern: bytes) -> bool:
    found = _LITERAL.match(pattern)
    return found is not None and found.end() == len(pattern)


def _prefix(pattern: bytes) -> bytes:
    """What everything that matches begins with."""
    found = _LITERAL.match(pattern)
    if found is None or (b"|" in pattern and _has_alternatives(pattern)):
        return b""
    return _ESCAPED.sub(rb"\1", found[0])


def _has_alternatives(pattern: bytes) -> bool:
    """Whether a ``|`` stands outside of all brackets."""
    depth = 0
    for mark in _ALTERNATIVES.findall(pattern):
        depth += (mark == b"(") - (mark == b")")
        if mark == b"|" and not depth:
            return True
    return False


def _parse_subs(data: bytes) -> Subs:
    pairs = [line.split(None, 2)[:2] for line in data.split(b"\n") if not line.lstrip().startswith(b"#")]
    return tuple((pair[0], pair[1]) for pair in reversed(pairs) if len(pair) == 2)


def _substitute(subs: Subs, path: bytes) -> bytes:
    for source, target in subs:
        if path == source or path.startswith(source + b"/"):
            rest = path[len(source) :]
            return target + (rest[1:] if target == b"/" and rest else rest)
    return path
