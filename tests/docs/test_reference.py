# SPDX-License-Identifier: Apache-2.0
"""What the reference says is what the program does: command line, limits, exit codes, and the JSON of every verb."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ashore.acts.author.schemas import bundle_schema, facts_schema
from ashore.cli import VERBS, run
from ashore.errors import ExitCode
from tests.docs import generate
from tests.docs.pages import DOCS
from tests.fakes.bundles import CAREFUL
from tests.system import lab
from tests.system.conftest import require_real

REFERENCE = DOCS / "reference"
SCHEMAS = REFERENCE / "schemas"
_OUTCOMES = ("install", "upgrade", "remove", "rollback", "pending take", "pending keep", "repair")
_COPIES = ("push", "pull", "copy")
_WITHOUT_JSON = ("new", "render", "provision", "login", "logout")


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == generate.PAGES[name](), "run: python -m tests.docs.generate"


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", (REFERENCE / "exit-codes.md").read_text(), re.MULTILINE)
    assert rows == [(str(code.value), code.name.lower()) for code in ExitCode]


@pytest.mark.parametrize(("name", "made"), [("bundle.schema.json", bundle_schema), ("facts.schema.json", facts_schema)])
def test_a_generated_schema_is_what_the_code_says(name: str, made: Callable[[], dict[str, Any]]) -> None:
    assert json.loads((REFERENCE / name).read_text()) == json.loads(json.dumps(made()))


def test_json_md_names_every_schema_and_every_schema_is_one() -> None:
    named = set(re.findall(r"\(schemas/(\w+)\.json\)", (REFERENCE / "json.md").read_text()))
    assert named == {path.stem for path in SCHEMAS.glob("*.json")}
    for path in SCHEMAS.glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_json_md_names_every_verb_that_has_json() -> None:
    text = (REFERENCE / "json.md").read_text()
    for verb in VERBS:
        assert (f"`{verb}`" in text) is (verb not in _WITHOUT_JSON), verb


def validator(verb: str) -> jsonschema.Draft202012Validator:
    name = "outcome" if verb in _OUTCOMES else "copy" if verb in _COPIES else verb.partition(" ")[0]
    path = REFERENCE / "facts.schema.json" if verb == "facts" else SCHEMAS / f"{name}.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


class Author:
    """Builds bundles and works on an offline root; every answer is held to its schema."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture
        self.host = folder / "host"
        (self.host / "etc").mkdir(parents=True)
        (self.host / "etc/hostname").write_text("node-1\n")

    def bundle(self, version: str, files: Mapping[str, str], toml: str = "") -> str:
        shutil.rmtree(self.folder / "worker", ignore_errors=True)
        for path, text in files.items():
            file = self.folder / "worker/root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (self.folder / "worker/bundle.toml").write_text(f'name = "worker"\nversion = "{version}"\n{toml}')
        image = f"oci:{self.folder}/out:{version}"
        self.ask("build", str(self.folder / "worker"), "-o", image)
        return image

    def ask(self, verb: str, *arguments: str, code: int = 0, on_host: bool = False) -> Any:
        """What ``ashore VERB --json`` prints, which must be what the schema says."""
        where = ["--root", str(self.host)] if on_host else []
        self._capture.readouterr()
        ended = run([verb, *arguments, *where, "--json"])
        printed = self._capture.readouterr()
        assert ended == code, printed.err
        answer = json.loads(printed.out)
        asked = f"{verb} {arguments[0]}" if verb == "pending" and arguments else verb
        validator("values" if "--values" in arguments else asked).validate(answer)
        return answer

    def host_is(self, verb: str, *arguments: str, code: int = 0) -> Any:
        return self.ask(verb, *arguments, code=code, on_host=True)


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Author:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    return Author(tmp_path, capsys)


FILES = {"etc/worker/a.conf": "a\n", "etc/worker/b.conf.j2": "{{ port }} {{ token }}\n", "opt/worker": "x" * 300}
VALUES = '[values]\nport = 1\ntoken = { secret = true, default = "t" }\n'
UNIT = {"etc/systemd/system/w.service": "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"}


def test_the_story_of_a_host_in_json(author: Author) -> None:
    assert author.host_is("status")["generation"] == 0
    assert author.host_is("follow")["skipped"] == "no bundle is installed"
    assert author.host_is("history") == {"current": 0, "generations": [], "edits": []}
    assert author.host_is("recover") == {"recovered": "nothing", "generation": 0}
    first = author.bundle("1", FILES | UNIT, VALUES + '[[health]]\nunit = "w.service"\nwithin = "5s"\n')
    author.ask("inspect", author.bundle("careful", {"etc/a.conf": "a\n"}, CAREFUL), "--root", str(author.host))
    author.ask("inspect", first, "--root", str(author.host))
    assert author.host_is("plan", first, "--exit-code", code=10)["changes"]
    assert author.host_is("install", first)["changed"]
    assert not author.host_is("install", first)["changed"]
    assert [bundle["finding"] for bundle in author.host_is("follow")["bundles"]] == ["same"]
    assert author.host_is("follow", "--pause")["changed"] and author.host_is("status")["follow"]["paused"]
    assert author.host_is("follow", "--resume")["changed"]
    assert author.host_is("owns", "/opt/worker")["bundle"] == "worker"
    assert author.host_is("owns", "/etc/hostname", code=10) is None

    (author.host / "etc/worker/a.conf").write_text("edited\n")
    (author.host / "opt/worker").chmod(0o700)
    second = author.bundle("2", FILES | {"etc/worker/a.conf": "b\n"}, VALUES)
    assert [step["action"] for step in author.host_is("plan", second)["steps"]] != []
    assert author.host_is("install", second)["kept"]
    assert {item["verdict"] for item in author.host_is("diff", "--exit-code", code=10)} == {"edited", "attributes"}
    assert author.host_is("status", "--verify")["pending"] == ["/etc/worker/a.conf"]
    assert not author.host_is("repair")["changed"]
    assert not author.host_is("upgrade")["changed"]

    assert author.host_is("rollback")["changed"]
    assert author.host_is("status")["held"]
    (author.host / "etc/worker/b.conf").unlink()
    assert author.host_is("repair")["changed"]
    assert author.host_is("remove", "worker")["bundles"] == []
    history = author.host_is("history")
    assert [g["displaced"] != [] for g in history["generations"]][-1]
    assert author.host_is("prune", "--keep", "1")["generations"]


def test_a_symlink_that_was_moved_aside_in_json(author: Author) -> None:
    author.host_is("install", author.bundle("1", FILES, VALUES))
    (author.host / "opt/worker").unlink()
    (author.host / "opt/worker").symlink_to("/srv/mine")
    author.host_is("remove", "worker")
    moved = {"path": "/opt/worker", "digest": "", "target": "/srv/mine", "original": False}
    assert author.host_is("history")["generations"][-1]["displaced"] == [moved]
    for version in ("2", "3", "4"):
        author.host_is("install", author.bundle(version, FILES | {"opt/worker": version}, VALUES))
    assert author.host_is("history")["edits"] == [moved | {"generation": 2}]


def test_a_decision_in_json(author: Author) -> None:
    author.host_is("install", author.bundle("1", FILES, VALUES))
    for name in ("a", "b"):
        (author.host / f"etc/worker/{name}.conf").write_text("edited\n")
    changed = FILES | {"etc/worker/a.conf": "2\n", "etc/worker/b.conf.j2": "{{ port }} {{ token }} 2\n"}
    kept = author.host_is("install", author.bundle("2", changed, VALUES))["kept"]
    assert {item["reason"] for item in kept} == {"both changed the same lines"}
    paths = [item["path"] for item in author.host_is("pending")]
    assert paths == ["/etc/worker/a.conf", "/etc/worker/b.conf"]
    (shown,) = author.host_is("pending", "show", paths[0])
    assert shown["diff"].endswith("-edited\n+2\n")
    assert author.host_is("pending", "take", paths[0])["steps"]
    assert author.host_is("pending", "keep", paths[1])["changed"]
    assert [g["verb"] for g in author.host_is("history")["generations"]][-2:] == ["take", "keep"]
    assert author.host_is("pending") == []


def test_a_conflict_in_json(author: Author) -> None:
    image = author.bundle("1", {"etc/hostname": "mine\n"})
    (conflict,) = author.host_is("plan", image, code=6)["conflicts"]
    assert (conflict["path"], conflict["owner"]) == ("/etc/hostname", "nobody")


def test_an_edit_that_outlived_its_generation_in_json(author: Author) -> None:
    rule = '[[files]]\npath = "etc/a"\non_edit = "replace"\n'
    for version in range(1, 6):
        if version == 2:
            (author.host / "etc/a").write_text("edited\n")
        author.host_is("install", author.bundle(str(version), {"etc/a": f"{version}\n"}, rule))
    assert [edit["path"] for edit in author.host_is("history")["edits"]] == ["/etc/a"]


def test_an_interrupted_transaction_in_json(author: Author) -> None:
    author.host_is("install", author.bundle("1", FILES, VALUES))
    (author.host / "var/lib/ashore/journal").mkdir()
    assert author.host_is("status")["interrupted"]
    assert author.host_is("recover")["recovered"] == "went back to the old generation"


def test_images_in_json(author: Author) -> None:
    lines = "".join(f"line {n}\n" for n in range(9999))
    image = author.bundle("1", FILES | {"opt/large": lines}, VALUES)
    copied = author.ask("copy", image, f"oci-archive:{author.folder}/out.tar:1")
    assert copied["digest"] == author.ask("inspect", image, "--root", str(author.host))["digest"]
    newer = author.bundle("2", FILES | {"opt/large": lines + "one more\n"}, VALUES)
    assert author.ask("delta", image, newer)["deltas"]
    built = author.ask("build", str(author.folder / "worker"), "-o", f"oci:{author.folder}/x", "--delta-from", image)
    assert built["deltas"]


def test_findings_in_json(author: Author) -> None:
    author.bundle("1", FILES, VALUES)
    (author.folder / "worker/bundle.toml").write_text("nam = 1\n")
    assert author.ask("lint", str(author.folder / "worker"), code=3)["findings"]


def test_facts_in_json(author: Author) -> None:
    assert author.host_is("facts")["hostname"] == "node-1"
    author.ask("facts")


def test_values_in_json(author: Author) -> None:
    author.host_is("install", author.bundle("1", {"etc/a.j2": "{{ port }}"}, "[values]\nport = 1\n"))
    assert author.host_is("facts", "--values", "worker") == [
        {"name": "port", "value": 1, "set": True, "secret": False, "origin": ""}
    ]


@pytest.mark.real
def test_a_live_host_in_json(author: Author) -> None:
    require_real()
    author.bundle("1", UNIT)
    with lab.host("json") as host:
        shutil.copytree(author.folder / "out", host.path / "root/out")
        answers = {}
        for command in (
            ["plan", "oci:/root/out"],
            ["install", "oci:/root/out", "--confirm", "5m"],
            ["status"],
            ["confirm"],
            ["facts"],
            ["history"],
            ["remove", "worker"],
        ):
            answers[command[0]] = json.loads(host.ashore(*command, "--json").stdout)
            validator(command[0]).validate(answers[command[0]])
    assert answers["plan"]["units"]
    assert answers["status"]["provisional"]["within"] == 300 and answers["confirm"]["confirmed"]
    assert answers["status"]["units"]["w.service"]["load"] == "loaded"
