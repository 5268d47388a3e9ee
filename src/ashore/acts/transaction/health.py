# SPDX-License-Identifier: Apache-2.0
"""Watch what was started until it is healthy, or one thing is not."""

import time
from collections.abc import Callable, Sequence

import msgspec

from ashore.errors import Issue
from ashore.mechanisms.pid1 import probes
from ashore.nouns.bundle import Health
from ashore.nouns.ports import Systemd
from ashore.rules.units.health import Judgement, Sample, Verdict, Watched, judge

_PAUSE = 0.25
_PROBE_SECONDS = 5.0
_LEAST_SECONDS = 1.0
"""So long a probe may take however little time is left: what it says then is its own fault."""


class _Subject(msgspec.Struct, kw_only=True):
    """One thing to watch, and what was seen of it."""

    watched: Watched
    samples: list[Sample]

    def judge(self) -> Judgement:
        w = self.watched
        return judge(self.samples, settle=w.settle, within=w.within, started=w.started)


def watch(
    systemd: Systemd,
    watched: Sequence[Watched],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    probe: Callable[[Health, float], str] = probes.probe,
) -> tuple[Issue, ...]:
    """Watch until all are healthy at once: one that fails while others still come up has failed.

    Returns as soon as one of them has failed, with an issue for each that has; empty when all are healthy.
    """
    subjects = [_Subject(watched=w, samples=[]) for w in watched]
    while subjects:
        _sample(systemd, subjects, clock, probe)
        judged = [(s, s.judge()) for s in subjects]
        failed = tuple(
            issue_of(s.watched.health, j.reason, s.watched.why) for s, j in judged if j.verdict is Verdict.FAILED
        )
        if failed:
            return failed
        if all(j.verdict is Verdict.HEALTHY for _, j in judged):
            break
        sleep(_PAUSE)
    return ()


def answering(health: Sequence[Health], systemd: Systemd) -> frozenset[Health]:
    """Those of the checks that hold now, each asked once."""
    states = systemd.states([h.unit for h in health if h.unit])
    up = [h for h in health if not h.unit or states[h.unit].active == "active"]
    return frozenset(h for h in up if not probes.probe(h, min(_PROBE_SECONDS, h.within)))


def _sample(
    systemd: Systemd, subjects: Sequence[_Subject], clock: Callable[[], float], probe: Callable[[Health, float], str]
) -> None:
    """One more sample of each: all states with one question, then each probe."""
    checks = [s.watched.health for s in subjects]
    states = systemd.states([health.unit for health in checks if health.unit])
    now = clock()
    for subject, health in zip(subjects, checks, strict=True):
        said = _said(subject, clock(), probe)
        subject.samples.append(Sample(time=now, state=states.get(health.unit), probe=said))


def _said(subject: _Subject, now: float, probe: Callable[[Health, float], str]) -> str:
    """What the probe says; one that did not answer so far gets no longer than is left for it to begin to."""
    health, samples = subject.watched.health, subject.samples
    seconds = min(_PROBE_SECONDS, health.within)
    if samples and (last := samples[-1].probe):
        left = samples[0].time + subject.watched.within - now
        if left <= 0:
            return last
        seconds = min(seconds, max(left, _LEAST_SECONDS))
    return probe(health, seconds)


def issue_of(health: Health, reason: str, why: str) -> Issue:
    """What failed, for people."""
    remedy = f"see why: journalctl -u {health.unit}" if health.unit else ""
    reason = reason.removeprefix(f"{health.name}: ")  # a probe says itself what it asked
    return Issue(where=health.name, message=reason + (f"; {why}" if why else ""), remedy=remedy)
