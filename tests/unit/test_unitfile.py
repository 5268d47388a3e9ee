# SPDX-License-Identifier: Apache-2.0
import pytest

from ashore.rules.units import unitfile


def test_reads_sections_keys_and_values_in_order() -> None:
    settings = unitfile.parse("[Unit]\nDescription = A b\n\n[Service]\nExecStart=/bin/a  \nType=simple\n")
    assert [(s.section, s.key, s.value, s.line) for s in settings] == [
        ("Unit", "Description", "A b", 2),
        ("Service", "ExecStart", "/bin/a", 5),
        ("Service", "Type", "simple", 6),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("ExecStart=/a \\\n  --b \\\n  --c", "/a  --b  --c", id="lines that go on"),
        pytest.param("ExecStart=/a \\\n# why\n; also\n  --b", "/a  --b", id="comments between them"),
        pytest.param("ExecStart=/a \\\\\nType=simple", "/a \\\\", id="an escaped backslash ends the line"),
        pytest.param("ExecStart=/a \\\n\n--b=1", "/a", id="an empty line ends it"),
        pytest.param("ExecStart=/a \\", "/a", id="the file ends in one"),
        pytest.param("  # x=y\n  ExecStart=/a", "/a", id="indented"),
        pytest.param("ExecStart=/a # no comment", "/a # no comment", id="comments begin lines only"),
        pytest.param("ExecStart=/a\r\nType=simple\r\n", "/a", id="line ends of DOS"),
        pytest.param("ExecStart=--x=a=b", "--x=a=b", id="further equals signs"),
        pytest.param("nonsense\nExecStart=/a", "/a", id="a line without an equals sign"),
        pytest.param("[Broken\nExecStart=/a", "/a", id="a broken section header"),
    ],
)
def test_syntax(text: str, value: str) -> None:
    assert unitfile.last(unitfile.parse("[Service]\n" + text), "Service", "ExecStart") == value


def test_assignments_outside_of_a_section_are_ignored() -> None:
    assert unitfile.parse("ExecStart=/a\n") == ()


def test_an_empty_assignment_resets_what_stands_before_it_also_across_drop_ins() -> None:
    settings = unitfile.merged(
        ["[Service]\nExecStart=/a\nExecStart=/b\n", "[Service]\nExecStart=\nExecStart=/c\n[Unit]\nExecStart=/no\n"]
    )
    assert unitfile.values(settings, "Service", "ExecStart") == ("/c",)


def test_names_are_split_and_each_named_once() -> None:
    settings = unitfile.parse("[Install]\nWantedBy=a.target b.target\nWantedBy=a.target c.target\n")
    assert unitfile.names(settings, "Install", "WantedBy") == ("a.target", "b.target", "c.target")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        ("  /a  b\tc ", ("/a", "b", "c")),
        ("\"a b\" 'c d'", ("a b", "c d")),
        ("--x=\"a b\" ''", ("--x=a b", "")),
        ("'it\"s' \"it's\"", ('it"s', "it's")),
        (r"a\sb \x41 \101 é", ("a b", "A", "A", "é")),
        (r"\\ \q", ("\\", "\\q")),
        ("'open", ("open",)),
        (r"\UFFFFFFFF", ("\\UFFFFFFFF",)),
        ("trailing\\", ("trailing\\",)),
    ],
)
def test_words_are_split_as_systemd_splits_them(value: str, expected: tuple[str, ...]) -> None:
    assert unitfile.words(value) == expected
