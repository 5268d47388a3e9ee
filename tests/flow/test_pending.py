# SPDX-License-Identifier: Apache-2.0
"""What waits is listed, shown, taken or kept; whatever is decided, nothing that was written here is lost."""

import pytest

from ashore.acts.ask.look import status
from ashore.acts.change.pending import Pending, pending, settle, show
from ashore.errors import InputError, UsageError
from ashore.nouns.digest import of
from ashore.nouns.files import Decided
from tests.cli.shell import Shell, refused
from tests.fakes.bundles import Link
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
CONF, KEPT, GONE, LINK = "etc/app.conf", "etc/kept.conf", "etc/gone.conf", "etc/link"
TOML = f'[[files]]\npath = "{KEPT}"\non_edit = "keep"\n'


@pytest.fixture
def waiting(host: Machine) -> Machine:
    """Version 2 of four paths waits: one that overlaps, one that is kept by policy, one deleted, one symlink."""
    for number, name in enumerate((ONE, TWO, THREE), 1):
        files = dict.fromkeys((CONF, KEPT, GONE), f"{number}\nand\nmore\n")
        host.images.add(name, {**files, LINK: Link(str(number))}, TOML)
    host.install(ONE)
    host.write(CONF, "mine\nand\nmore\n")
    host.write(KEPT, "1\nand\nmine\n")
    (host.root / GONE).unlink()
    (host.root / LINK).unlink()
    (host.root / LINK).symlink_to("mine")
    host.install(TWO)
    return host


def listed(host: Machine) -> dict[str, Pending]:
    found = {item.path: item for item in pending(host.tools())}
    assert tuple(found) == status(host.tools()).pending
    return found


def test_each_says_what_was_done_to_it_and_why_it_waits(waiting: Machine) -> None:
    assert {path: (item.bundle, item.verdict, item.reason) for path, item in listed(waiting).items()} == {
        CONF: ("app", "edited", "both changed the same lines"),
        KEPT: ("app", "edited", "on_edit is keep"),
        GONE: ("app", "deleted", "it was deleted on this host"),
        LINK: ("app", "edited", "it is no plain file"),
    }


def test_what_could_be_merged_by_now_says_how(waiting: Machine) -> None:
    waiting.write(CONF, "1\nand\nmine\n")
    assert "ashore upgrade app" in listed(waiting)[CONF].reason


def test_the_difference_is_from_what_lies_there_to_what_waits(waiting: Machine) -> None:
    assert "-mine\n+2\n" in show(waiting.tools(), f"/{CONF}")[1]
    assert "+2\n+and\n+more\n" in show(waiting.tools(), GONE)[1]
    assert "symlink to 2" in show(waiting.tools(), LINK)[1]


def test_taken_the_new_version_lies_there_and_the_edit_is_in_the_store(waiting: Machine) -> None:
    outcome = settle(waiting.tools(), [f"/{CONF}", GONE, LINK], Decided.TAKE)
    assert (waiting.read(CONF), waiting.read(GONE)) == ("2\nand\nmore\n", "2\nand\nmore\n")
    assert (waiting.root / LINK).readlink().name == "2"
    assert set(listed(waiting)) == {KEPT}
    assert outcome.generation.displaced[CONF].digest == of(b"mine\nand\nmore\n")
    assert waiting.tools().content.has(of(b"mine\nand\nmore\n"))
    assert outcome.generation.verb == "take"
    waiting.install(THREE)
    assert waiting.read(CONF) == "3\nand\nmore\n", "it is the bundle's again"


def test_a_rollback_takes_the_decision_back(waiting: Machine) -> None:
    before = waiting.tree()
    settle(waiting.tools(), [CONF, GONE, LINK, KEPT], Decided.TAKE)
    waiting.roll_back()
    assert waiting.read(CONF) == "mine\nand\nmore\n"
    assert waiting.read(KEPT) == "1\nand\nmine\n"
    assert {CONF, KEPT, LINK} <= set(listed(waiting)), "and they wait again"
    changed = {path for path in before if waiting.tree().get(path) != before[path]}
    assert not changed


def test_kept_it_waits_no_longer_until_a_newer_version_comes(waiting: Machine) -> None:
    before = waiting.tree()
    outcome = settle(waiting.tools(), [CONF, KEPT, GONE, LINK], Decided.KEEP)
    assert outcome.changed and outcome.generation.verb == "keep"
    assert listed(waiting) == {}
    assert waiting.tree() == before
    assert not waiting.install(TWO).changed, "the same version does not ask again"
    waiting.install(THREE)
    assert set(listed(waiting)) == {CONF, KEPT, GONE, LINK}


def test_kept_the_edit_is_one_of_the_version_that_was_declined(host: Machine) -> None:
    host.images.add(ONE, {CONF: "1\na\nb\nc\nlast\n"})
    host.images.add(TWO, {CONF: "2\na\nb\nc\nlast\n"})
    host.images.add(THREE, {CONF: "2\na\nb\nc\nLAST\n"})
    host.install(ONE)
    host.write(CONF, "mine\na\nb\nc\nlast\n")
    host.install(TWO)
    settle(host.tools(), [CONF], Decided.KEEP)
    host.install(THREE)
    assert host.read(CONF) == "mine\na\nb\nc\nLAST\n"


def test_a_file_that_was_put_back_meanwhile_is_kept_if_so_decided(waiting: Machine) -> None:
    waiting.write(CONF, "1\nand\nmore\n")
    settle(waiting.tools(), [CONF], Decided.KEEP)
    assert waiting.read(CONF) == "1\nand\nmore\n"
    assert CONF not in listed(waiting)
    waiting.install(TWO)
    assert waiting.read(CONF) == "1\nand\nmore\n"


def test_a_new_mode_comes_with_what_is_taken(waiting: Machine) -> None:
    (waiting.root / CONF).chmod(0o600)
    settle(waiting.tools(), [CONF], Decided.TAKE)
    assert (waiting.root / CONF).stat().st_mode & 0o777 == 0o644


def test_all_that_is_wrong_is_said_at_once(waiting: Machine) -> None:
    before = waiting.tree()
    with pytest.raises(UsageError) as raised:
        settle(waiting.tools(), [CONF, "etc/nobodys", "/etc/hostname", LINK], Decided.TAKE)
    assert [issue.where for issue in raised.value.issues] == ["/etc/nobodys", "/etc/hostname"]
    assert "ashore pending" in raised.value.remedy
    settle(waiting.tools(), [CONF], Decided.KEEP)
    with pytest.raises(UsageError, match="no new version waits"):
        settle(waiting.tools(), [CONF], Decided.TAKE)
    assert waiting.tree() == before
    assert waiting.leftovers() == []


def test_what_is_taken_restarts_what_it_concerns(host: Machine) -> None:
    host.systemd = FakeSystemd()
    host.systemd.add("app.service")
    unit = "[Service]\nExecStart=/bin/app\nEnvironmentFile=/etc/app.conf\n[Install]\nWantedBy=multi-user.target\n"
    for number, name in ((1, ONE), (2, TWO)):
        host.images.add(name, {CONF: f"A={number}\n", "etc/systemd/system/app.service": unit})
    host.install(ONE)
    host.write(CONF, "A=mine\n")
    host.install(TWO)
    said = len(host.systemd.log)
    settle(host.tools(), [CONF], Decided.TAKE)
    assert host.systemd.log[said:] == ["restart app.service"]


def test_a_secret_version_that_waits_is_not_shown(host: Machine) -> None:
    toml = "[values]\ntoken = { secret = true }\n"
    host.images.add(ONE, {f"{CONF}.j2": "{{ token }}\n"}, toml)
    host.install(ONE, sets={"token": "abracadabra"})
    host.write(CONF, "mine\n")
    host.install(ONE, sets={"token": "sesame"})
    assert set(listed(host)) == {CONF}
    difference = show(host.tools(), CONF)[1]
    assert "sesame" not in difference and "abracadabra" not in difference and "not shown" in difference
    settle(host.tools(), [CONF], Decided.TAKE)
    assert host.read(CONF) == "sesame\n"


def test_on_the_command_line(shell: Shell) -> None:
    paths = ("etc/a", "etc/b")
    assert shell.on_root("install", shell.image("app", dict.fromkeys(paths, "1\n"))).code == 0
    for path in paths:
        (shell.root / path).write_text("mine\n")
    assert shell.on_root("install", shell.image("app", dict.fromkeys(paths, "2\n"))).code == 0
    assert shell.on_root("pending").out.splitlines() == [
        "/etc/a (app): edited; both changed the same lines",
        "/etc/b (app): edited; both changed the same lines",
    ]
    shown = shell.on_root("pending", "show", "/etc/a")
    assert (shown.code, shown.out.endswith("-mine\n+2\n")) == (0, True)
    with shell.unchanged():
        refused(shell.on_root("pending", "take", "/etc/a", "/etc/nobodys"), 2, "/etc/nobodys: no bundle owns it")
        refused(shell.on_root("pending", "show", "/etc/hostname"), 2, "no bundle owns it")
        refused(shell.on_root("pending", "drop", "/etc/a"), 2, "drop")
    taken = shell.ashore("pending", "--root", str(shell.root), "take", "/etc/a")
    assert "an edit is replaced; it stays in the store" in taken.out
    assert (shell.root / "etc/a").read_text() == "2\n", "wherever --root stands"
    assert shell.on_root("pending", "keep", "/etc/b").code == 0
    assert shell.on_root("pending").out == "no new version waits\n"


@pytest.fixture
def twice(host: Machine) -> Machine:
    """What waits for a path lies at another one, which is edited as well."""
    for number, name in enumerate((ONE, TWO), 1):
        host.images.add(name, {"opt/a": f"{number}\n", "opt/t": f"{number}\n"})
    host.images.add("reg.example/other:1", {"opt/other": "x\n"})
    host.install(ONE)
    host.write("opt/t", "mine\n")
    host.install(TWO)
    host.write("opt/a", "mine as well\n")
    return host


def test_what_waits_stays_where_it_lies_at_another_path_and_is_edited_there(twice: Machine) -> None:
    twice.images.down = True
    assert "+2\n" in show(twice.tools(), "opt/t")[1]
    settle(twice.tools(), ["opt/t"], Decided.TAKE)
    assert (twice.read("opt/t"), twice.read("opt/a")) == ("2\n", "mine as well\n")


def test_what_waits_and_is_lost_is_in_nobodys_way_and_fetched_when_it_is_taken(twice: Machine) -> None:
    twice.tools().content.discard(of(b"2\n"))
    twice.install("reg.example/other:1")
    assert (twice.read("opt/other"), twice.read("opt/t")) == ("x\n", "mine\n")
    with pytest.raises(InputError) as told:
        show(twice.tools(), "opt/t")
    assert told.value.remedy == "ashore pending take /opt/t fetches it"
    settle(twice.tools(), ["opt/t"], Decided.TAKE)
    assert (twice.read("opt/t"), twice.read("opt/a")) == ("2\n", "mine as well\n")


@pytest.mark.parametrize("was", ["deleted", "replaced"])
def test_a_file_waits_where_a_symlink_of_the_version_before_was_edited(host: Machine, was: str) -> None:
    host.images.add("reg.example/app:1", {"opt/x": Link("/nowhere"), "opt/y": "1"})
    host.images.add("reg.example/app:2", {"opt/x": "a file now", "opt/y": "2"})
    host.install("reg.example/app:1")
    (host.root / "opt/x").unlink()
    if was == "replaced":
        host.write("opt/x", "somebody's")
    host.install("reg.example/app:2")
    assert host.exists("opt/x") == (was == "replaced")
    assert host.read("opt/y") == "2"
