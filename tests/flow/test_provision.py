# SPDX-License-Identifier: Apache-2.0
"""User-data as a whole: who is asked for it, whether it is the same each time, and whether all formats say the same.

Butane is no package here, so its published rules stand in for it: docs/config-fcos-v1_4.md of the project, for what is
printed; and from them what Ignition configuration it would make.
"""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import jsonschema
import pytest

from tests.cli.shell import Shell
from tests.fakes.registry import FakeRegistry

yaml = pytest.importorskip("yaml")

IMAGE = "registry.example:5000/k8s/worker:1.0"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
FORMATS = ("unit", "cloud-config", "coreos-cloudinit", "ignition", "butane")
FILES = ("--values", "values.toml", "--registry-ca", "ca.pem")
MIRROR = ("--engine", "none", "--mirror", "mirror.example:5000", *FILES)


def _table(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_PATH = {"type": "string", "pattern": "^/"}
_FLAG = {"type": "boolean"}
_OCTAL = {"type": "string", "pattern": "^0[0-7]{3}$"}
BUTANE = _table(
    {
        "variant": {"const": "fcos"},
        "version": {"const": "1.4.0"},
        "storage": _table(
            {
                "files": {
                    "type": "array",
                    "items": _table(
                        {
                            "path": _PATH,
                            "overwrite": _FLAG,
                            # Setuid, setgid and sticky bits are not supported.
                            "mode": {"type": "integer", "minimum": 0, "maximum": 0o777},
                            # inline, source and local exclude each other.
                            "contents": _table({"inline": _TEXT}),
                        },
                        "path",
                        "contents",
                    ),
                }
            }
        ),
        "systemd": _table(
            {"units": {"type": "array", "items": _table({"name": _TEXT, "enabled": _FLAG, "contents": _TEXT}, "name")}}
        ),
    },
    "variant",
    "version",
)
# coreos-cloudinit's Documentation/cloud-config.md.
COREOS = _table(
    {
        "write_files": {
            "type": "array",
            "items": _table({"path": _PATH, "permissions": _OCTAL, "content": _TEXT}),
        },
        "coreos": _table(
            {
                "units": {
                    "type": "array",
                    "items": _table({"name": _TEXT, "enable": _FLAG, "command": {"enum": ["start"]}, "content": _TEXT}),
                }
            }
        ),
    },
    "coreos",
)  # fmt: skip


@pytest.fixture
def given(shell: Shell) -> Shell:
    """A folder with a values file and an authority."""
    (shell.folder / "values.toml").write_text('api_server = "https://10.0.0.1:6443"\ntoken = "ünï \\"q\\""\n')
    (shell.folder / "ca.pem").write_text(CERTIFICATE)
    return shell


def printed(shell: Shell, *arguments: str) -> str:
    ran = shell.ashore("provision", *arguments)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.out


def ignition_of(butane: Mapping[str, Any]) -> dict[str, Any]:
    """What Butane makes of it, by its specification; contents as they are."""
    files = [
        {"path": f["path"], "mode": f["mode"], "overwrite": f["overwrite"], "text": f["contents"]["inline"].encode()}
        for f in butane.get("storage", {}).get("files", [])
    ]
    return {"files": files, "units": butane["systemd"]["units"]}


def ignition(text: str) -> dict[str, Any]:
    """An Ignition configuration, with the contents of its data URLs (RFC 2397)."""
    import base64

    config = json.loads(text)
    assert config["ignition"] == {"version": "3.3.0"}
    files = []
    for file in config.get("storage", {}).get("files", []):
        head, _, data = file.pop("contents")["source"].partition(",")
        assert head.startswith("data:")
        files.append(file | {"text": base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)})
    return {"files": files, "units": config["systemd"]["units"]}


@pytest.mark.parametrize("options", [(), FILES, MIRROR], ids=["bare", "files", "mirror"])
def test_butane_is_by_its_rules_and_makes_the_ignition_configuration_that_is_printed(
    options: tuple[str, ...], given: Shell
) -> None:
    butane = yaml.safe_load(printed(given, "butane", *options, IMAGE))
    jsonschema.validate(butane, BUTANE)
    paths = [file["path"] for file in butane.get("storage", {}).get("files", [])]
    assert len(paths) == len(set(paths)), "every file must have a unique path"
    assert ignition_of(butane) == ignition(printed(given, "ignition", *options, IMAGE))


@pytest.mark.parametrize("options", [(), FILES, MIRROR], ids=["bare", "files", "mirror"])
def test_both_kinds_of_cloud_config_have_the_same_files_and_unit(options: tuple[str, ...], given: Shell) -> None:
    coreos = yaml.safe_load(printed(given, "coreos-cloudinit", *options, IMAGE))
    jsonschema.validate(coreos, COREOS)
    files = {f["path"]: (int(f["permissions"], 8), f["content"]) for f in coreos.get("write_files", [])}
    wanted = ignition(printed(given, "ignition", *options, IMAGE))
    assert files == {f["path"]: (f["mode"], f["text"].decode()) for f in wanted["files"]}
    (unit,) = coreos["coreos"]["units"]
    text = printed(given, "unit", *[o for o in options if o in ("--engine", "none")], IMAGE)
    assert (unit["name"], unit["content"]) == ("ashore-boot.service", text)
    cloud = yaml.safe_load(printed(given, "cloud-config", *options, IMAGE))
    written = {f["path"]: (int(f["permissions"], 8), f["content"]) for f in cloud["write_files"]}
    assert written == files | {"/etc/systemd/system/ashore-boot.service": (0o644, text)}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_arguments_give_the_same_bytes_and_nobody_is_asked(
    kind: str, given: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with FakeRegistry() as registry:
        image = f"{registry.host}/k8s/worker:1.0"
        options = FILES if kind != "unit" else ()
        first = printed(given, kind, *options, image)
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        monkeypatch.setenv("HOME", "/nowhere")
        assert printed(given, kind, *options, image) == first
        assert registry.seen == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_pinned_reference_is_what_the_tag_names_now(kind: str, given: Shell) -> None:
    with FakeRegistry() as registry:
        image = f"{registry.host}/k8s/worker:1.0"
        folder = given.bundle("worker", {"etc/x": "x"})
        digest = given.ashore("build", str(folder), "-t", image, "--push").out.strip().rpartition("@")[2]
        registry.seen.clear()
        text = printed(given, kind, "--pin", image)
        assert registry.seen, "the registry was asked"
        assert f"{image}@{digest}" in text
        assert f"{image} " not in text, "the tag alone is nowhere"
        registry.seen.clear()
        assert printed(given, kind, "--pin", f"{image}@{digest}") == text
        assert registry.seen == [], "it is pinned already"


def test_pinning_what_is_not_there_or_cannot_be_reached(given: Shell) -> None:
    with FakeRegistry() as registry:
        image = f"{registry.host}/k8s/worker:1.0"
        ran = given.ashore("provision", "unit", "--pin", image)
        assert (ran.code, ran.out) == (4, ""), ran
    ran = given.ashore("provision", "unit", "--pin", image)
    assert (ran.code, ran.out) == (4, ""), ran


def test_values_may_be_a_secret_and_are_for_root_alone(given: Shell) -> None:
    for kind in ("cloud-config", "coreos-cloudinit"):
        (values, *_) = yaml.safe_load(printed(given, kind, *FILES, IMAGE))["write_files"]
        assert values["permissions"] == "0600"
    (values, *_) = ignition(printed(given, "ignition", *FILES, IMAGE))["files"]
    assert values["mode"] == 0o600


def test_a_values_file_is_looked_at_before_a_machine_is(given: Shell, tmp_path: Path) -> None:
    (given.folder / "bad.toml").write_text("a = 1\nb = https://x\n")
    ran = given.ashore("provision", "ignition", "--values", "bad.toml", IMAGE)
    assert (ran.code, ran.out) == (3, ""), ran
    assert "bad.toml:2" in ran.err
