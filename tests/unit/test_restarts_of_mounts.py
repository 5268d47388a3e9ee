# SPDX-License-Identifier: Apache-2.0
"""A changed mount: mounted with other options where that is all, and made anew where it is not."""

import pytest

from ashore.nouns.units import HostUnits
from ashore.rules.units.changes import Changes
from ashore.rules.units.reasons import Reaction
from ashore.rules.units.situation import UnitSet
from tests.unit.test_restarts import SYSTEM, plan, replaced, said, states

UNIT = "srv-data.mount"
FILE = f"{SYSTEM}/{UNIT}"
DROP_IN = f"{FILE}.d/x.conf"
OLD = "[Unit]\nDescription=a\n[Mount]\nWhat=tmpfs\nWhere=/srv/data\nOptions=size=1m\n[Install]\nWantedBy=a.target\n"
MOUNTED = states(UNIT, can_reload=True, type="")


def changed_to(new: str, *, can_reload: bool = True, restart: tuple[str, ...] = ()) -> list[str]:
    units = UnitSet(texts={FILE: new}, wanted=(UNIT,))
    reactions = {FILE: Reaction(restart=restart)}
    host = HostUnits(listed=(UNIT,), texts={FILE: OLD})
    running = states(UNIT, can_reload=can_reload, type="")
    return said(plan(replaced(FILE), old=units, new=units, running=running, reactions=reactions, host=host))


@pytest.mark.parametrize(
    ("old", "new", "verb"),
    [
        ("size=1m", "size=2m", "reload"),
        ("Options=size=1m\n", "", "reload"),
        ("size=1m", "size=1m,noexec,ro", "reload"),
        ("size=1m", "size=1m,vers=4.2", "restart"),
        ("Description=a", "Description=b", "reload"),
        ("WantedBy=a.target", "WantedBy=b.target", "reload"),
        ("What=tmpfs", "What=/dev/sda", "restart"),
        ("size=1m", "size=2m\nType=tmpfs", "restart"),
        ("Description=a", "Requires=b.service", "restart"),
    ],
)
def test_a_mount_is_made_anew_only_where_more_than_its_options_changed(old: str, new: str, verb: str) -> None:
    assert changed_to(OLD.replace(old, new)) == [f"{verb} {UNIT}: {FILE} changed"]


def test_a_mount_that_cannot_reload_or_shall_restart_restarts() -> None:
    new = OLD.replace("1m", "2m")
    assert changed_to(new, can_reload=False) == [f"restart {UNIT}: {FILE} changed"]
    assert changed_to(new, restart=(UNIT,)) == [f"restart {UNIT}: {FILE} changed"]


def test_a_mount_whose_old_file_is_not_known_restarts() -> None:
    units = UnitSet(texts={FILE: OLD}, wanted=(UNIT,))
    host = HostUnits(listed=(UNIT,))
    assert said(plan(replaced(FILE), old=units, new=units, running=MOUNTED, host=host)) == [
        f"restart {UNIT}: {FILE} changed"
    ]


@pytest.mark.parametrize(("text", "verb"), [("[Mount]\nOptions=ro\n", "reload"), ("[Mount]\nTimeoutSec=9\n", "")])
def test_a_mount_of_the_host_gets_options_by_a_drop_in_and_is_never_unmounted_for_one(text: str, verb: str) -> None:
    """Its own file may be one that a generator made: what of it is not known does not change either."""
    new = UnitSet(texts={DROP_IN: text})
    changes = Changes(created=frozenset({DROP_IN}))
    result = plan(changes, old=UnitSet(), new=new, running=MOUNTED, host=HostUnits(listed=(UNIT,)))
    assert said(result) == ([f"{verb} {UNIT}: {DROP_IN} is new"] if verb else [])
    assert len(result.notes) == (0 if verb else 1)
    gone = plan(
        Changes(removed=frozenset({DROP_IN})),
        old=new,
        new=UnitSet(),
        running=MOUNTED,
        host=HostUnits(listed=(UNIT,), texts={DROP_IN: text}),
    )
    assert said(gone) == ([f"{verb} {UNIT}: {DROP_IN} is removed"] if verb else [])
