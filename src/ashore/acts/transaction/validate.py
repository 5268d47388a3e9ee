# SPDX-License-Identifier: Apache-2.0
"""The host's own programs must accept what is new: staged files before the swap, whole trees before units react."""

import os

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, ContentRefusedError, Issue
from ashore.mechanisms.stage.staging import Staging
from ashore.nouns.files import shown
from ashore.nouns.journal import Staged
from ashore.nouns.plan import Check, Plan, When
from ashore.nouns.units import UNIT_FOLDERS
from ashore.rules.checks import PLACE, bad_units, changed_contents, missing_programs
from ashore.rules.units.enablement import unit_of

_SECONDS = 30.0
_HIDDEN = "what it said of a file with a secret value is not shown"
_MERGED = "it is this host's edit with the new version: edit it so that both fit, or let on_edit be keep"


def validate_staged(tools: Tools, staging: Staging, staged: Staged, plan: Plan) -> None:
    """Ask every program that can look at a file before it is placed.

    Raises:
        ContentRefusedError: all that was refused.
    """
    checks = [check for check in plan.checks if check.when is When.STAGED]
    if not checks:
        return
    places = {
        s.step.path: os.path.join(tools.host.root, staging.areas[s.area].path, s.name) for s in staged.steps if s.inode
    }
    issues: list[Issue] = []
    for check in checks:
        issues += _verify(tools, check, places, plan) if check.units else _ask_about(tools, check, places, plan)
    if issues:
        raise ContentRefusedError("a validator refused the new content; nothing was changed", issues=issues)


def validate_placed(tools: Tools, plan: Plan) -> None:
    """Ask those that look at the host as it is: all is in place, and no unit has read it yet.

    Raises:
        ContentRefusedError: all that was refused; the caller puts everything back.
    """
    issues: list[Issue] = []
    for check in plan.checks:
        if check.when is When.PLACED:
            issues += _ask(tools, check, os.path.join(tools.host.root, check.paths[0]), plan)
    if issues:
        raise ContentRefusedError("a validator refused the new content; everything is as it was", issues=issues)


def _ask_about(tools: Tools, check: Check, places: dict[str, str], plan: Plan) -> list[Issue]:
    """Under its own name: some programs go by it."""
    import tempfile

    (path,) = check.paths
    with tempfile.TemporaryDirectory(prefix="ashore-") as folder:
        named = os.path.join(folder, os.path.basename(path))
        os.symlink(places[path], named)
        return _ask(tools, check, named, plan)


def _ask(tools: Tools, check: Check, named: str, plan: Plan) -> list[Issue]:
    assert tools.programs is not None
    try:
        tools.programs.run([word.replace(PLACE, named) for word in check.command], seconds=_SECONDS)
    except AshoreError as error:
        merged = {step.path for step in plan.steps if step.merged}
        secret = not _secret(plan).isdisjoint(check.paths)
        said = (f"{error.message}: {_HIDDEN}" if secret else str(error)).replace(named, shown(check.paths[0]))
        return [Issue(where=shown(p), message=said, remedy=_MERGED if p in merged else "") for p in check.paths]
    return []


def _secret(plan: Plan) -> set[str]:
    """The files with a secret value: a program may quote a line of what it refuses."""
    return {step.path for step in plan.steps if step.secret}


def _verify(tools: Tools, check: Check, places: dict[str, str], plan: Plan) -> list[Issue]:
    """Shipped units, in a tree where their neighbours are the new ones as well."""
    units = {unit: path for path in reversed(check.paths) if (unit := unit_of(path))}
    issues: list[Issue] = []
    secret = _secret(plan)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ashore-") as folder:
        for path in check.paths:
            copy = os.path.join(folder, path)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with open(places[path], "rb") as staged, open(copy, "wb") as file:
                file.write(staged.read())
        for unit, path in sorted(units.items()):
            said = _verified(tools, check, folder, unit, path)
            folders = [f"{folder}/{f}" for f in UNIT_FOLDERS]
            bad = bad_units(said, {unit: path}, folders)
            issues += [Issue(where=shown(p), message=_HIDDEN if p in secret else m) for p, m in bad.items()]
            for line in missing_programs(said, changed_contents(plan.steps)):
                tools.progress.say(line)
    return issues


def _verified(tools: Tools, check: Check, folder: str, unit: str, path: str) -> str:
    """What the verifier says of a unit; what is wrong with other units, or with itself, is no fault of this one."""
    assert tools.programs is not None
    file = _unit_file(tools, folder, unit, path)
    here = tools.host.root.rstrip("/")
    search = ":".join([*(f"{top}/{f}" for f in UNIT_FOLDERS for top in (folder, here)), f"{here}/run/systemd/system"])
    if not file:
        return ""
    try:
        argv = [*check.command, "--man=no", file]
        return tools.programs.run(argv, seconds=_SECONDS, env={"SYSTEMD_UNIT_PATH": search})
    except AshoreError as error:
        if not error.cause:
            tools.progress.say(f"{unit} was not verified: {error}")
        return error.cause


def _unit_file(tools: Tools, folder: str, unit: str, path: str) -> str:
    """The file of a unit that is verified: its own, or for a drop-in the one on the host; empty if there is none."""
    own = path if path.endswith(f"/{unit}") else ""
    places = [own] if own else [f"{f}/{unit}" for f in UNIT_FOLDERS]
    for place in places:
        for top in (folder, tools.host.root):
            if os.path.isfile(os.path.join(top, place)):
                return os.path.join(top, place)
    return ""
