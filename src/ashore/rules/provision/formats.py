# SPDX-License-Identifier: Apache-2.0
"""The same material as each provider takes it. Deterministic: the same material gives the same bytes.

Sources: cloud-init's modules write_files and runcmd; coreos-cloudinit's cloud-config; the Ignition specification
3.3.0; Butane's variant fcos, version 1.4.0, which makes Ignition 3.3.0.
"""

import base64
import json
from collections.abc import Iterable
from typing import Final

from ashore.rules.provision.hostunits import BOOT_UNIT
from ashore.rules.provision.material import Given, Material

_UNIT_PATH: Final = f"/etc/systemd/system/{BOOT_UNIT}"


def cloud_config(made: Material) -> str:
    """User-data for cloud-init."""
    files = (*made.files, Given(path=_UNIT_PATH, text=made.unit))
    lines = ["#cloud-config", "write_files:"]
    for file in files:
        lines += [
            f"  - path: {_scalar(file.path)}",
            f'    permissions: "{file.mode:04o}"',
            *_text("content", file.text, 4),
        ]
    lines += [
        "runcmd:",
        "  - [systemctl, daemon-reload]",
        f"  - [systemctl, enable, {BOOT_UNIT}]",
        f"  - [systemctl, start, --no-block, {BOOT_UNIT}]",
    ]
    return "\n".join(lines) + "\n"


def coreos_cloudinit(made: Material) -> str:
    """User-data for coreos-cloudinit, which Flatcar still takes."""
    lines = ["#cloud-config"]
    if made.files:
        lines.append("write_files:")
    for file in made.files:
        lines += [
            f"  - path: {_scalar(file.path)}",
            f'    permissions: "{file.mode:04o}"',
            *_text("content", file.text, 4),
        ]
    lines += ["coreos:", "  units:", f"    - name: {BOOT_UNIT}", "      enable: true", "      command: start"]
    lines += _text("content", made.unit, 6)
    return "\n".join(lines) + "\n"


def ignition(made: Material) -> str:
    """An Ignition configuration of specification 3.3.0."""
    config: dict[str, object] = {"ignition": {"version": "3.3.0"}}
    if made.files:
        config["storage"] = {"files": [_ignition_file(file) for file in made.files]}
    config["systemd"] = {"units": [{"name": BOOT_UNIT, "enabled": True, "contents": made.unit}]}
    return json.dumps(config, indent=2) + "\n"


def butane(made: Material) -> str:
    """A Butane configuration, for people to go on from."""
    lines = ["variant: fcos", "version: 1.4.0"]
    if made.files:
        lines += ["storage:", "  files:"]
    for file in made.files:
        lines += [f"    - path: {_scalar(file.path)}", f"      mode: 0{file.mode:o}", "      overwrite: true"]
        lines += ["      contents:", *_text("inline", file.text, 8)]
    lines += [
        "systemd:",
        "  units:",
        f"    - name: {BOOT_UNIT}",
        "      enabled: true",
        *_text("contents", made.unit, 6),
    ]
    return "\n".join(lines) + "\n"


def _ignition_file(file: Given) -> dict[str, object]:
    source = "data:;base64," + base64.b64encode(file.text.encode()).decode()
    return {"path": file.path, "mode": file.mode, "overwrite": True, "contents": {"source": source}}


def _text(key: str, text: str, indent: int) -> Iterable[str]:
    """A YAML entry: a literal block where that keeps every byte, else a quoted scalar."""
    space = " " * indent
    plain = text.endswith("\n") and not text.endswith("\n\n") and not text.startswith((" ", "\n"))
    if not plain or not all(char.isprintable() or char == "\n" for char in text):
        return [f"{space}{key}: {_scalar(text)}"]
    body = [f"{space}  {line}" if line else "" for line in text[:-1].split("\n")]
    return [f"{space}{key}: |", *body]


def _scalar(text: str) -> str:
    """A double-quoted YAML scalar (YAML 1.2, 5.7): JSON's, but that characters beyond 16 bits are one escape."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char.isprintable() and char not in '"\\':
        return char
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else json.dumps(char)[1:-1]
