# SPDX-License-Identifier: Apache-2.0
"""The places that an image may come from: mirrors, in order, and its location last."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from ashore.errors import AshoreError, InputError, Issue, RegistryError, VerificationError
from ashore.mechanisms.registry import retry
from ashore.mechanisms.registry.failures import BusyRegistryError, UnreachableError
from ashore.mechanisms.registry.messages import Fault, Response
from ashore.mechanisms.registry.registries import Source
from ashore.mechanisms.registry.session import Call, Session

T = TypeVar("T")

_LASTING = UnreachableError | BusyRegistryError | VerificationError
"""What a mirror is not asked again for."""


class Given(msgspec.Struct, frozen=True):
    """An answer, and who gave it."""

    response: Response
    place: Session


class Places:
    """Asked one after the other, for each request. A mirror that was given up is not asked again."""

    def __init__(self, sessions: Iterable[Session], given_up: set[Source] | None = None) -> None:
        *self._mirrors, self.main = sessions
        self._given_up: set[Source] = set() if given_up is None else given_up

    @property
    def mirrors(self) -> list[Session]:
        """Those that are asked before the location."""
        return [mirror for mirror in self._mirrors if mirror.source not in self._given_up]

    def once(self) -> "Places":
        """The same ones, which do not try again what failed."""
        return Places((place.once() for place in (*self._mirrors, self.main)), self._given_up)

    def for_tags(self) -> "Places":
        """Those of them that may be asked for a tag."""
        return Places((*(m for m in self._mirrors if not m.source.digest_only), self.main), self._given_up)

    def first(self, ask: Callable[[Session], T]) -> T:
        """The answer of the first place that has one.

        Raises:
            RegistryError, VerificationError, InputError, retry.Again: the location's, as `ask` has it.
        """
        issues: list[Issue] = []
        for mirror in self.mirrors:
            try:
                return ask(mirror)
            except (RegistryError, VerificationError, InputError) as error:
                issues.append(Issue(where=mirror.source.host, message=str(error)))
                if isinstance(error, _LASTING):
                    self.distrust([mirror], error)
        try:
            return ask(self.main)
        except RegistryError as error:
            error.issues += tuple(issues)
            raise

    def attempt(self, place: Session, call: Call) -> Given:
        """One attempt at the location, whose repetitions the caller counts; mirrors have their own."""
        return Given(place.attempt(call) if place is self.main else place.call(call), place)

    def fault(self, place: Session, fault: Fault) -> Exception:
        """What to raise for a fault of an answer: only the location is worth `retry.Again`."""
        error = place.fault(fault)
        return error.error if isinstance(error, retry.Again) and place is not self.main else error

    def distrust(self, givers: Iterable[Session], error: AshoreError) -> bool:
        """Give up the mirrors among `givers`; True if there were any: the same may be asked for once more."""
        mirrors = [giver for giver in givers if giver is not self.main]
        for mirror in mirrors:
            if mirror.source not in self._given_up:
                self._given_up.add(mirror.source)
                mirror.retries.say(f"{error}; the mirror {mirror.source.host} is not asked again")
        return bool(mirrors)
