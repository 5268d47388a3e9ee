# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.errors import InputError, Issue
from ashore.nouns import toml
from ashore.nouns.bundle import BundleManifest, FileRule, Health, Include, ValueSpec, ValueType
from ashore.nouns.confirm import By, Confirm
from ashore.nouns.files import OnEdit
from ashore.rules.bundles.manifest import json_schema, parse_manifest, suspicions

CASES = Path(__file__).parents[1] / "cases" / "manifest"
DOCS = Path(__file__).parents[2] / "docs" / "reference"
_MARK = re.compile(r"# ERROR: (.*)$")

WHOLE = b"""
schema  = 1
name    = "kubernetes-worker"
version = "1.31.2"
[values]
public_ip  = "{{ facts.network.default.ipv4 }}"
api_server = { required = true, description = "https URL" }
token      = { required = true, secret = true }
limits     = { cpu = 1, default = 2 }
empty      = {}
[[include]]
image = "registry.k8s.io/kube-proxy:v1.31.2"
path  = "/usr/local/bin/kube-proxy"
to    = "opt/bin/kube-proxy"
[units]
enable = ["kubelet.service"]
[[files]]
path     = "/etc/ssh/sshd_config"
mode     = "0600"
owner    = 0
on_edit  = "merge"
adopt    = true
validate = ["/usr/sbin/sshd", "-t", "-f", "{path}"]
reload   = ["ssh.service"]
[templates]
shell = ["/etc/old/*.conf"]
[[health]]
unit   = "kubelet.service"
http   = "http://127.0.0.1:10248/healthz"
within = "1h30m"
settle = 10
[confirm]
by = "ssh-login"
"""


def test_a_whole_manifest() -> None:
    manifest = parse_manifest(WHOLE, "bundle.toml", "ignored")
    assert manifest == BundleManifest(
        name="kubernetes-worker",
        version="1.31.2",
        values={
            "public_ip": ValueSpec(default="{{ facts.network.default.ipv4 }}"),
            "api_server": ValueSpec(required=True, description="https URL"),
            "token": ValueSpec(required=True, secret=True),
            "limits": ValueSpec(default={"cpu": 1, "default": 2}),
            "empty": ValueSpec(default={}),
        },
        includes=(
            Include(
                image="registry.k8s.io/kube-proxy:v1.31.2", path="usr/local/bin/kube-proxy", to="opt/bin/kube-proxy"
            ),
        ),
        enable=("kubelet.service",),
        files=(
            FileRule(
                path="etc/ssh/sshd_config",
                mode=0o600,
                owner="0",
                on_edit=OnEdit.MERGE,
                adopt=True,
                validate=("/usr/sbin/sshd", "-t", "-f", "{path}"),
                reload=("ssh.service",),
            ),
        ),
        shell_templates=("etc/old/*.conf",),
        health=(Health(unit="kubelet.service", http="http://127.0.0.1:10248/healthz", within=5400.0, settle=10.0),),
        confirm=Confirm(within=300.0, by=By.SSH_LOGIN),
    )


def test_nothing_is_needed_but_a_name() -> None:
    assert parse_manifest(b"", "bundle.toml", "worker") == BundleManifest(name="worker")
    assert parse_manifest(b"[units]\nenable = []", "b", "worker").enable == ()
    assert parse_manifest(b'confirm = "1m"', "b", "worker").confirm == Confirm(within=60.0)


@pytest.mark.parametrize("default_name", ["", "Worker", "../x", "a b", "x" * 129])
def test_a_name_that_is_none(default_name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_manifest(b"version = 3", "bundle.toml", default_name)
    assert len(caught.value.issues) == 2, "and the other problem as well"
    assert any("name" in issue.message for issue in caught.value.issues)


@pytest.mark.parametrize(("text", "seconds"), [('"90s"', 90), ('"5m"', 300), ('"1h30m"', 5400), ("2.5", 2.5), ("0", 0)])
def test_times(text: str, seconds: float) -> None:
    manifest = parse_manifest(f'[[health]]\nunit = "a.service"\nwithin = {text}'.encode(), "b", "worker")
    assert manifest.health[0].within == seconds


@pytest.mark.parametrize("case", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_problem_with_its_line(case: Path) -> None:
    text = case.read_text()
    expected = [
        (number, part.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _MARK.search(line))
        for part in found[1].split(" | ")
    ]
    with pytest.raises(InputError) as caught:
        parse_manifest(text.encode(), "bundle.toml", "worker")
    issues = list(caught.value.issues)
    for number, part in expected:
        found_issue = next((i for i in issues if i.where == f"bundle.toml:{number}" and part in _told(i)), None)
        assert found_issue, f"line {number}: {part!r} is not among {issues}"
        issues.remove(found_issue)
    assert not issues, "and nothing else"


def _told(issue: Issue) -> str:
    return issue.message + (f" ({issue.remedy})" if issue.remedy else "")


def test_what_is_not_utf8_has_a_line() -> None:
    with pytest.raises(InputError) as caught:
        parse_manifest(b'name = "x"\n# \xff\n', "bundle.toml", "x")
    assert caught.value.issues[0].where == "bundle.toml:2"


def test_nesting_that_python_cannot_follow_is_an_input_error() -> None:
    with pytest.raises(InputError):
        parse_manifest(b"a = " + b"[" * 100_000, "bundle.toml", "x")


@given(st.text())
def test_any_text_is_a_manifest_or_an_input_error(text: str) -> None:
    try:
        parse_manifest(text.encode(errors="surrogatepass"), "bundle.toml", "x")
    except InputError as error:
        assert error.issues


_keys = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=4)
_scalars = st.one_of(st.integers(-5, 5), st.booleans(), st.text(max_size=6))
_trees = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3))


@given(st.dictionaries(_keys, _trees, max_size=5))
def test_every_key_of_a_document_has_its_line(tree: dict[str, object]) -> None:
    lines = [f"{_inline(key)} = {_inline(value)}" for key, value in tree.items()]
    document = toml.parse("\n".join(lines).encode(), "f")
    assert document.data == tree
    assert {key[0]: line for key, line in document.lines.items()} == {key: n for n, key in enumerate(tree, 1)}


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@pytest.mark.parametrize("deep", [101, 300, 480, 490, 5000])
def test_what_is_nested_too_deeply_is_an_input_error(deep: int) -> None:
    for data in (f"[values]\na = {'[' * deep}{']' * deep}\n", f"[values]\na = {'{ a = ' * deep}1{' }' * deep}\n"):
        with pytest.raises(InputError, match="nested"):
            parse_manifest(data.encode(), "bundle.toml", "b")
    parse_manifest(f"[values]\na = {'[' * 98}{']' * 98}\n".encode(), "bundle.toml", "b")


_COMMANDS = """
[[health]]
{health}
[[step]]
name = "s"
phase = "after"
command = {command}
reason = "{reason}"
[[files]]
path = "etc/a"
validate = {command}
"""


@pytest.mark.parametrize(
    ("health", "right"),
    [
        ('tcp = "127.0.0.1:99999"', False),
        ('tcp = "127.0.0.1:0"', False),
        ('tcp = "127.0.0.1:\u0661"', False),
        ('tcp = "127.0.0.1"', False),
        ('tcp = "[::1]:65535"', True),
        ('http = "http://127.0.0.1:0/"', False),
        ('http = "http://127.0.0.1:65536/"', False),
        ('http = "http://127.0.0.1/"', True),
        ('command = [""]', False),
        ('command = ["a", ""]', True),
    ],
)
def test_a_probe_asks_what_there_can_be(health: str, right: bool) -> None:
    data = f"[[health]]\n{health}\n".encode()
    if right:
        assert parse_manifest(data, "b", "worker").health
        return
    with pytest.raises(InputError) as caught:
        parse_manifest(data, "b", "worker")
    assert [issue.where for issue in caught.value.issues] == ["b:2"]


def test_a_command_names_its_program_and_a_step_has_a_reason() -> None:
    wrong = _COMMANDS.format(health="command = ['']", command="['', 'x']", reason="")
    with pytest.raises(InputError) as caught:
        parse_manifest(wrong.encode(), "b", "worker")
    assert [issue.where for issue in caught.value.issues] == ["b:3", "b:7", "b:8", "b:11"]
    right = _COMMANDS.format(health="command = ['x']", command="['x', '']", reason="r")
    parse_manifest(right.encode(), "b", "worker")
    validator = jsonschema.Draft202012Validator(json_schema())
    assert len(list(validator.iter_errors(toml.parse(wrong.encode(), "b").data))) == 4
    assert not list(validator.iter_errors(toml.parse(right.encode(), "b").data))


def test_probable_mistakes_are_told() -> None:
    data = b'[values]\na = { requird = true }\nb = { default = "x", secret = true }\nc = { x = 1 }\n'
    found = suspicions(data, "b")
    assert [issue.where for issue in found] == ["b:2", "b:3"]


def test_what_could_not_be_read_has_no_probable_mistakes() -> None:
    assert suspicions(b"values = 1\n", "b") == ()


def test_the_schema_admits_what_the_parser_admits() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(toml.parse(WHOLE, "b").data))
    for wrong in ({"nme": 1}, {"health": [{"within": "90 s"}]}, {"files": [{"mode": "9"}]}, {"units": {"enable": "x"}}):
        assert list(validator.iter_errors(wrong)), wrong


def test_the_published_schema_is_the_parsers() -> None:
    assert json.loads((DOCS / "bundle.schema.json").read_text()) == json_schema(), (
        "write it again: ashore lint --schema > docs/reference/bundle.schema.json"
    )


def test_a_table_of_a_type_alone_that_is_none_of_a_value_is_a_default() -> None:
    text = b'[values]\na = { type = "nfs" }\nb = { type = "interger" }\nc = { type = "list" }\nd = { choices = [1] }\n'
    values = parse_manifest(text, "b", "worker").values
    assert values["a"] == ValueSpec(default={"type": "nfs"})
    assert values["c"] == ValueSpec(type=ValueType.LIST)
    assert values["d"].choices == (1,)
    assert [str(issue) for issue in suspicions(text, "b")] == [
        "b:3: values.b is a plain table, for its type 'interger'; did you mean \"integer\"?"
    ]
