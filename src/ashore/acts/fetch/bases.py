# SPDX-License-Identifier: Apache-2.0
"""What a host has without a network: the content store, what lies in place, and texts that it read before."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping

from ashore.acts.recorded import here
from ashore.acts.tools import Tools
from ashore.errors import AshoreError
from ashore.mechanisms.images.patch import BytesContent, Content, FileContent
from ashore.mechanisms.stage.supply import Opener, checked, lying, rendered
from ashore.mechanisms.state.known import FOLDER, Known
from ashore.nouns.digest import Digest
from ashore.nouns.files import Kind
from ashore.nouns.generation import EMPTY, Generation


def on_host(tools: Tools, current: Generation) -> list[Opener]:
    """The openers for what this host has without a network: the content store, and what lies in place."""

    @functools.cache
    def paths() -> Mapping[Digest, str]:
        found: dict[Digest, str] = {}  # made when somebody asks: few do, and there are tens of thousands
        for path, record in current.files.items():
            if (lay := record.lay) is not None and lay.kind is Kind.FILE:
                found.setdefault(lay.digest, path)
        return found

    return [tools.content.open, lying(tools.host, paths)]


class Bases:
    """Contents that new ones can be made of, each checked by its digest when it is opened."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.known = Known(os.path.join(tools.cache.path, FOLDER), tools.limits)
        self._openers = functools.cache(self._checked)
        self.current = functools.cache(self._current)
        self.here = functools.cache(self._here)

    def _current(self) -> Generation:
        """What holds; nothing where the record cannot be read, as by an author who only looks at an image."""
        try:
            return self._tools.history.current()
        except (AshoreError, OSError):
            return EMPTY

    def _here(self) -> frozenset[Digest]:
        try:
            return here(self._tools)
        except (AshoreError, OSError):
            return frozenset()

    def has(self, digest: Digest) -> bool:
        """Whether it should be here, by the host's record."""
        return digest in self.here() or self.known.get(digest) is not None

    @contextlib.contextmanager
    def opened(self, digest: Digest) -> Iterator[Content | None]:
        """The content, None where it is gone, or not what its digest says."""
        data = self.known.get(digest)
        if data is not None:
            yield BytesContent(data)
            return
        descriptor = self._on_host(digest)
        try:
            yield None if descriptor is None else FileContent(descriptor, os.fstat(descriptor).st_size)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def open(self, digest: Digest) -> int | None:
        """A descriptor of the content (`supply.Opener`)."""
        data = self.known.get(digest)
        return self._on_host(digest) if data is None else rendered({digest: data})(digest)

    def _on_host(self, digest: Digest) -> int | None:
        if digest not in self.here():
            return None
        return next((found for opener in self._openers() if (found := opener(digest)) is not None), None)

    def _checked(self) -> list[Opener]:
        store, lying_there = on_host(self._tools, self.current())
        return [checked(store), lying_there]  # the other checks by itself
