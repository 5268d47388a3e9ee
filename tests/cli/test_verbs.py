# SPDX-License-Identifier: Apache-2.0
"""Every question about a host has an answer, for people and for programs; the result is all that is on stdout."""

import json
import os
import re
import shutil
import stat

import pytest

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.own import ownfolders
from tests.cli.shell import Ran, Shell
from tests.fakes.bundles import CAREFUL

FILES = {"etc/app/app.conf.j2": "port={{ port }} on {{ facts.hostname }}\n", "opt/bin/app": "binary\n"}
TOML = 'name = "app"\nversion = "1.0"\n[values]\nport = 80\n'


@pytest.fixture
def installed(shell: Shell) -> Shell:
    """A host with one bundle, and a second version of it."""
    shell.image("app", FILES, TOML)
    shell.image("two/app", {**FILES, "opt/bin/app": "another\n", "etc/new": "x"}, TOML.replace("1.0", "2.0"))
    done(shell.on_root("install", f"oci:{shell.folder}/app.oci"))
    return shell


def second(shell: Shell) -> str:
    return f"oci:{shell.folder}/two/app.oci"


def done(ran: Ran, code: int = 0) -> Ran:
    assert ran.code == code, ran
    assert "Traceback" not in ran.err
    return ran


def test_plan_shows_files_with_their_differences_and_changes_nothing(installed: Shell) -> None:
    (installed.folder / "two/app/root/etc/app/app.conf.j2").write_text("port={{ port }} changed\n")
    done(installed.ashore("build", str(installed.folder / "two/app"), "-o", second(installed) + "b"))
    with installed.unchanged():
        ran = done(installed.on_root("plan", second(installed) + "b", "--exit-code"), 10)
    assert "-port=80 on node-1" in ran.out and "+port=80 changed" in ran.out
    assert "/etc/new" in ran.out and "1 to add, 2 to change, 0 to remove" in ran.out


def test_plan_exit_code_tells_changes_from_none(installed: Shell) -> None:
    done(installed.on_root("plan", second(installed)), 0)
    done(installed.on_root("plan", second(installed), "--exit-code"), 10)
    done(installed.on_root("plan", f"oci:{installed.folder}/app.oci", "--exit-code"), 0)


def test_plan_of_what_changes_no_file_tells_that_the_record_changes(installed: Shell) -> None:
    installed.image("same/app", FILES, TOML.replace("1.0", "1.1"))
    same = f"oci:{installed.folder}/same/app.oci"
    ran = done(installed.on_root("plan", same, "--exit-code"), 10)
    assert re.search(r"^  ~ app 1\.1 \w+, was app 1\.0 \w+$", ran.out, re.MULTILINE)
    assert ran.out.endswith("Nothing would change on this host but the record of what is installed.\n")
    assert done(installed.on_root("plan", same, "--json")).json()["changes"]
    done(installed.on_root("install", same))
    ran = done(installed.on_root("plan", same, "--exit-code"), 0)
    assert ran.out == "Nothing would change on this host.\n"
    shutil.copytree(installed.folder / "same/app.oci", installed.folder / "moved.oci")
    ran = done(installed.on_root("plan", f"oci:{installed.folder}/moved.oci", "--exit-code"), 10)
    assert "from another reference" in ran.out
    assert done(installed.on_root("install", f"oci:{installed.folder}/moved.oci")).out.startswith("generation 3")


def test_plan_as_json_is_the_plan(installed: Shell) -> None:
    plan = done(installed.on_root("plan", second(installed), "--json")).json()
    assert {(step["action"], step["path"]) for step in plan["steps"]} == {
        ("replace", "/opt/bin/app"),
        ("create", "/etc/new"),
    }
    assert plan["conflicts"] == [] and plan["units"] == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        (("install", "SECOND"), "/etc/new"),
        (("rollback",), "/etc/app/app.conf"),
        (("remove", "app"), "/opt/bin/app"),
        (("remove", "app", "--purge"), "/opt/bin/app"),
        (("repair",), "/opt/bin/app"),
        (("upgrade",), "/opt/bin/app"),
    ],
)
def test_a_dry_run_shows_what_would_come_and_changes_nothing(
    installed: Shell, verb: tuple[str, ...], path: str
) -> None:
    done(installed.on_root("install", f"oci:{installed.folder}/app.oci", "--set", "port=81"))
    if verb[0] == "upgrade":
        shutil.rmtree(installed.folder / "app.oci")
        shutil.copytree(installed.folder / "two/app.oci", installed.folder / "app.oci")
    if verb[0] == "repair":
        (installed.root / "opt/bin/app").unlink()
    words = [second(installed) if word == "SECOND" else word for word in verb]
    with installed.unchanged():
        text = done(installed.on_root(*words, "--dry-run")).out
        plan = done(installed.on_root(*words, "--dry-run", "--json")).json()
    assert path in text
    assert path in {step["path"] for step in plan["steps"]}
    done(installed.on_root(*words))


def test_a_dry_run_tells_of_a_conflict_by_its_code(installed: Shell) -> None:
    (installed.root / "etc/new").write_text("mine")
    with installed.unchanged():
        assert "etc/new" in done(installed.on_root("install", second(installed), "--dry-run"), 6).out


def test_a_dry_run_of_forgetting_the_past_alone_has_nothing_to_show(installed: Shell) -> None:
    with installed.unchanged():
        assert "no bundle is named" in done(installed.on_root("remove", "--purge", "--dry-run"), 2).err


def test_an_image_from_a_file_is_recorded_by_the_name_that_it_has_in_a_registry(installed: Shell) -> None:
    name, image = "registry.invalid/team/app:1.0", f"oci:{installed.folder}/app.oci"
    assert "from another reference" in done(installed.on_root("plan", image, "--reference", name)).out
    done(installed.on_root("install", image, "--reference", name))
    (bundle,) = done(installed.on_root("status", "--json")).json()["bundles"]
    assert bundle["reference"] == name
    assert done(installed.on_root("install", image, "--reference", name)).out == "nothing to do\n"
    assert "registry.invalid" in done(installed.on_root("upgrade"), 4).err, "that is who is asked from now on"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("IMAGE", "IMAGE", "--reference", "reg.example/app:1"), "one IMAGE"),
        (("reg.example/app:1", "--reference", "reg.example/app:2"), "one IMAGE"),
        (("IMAGE", "--reference", "oci:elsewhere"), "as it is pushed"),
        (("IMAGE", "--reference", "reg.example/App:1"), "reg.example/App:1"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(installed: Shell, words: tuple[str, ...], said: str) -> None:
    image = f"oci:{installed.folder}/app.oci"
    with installed.unchanged():
        ran = installed.on_root("install", *(image if word == "IMAGE" else word for word in words))
    assert ran.code in (2, 3) and said in ran.err, ran


def test_diff_is_drift_and_says_so_by_its_code(installed: Shell) -> None:
    assert done(installed.on_root("diff", "--exit-code")).out == ""
    (installed.root / "etc/app/app.conf").write_text("mine\n")
    (installed.root / "opt/bin/app").unlink()
    ran = done(installed.on_root("diff", "--exit-code"), 10)
    assert "+mine" in ran.out and "/opt/bin/app" in ran.out and "deleted" in ran.out
    only = done(installed.on_root("diff", "/etc", "--exit-code"), 10)
    assert "mine" in only.out and "/opt/bin/app" not in only.out
    assert done(installed.on_root("diff", "/", "--exit-code"), 10).out.count("/opt/bin/app") == 1
    verdicts = {item["path"]: item["verdict"] for item in done(installed.on_root("diff", "--json")).json()}
    assert verdicts == {"/etc/app/app.conf": "edited", "/opt/bin/app": "deleted"}


def test_diff_tells_which_attributes_differ_and_how(installed: Shell) -> None:
    (installed.root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n")
    program, conf = installed.root / "opt/bin/app", installed.root / "etc/app/app.conf"
    old = stat.S_IMODE(program.stat().st_mode)
    program.chmod(0o600)
    conf.write_text("edited\n")
    conf.chmod(0o640)
    own, number = "root:root", (0, 0)
    if os.geteuid() == 0:
        own, number = "www:44", (33, 44)
        os.chown(program, *number)
    lines = done(installed.on_root("diff")).out.splitlines()
    if os.geteuid() == 0:
        assert lines[lines.index("/opt/bin/app (app): attributes") + 1] == f"  {old:04o} root:root -> 0600 {own}"
    assert " -> 0640 " in lines[lines.index("/etc/app/app.conf (app): edited") + 1]
    (item,) = (i for i in done(installed.on_root("diff", "--json")).json() if i["verdict"] == "attributes")
    assert item["diff"] == "" and item["old"]["mode"] == f"{old:04o}"
    assert (item["new"]["mode"], item["new"]["uid"], item["new"]["gid"]) == ("0600", *number)
    assert item["old"]["digest"] == item["new"]["digest"]


def test_diff_and_repair_go_by_a_units_name_to_its_file_and_know_what_nobody_has(shell: Shell) -> None:
    unit = "[Service]\nExecStart=/bin/true\n"
    files = {"etc/systemd/system/a.service": unit, "etc/systemd/system/b.service": unit}
    done(shell.on_root("install", shell.image("units", {**files, "etc/systemd/system/a.service.d/x.conf": unit})))
    for name in files:
        (shell.root / name).unlink()
    (shell.root / "etc/systemd/system/a.service.d/x.conf").write_text("edited\n")
    ran = done(shell.on_root("diff", "a.service", "--exit-code"), 10)
    assert "system/a.service" in ran.out and "a.service.d/x.conf" in ran.out and "b.service" not in ran.out
    for verb in ("diff", "repair"):
        ran = done(shell.on_root(verb, "/etc/nope", "a.service", "none.service"), 2)
        assert "/etc/nope: no bundle has it" in ran.err and "none.service: no bundle" in ran.err
        assert "a.service:" not in ran.err
    done(shell.on_root("repair", "a.service"))
    assert (shell.root / "etc/systemd/system/a.service").read_text() == unit
    assert not (shell.root / "etc/systemd/system/b.service").exists()
    assert done(shell.on_root("diff", "a.service", "--exit-code")).out == ""


def test_a_damaged_file_of_the_same_size_and_time_is_found(installed: Shell) -> None:
    file = installed.root / "opt/bin/app"
    before = file.stat()
    file.write_text("bitrot\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "/opt/bin/app" in done(installed.on_root("diff")).out
    assert "/opt/bin/app" in done(installed.on_root("diff", "--verify")).out


def test_owns_tells_the_bundle_by_any_name_of_the_path(installed: Shell) -> None:
    (installed.root / "conf").symlink_to("etc/app")
    for name in ("/etc/app/app.conf", "etc/app/app.conf", "/conf/app.conf", "/etc/../etc/app/app.conf"):
        assert "app" in done(installed.on_root("owns", name)).out
    assert done(installed.on_root("owns", "/opt/bin/app", "--json")).json()["bundle"] == "app"
    assert "no bundle owns" in done(installed.on_root("owns", "/etc/hostname"), 10).err


def test_render_prints_one_file_as_it_would_be_here(installed: Shell) -> None:
    ran = done(installed.on_root("render", "/etc/app/app.conf", "--set", "port=81"))
    assert ran.out == "port=81 on node-1\n"
    ran = done(installed.on_root("render", "etc/app/app.conf.j2", "--image", second(installed)))
    assert ran.out == "port=80 on node-1\n"
    missing = installed.on_root("render", "/etc/nothing", "--image", second(installed))
    assert missing.code in (2, 3) and "/etc/nothing" in missing.err


def test_render_prints_a_file_as_it_came_wherever_its_content_is(installed: Shell) -> None:
    first = f"oci:{installed.folder}/app.oci"
    for given in ((), ("--image", first)):
        assert done(installed.on_root("render", "/opt/bin/app", *given)).out == "binary\n", "it lies on the host"
    (installed.root / "opt/bin/app").write_text("edited\n")
    for given in ((), ("--image", first)):
        assert done(installed.on_root("render", "/opt/bin/app", *given)).out == "binary\n", "the image has it"
    assert done(installed.on_root("render", "/opt/bin/app", "--image", second(installed))).out == "another\n"
    (installed.root / "opt/bin/app").write_text("binary\n")
    done(installed.on_root("install", second(installed)))
    kept = (installed.root / "var/lib/ashore/content").rglob("*")
    assert any(file.is_file() and file.read_text(errors="replace") == "binary\n" for file in kept)
    assert done(installed.on_root("render", "/opt/bin/app", "--image", first)).out == "binary\n", "the store has it"


def test_status_history_and_facts_speak_json_and_text(installed: Shell) -> None:
    done(installed.on_root("install", second(installed)))
    status = done(installed.on_root("status", "--json")).json()
    assert [(b["name"], b["version"]) for b in status["bundles"]] == [("app", "2.0")]
    assert (status["generation"], status["drift"], status["interrupted"]) == (2, [], False)
    assert status["at_work"] == ""
    assert status["disk"] > 0 and status["reboot"] == []
    done(installed.on_root("status", "--exit-code"), 0)
    text = done(installed.on_root("status")).out
    assert "app 2.0" in text and "store:" in text
    history = done(installed.on_root("history", "--json")).json()
    assert [g["number"] for g in history["generations"]] == [1, 2] and history["current"] == 2
    assert done(installed.on_root("history")).out.count("\n") >= 2
    facts = done(installed.on_root("facts", "--json")).json()
    assert facts["hostname"] == "node-1"
    assert json.loads(done(installed.ashore("facts", "--schema")).out)["$schema"]
    assert "values.port = " in done(installed.on_root("facts", "--values", "app")).out
    assert "no bundle named nope" in done(installed.on_root("facts", "--values", "nope"), 2).err
    assert "leave out one" in done(installed.on_root("facts", "--values", "app", "--schema"), 2).err


@pytest.mark.parametrize("what", ["drift", "held", "pending"])
def test_status_says_by_its_code_that_something_waits_for_somebody(installed: Shell, what: str) -> None:
    conf = installed.root / "etc/app/app.conf"
    if what == "drift":
        conf.unlink()
    if what == "held":
        done(installed.on_root("install", second(installed)))
        done(installed.on_root("rollback"))
    if what == "pending":
        (installed.folder / "two/app/root/etc/app/app.conf.j2").write_text("port={{ port }} changed\n")
        done(installed.ashore("build", str(installed.folder / "two/app"), "-o", second(installed) + "b"))
        conf.write_text("mine\n")
        done(installed.on_root("install", second(installed) + "b"))
    done(installed.on_root("status", "--exit-code"), 10)
    done(installed.on_root("status"), 0)


def test_an_edit_that_a_change_kept_does_not_wait_for_anybody(installed: Shell) -> None:
    (installed.root / "etc/app/app.conf").write_text("mine\n")
    done(installed.on_root("status", "--exit-code"), 10)
    done(installed.on_root("install", second(installed)))
    assert "edited" in done(installed.on_root("status", "--exit-code"), 0).out


def test_inspect_shows_what_an_image_would_bring(installed: Shell) -> None:
    ran = done(installed.ashore("inspect", second(installed)))
    assert "/etc/new" in ran.out and "port" in ran.out and "2.0" in ran.out
    assert isinstance(done(installed.ashore("inspect", second(installed), "--json")).json(), dict)


def test_inspect_looks_at_the_variant_that_it_is_asked_for(installed: Shell) -> None:
    out = f"oci:{installed.folder}/arm.oci"
    platforms = ("--platform", "linux/arm/v6", "--platform", "linux/arm/v7")
    done(installed.ashore("build", str(installed.folder / "two/app"), "-o", out, *platforms))
    for asked, shown in (("linux/arm/v6", "linux/arm/v6"), ("linux/arm/v7", "linux/arm/v7"), ("arm", "linux/arm/v7")):
        assert done(installed.ashore("inspect", out, "--platform", asked, "--json")).json()["platform"] == shown
    assert "no image for linux/arm/v5" in done(installed.ashore("inspect", out, "--platform", "linux/arm/v5"), 3).err


def test_inspect_shows_each_command_that_would_run(shell: Shell) -> None:
    image = shell.image("careful", {"etc/a.conf": "a\n"}, CAREFUL)
    text = done(shell.ashore("inspect", image)).out
    assert "commands that run as root on a live host\n" in text
    for line in (
        "validate /etc/a.conf: /usr/bin/test -s '{path}'",
        "before drain: /opt/drain 'the node'  (nobody may be on it)",
        "health: /opt/well",
        "within 1m, by ssh-login",
        "platform  any",
    ):
        assert f"  {line}\n" in text


def test_installing_again_says_that_there_is_nothing_to_do(installed: Shell) -> None:
    ran = done(installed.on_root("install", f"oci:{installed.folder}/app.oci"))
    assert ran.out.startswith("nothing to do")
    assert done(installed.on_root("install", f"oci:{installed.folder}/app.oci", "--json")).json()["changed"] is False


def test_the_story_of_a_host_through_the_command_line(installed: Shell) -> None:
    with installed.unchanged():
        done(installed.on_root("install", second(installed)))
        done(installed.on_root("rollback"))
    (installed.root / "etc/app/app.conf").write_text("mine\n")
    done(installed.on_root("upgrade", "app", "--set", "port=443"))
    kept = done(installed.on_root("status")).out
    assert "/etc/app/app.conf" in kept and "pending" in kept
    assert (installed.root / "etc/app/app.conf").read_text() == "mine\n"
    done(installed.on_root("remove", "app"))
    assert not (installed.root / "etc/app").exists() and not (installed.root / "opt/bin").exists()
    assert "kept as sha256:" in done(installed.on_root("history")).out
    done(installed.on_root("prune", "--discard-edits", "--yes"))
    assert "nothing to recover" in done(installed.on_root("recover")).out


def test_a_service_that_runs_once_more_leaves_word_of_the_change_that_was_killed(installed: Shell) -> None:
    """What it prints goes to the journal; who waits reads the note (`mechanisms.pid1.handover`)."""
    (installed.root / "var/lib/ashore/journal").mkdir()
    request = "/run/ashore/request-1.json"
    said = done(installed.on_root("recover", "--after-kill", request), 7).err
    note = json.loads((installed.root / "run/ashore/request-1.killed").read_text())
    assert note == {"code": 7, "text": said.strip()}
    assert said.startswith("the change was killed; went back to the old generation: generation 1")
    (installed.root / "var/lib/ashore/current").write_text("torn")
    done(installed.on_root("recover", "--after-kill", request), 8)
    note = json.loads((installed.root / "run/ashore/request-1.killed").read_text())
    assert note["code"] == 8 and "state is damaged" in note["text"]


def test_history_says_where_a_symlink_led_that_was_moved_aside(installed: Shell) -> None:
    (installed.root / "opt/bin/app").unlink()
    (installed.root / "opt/bin/app").symlink_to("/srv/mine")
    said = "edit of /opt/bin/app was a symlink to /srv/mine"
    done(installed.on_root("remove", "app"))
    assert f"      {said}\n" in done(installed.on_root("history")).out
    done(installed.on_root("prune", "--keep", "1"))
    done(installed.on_root("install", second(installed)))
    done(installed.on_root("prune", "--keep", "1"))
    assert f"  {said.replace(' was', ' (generation 2) was')}\n" in done(installed.on_root("history")).out


def test_purge_forgets_everything_and_says_of_an_edit_that_it_is_dropped(installed: Shell) -> None:
    (installed.root / "opt/bin/app").write_text("mine\n")
    assert "/opt/bin/app: an edit; --purge dropped it\n" in done(installed.on_root("remove", "app", "--purge")).out
    assert done(installed.on_root("status", "--json")).json()["bundles"] == []
    content = installed.root / "var/lib/ashore/content"
    assert not [file for file in content.rglob("*") if file.is_file()]


def test_a_boot_unit_that_would_install_again_is_named(installed: Shell) -> None:
    link = installed.root / "etc/systemd/system/multi-user.target.wants/ashore-boot.service"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../ashore-boot.service")
    assert "the next boot installs its bundle again" in done(installed.on_root("remove", "app", "--purge")).err
    assert link.is_symlink(), "it is its provider's"
    assert not (installed.root / "var/lib/ashore").exists()


def test_ashore_stays_while_a_bundle_does(installed: Shell) -> None:
    refused = installed.on_root("remove", "--purge")
    assert (refused.code, "installed is: app" in refused.err) == (2, True)
    assert done(installed.on_root("status", "--json")).json()["bundles"]


def test_an_upgrade_from_another_folder_finds_a_layout_that_was_named_from_here(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.image("app", FILES, TOML)
    done(shell.on_root("install", "oci:app.oci"))
    monkeypatch.chdir("/")
    assert done(shell.on_root("upgrade")).out.startswith("nothing to do")


def test_the_root_can_be_named_by_the_environment(installed: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_ROOT", str(installed.root))
    assert "app 1.0" in done(installed.ashore("status")).out


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(shell: Shell) -> None:
    evil = "etc/\x1b[31mred\x1b[0m\u202egnp.conf"
    image = shell.image("app", {evil: "x\x1b]0;owned\x07\n"})
    for ran in (
        shell.on_root("plan", image),
        shell.on_root("install", image),
        shell.on_root("status"),
        shell.on_root("history"),
        shell.ashore("inspect", image),
    ):
        assert "\x1b" not in done(ran).out + ran.err
        assert "\u202e" not in ran.out + ran.err
    (shell.root / evil).write_text("y\x1b]0;owned\x07\n")
    ran = done(shell.on_root("diff"))
    assert "\x1b" not in ran.out and "\x07" not in ran.out


def test_an_upgrade_goes_on_without_a_bundle_whose_file_is_no_longer_there(shell: Shell) -> None:
    stick, other = shell.image("stick", {"etc/stick": "1\n"}), shell.image("other", {"etc/other": "1\n"})
    for image in (stick, other):
        done(shell.on_root("install", image))
    shutil.rmtree(stick.removeprefix("oci:"))
    assert "no longer there; the bundle stays as it is" in (same := done(shell.on_root("upgrade"))).err
    assert same.out == "nothing to do\n"
    shell.image("other", {"etc/other": "2\n"})
    ran = done(shell.on_root("upgrade"))
    assert "generation 3: 0 added, 1 changed" in ran.out and "stick stays as it is" in ran.out
    assert (shell.root / "etc/other").read_text() == "2\n"
    assert "missing" in done(shell.on_root("upgrade", "stick"), 3).err


def test_a_policy_that_came_later_is_asked_as_well_where_there_is_nothing_to_do(installed: Shell) -> None:
    image = f"oci:{installed.folder}/app.oci"
    assert done(installed.on_root("install", image)).out == "nothing to do\n"
    policy = installed.root / "etc/containers/policy.json"
    policy.parent.mkdir()
    for text, code in (('[{"type": "insecureAcceptAnything"}]', 0), ('[{"type": "reject"}]', 5)):
        policy.write_text(f'{{"default": {text}}}')
        for verb in (["plan", image], ["install", image], ["upgrade"]):
            ran = done(installed.on_root(*verb), code)
            assert code == 0 or ("policy.json" in ran.err and "rejected" in ran.err)


@pytest.mark.parametrize("first", [True, False], ids=["it came with the image", "it was there"])
def test_a_first_image_that_is_refused_takes_ashore_along_that_came_with_it(shell: Shell, first: bool) -> None:
    image = shell.image("hello", {"etc/hello.j2": "{{ who }}"}, "[values]\nwho = { required = true }\n")
    folder = shell.root / "var/lib/ashore/incoming/1"
    before = shell.tree()
    shutil.copytree(image.removeprefix("oci:"), folder)
    with Beneath(str(shell.root)) as host:
        os.symlink("/opt/ashore/1/ashore", f"{ownfolders.make(host, 'opt/bin')}/ashore")
    brought = ("--brought", str(folder), *(("--first",) if first else ()))
    ran = done(shell.on_root("boot", "registry.example/hello:1", *brought), 3)
    assert "who is not set" in ran.err
    after = {path: what for path, what in shell.tree().items() if path.partition("/")[0] != "run"}
    assert (after == before, "ashore is gone from this host again" in ran.err) == (first, first)
