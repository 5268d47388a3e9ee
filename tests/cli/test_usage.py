# SPDX-License-Identifier: Apache-2.0
"""A command line that asks for what does not exist: code 2, what is wrong, and what would be right."""

import itertools
import json
from pathlib import Path

import pytest

from ashore.cli import VERBS, run
from ashore.cli.service import Request, bring_to_pid1
from ashore.nouns.limits import DEFAULT
from tests.cli.shell import Shell, refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["instal", "x"], ["instal", "install"]),
        # What other tools call it, and nearly so.
        (["uninstall", "x"], ["'uninstall'", "'remove'?"]),
        (["unistall", "x"], ["'remove'?"]),
        (["list"], ["'status'?"]),
        (["lnit"], ["'lint'?"]),
        (["logs"], ["'history'?"]),
        (["verify"], ["'diff'?"]),
        (["no-such-verb-at-all"], ["no-such-verb-at-all"]),
        (["install"], ["IMAGE"]),
        (["install", "--sett", "x=1", "x"], ["--sett", "--set"]),
        (["plan"], ["IMAGE"]),
        (["rollback", "seven"], ["seven"]),
        (["rollback", "0"], ["0"]),
        (["rollback", "--bundle", "x", "3"], ["--bundle"]),
        (["build"], ["DIR"]),
        (["build", ".", "--compression", "lzma", "-o", "oci:x"], ["lzma", "zstd:chunked"]),
        (["build", "."], ["-o"]),
        (["build", ".", "-t", "localhost:1/x:1"], ["--push"]),
        (["build", ".", "--push"], ["-t"]),
        (["status", "too", "many"], ["too"]),
        (["owns"], ["PATH"]),
        (["--no-such-option"], ["--no-such-option"]),
        (["prune", "--keep", "many"], ["many"]),
    ],
    ids=lambda value: " ".join(value) if value and "-" not in value[0] else None,
)
def test_a_wrong_command_line(shell: Shell, arguments: list[str], said: list[str]) -> None:
    with shell.unchanged():
        refused(shell.ashore(*arguments), 2, *said)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "UPPER/case:1",
        "reg.example/x:",
        "reg.example/x@sha256:12",
        "oci:",
        "ftp://x/y",
        "x:y:z",
        "a b",
        "localhost:99999/x",
        "localhost:0/x:1",
        "/some/folder",
        "./here",
    ],
)
def test_a_name_that_is_no_images(shell: Shell, name: str) -> None:
    with shell.unchanged():
        ran = shell.on_root("install", name)
        assert ran.code in (2, 3), ran
        refused(ran, ran.code)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--platform", "linux/x86_64"], "did you mean linux/amd64?"),
        (["--platform", "any"], "write linux/amd64"),
        (["--platform", "windows/amd64"], "write linux/amd64"),
        (["--platform", "linux/"], "write linux/amd64"),
        (["--platform", "arm/v7/x/y"], "write linux/amd64"),
        (["--level", "3", "--compression", "none"], "--level is for what compresses"),
        (["--self-contained", "dist"], "--self-contained is for --installer"),
        (["--compression", "gzip", "--delta-from", "oci:old"], "--delta-from is for zstd:chunked"),
    ],
)
def test_what_cannot_be_built_or_would_be_passed_over(shell: Shell, options: list[str], said: str) -> None:
    bundle = shell.bundle("app", {"etc/app": "x"})
    refused(shell.ashore("build", str(bundle), "-o", f"oci:{shell.folder}/out", *options), 2, said)
    assert not (shell.folder / "out").exists()


def test_a_path_alone_is_no_image_and_an_empty_rate_is_no_rate(shell: Shell) -> None:
    refused(shell.on_root("install", "/tmp/zz"), 3, "write oci:/tmp/zz")
    refused(shell.on_root("install", "localhost:65536/x"), 3, "there is no port 65536")
    assert shell.on_root("install", "localhost:1/x", "--limit-rate", "").code == 2


def test_a_root_that_is_not_there(shell: Shell) -> None:
    for verb in ("status", "facts"):
        refused(shell.ashore(verb, "--root", f"{shell.folder}/nope"), 2, "is no folder", "mkdir -p")
        refused(shell.ashore(verb, "--root", f"{shell.root}/etc/hostname"), 2, "is no folder")


def test_rounds_without_a_time_between_them(shell: Shell) -> None:
    refused(shell.on_root("follow", "--enable", "--every", "0s"), 2, "--every 0")


@pytest.mark.parametrize(
    "pair", list(itertools.combinations(["--enable", "--disable", "--pause", "--resume"], 2)), ids=" ".join
)
def test_two_things_that_a_timer_cannot_do_at_once(shell: Shell, pair: tuple[str, str]) -> None:
    with shell.unchanged():
        refused(shell.on_root("follow", *pair), 2, *pair, "do not fit together")
        refused(shell.on_root("follow", *reversed(pair)), 2, *pair)


@pytest.mark.parametrize("text", ["novalue", "=x", "a..b=1", ".a=1"])
def test_a_set_that_sets_nothing(shell: Shell, text: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    with shell.unchanged():
        refused(shell.on_root("install", image, "--set", text), 2, "--set", "KEY=VALUE")


@pytest.mark.parametrize("time", ["²", "٣", "1e9", "-5", "99999999999999", "100000h"])
def test_a_time_that_is_none_or_has_no_end(shell: Shell, time: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    with shell.unchanged():
        refused(shell.on_root("install", image, f"--confirm={time}"), 2, "--confirm")
        refused(shell.on_root("follow", "--pause", f"--for={time}"), 2, "--for")


@pytest.mark.parametrize("argument", ["--set=x=\udcff", "--root-in-image=\udcff", "--facts=\udcff", "oci:/tmp/\udcff"])
def test_an_argument_that_is_no_utf8(shell: Shell, argument: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    with shell.unchanged():
        refused(shell.on_root("install", image, argument), 2, "an argument is not UTF-8")


def test_a_document_with_names_that_are_no_utf8(shell: Shell) -> None:
    image = shell.image("app", {"opt/app/file": "x"})
    assert shell.on_root("install", image).code == 0
    (shell.root / "opt/app/\udcff").write_text("somebody's")
    removed = shell.on_root("remove", "app", "--json")
    assert removed.code == 0 and removed.err == ""
    assert any("\\udcff" in note or "\\xff" in note for note in removed.json()["notes"])


def test_what_became_of_names_that_are_no_utf8_is_recorded_and_told_in_utf8(shell: Shell) -> None:
    image = shell.image("app", {"opt/app/file": "x"})
    assert shell.on_root("install", image).code == 0
    (shell.root / "opt/app/\udcff").write_text("somebody's")
    repaired = shell.on_root("repair", "--foreign", "--json")
    assert repaired.code == 0 and "\\udcff" in json.dumps(repaired.json(), ensure_ascii=False)
    assert not (shell.root / "opt/app/\udcff").exists()
    *_, told = (shell.root / "var/lib/ashore/audit.jsonl").read_text("utf-8").splitlines()
    assert list(json.loads(told)["displaced"]) == ["opt/app/\\udcff"]
    assert shell.on_root("history", "--json").code == shell.on_root("prune", "--json").code == 0


def test_a_purge_of_all_that_is_left_has_a_document(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    assert shell.on_root("install", image).code == 0 and shell.on_root("remove", "app").code == 0
    purged = shell.on_root("remove", "--purge", "--yes", "--json")
    assert purged.code == 0 and purged.json()["changed"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollback"],
        ["rollback", "3"],
        ["rollback", "--bundle", "x"],
        ["remove", "x"],
        ["remove", "x", "--purge", "--yes"],
        ["upgrade"],
        ["upgrade", "x"],
        ["pending", "take", "/x"],
        ["pending", "keep", "/x"],
    ],
)
def test_what_is_refused_where_ashore_never_was_leaves_nothing_there(shell: Shell, arguments: list[str]) -> None:
    refused(shell.on_root(*arguments), 2, "")
    assert not (shell.root / "var/lib/ashore").exists()


def test_a_set_file_that_cannot_be_read(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    with shell.unchanged():
        refused(shell.on_root("install", image, "--set-file", "key=/no/such/file"), 2, "/no/such/file")
        refused(shell.on_root("install", image, "--set-file", "key"), 2, "KEY=FILE")
        long = shell.folder / "long"
        long.write_text("x" * (DEFAULT.template + 1))
        refused(shell.on_root("install", image, "--set-file", f"key={long}"), 2, "key is too long", str(long))


@pytest.mark.parametrize("verb", ["plan", "install", "status", "history", "diff", "rollback", "recover", "prune"])
@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_root_that_is_none(shell: Shell, verb: str, kind: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    bad = shell.folder / "nowhere"
    if kind == "a file":
        bad.write_text("x")
    arguments = [image] if verb in ("plan", "install") else []
    ran = shell.ashore(verb, *arguments, "--root", str(bad))
    assert ran.code in (2, 7), ran
    refused(ran, ran.code, str(bad))


def test_every_verb_explains_itself_and_only_verbs_that_work_are_shown(shell: Shell) -> None:
    listed = shell.ashore("--help")
    assert listed.code == 0
    for verb in VERBS:
        assert verb in listed.out
        said = shell.ashore(verb, "--help")
        assert said.code == 0 and said.out.startswith("Usage: ashore " + verb)
        assert "--debug" in said.out or "Commands:" in said.out
    assert "carry-out" not in listed.out


def test_the_version_is_told(shell: Shell) -> None:
    ran = shell.ashore("--version")
    assert ran.code == 0 and ran.out.startswith("ashore ")


def test_no_traceback_without_debug_and_one_with_it(shell: Shell) -> None:
    plain = shell.process("install", "oci:/no/such/layout", "--root", str(shell.root))
    assert plain.code != 0 and "Traceback" not in plain.err
    loud = shell.process("install", "oci:/no/such/layout", "--root", str(shell.root), "--debug")
    assert loud.code == plain.code and "Traceback" in loud.err


def test_a_reader_that_goes_away_is_no_fault(shell: Shell) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        f"{sys.executable} -m ashore --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.strip() == "0"


def test_a_layout_in_a_folder_with_a_colon_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a:b").mkdir()
    monkeypatch.chdir(tmp_path / "a:b")
    assert run(["plan", "oci:out", "--root", str(tmp_path)]) == 2
    assert "first colon" in capsys.readouterr().err


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_an_option_names_and_that_gives_no_text(shell: Shell, gone: bool) -> None:
    if not gone:
        (shell.folder / "nofile").write_bytes(b"\xff")
    image = shell.image("app", {"etc/app": "x"})
    pinned = f"reg.example/app@sha256:{'0' * 64}"
    for ran, code, option in (
        (shell.on_root("install", image, "--set-file", "tok=nofile"), 2, "--set-file"),
        (shell.ashore("provision", "cloud-config", pinned, "--values", "nofile"), 3, "--values"),
        (shell.ashore("provision", "cloud-config", pinned, "--registry-ca", "nofile"), 3, "--registry-ca"),
    ):
        why = "cause: No such file or directory\n" if gone else "cause: it is not UTF-8\n"
        refused(ran, code, "nofile", why, f"remedy: {'write ' if code == 2 else ''}{option}")


def test_a_tag_that_is_not_pushed_beside_a_layout(shell: Shell) -> None:
    folder = shell.bundle("app", {"etc/app": "x"})
    ran = shell.ashore("build", str(folder), "-t", "reg.example/app:1", "-o", "oci:out")
    refused(ran, 2, "add --push, or leave out -t: -o names the image, oci:out")
    refused(shell.ashore("build", str(folder), "-t", "reg.example/app:1"), 2, "add --push, or write it with -o oci:DIR")


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ('bundles = ["b a d"]\n', 3, "not an image reference: 'b a d'"),
        ("bundles = 1\n", 3, "bundles"),
        (None, 2, "no image to install (name one, or list bundles in /etc/ashore/config.toml)"),
    ],
)
def test_a_boot_that_has_nothing_to_ask_for_says_so_to_who_does_not_follow_it(
    shell: Shell, config: str | None, code: int, said: str
) -> None:
    """The boot unit follows its service only until units may start, and would try again for ever."""
    if config is not None:
        (shell.root / "etc/ashore").mkdir()
        (shell.root / "etc/ashore/config.toml").write_text(config)
    assert shell.on_root("boot").code == code
    answer = json.loads((shell.root / "run/ashore/answer.json").read_text())
    assert (answer["code"], said in answer["text"]) == (code, True), answer


def test_a_boot_that_ends_without_a_word_says_where_to_look(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ashore.mechanisms.pid1.handover.hand_over", lambda *_, **__: 1)
    assert bring_to_pid1(str(shell.root), Request(("boot",)), ("ashore",), (), until_ready=True) == 1
    assert "journalctl -u ashore-settle.service" in capsys.readouterr().err


def test_facts_that_are_broken(shell: Shell) -> None:
    image = shell.image("app", {"etc/app.j2": "{{ facts.hostname }}"})
    with shell.unchanged():
        for text in ("{", "[]", '{"hostname": 7}', '{"hostnam": "x"}'):
            (shell.folder / "facts.json").write_text(text)
            ran = shell.on_root("install", image, "--facts", str(shell.folder / "facts.json"))
            refused(ran, 3, "facts.json")
        refused(shell.on_root("install", image, "--facts", "/no/such/facts"), 3, "/no/such/facts")
