# SPDX-License-Identifier: Apache-2.0
"""The complete harnesses of hostile input, for `make figures`: each prints ``title: passed / tried``.

python -m tests.hostile.figures images|images-rootfs|peers|registries|state|paths|race-control|model|fuzz
"""

import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.hostile.fuzz.targets import TARGETS
from tests.hostile.images.container import tried_in_container
from tests.hostile.images.host import Host, quick_folder
from tests.hostile.images.peers import PEERS, outcome
from tests.hostile.images.test_images import CASES
from tests.hostile.model.machine import Diverging
from tests.hostile.paths.race import control, raced
from tests.hostile.paths.test_race import LEADS
from tests.hostile.registries.behaviours import BEHAVIOURS
from tests.hostile.registries.certificate import certificate_in
from tests.hostile.registries.world import World, judge
from tests.hostile.state.damage import (
    Damage,
    Situation,
    every_byte,
    files,
    flips,
    interrupted,
    settled,
    tries,
    truncations,
)

FLIPS = 10_000
RACE_SECONDS = 120.0
FUZZ_SECONDS = 30
MODELS, MODEL_STEPS = 400, 40


def images() -> bool:
    """Every hostile image, one after another on one host."""
    with quick_folder() as folder:
        host = Host(folder)
        wrong = {name: problems for name, case in CASES.items() if (problems := host.tries(case))}
    return _images_told("", wrong)


def images_rootfs() -> bool:
    """The same, by an ashore in a container that has the host's root at /rootfs."""
    with quick_folder() as folder:
        return _images_told(" through /rootfs", tried_in_container(folder, CASES, list(CASES)))


def _images_told(how: str, wrong: dict[str, list[str]]) -> bool:
    refused = [name for name, case in CASES.items() if case.code]
    legal = [name for name, case in CASES.items() if not case.code]
    right = sum(name not in wrong for name in refused)
    told(f"hostile images refused{how}, exit 3 or 5, the host unchanged", right, len(refused))
    told(f"images that policy allows, contained{how}", sum(name not in wrong for name in legal), len(legal))
    return complained(wrong)


def peers() -> bool:
    """What else unpacks images, on those that ashore refuses. `escaped`: something beside the folder changed."""
    refused = {name: case for name, case in CASES.items() if case.code == 3 and "template" not in name}
    for peer, unpack in PEERS.items():
        found = Counter(outcome(case, unpack) for case in refused.values())
        told(f"{peer}: refused", found["refused"], len(refused))
        told(f"{peer}: nothing beside its folder changed", len(refused) - found["escaped"], len(refused))
        told(f"{peer}: ended within {20} s and 256 MiB a file", len(refused) - found["hung"], len(refused))
    return True


def registries() -> bool:
    """Every behaviour, each with a registry and a stranger of its own."""
    wrong: dict[str, list[str]] = {}
    quiet = 0
    with tempfile.TemporaryDirectory() as certificates:
        pair = certificate_in(Path(certificates))
        for name, behaviour in BEHAVIOURS.items():
            with quick_folder() as folder:
                world = World(folder, auth=behaviour.auth, certificate=pair if behaviour.tls else None)
                try:
                    problems = judge(behaviour, world)
                    quiet += world.spilled() == 0
                finally:
                    world.close()
            if problems:
                wrong[name] = problems
    told("behaviours of a registry, handled", len(BEHAVIOURS) - len(wrong), len(BEHAVIOURS))
    told("behaviours after which no other host had seen a byte of a credential", quiet, len(BEHAVIOURS))
    return complained(wrong)


def state() -> bool:
    """Every state file cut off and bits flipped, on a host at rest and on three interrupted ones.

    Generations and journals are read at every byte that they can be cut off at; whole commands run at 128 or 48 places
    of each file, or at all of a shorter one.
    """
    with quick_folder() as folder:
        situations = {"at rest": settled(folder), **interrupted(folder / "interrupted")}
        chance, cuts, bits = random.Random(1), Counter[bool](), Counter[bool]()
        wrong: dict[str, list[str]] = {}

        def one(situation: Situation, damage: Damage, counter: Counter[bool]) -> None:
            story = chance.choice(sorted(situation.stories))
            problems = tries(situation, story, damage, folder / "victim")
            counter[not problems] += 1
            wrong.update({problem: [problem] for problem in problems})

        for kind, situation in situations.items():
            template = situation.make(folder / f"template {kind}")
            for file in files(template):
                for damage in truncations(template, file, most=128 if kind == "at rest" else 48):
                    one(situation, damage, cuts)
                sealed = file.startswith("generations/" if kind == "at rest" else "journal/")
                if sealed and not file.endswith("-reserve"):  # which is room, and says nothing
                    for problems in every_byte(template, file):
                        cuts[not problems] += 1
                        wrong.update({problem: [problem] for problem in problems})
            for damage in flips(template, chance, FLIPS // len(situations)):
                one(situation, damage, bits)
    told("state files cut off, or gone", cuts[True], cuts.total())
    told("bits of state files flipped", bits[True], bits.total())
    return complained(wrong)


def paths() -> bool:
    """A parent swapped for a symlink all the time."""
    wrong: dict[str, list[str]] = {}
    tried = 0
    for leads in LEADS:
        with quick_folder() as folder:
            (folder / "host/etc").mkdir(parents=True)
            found = raced(folder, leads, RACE_SECONDS)
        tried += found.tried
        wrong |= {f"{leads}: {problem}": [problem] for problem in found.problems}
    told("commands while a parent changes places with a symlink, nothing outside written", tried - len(wrong), tried)
    return complained(wrong)


def race_control() -> bool:
    """A program that joins paths and trusts them, in the same race."""
    with quick_folder() as folder:
        escaped = control(folder, 30.0)
    told("control: a program that trusts paths writes outside", int(escaped), 1)
    return escaped


def model() -> bool:
    """Random sequences of commands, edits, kills, damage and collection against the plain model."""
    run_state_machine_as_test(
        Diverging,
        settings=settings(
            max_examples=MODELS,
            stateful_step_count=MODEL_STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    told(f"sequences of up to {MODEL_STEPS} commands, edits, kills and damages as the model says", MODELS, MODELS)
    return True


def fuzz() -> bool:
    """Each reader for a while, guided by coverage; a find ends it."""
    clean, inputs = 0, 0
    for name in TARGETS:
        command = [sys.executable, "-m", "tests.hostile.fuzz.guided", name, "--seconds", str(FUZZ_SECONDS)]
        done = subprocess.run(command, capture_output=True, text=True)
        inputs += sum(int(count) for count in re.findall(r"number_of_executed_units: (\d+)", done.stderr))
        clean += done.returncode == 0
        if done.returncode:
            print(f"{name}: {done.stdout[-1000:]} {done.stderr[-2000:]}", file=sys.stderr)
    told("readers fuzzed by coverage: no uncaught exception, no input over a second", clean, len(TARGETS))
    told("inputs that they were given, answered", inputs - (len(TARGETS) - clean), inputs)
    return clean == len(TARGETS)


def told(title: str, passed: int, tried: int) -> None:
    print(f"{title}: {passed:,} / {tried:,}", flush=True)


def complained(wrong: dict[str, list[str]]) -> bool:
    for name, problems in wrong.items():
        print(f"{name}: {problems}", file=sys.stderr)
    return not wrong


HARNESSES: dict[str, Callable[[], bool]] = {
    "images": images,
    "images-rootfs": images_rootfs,
    "peers": peers,
    "registries": registries,
    "state": state,
    "paths": paths,
    "race-control": race_control,
    "model": model,
    "fuzz": fuzz,
}

if __name__ == "__main__":
    sys.exit(0 if HARNESSES[sys.argv[1]]() else 1)
