# SPDX-License-Identifier: Apache-2.0
"""What the host's programs do not accept is not placed; what cannot be asked is said."""

import pytest

from ashore.acts.change.preview import plan_install
from ashore.errors import UnchangedError
from tests.fakes.bundles import File, Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
CHECK = '#!/bin/sh\nif grep -q bad "$1"; then echo "line 1: bad word"; exit 1; fi\n'
TOML = '[[files]]\npath = "etc/*.conf"\nvalidate = ["/usr/bin/check", "{path}"]\n'


@pytest.fixture
def live(host: Machine) -> Machine:
    """A live root with a program that refuses files with a bad word."""
    host.systemd = FakeSystemd()
    host.write("usr/bin/check", CHECK, mode=0o755)
    return host


def refused(host: Machine, name: str) -> UnchangedError:
    before = host.tree()
    with pytest.raises(UnchangedError) as raised:
        host.install(name)
    assert host.tree() == before
    assert host.leftovers() == []
    return raised.value


def notes(host: Machine, name: str) -> str:
    return "\n".join(plan_install(host.tools(), [host.ask(name)])[0].notes)


def test_all_that_is_refused_is_said_at_once_and_nothing_was_changed(live: Machine) -> None:
    live.images.add(ONE, {"etc/a.conf": "bad\n", "etc/b.conf": "bad\n", "etc/c.conf": "fine\n"}, TOML)
    error = refused(live, ONE)
    assert [issue.where for issue in error.issues] == ["/etc/a.conf", "/etc/b.conf"]
    assert "bad word" in error.issues[0].message and "/etc/a.conf" in error.issues[0].message


def test_what_was_refused_is_held_and_not_brought_again_by_itself(live: Machine) -> None:
    live.images.add(ONE, {"etc/a.conf": "bad\n"}, TOML)
    refused(live, ONE)
    (held,) = live.tools().history.held().values()
    assert held.reference == ONE
    assert held.reason.startswith("a validator refused it: /etc/a.conf")


def test_what_is_refused_beforehand_touches_no_unit(live: Machine) -> None:
    unit = "[Service]\nExecStart=/opt/app\n[Install]\nWantedBy=multi-user.target\n"
    service = "etc/systemd/system/app.service"
    systemd = FakeSystemd()
    systemd.add("app.service")
    live.systemd = systemd
    live.images.add(ONE, {service: unit, "etc/a.conf": "fine\n"}, TOML)
    live.images.add(TWO, {service: f"{unit}# two\n", "etc/a.conf": "bad\n"}, TOML)
    live.install(ONE)
    systemd.log.clear()
    refused(live, TWO)
    assert systemd.log == []


def test_only_a_file_whose_content_changes_is_asked_about(live: Machine) -> None:
    live.images.add(ONE, {"etc/a.conf": "fine\n", "etc/b.conf": "fine\n"}, TOML)
    live.images.add(TWO, {"etc/a.conf": File("fine\n", mode=0o600), "etc/b.conf": "better\n"}, TOML)
    live.install(ONE)
    live.programs.log.clear()
    live.install(TWO)
    assert [line.rpartition("/")[2] for line in live.programs.log] == ["b.conf"]


def test_what_is_looked_at_is_the_merge_and_a_refusal_says_so(live: Machine) -> None:
    live.images.add(ONE, {"etc/a.conf": "one\na\nb\nlast\n"}, TOML)
    live.images.add(TWO, {"etc/a.conf": "two\na\nb\nlast\n"}, TOML)
    live.install(ONE)
    live.write("etc/a.conf", "one\na\nb\nbad\n")
    error = refused(live, TWO)
    assert "edit" in error.issues[0].remedy
    live.write("etc/a.conf", "one\na\nb\nmine\n")
    live.install(TWO)
    assert live.read("etc/a.conf") == "two\na\nb\nmine\n"


def test_what_a_rollback_brings_back_was_accepted_once_but_a_merge_with_it_was_not(live: Machine) -> None:
    live.images.add(ONE, {"etc/a.conf": "one\na\nb\nlast\n"}, TOML)
    live.images.add(TWO, {"etc/a.conf": "two\na\nb\nlast\n"}, TOML)
    live.install(ONE)
    live.install(TWO)
    live.write("usr/bin/check", "#!/bin/sh\nexit 1\n", mode=0o755)
    live.roll_back()
    assert live.read("etc/a.conf").startswith("one")
    live.write("usr/bin/check", CHECK, mode=0o755)
    live.install(TWO)
    live.write("etc/a.conf", "two\na\nb\nbad\n")
    before = live.tree()
    with pytest.raises(UnchangedError):
        live.roll_back()
    assert live.tree() == before


def test_a_program_that_is_told_no_path_sees_all_files_in_place_and_no_unit_has_read_them(live: Machine) -> None:
    systemd = live.systemd
    assert isinstance(systemd, FakeSystemd)
    systemd.add("app.service", running=True)
    etc, seen = live.root / "etc", live.folder / "seen"
    live.write("usr/bin/look", f"#!/bin/sh\ncat {etc}/a.conf {etc}/b.conf > {seen}\n! grep -q bad {seen}\n", mode=0o755)
    toml = '[[files]]\npath = "etc/*.conf"\nvalidate = ["/usr/bin/look"]\nrestart = ["app.service"]\n'
    live.images.add(ONE, {"etc/a.conf": "a\n", "etc/b.conf": "b\n"}, toml)
    live.images.add(TWO, {"etc/a.conf": "a\n", "etc/b.conf": "bad\n"}, toml)
    live.install(ONE)
    assert seen.read_text() == "a\nb\n"
    assert [line for line in live.programs.log if "look" in line] == ["look"], "once for all files"
    said = len(systemd.log)
    error = refused(live, TWO)
    assert [issue.where for issue in error.issues] == ["/etc/b.conf"]
    assert systemd.log[said:] == [], "what never read the new file need not restart"


def test_a_program_that_comes_along_is_asked_once_it_is_there(live: Machine) -> None:
    toml = TOML.replace("usr/bin/check", "opt/bin/own")
    tree: Tree = {"etc/a.conf": "fine\n", "opt/bin/own": File(CHECK, mode=0o755)}
    live.images.add(ONE, {**tree, "etc/a.conf": "bad\n"}, toml)
    live.images.add(TWO, tree, toml)
    refused(live, ONE)
    live.install(TWO)
    assert live.read("etc/a.conf") == "fine\n"


def test_a_program_that_is_not_there_is_said_and_the_file_is_placed(live: Machine) -> None:
    (live.root / "usr/bin/check").unlink()
    live.images.add(ONE, {"etc/a.conf": "bad\n"}, TOML)
    assert "/usr/bin/check is not on this host: /etc/a.conf is not validated" in notes(live, ONE)
    outcome = live.install(ONE)
    assert any("not validated" in note for note in outcome.plan.notes)
    assert live.exists("etc/a.conf")


@pytest.mark.parametrize("of", ["the host", "the bundle", "the bundle, with it"])
def test_a_program_that_is_there_and_cannot_be_run_refuses_the_file(live: Machine, of: str) -> None:
    toml = TOML.replace("usr/bin/check", "opt/own")
    own: Tree = {"opt/own": File(CHECK)} if of.startswith("the bundle") else {}
    if of == "the host":
        live.write("opt/own", CHECK)
    elif of == "the bundle":
        live.images.add("reg.example/own:1", own)
        live.install("reg.example/own:1")
        own = {}
    live.images.add(ONE, {"etc/a.conf": "fine\n", **own}, toml)
    assert "not validated" not in notes(live, ONE)
    (issue,) = refused(live, ONE).issues
    assert issue.where == "/etc/a.conf"
    assert "cannot run /opt/own /etc/a.conf: Permission denied" in issue.message


def test_a_program_that_the_same_change_makes_one_is_asked_then(live: Machine) -> None:
    toml = TOML.replace("usr/bin/check", "opt/own")
    live.images.add(ONE, {"opt/own": File(CHECK)}, toml)
    live.images.add(TWO, {"opt/own": File(CHECK, mode=0o755), "etc/a.conf": "fine\n"}, toml)
    live.install(ONE)
    assert "not validated" not in notes(live, TWO)
    live.install(TWO)
    assert [line.partition(" ")[0] for line in live.programs.log] == ["own"]


def test_what_a_program_says_of_a_file_with_a_secret_value_is_not_repeated(live: Machine) -> None:
    live.write("usr/bin/check", '#!/bin/sh\necho "unknown word: $(cat "$1")"\nexit 1\n', mode=0o755)
    toml = TOML + "[values]\ntoken = { secret = true }\n"
    live.images.add(ONE, {"etc/a.conf.j2": "password {{ token }}\n", "etc/b.conf": "plain\n"}, toml)
    before = live.tree()
    with pytest.raises(UnchangedError) as raised:
        live.install(ONE, sets={"token": "hunter2"})
    assert live.tree() == before
    secret, plain = raised.value.issues
    assert "/usr/bin/check /etc/a.conf ended with 1" in secret.message and "is not shown" in secret.message
    assert "unknown word: plain" in plain.message
    (held,) = live.tools().history.held().values()
    assert "hunter2" not in str(raised.value) + held.reason


def test_what_is_refused_of_a_unit_with_a_secret_value_is_not_repeated(live: Machine) -> None:
    unit = {"etc/systemd/system/app.service.j2": "[Service]\nEnvironment={{ token }}\n"}
    live.images.add(ONE, unit, "[values]\ntoken = { secret = true }\n")
    live.programs.extra = {"systemd-analyze": "/usr/bin/systemd-analyze"}
    says = "#!/bin/sh\necho 'app.service: bad hunter2'\necho 'Unit app.service has a bad unit file setting.'\nexit 1\n"
    live.write("usr/bin/systemd-analyze", says, mode=0o755)
    with pytest.raises(UnchangedError) as raised:
        live.install(ONE, sets={"token": "hunter2"})
    assert [issue.where for issue in raised.value.issues] == ["/etc/systemd/system/app.service"]
    assert "hunter2" not in str(raised.value)


def test_on_an_offline_root_it_is_said_that_nothing_is_run(host: Machine) -> None:
    host.images.add(ONE, {"etc/a.conf": "bad\n", "etc/other": "x"}, TOML)
    assert notes(host, ONE) == "nothing is run on an offline root: /etc/a.conf not validated"
    host.install(ONE)


def test_units_are_verified_without_being_asked_or_it_is_said(live: Machine) -> None:
    unit = {"etc/systemd/system/app.service": "[Service]\nExecStart=/bin/true\n"}
    live.images.add(ONE, unit)
    assert "systemd-analyze is not on this host" in notes(live, ONE)
    script = f'#!/bin/sh\n(echo "$*"; echo "$SYSTEMD_UNIT_PATH"; cat "$3") > {live.folder}/asked\n'
    live.write("usr/bin/systemd-analyze", script, mode=0o755)
    live.programs.extra = {"systemd-analyze": "/usr/bin/systemd-analyze"}
    plan, _ = plan_install(live.tools(), [live.ask(ONE)])
    assert [check.command for check in plan.checks] == [("/usr/bin/systemd-analyze", "verify")]
    live.install(ONE)
    asked = (live.folder / "asked").read_text()
    assert asked.startswith("verify --man=no /") and "ExecStart=/bin/true" in asked


def test_what_was_refused_of_a_unit_is_an_error_and_other_units_faults_are_not(live: Machine) -> None:
    live.images.add(ONE, {"etc/systemd/system/app.service": "[Service]\n"})
    live.programs.extra = {"systemd-analyze": "/usr/bin/systemd-analyze"}
    other = "#!/bin/sh\necho 'Unit other.service has a bad unit file setting.'\nexit 1\n"
    live.write("usr/bin/systemd-analyze", other, mode=0o755)
    live.install(ONE)
    live.remove("app")
    ours = other.replace("other", "app").replace("echo", "echo 'app.service: Service has no ExecStart='; echo", 1)
    live.write("usr/bin/systemd-analyze", ours, mode=0o755)
    error = refused(live, ONE)
    assert error.issues[0].where == "/etc/systemd/system/app.service"
    assert "no ExecStart" in error.issues[0].message
