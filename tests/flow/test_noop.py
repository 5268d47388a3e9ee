# SPDX-License-Identifier: Apache-2.0
"""Installing what is installed changes nothing: no write below the root outside ashore's own state."""

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from ashore.acts.change.preview import plan_install
from ashore.cli.render_plan import outcome_text
from ashore.nouns.digest import Digest
from ashore.nouns.files import Stat
from tests.fakes.bundles import File, Folder, Hard, Link, Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

ONE = "reg.example/app:1"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
TREE: Tree = {
    "etc/app.conf.j2": "host={{ facts.hostname }} port={{ port }}\n",
    "etc/adopted": "as it was\n",
    "etc/link": Link("app.conf"),
    "etc/systemd/system/app.service": UNIT,
    "opt/bin/app": File("binary", mode=0o755),
    "opt/bin/again": Hard("opt/bin/app"),
    "opt/empty": Folder(0o700),
    "opt/noted": File("x", mode=0o640, uid=1, gid=2, xattrs={"user.note": b"hello"}),
}
TOML = '[values]\nport = 80\n[[files]]\npath = "etc/adopted"\nadopt = true\n'


def everything(host: Machine) -> dict[str, Stat]:
    """Identity, size and times of every path below the root, folders and ashore's own state included."""
    found = {}
    for folder, folders, files in os.walk(host.root):
        for name in (".", *folders, *files):
            path = os.path.normpath(os.path.relpath(os.path.join(folder, name), host.root))
            found[path] = host.marks(path)
    return found


def outside_state(host: Machine) -> dict[str, Stat]:
    return {
        path: marks for path, marks in everything(host).items() if not path.startswith(("var/lib/ashore", "run/ashore"))
    }


@pytest.fixture
def live(host: Machine) -> Iterator[Machine]:
    systemd = FakeSystemd()
    systemd.add("app.service")
    host.systemd = systemd
    host.write("etc/adopted", "as it was\n")
    host.images.add(ONE, TREE, TOML)
    host.install(ONE, sets={"port": 81})
    yield host


def log(host: Machine) -> list[str]:
    assert isinstance(host.systemd, FakeSystemd)
    return host.systemd.log


def test_the_same_again_writes_nothing_at_all(live: Machine) -> None:
    before, said = everything(live), list(log(live))
    assert said == ["daemon-reload", "start app.service"]
    for again in (live.install(ONE), live.install(ONE, sets={"port": 81}), live.upgrade("app"), live.upgrade()):
        assert not again.changed
        assert again.generation.number == 1
    assert everything(live) == before
    assert log(live) == said, "no daemon-reload, no restart"


def test_where_a_stat_changed_and_nothing_else_the_host_is_not_written(live: Machine) -> None:
    os.utime(live.root / "etc/app.conf", (1, 1))
    (live.root / "opt/noted").chmod(0o640)
    before, said = outside_state(live), list(log(live))
    assert not live.install(ONE).changed
    assert outside_state(live) == before
    assert log(live) == said


def test_the_same_image_under_another_tag_writes_no_file_and_restarts_nothing(live: Machine) -> None:
    live.images.add("reg.example/app:same", TREE, TOML)
    before, said = outside_state(live), list(log(live))
    outcome = live.install("reg.example/app:same")
    assert outcome.plan.empty
    assert outside_state(live) == before
    assert log(live) == said


def test_an_edit_that_is_kept_does_not_make_every_install_a_change(live: Machine) -> None:
    live.write("etc/app.conf", "mine\n")
    live.install(ONE)
    before, said = everything(live), list(log(live))
    assert not live.install(ONE).changed
    assert everything(live) == before
    assert log(live) == said


def test_a_deleted_file_does_not_make_every_install_a_change(live: Machine) -> None:
    (live.root / "etc/app.conf").unlink()
    live.install(ONE)
    before = everything(live)
    assert not live.install(ONE).changed
    assert everything(live) == before


def test_a_value_or_fact_that_no_template_reads_changes_no_file(live: Machine) -> None:
    live.write("etc/ashore/values.d/site.toml", "unrelated = 1\n")
    before, said = outside_state(live), list(log(live))
    live.install(ONE)
    assert outside_state(live) == before
    assert log(live) == said


def test_a_failed_install_writes_nothing_outside_the_state(live: Machine) -> None:
    live.images.add("reg.example/bad:1", {"etc/bad.j2": "{{ unknown }}"})
    before = outside_state(live)
    with pytest.raises(Exception, match="unknown"):
        live.install("reg.example/bad:1")
    assert outside_state(live) == before


def test_unset_of_what_nobody_recorded_is_noted_where_nothing_is_to_be_done_as_well(host: Machine) -> None:
    for name in ("app", "other"):
        host.images.add(f"reg.example/{name}:1", {f"etc/{name}.j2": "{{ port }}"}, "[values]\nport = 1\n")
    host.install("reg.example/app:1", sets={"port": 443})
    said = "--unset zz: of the bundle app no such value is recorded"
    done = host.upgrade("app", unset=("zz",))
    assert (done.changed, done.plan.notes) == (False, (said,))
    assert outcome_text(done.plan, done.generation, changed=False) == f"nothing to do\nnote: {said}"
    assert host.upgrade("app", unset=("zz", "port")).plan.notes == (said,)
    plan, _ = plan_install(host.tools(), [host.ask("reg.example/other:1", unset=("port",))])
    assert plan.notes == ("--unset port: of the bundle other no such value is recorded",)


def test_what_an_older_ashore_recorded_otherwise_is_nothing_to_do_for_plan_as_well(host: Machine) -> None:
    """Else `plan --exit-code` would tell of a change for ever, which `install` does not make."""
    host.images.add(ONE, {"etc/app": "x"})
    host.install(ONE)
    tools = host.tools()
    (record,) = tools.history.current().bundles
    older = msgspec.structs.replace(record, source=Digest(""))
    tools.history.write(msgspec.structs.replace(tools.history.current(), bundles=(older,)))
    plan, _ = plan_install(host.tools(), [host.ask(ONE)])
    assert not plan.changes
    assert not host.install(ONE).changed
    host.images.add(ONE, {"etc/app": "x"}, 'version = "2"\n')
    assert plan_install(host.tools(), [host.ask(ONE)])[0].changes


def test_the_code_of_a_change_is_read_without_that_of_a_farewell() -> None:
    """Which brings what copies folders, and that all ways to compress."""
    show = "import sys, ashore.acts.change.install; print(sorted({'shutil', 'lzma'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
