# SPDX-License-Identifier: Apache-2.0
"""What --set says to several bundles, or to one that does not take it."""

import pytest

from ashore.errors import InputError
from tests.flow.machine import Machine

ONE, OTHER = "reg.example/app:1", "reg.example/other:1"


@pytest.fixture
def app(host: Machine) -> Machine:
    host.images.add(ONE, {"etc/app.conf.j2": "port={{ port }}\n"}, "[values]\nport = 8080\n")
    return host


def test_a_secret_of_one_bundle_is_not_recorded_for_another_one_beside_it(app: Machine) -> None:
    app.images.add(OTHER, {"etc/other": "x\n"})
    app.images.add("reg.example/keeper:1", {"etc/key.j2": "{{ token }}\n"}, "[values]\ntoken = { secret = true }\n")
    notes = app.install(OTHER, "reg.example/keeper:1", sets={"token": "hunter2"}).plan.notes
    assert "--set token is not recorded for the bundle other" in notes
    app.upgrade(sets={"token": "hunter3"})
    assert app.read("etc/key") == "hunter3\n"
    state = app.root / "var/lib/ashore"
    said = [p for p in state.rglob("*") if p.is_file() and b"hunter" in p.read_bytes()]
    assert {p.relative_to(state).parts[0] for p in said} <= {"secrets", "content"}, "the key itself, and its value"


@pytest.mark.parametrize("turned", [False, True])
def test_a_secret_of_one_bundle_is_no_plain_value_of_another_one(app: Machine, turned: bool) -> None:
    app.images.add(OTHER, {"etc/other.j2": "{{ token }}\n"})
    app.images.add("reg.example/keeper:1", {"etc/key.j2": "{{ token }}\n"}, "[values]\ntoken = { secret = true }\n")
    names = [OTHER, "reg.example/keeper:1"][:: -1 if turned else 1]
    before = app.tree()
    with pytest.raises(InputError, match="what is a secret for one bundle") as told:
        app.install(*names, sets={"token": "hunter2"})
    assert "a secret of keeper, and other reads it without calling it one" in str(told.value.issues[0])
    assert app.tree() == before
    app.images.add(OTHER, {"etc/other.j2": "{{ token }}\n"}, "[values]\ntoken = { secret = true }\n")
    app.install(*names, sets={"token": "hunter2"})


def test_a_value_is_kept_over_a_version_that_is_told_another_and_does_not_read_it(app: Machine) -> None:
    toml = "[values]\nport = { required = true }\n"
    app.images.add(ONE, {"etc/app.conf.j2": "{{ port }}\n"}, toml)
    app.install(ONE, sets={"port": 80})
    app.images.add(ONE, {"etc/app.conf": "none\n"})
    app.upgrade("app", sets={"port": 81})
    app.images.add(ONE, {"etc/app.conf.j2": "{{ port }}\n"}, toml)
    app.upgrade("app")
    assert app.read("etc/app.conf") == "80\n"


@pytest.mark.parametrize("damage", ["gone", "another one", "torn"])
def test_a_secret_that_is_damaged_is_mended_by_who_says_it_again(app: Machine, damage: str) -> None:
    toml = "[values]\ntoken = { secret = true }\nkey = { secret = true }\n"
    app.images.add(ONE, {"etc/key.j2": "{{ token }} {{ key }}\n"}, toml)
    app.install(ONE, sets={"token": "one", "key": "two"})
    sets = app.tools().history.current().bundles[0].sets
    token, key = (app.root / "var/lib/ashore/secrets" / sets[name].secret for name in ("token", "key"))
    whole = token.read_bytes()
    if damage == "gone":
        token.unlink()
    else:
        token.write_bytes(key.read_bytes() if damage == "another one" else whole[:-3])
    app.install(ONE, sets={"token": "one", "key": "two"}, unset=("nothing",))
    assert token.read_bytes() == whole


def test_what_was_set_and_used_stays_for_a_version_that_reads_it_again(app: Machine) -> None:
    reads, not_now = {"etc/app.conf.j2": "{{ port }}\n"}, {"etc/app.conf": "none\n"}
    for tag, tree in (("a", reads), ("b", not_now), ("c", reads)):
        toml = "" if tree is not_now else "[values]\nport = 1\n"
        app.images.add(f"reg.example/again:{tag}", tree, toml)
    app.install("reg.example/again:a", sets={"port": 2})
    app.install("reg.example/again:b")
    app.install("reg.example/again:c")
    assert app.read("etc/app.conf") == "2\n"
