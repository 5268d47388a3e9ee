# SPDX-License-Identifier: Apache-2.0
import pytest

from ashore.errors import InputError, UsageError
from ashore.nouns import toml
from ashore.nouns.toml import Document
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.typed import toml_text
from ashore.rules.bundles.values import Deferred, Values, merge_values, parse_set


def said(where: str, text: str) -> Document:
    """A file of values.d."""
    return toml.parse(text.encode(), where, values="")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a=1", "a", 1),
        ("a=true", "a", True),
        ("a=[1, 2]", "a", [1, 2]),
        ('a={ b = "c" }', "a", {"b": "c"}),
        ('a="1"', "a", "1"),
        ("a=plain text", "a", "plain text"),
        ("a=https://x:1/?q=1", "a", "https://x:1/?q=1"),
        ("a=", "a", ""),
        ("a.b.c=1", "a.b.c", 1),
        ("a=10.0.0.1", "a", "10.0.0.1"),
        ("a=2024-01-01", "a", "2024-01-01"),
        ("a=[2024-01-01]", "a", ["2024-01-01"]),
        ("a=18446744073709551615", "a", 18446744073709551615),
        ("a=18446744073709551616", "a", "18446744073709551616"),
        ("a=[18446744073709551616]", "a", "[18446744073709551616]"),
        ("a=nan", "a", "nan"),
        ("a=[1.5, inf]", "a", "[1.5, inf]"),
        ("a={ b = [-nan] }", "a", "{ b = [-nan] }"),
        ("a=[1.5]", "a", [1.5]),
        ("a=1\nb=2", "a", "1\nb=2"),
        ("a=0644", "a", "0644"),
    ],
)
def test_a_set_is_toml_or_text(text: str, key: str, value: object) -> None:
    assert parse_set(text) == (key, value)


@pytest.mark.parametrize("text", ["", "a", "=1", "a..b=1", ".a=1"])
def test_no_set(text: str) -> None:
    with pytest.raises(UsageError):
        parse_set(text)


def test_later_ones_win_and_tables_are_merged() -> None:
    manifest = parse_manifest(b'[values]\na = 1\nt = { x = 1, y = 1, z = "{{ a }}" }\nl = [1]\n', "b", "worker")
    host = [said("10.toml", "t.y = 2\nl = [2, 3]"), said("20.toml", "a = 2\nextra = true")]
    values = merge_values(manifest, host, {"t.x": 3})
    assert values.tree == {"a": 2, "t": {"x": 3, "y": 2, "z": Deferred("{{ a }}")}, "l": [2, 3], "extra": True}


def test_only_the_bundles_own_defaults_are_templates() -> None:
    manifest = parse_manifest(b'[values]\na = "{{ facts.hostname }}"\nb = "{{ a }}"\n', "b", "worker")
    values = merge_values(manifest, [said("x", "a = '{{ evil }}'")], {"b": "{% evil %}"})
    assert values.tree == {"a": "{{ evil }}", "b": "{% evil %}"}


def test_all_missing_values_are_named_with_what_they_are() -> None:
    manifest = parse_manifest(
        b'[values]\napi = { required = true, description = "https URL" }\n'
        b"tok = { required = true, secret = true }\nopt = {}\n",
        "b",
        "kubernetes-worker",
    )
    with pytest.raises(InputError) as caught:
        merge_values(manifest)
    told = [str(issue) for issue in caught.value.issues]
    assert len(told) == 2
    assert "kubernetes-worker" in told[0] and "api" in told[0] and "https URL" in told[0] and "--set" in told[0]
    assert merge_values(manifest, [], {"api": "x", "tok": "y"}).secrets == {"tok"}


def test_a_set_that_the_bundle_does_not_declare_is_told_with_the_nearest() -> None:
    manifest = parse_manifest(b"[values]\napi_server = 1\n", "b", "worker")
    stray = merge_values(manifest, [said("x", "of_another_bundle = 1")], {"api_sever": 1}).stray
    assert stray == {"api_sever": '; did you mean "api_server"?'}


TYPED = """[values]
debug = false
port = 8080
ratio = 0.5
name = "x"
mirrors = []
limits = { cpu = 1, memory = "1G", host = "{{ facts.hostname }}" }
made = "{{ facts.memory }}"
free = { default = 1, type = "any" }
count = { type = "integer" }
must = { type = "list", required = true }
level = { default = "info", choices = ["debug", "info"] }
tok = { secret = true, choices = ["a", "b"] }
"""


def typed(*given: Document, **sets: object) -> Values:
    return merge_values(parse_manifest(TYPED.encode(), "b", "worker"), given, {"must": [], **sets})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("debug=true", True),
        ('debug="true"', True),
        ("port=1", 1),
        ('port="1"', 1),
        ("ratio=2", 2),
        ('ratio="1e3"', 1000.0),
        ("name=80", "80"),
        ("name=true", "true"),
        ("name=1.2.3", "1.2.3"),
        ("mirrors=['a.example']", ["a.example"]),
        ("mirrors='[1]'", [1]),
        ("limits='{ cpu = 2 }'", {"cpu": 2, "memory": "1G", "host": Deferred("{{ facts.hostname }}")}),
        ("made=4", 4),
        ("free=x", "x"),
        ("count='4'", 4),
        ("level=debug", "debug"),
        ("tok=a", "a"),
    ],
)
def test_a_set_is_read_as_the_type_that_the_value_has(text: str, value: object) -> None:
    key, given = parse_set(text)
    tree = typed(**{key: given}).tree
    assert tree[key] == value
    assert type(tree[key]) is type(value)


CHOICES = """[values]
scale = { type = "float", choices = [1, 2.5] }
on = { type = "any", choices = [1, "x"] }
pair = { default = { a = 1 }, choices = [{ a = 1 }, { a = 2 }] }
"""


@pytest.mark.parametrize("sets", [{"scale": 1.0}, {"scale": 1}, {"scale": 2.5}, {"on": 1}, {"pair.a": 2}])
def test_what_is_equal_to_a_choice_is_one(sets: dict[str, object]) -> None:
    merge_values(parse_manifest(CHOICES.encode(), "b", "worker"), (), sets)


@pytest.mark.parametrize("sets", [{"scale": 2}, {"on": True}, {"pair.a": 3}, {"pair.b": 1}, {"pair": {"b": 1}}])
def test_what_is_none_of_the_choices_is_refused(sets: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        merge_values(parse_manifest(CHOICES.encode(), "b", "worker"), (), sets)
    (issue,) = caught.value.issues
    assert issue.where == f"--set {next(iter(sets))}"
    assert "must be" in issue.message


def test_a_key_of_a_table_has_the_type_that_the_default_has_there() -> None:
    limits = typed(**{"limits.cpu": "2", "limits.memory": 4, "limits.more": [1], "limits.host": 1}).tree["limits"]
    assert limits == {"cpu": 2, "memory": "4", "more": [1], "host": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("debug=maybe", "--set debug: debug must be true or false, not a string (write --set debug=true)"),
        ("debug=1", "--set debug: debug must be true or false, not an integer (write --set debug=true)"),
        ("port=true", "--set port: port must be an integer, not a boolean (write --set port=8080)"),
        ("port=1.5", "--set port: port must be an integer, not a float (write --set port=8080)"),
        ("port=", "--set port: port must be an integer, not a string (write --set port=8080)"),
        ("ratio=half", "--set ratio: ratio must be a float, not a string (write --set ratio=0.5)"),
        ("name=1.10", "--set name: name must be a string, not a float (write --set 'name=\"...\"')"),
        ("mirrors=a.example", "--set mirrors: mirrors must be a list, not a string (write --set 'mirrors=[\"...\"]')"),
        ("limits=4", "--set limits: limits must be a table, not an integer (write --set 'limits={ key = \"...\" }')"),
        ("limits.cpu=x", "--set limits.cpu: limits.cpu must be an integer, not a string (write --set limits.cpu=8080)"),
        ("count=x", "--set count: count must be an integer, not a string (write --set count=8080)"),
        ("level=all", '--set level: level must be "debug" or "info", not "all"'),
        ("level=1", '--set level: level must be "debug" or "info", not "1"'),
        ("tok=hunter2", '--set tok: tok must be "a" or "b"'),
    ],
)
def test_another_type_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        typed(**dict([parse_set(text)]))
    assert [str(issue) for issue in caught.value.issues] == [said]


def test_all_that_does_not_fit_is_told_at_once_with_where_it_was_said() -> None:
    with pytest.raises(InputError) as caught:
        typed(
            said("10.toml", "port = 'x'\nname = 'overridden'\ndebug = 1\nother_bundle = 1\n"),
            said("20.toml", "\n[limits]\ncpu = 'y'\nmemory = 1\n"),
            debug=True,
            mirrors=1,
            must="z",
        )
    assert [issue.where for issue in caught.value.issues] == [
        "20.toml:3",
        "20.toml:4",
        "--set mirrors",
        "--set must",
        "10.toml:1",
    ]


def test_who_has_a_value_bundle_is_told_how_it_is_written() -> None:
    manifest = parse_manifest(b"[values]\nbundle = { a = { x = 1 } }\n", "b", "worker")
    with pytest.raises(InputError, match=r"10.toml:2: the table bundle holds values of single bundles"):
        merge_values(manifest, [said("10.toml", "\n[bundle.a]\nx = 2\n")])
    mine = said("10.toml", "[bundle.worker.bundle.a]\nx = 3\n[bundle.other]\ny = 1\n")
    assert merge_values(manifest, [mine]).tree == {"bundle": {"a": {"x": 3}}}
    assert merge_values(manifest, [said("10.toml", "[bundle.other]\n")], {"bundle.a.x": 4}).tree == {
        "bundle": {"a": {"x": 4}}
    }


def test_a_value_bundle_that_is_no_table_is_one_as_any_other() -> None:
    manifest = parse_manifest(b"[values]\nbundle = 'x'\n", "b", "worker")
    assert merge_values(manifest, [said("10.toml", "bundle = 'y'\n")]).tree == {"bundle": "y"}
    assert merge_values(manifest, [said("10.toml", "[bundle.a]\nx = 2\n")]).tree == {"bundle": "x"}


def test_what_stands_in_the_table_of_bundles_itself_is_told_to_the_bundle_that_has_a_value_of_that_name() -> None:
    manifest = parse_manifest(b"[values]\nport = 1\n", "b", "worker")
    with pytest.raises(InputError) as caught:
        merge_values(manifest, [said("10.toml", "[bundle]\nport = 2\n")])
    assert [issue.where for issue in caught.value.issues] == ["10.toml:2"]
    assert merge_values(manifest, [said("10.toml", "[bundle]\ncolor = 2\n")]).tree == {"port": 1}, "another's, perhaps"


@pytest.mark.parametrize("text", ["[bundle]\n\nworker = 3\n", "x = 1\n\nbundle.worker = []\n"])
def test_what_stands_in_the_place_of_a_bundles_values_and_is_no_table_is_told_to_that_bundle(text: str) -> None:
    manifest = parse_manifest(b"[values]\nport = 1\n", "b", "worker")
    with pytest.raises(InputError) as caught:
        merge_values(manifest, [said("10.toml", text)])
    assert [issue.where for issue in caught.value.issues] == ["10.toml:3"]
    other = parse_manifest(b"[values]\nport = 1\n", "b", "other")
    assert merge_values(other, [said("10.toml", text)]).tree["port"] == 1


def test_a_value_bundle_in_the_table_of_bundles_is_told_to_the_bundle_that_has_one() -> None:
    for declared in ("bundle = 1\n", "bundle = {}\n"):
        manifest = parse_manifest(f"[values]\n{declared}".encode(), "b", "worker")
        with pytest.raises(InputError) as caught:
            merge_values(manifest, [said("10.toml", "[bundle]\nbundle = 3\n")])
        assert "[bundle.NAME]" in caught.value.issues[0].message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true"),
        (4, "4"),
        ("x", '"x"'),
        (["1.1.1.1", 2, [False]], '["1.1.1.1", 2, [false]]'),
        ({"a": ["x"], "b": {}}, '{ a = ["x"], b = {} }'),
    ],
)
def test_a_value_is_told_as_toml_writes_it(value: object, said: str) -> None:
    assert toml_text(value) == said
