# SPDX-License-Identifier: Apache-2.0
"""Steps and conflicts: cases as files, and what holds for every host, record and wish."""

import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind, OnEdit, Seen, Stat, Wanted, ancestors, format_mode
from ashore.nouns.generation import EMPTY, FileRecord, Generation, Verb
from ashore.nouns.plan import Action, Step
from ashore.rules.files.decide import View
from ashore.rules.files.folders import listed
from ashore.rules.files.plan import FilePlan, combine, plan_files

CASES = sorted((Path(__file__).parents[1] / "cases" / "plan").glob("*.toml"))
_TEXTS: dict[str, str] = {}


def entry(text: str, link: str = "") -> Entry:
    """``"one"``, ``"one 0600"``, ``"-> target"``, ``"dir"``, ``"dir 0700"``."""
    if text.startswith("-> "):
        return Entry(kind=Kind.SYMLINK, mode=0o777, target=text[3:])
    content, _, mode = text.rpartition(" ")
    if not (mode.isdecimal() and len(mode) == 4):
        content, mode = text, "0755" if text == "dir" else "0644"
    if content == "dir":
        return Entry(kind=Kind.DIR, mode=int(mode, 8))
    digest = of(content.encode())
    _TEXTS[digest] = content
    return Entry(kind=Kind.FILE, mode=int(mode, 8), size=len(content), digest=digest, link=link)


def shown(found: Entry | None) -> str:
    assert found is not None
    return f"{_TEXTS.get(found.digest, found.target or found.kind)} {format_mode(found.mode)}"


def table(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each path's settings, with the entry itself under ``is``."""
    rows = {path: row if isinstance(row, dict) else {"is": row} for path, row in data.items()}
    return {path: row | {"is": entry(row["is"], row.get("link", ""))} for path, row in rows.items()}


def wanted(data: Mapping[str, Any]) -> list[Wanted]:
    return [
        Wanted(
            path=path,
            entry=row["is"],
            bundle=row.get("bundle", "app"),
            adopt=row.get("adopt", False),
            on_edit=OnEdit(row.get("on_edit", "keep")),
        )
        for path, row in table(data).items()
    ]


def records(data: Mapping[str, Any]) -> dict[str, FileRecord]:
    return {
        path: FileRecord(
            bundle=row.get("bundle", "app"),
            entry=row["is"],
            deleted=row.get("deleted", False),
            original=entry(row["original"]) if "original" in row else None,
        )
        for path, row in table(data).items()
    }


def seen(host: Mapping[str, Entry]) -> dict[str, Seen]:
    return {path: Seen(entry=found, stat=Stat(1, n, found.size, 0, 0)) for n, (path, found) in enumerate(host.items())}


def view(
    host: Mapping[str, Entry],
    generation: Generation,
    desired: Mapping[str, Wanted],
    owners: Mapping[str, str] | None = None,
    *,
    adopt_all: bool = False,
) -> View:
    """What `acts.plan.planning` would have looked at."""
    folders = listed(generation.files, desired)
    names = {f: frozenset(p.rpartition("/")[2] for p in host if p.rpartition("/")[0] == f) for f in folders}
    return View(seen=seen(host), listings=names, owners=owners or {}, adopt_all=adopt_all)


def generation_of(files: Mapping[str, FileRecord]) -> Generation:
    return Generation(number=1, transaction="t", time="", verb=Verb.INSTALL, files=files)


def told(step: Step, host: Mapping[str, Entry]) -> str:
    line = f"{step.action} {step.path}"
    if step.old is not None and step.new is not None and step.note.startswith("its own mode"):
        line += f" as {shown(step.new)}"
    return line + (" (edit)" if step.edited else "")


def told_record(path: str, record: FileRecord) -> str:
    line = path
    line += f", placed {shown(record.base)}" if record.base else ""
    line += f", was {shown(record.original)}" if record.original else ""
    if record.found is not None and record.base is None and not record.found.same_content(record.entry):
        return line
    line += f", put {shown(record.put)}" if record.put else ""
    line += f", found {shown(record.found)}" if record.found and record.base is None else ""
    return line + (", deleted" if record.deleted else "")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case(path: Path) -> None:
    case = tomllib.loads(path.read_text())
    expect = case["expect"]
    host = {p: row["is"] for p, row in table(case.get("host", {})).items()}
    desired, shared = combine([*wanted(case.get("wanted", {})), *wanted(case.get("other", {}))])
    generation = generation_of(records(case.get("record", {})))
    found = plan_files(desired, generation, view(host, generation, desired, case.get("owners")))
    conflicts = sorted({f"{c.path}: {c.owner}" for c in (*shared, *found.conflicts)})
    assert conflicts == expect.get("conflicts", []), case["about"]
    assert [f"{k.path} {k.verdict}{', pending' if k.pending else ''}" for k in found.kept] == expect.get("kept", [])
    assert list(found.notes) == expect.get("notes", [])
    if not conflicts:
        assert [told(step, host) for step in found.steps] == expect.get("steps", [])
        assert sorted(told_record(p, r) for p, r in found.records.items()) == expect.get("records", [])
    assert all(c.remedy and c.message for c in found.conflicts)


# What holds always. A host is a consistent tree of a few names; a wish is another one.

_NAMES = ("a", "b", "c")
_PATHS = ["/".join(p) for n in (1, 2, 3) for p in itertools.product(_NAMES, repeat=n)]
_CONTENTS = st.sampled_from(["one", "two", "one 0600", "-> b", "dir", "dir 0700"])


def consistent(tree: Mapping[str, str], *, with_folders: bool) -> dict[str, Entry]:
    """`tree` without what would lie below a file; `with_folders`: with the folders above, as on a host."""
    kept: dict[str, Entry] = {}
    for path in sorted(tree):
        if all(kept.get(above, entry("dir")).kind is Kind.DIR for above in ancestors(path)):
            if with_folders:
                for above in ancestors(path):
                    kept.setdefault(above, entry("dir"))
            kept.setdefault(path, entry(tree[path]))
    return kept


trees = st.dictionaries(st.sampled_from(_PATHS), _CONTENTS, max_size=5)


def applied(host: Mapping[str, Entry], plan: FilePlan) -> dict[str, Entry]:
    """The host after the steps; each must be possible where it stands."""
    after = dict(host)
    for step in plan.steps:
        there = after.get(step.path)
        below = [p for p in after if p.startswith(f"{step.path}/")]
        folders = all(p in after and after[p].kind is Kind.DIR for p in ancestors(step.path))
        assert folders, f"{step.action} {step.path}: a folder above is missing"
        match step.action:
            case Action.CREATE | Action.MKDIR:
                assert there is None, f"{step.path} is taken"
            case Action.REPLACE:
                assert there is not None and there.kind is not Kind.DIR
            case Action.CHANGE_DIR:
                assert there is not None and there.kind is Kind.DIR
            case Action.REMOVE | Action.RMDIR:
                assert there is not None and not below, f"{step.path} cannot go"
        assert there == step.old or (there is None and step.old is None) or there.same(step.old)  # type: ignore[union-attr]
        if step.new is None:
            del after[step.path]
        else:
            after[step.path] = step.new
    return after


def plan(
    host: Mapping[str, Entry], generation: Generation, wish: Mapping[str, Entry], *, adopt_all: bool = True
) -> FilePlan:
    desired, _ = combine(Wanted(path=p, entry=e, bundle="app") for p, e in wish.items())
    return plan_files(desired, generation, view(host, generation, desired, adopt_all=adopt_all))


def same_tree(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> bool:
    return one.keys() == other.keys() and all(one[p].same(other[p]) for p in one)


@settings(deadline=None)
@given(host=trees, first=trees, second=trees)
def test_what_was_there_comes_back_whatever_was_installed(
    host: dict[str, str], first: dict[str, str], second: dict[str, str]
) -> None:
    before = now = consistent(host, with_folders=True)
    generation = EMPTY
    for wish in (first, second, first):
        wanted_tree = consistent(wish, with_folders=False)
        found = plan(now, generation, wanted_tree)
        if found.conflicts:
            return
        now, generation = applied(now, found), generation_of(found.records)
        for path, e in wanted_tree.items():
            assert path in now and now[path].kind is e.kind
            assert e.kind is Kind.DIR or now[path].same(e)
        again = plan(now, generation, wanted_tree)
        assert again.steps == () and again.conflicts == (), "the same again is nothing to do"
        assert again.records.keys() == generation.files.keys()
    gone = plan(now, generation, {})
    assert not gone.conflicts
    assert same_tree(applied(now, gone), before)
    assert gone.records == {}


@settings(deadline=None)
@given(host=trees, first=trees, gone=st.sampled_from(_PATHS), second=trees)
def test_every_plan_can_be_carried_out_whatever_somebody_took_away(
    host: dict[str, str], first: dict[str, str], gone: str, second: dict[str, str]
) -> None:
    now, generation = consistent(host, with_folders=True), EMPTY
    for wish in (first, second, {}):
        found = plan(now, generation, consistent(wish, with_folders=False))
        if found.conflicts:
            return
        generation = generation_of(found.records)
        now = {p: e for p, e in applied(now, found).items() if p != gone and not p.startswith(f"{gone}/")}


@settings(deadline=None)
@given(host=trees, first=trees, edits=trees, second=trees)
def test_no_edit_is_ever_lost_without_being_said(
    host: dict[str, str], first: dict[str, str], edits: dict[str, str], second: dict[str, str]
) -> None:
    before = consistent(host, with_folders=True)
    found = plan(before, EMPTY, consistent(first, with_folders=False))
    if found.conflicts:
        return
    now, generation = applied(before, found), generation_of(found.records)
    mine = {
        p: entry(text + " mine" if text in ("one", "two") else "mine")
        for p, text in edits.items()
        if p in now and now[p].kind is not Kind.DIR
    }
    edited = {**now, **mine}
    found = plan(edited, generation, consistent(second, with_folders=False))
    if found.conflicts:
        return
    after = applied(edited, found)
    moved_aside = {step.path for step in found.steps if step.edited}
    for path, e in mine.items():
        ours = path in generation.files
        adopted_again = found.records[path].original if path in found.records else None
        kept = path in after and after[path].same(e)
        assert kept or path in moved_aside or (adopted_again is not None and adopted_again.same(e)), (path, ours)


@settings(deadline=None)
@given(host=trees, wish=trees)
def test_without_adopt_nothing_of_the_hosts_is_touched(host: dict[str, str], wish: dict[str, str]) -> None:
    before = consistent(host, with_folders=True)
    found = plan(before, EMPTY, consistent(wish, with_folders=False), adopt_all=False)
    if not found.conflicts:
        after = applied(before, found)
        assert all(after[path] == e for path, e in before.items())
    else:
        assert all(conflict.path in before for conflict in found.conflicts)
