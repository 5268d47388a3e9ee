# SPDX-License-Identifier: Apache-2.0
"""What a unit that does not come up wrote to the journal is in the error. By a real one: test_main_job.py."""

import pytest

from ashore.errors import UnitsFailedError
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

IMAGE = "reg.example/app:1"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
JOURNALCTL = "opt/journalctl"


@pytest.fixture
def live(host: Machine) -> Machine:
    host.systemd = systemd = FakeSystemd()
    systemd.add("app.service", Behaviour.FAILS)
    host.images.add(IMAGE, {"etc/systemd/system/app.service": UNIT})
    host.programs.extra["journalctl"] = f"/{JOURNALCTL}"
    return host


def message(live: Machine) -> str:
    with pytest.raises(UnitsFailedError) as raised:
        live.install(IMAGE)
    (issue,) = raised.value.issues
    assert issue.where == "app.service" and issue.remedy == "journalctl -u app.service"
    return issue.message


def test_the_last_lines_of_its_own_since_its_start_are_in_the_error(live: Machine) -> None:
    said = r"printf 'one\n\n  bad \033[1mkey\n%0300d\n' 7"
    live.write(JOURNALCTL, f"#!/bin/sh\n{said}\n", 0o755)
    assert message(live).endswith(f"; it said: bad \\x1b[1mkey / {'0' * 200}")
    (asked,) = [line for line in live.programs.log if line.startswith("journalctl")]
    assert asked == (
        "journalctl --quiet --no-pager --output=cat --since=-1s --lines=2 _SYSTEMD_UNIT=app.service"
    )  # fmt: skip


@pytest.mark.parametrize("script", ["", "exit 0", "echo no journal >&2; exit 1"], ids=["none", "silent", "failing"])
def test_a_journal_that_says_nothing_is_no_matter(live: Machine, script: str) -> None:
    if script:
        live.write(JOURNALCTL, f"#!/bin/sh\n{script}\n", 0o755)
    assert "it said" not in message(live)
