# SPDX-License-Identifier: Apache-2.0
"""Watch what was started until it is healthy, or one thing is not."""

import time
from collections.abc import Callable, Sequence

import msgspec

from ashore.errors import Issue
from ashore.mechanisms import probes
from ashore.nouns.bundle import Health
from ashore.nouns.ports import Systemd
from ashore.rules.health import SETTLE, Sample, Verdict, judge

_PAUSE = 0.25
_PROBE_SECONDS = 5.0


class _Subject(msgspec.Struct, kw_only=True):
    """One thing to watch, and what was seen of it."""

    health: Health
    started: bool
    samples: list[Sample]

    @property
    def name(self) -> str:
        return self.health.unit or self.health.http or self.health.tcp or " ".join(self.health.command)

    @property
    def settle(self) -> float:
        if self.health.settle is not None:
            return self.health.settle
        return SETTLE if self.started else 0.0


def watch(
    systemd: Systemd,
    units: Sequence[str],
    health: Sequence[Health],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    probe: Callable[[Health, float], str] = probes.probe,
) -> tuple[Issue, ...]:
    """Watch `units`, whose start or restart just ended, and all that `health` declares.

    Returns as soon as one of them has failed, with an issue for each that has; empty when all are healthy.
    """
    waiting = _subjects(units, health)
    while waiting:
        _sample(systemd, waiting, clock, probe)
        judged = [
            (s, judge(s.samples, settle=s.settle, within=s.health.within, started=s.started)) for s in waiting
        ]  # fmt: skip
        failed = tuple(_issue(s, j.reason) for s, j in judged if j.verdict is Verdict.FAILED)
        if failed:
            return failed
        waiting = [s for s, j in judged if j.verdict is Verdict.WAITING]
        if waiting:
            sleep(_PAUSE)
    return ()


def _subjects(units: Sequence[str], health: Sequence[Health]) -> list[_Subject]:
    named = {h.unit for h in health}
    declared = [_Subject(health=h, started=h.unit in units, samples=[]) for h in health]
    plain = [Health(unit=unit) for unit in dict.fromkeys(units) if unit not in named]
    return declared + [_Subject(health=h, started=True, samples=[]) for h in plain]


def _sample(
    systemd: Systemd, subjects: Sequence[_Subject], clock: Callable[[], float], probe: Callable[[Health, float], str]
) -> None:
    """One more sample of each: all states with one question, then each probe."""
    states = systemd.states([s.health.unit for s in subjects if s.health.unit])
    now = clock()
    for subject in subjects:
        said = probe(subject.health, min(_PROBE_SECONDS, subject.health.within))
        subject.samples.append(Sample(time=now, state=states.get(subject.health.unit), probe=said))


def _issue(subject: _Subject, reason: str) -> Issue:
    remedy = f"see why: journalctl -u {subject.health.unit}" if subject.health.unit else ""
    return Issue(where=subject.name, message=reason, remedy=remedy)
