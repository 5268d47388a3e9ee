# SPDX-License-Identifier: Apache-2.0
"""The layers hold: who may import whom, who may start programs, print, or exit."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "ashore"
MODULES = sorted(SOURCE.rglob("*.py"))

# A layer -> the layers it may import. `errors` is open to all; heavy libraries are nobody's business here.
ALLOWED = {
    "nouns": {"nouns"},
    "rules": {"nouns", "rules"},
    "mechanisms": {"nouns", "mechanisms"},
    "acts": {"nouns", "rules", "mechanisms", "acts"},
    "cli": {"nouns", "rules", "acts", "cli"},
}
# The folders of acts: each may import those before it, and the modules beside them.
ACTS = ("fetch", "author", "plan", "transaction", "ask", "change", "boot")
# The command line puts the real mechanisms together in one place.
WIRING = {"cli/wiring.py", "cli/service.py", "cli/hand_over.py"}
# The standard library's doors to the outside: rules and nouns have none.
IMPURE = {"os", "io", "socket", "subprocess", "shutil", "tempfile", "pathlib", "time", "threading", "http", "urllib"}


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def identify(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", [m for m in MODULES if layer(m) in ALLOWED], ids=identify)
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    allowed = ALLOWED[layer(path)] | ({"mechanisms"} if identify(path) in WIRING else set())
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "ashore" and len(parts) > 2:
            assert parts[1] in allowed | {"errors"}, f"{identify(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", [m for m in MODULES if layer(m) == "acts"], ids=identify)
def test_an_act_imports_only_folders_that_come_before_its_own(path: Path) -> None:
    folder = path.relative_to(SOURCE / "acts").parts[0]
    later = tuple(f"ashore.acts.{other}." for other in (ACTS[ACTS.index(folder) + 1 :] if folder in ACTS else ACTS))
    for line, name in imports(path):
        assert not name.startswith(later), f"{identify(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", [m for m in MODULES if layer(m) in ("nouns", "rules")], ids=identify)
def test_rules_and_nouns_do_no_input_or_output(path: Path) -> None:
    for line, name in imports(path):
        assert name.split(".")[0] not in IMPURE or name in PURE_PARTS.get(identify(path), ()), (
            f"{identify(path)}:{line} imports {name}"
        )


# A clock that is passed in has a default.
PURE_PARTS: dict[str, tuple[str, ...]] = {
    "rules/bundles/render.py": ("time",),
    "rules/bundles/templates.py": ("time",),
    "rules/bundles/healthshape.py": ("urllib.parse", "urllib.parse.urlsplit"),
}


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_only_the_command_line_prints_or_exits_and_only_one_door_starts_programs(path: Path) -> None:
    text = path.read_text()
    here = identify(path)
    for line, name in imports(path):
        assert name.split(".")[0] != "subprocess" or here == "mechanisms/process.py", f"{here}:{line}"
        assert name.split(".")[0] != "tarfile", f"{here}:{line}"
    if layer(path) != "cli" and here != "__main__.py":
        assert "sys.exit" not in text
        assert "print(" not in text.replace("fingerprint(", "")


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    nameless = {"utils", "helpers", "common", "misc", "manager", "util"}
    assert not [identify(m) for m in MODULES if m.stem in nameless]


def test_no_module_is_too_long_to_be_told_in_a_sentence() -> None:
    lengths = {identify(m): len(m.read_text().splitlines()) for m in MODULES}
    assert not {name: n for name, n in lengths.items() if n > 500}


def test_every_module_says_what_it_is() -> None:
    without = [
        identify(m) for m in MODULES if not ast.get_docstring(ast.parse(m.read_text())) and m.name != "__init__.py"
    ]
    assert not without


def test_every_source_file_names_its_licence() -> None:
    without = [identify(m) for m in MODULES if not m.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")]
    assert not without
