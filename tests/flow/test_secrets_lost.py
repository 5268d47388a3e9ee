# SPDX-License-Identifier: Apache-2.0
"""What was lost of a host's secrets: told, said anew, and no reason to stay where one is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ashore.acts.ask.values import values
from ashore.acts.change.preview import plan_install
from ashore.errors import ChangedError
from tests.flow.machine import Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
SECRET = "s3cr3t"
TOKEN = {"etc/app/token.j2": "token={{ token }}\n"}
NEEDS_TOKEN = "[values]\ntoken = { required = true, secret = true }\n"


@pytest.mark.parametrize("given", ["another", SECRET])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("")], ids=["gone", "emptied"])
def test_a_secret_that_is_lost_can_be_said_anew(host: Machine, damage: Callable[[Path], object], given: str) -> None:
    toml = "[values]\ntoken = { required = true, secret = true }\nother = 1\n"
    host.images.add(ONE, TOKEN, toml)
    host.install(ONE, sets={"token": SECRET})
    (stored,) = (host.root / "var/lib/ashore/secrets").iterdir()
    damage(stored)
    acts = (
        lambda: host.upgrade("app", sets={"other": 2}),
        lambda: plan_install(host.tools(), [host.ask(ONE)]),
        lambda: values(host.tools(), host.tools().history.current().bundles[0]),
    )
    for act in acts:
        with pytest.raises(ChangedError, match=r"damaged: secrets/.*, the value token of app") as refused:
            act()
        assert "ashore upgrade app --set-file token=FILE" in refused.value.remedy
    plan_install(host.tools(), [host.ask(ONE, sets={"token": given})])
    host.install(ONE, sets={"token": given})
    host.upgrade("app", sets={"other": 2})
    assert host.read("etc/app/token") == f"token={given}\n"
    assert host.tools().history.current().bundles[0].sets["other"].value == 2


def test_a_salt_that_is_gone_is_missed(host: Machine) -> None:
    """A new one would be another host's: what is recorded by the old one would match nothing."""
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    host.install(ONE, sets={"token": SECRET})
    (host.root / "var/lib/ashore/salt").unlink()
    host.images.add(ONE, {**TOKEN, "etc/more": "x"}, NEEDS_TOKEN)
    acts = (
        lambda: host.upgrade("app"),
        lambda: host.install(ONE),
        lambda: plan_install(host.tools(), [host.ask(ONE)]),
    )
    for act in acts:
        with pytest.raises(ChangedError, match="salt: it is missing") as refused:
            act()
        assert "from a backup" in refused.value.remedy
    assert not host.exists("var/lib/ashore/salt")


@pytest.mark.parametrize("back", ["roll_back", "remove"])
def test_a_salt_that_is_gone_keeps_nobody_from_going_back(host: Machine, back: str) -> None:
    """Not a change that nobody confirmed either: it goes the same way."""
    before = host.tree()
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    host.images.add(TWO, {**TOKEN, "etc/more": "x"}, NEEDS_TOKEN)
    host.install(ONE, sets={"token": SECRET})
    first = host.tree()
    host.install(TWO)
    (host.root / "var/lib/ashore/salt").unlink()
    if back == "remove":
        host.remove("app")
    else:
        host.roll_back()
    assert host.tree() == (before if back == "remove" else first)
    host.install(TWO, sets={"token": SECRET})
