# SPDX-License-Identifier: Apache-2.0
"""[[health]] and [units] enable with templates in them: what comes of them, and what is said of wrong ones."""

import functools
import itertools

import pytest

from ashore.errors import InputError
from ashore.nouns.bundle import Health
from ashore.rules.bundles.declared import template_issues, undeclared
from ashore.rules.bundles.manifest import parse_manifest
from tests.unit.test_render import rendered

CLOCK = functools.partial(next, itertools.repeat(0.0))
VALUES = '[values]\nport = 8080\nopt = { required = true }\ntok = { secret = true }\nderived = "b {{ tok }}"\n'
WHOLE = """
[units]
enable = ["plain.service", "web@{{ facts.hostname }}.service"]
[[health]]
unit = "web@{{ port }}.service"
http = "http://127.0.0.1:{{ port }}/"
settle = 1
[[health]]
command = ["/opt/ask", "{% if opt %}{{ opt }}{% endif %}", ""]
within = "5s"
[[health]]
tcp = "localhost:1"
"""


def told(health: str, **sets: object) -> list[str]:
    """What a host says of an entry in line 6."""
    values = VALUES.replace("\nopt = { required = true }", "").replace("port = 8080", 'port = ""')
    with pytest.raises(InputError) as caught:
        rendered({}, f"{values}[[health]]\n{health}\n", sets=sets)
    return [str(issue) for issue in caught.value.issues]


def test_they_are_rendered_as_files_are_and_what_they_read_counts() -> None:
    done = rendered({}, VALUES + WHOLE, sets={"opt": "given"})
    assert done.enable == ("plain.service", "web@h1.service")
    assert done.health == (
        Health(unit="web@8080.service", http="http://127.0.0.1:8080/", settle=1.0),
        Health(command=("/opt/ask", "given", ""), within=5.0),
        Health(tcp="localhost:1"),
    )
    assert (done.facts_used, done.values_used) == (("hostname",), ("opt", "port"))
    assert not [note for note in done.notes if "opt" in note]


def test_what_is_no_template_stands_for_itself() -> None:
    done = rendered({}, '[units]\nenable = []\n[[health]]\ncommand = ["date", "+%s {port}"]\n')
    assert (done.enable, done.health[0].command) == ((), ("date", "+%s {port}"))
    assert rendered({}).enable is None


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ('http = "http://h:{{ port }}/"', "health[1].http: 'http://h:none/' is not an http or https URL"),
        ('tcp = "h:{{ port }}"', "health[1].tcp: 'h:none' is not HOST:PORT"),
        ('unit = "{{ port }}"', "health[1].unit: 'none' has no unit type"),
        ('unit = "a@{{ port }} b.service"', "health[1].unit: 'a@none b.service' is not a unit's name"),
        ("command = ['{{ \"\" }}', 'x']", "health[1].command[1] is empty"),
        ('http = "{{ prot }}"', "prot is not a value of this bundle or host"),
        ('http = "{{ facts.nope }}"', "facts.nope is unknown on this host"),
        ('command = ["docker", "{{.State}}"]', "unexpected '.' (where the braces are meant for the command itself"),
        ("http = '{{ \"http://x/\\udc80\" }}'", "makes a text that is not UTF-8"),
    ],
)
def test_what_comes_of_them_is_checked_and_told_with_its_line(health: str, said: str) -> None:
    (issue,) = told(health, port="none")
    assert issue.startswith(f"bundle.toml:6: {said}")


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ('http = "http://h:{{ port }}/"', "health[1].http: 'http://h:{{ x/' is not an http or https URL"),
        ('tcp = "h:{{ port }}"', "health[1].tcp: 'h:{{ x' is not HOST:PORT"),
        ('unit = "a@{{ port }}.service"', "health[1].unit: 'a@{{ x.service' is not a unit's name"),
        ("unit = '{% raw %}{{ a }}{% endraw %}.service'", "health[1].unit: '{{ a }}.service' is not a unit's name"),
    ],
)
def test_braces_that_come_of_them_are_no_template_again(health: str, said: str) -> None:
    (issue,) = told(health, port="{{ x")
    assert issue.startswith(f"bundle.toml:6: {said}")


@pytest.mark.parametrize("text", ["http://h/{{ tok }}", "http://h/{{ derived }}", "{{ tok.nope }}", "{{ 1 + tok }}"])
def test_secret_values_are_refused_and_not_shown(text: str) -> None:
    (issue,) = told(f'http = "{text}"', tok="hunter2")
    assert issue.startswith("bundle.toml:6: reads the secret value tok")
    assert "hunter2" not in issue


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('http = "http://{{ facts.hostnam }}/"', 'facts.hostnam is not a fact; did you mean "hostname"?'),
        ('http = "http://{{ port "', "unexpected end of template, expected 'end of print statement'."),
        ('http = "http://h:{{ name }}/"', "health[1].http: 'http://h:a/' is not an http or https URL"),
        ('tcp = "h:{{ port + name }}"', "unsupported operand type(s) for +: 'int' and 'str'"),
        ('unit = "{{ name }}"', "health[1].unit: 'a' has no unit type"),
        ('http = "http://{{ facts.hostname }}{{ tok }}/"', "reads the secret value tok"),
        ('http = "http://{{ values.tok }}/"', "reads the secret value tok"),
    ],
)
def test_without_a_host_they_are_checked_with_the_defaults(text: str, said: str) -> None:
    manifest = parse_manifest(f"{VALUES}name = 'a'\n[[health]]\n{text}\n".encode(), "b", "worker")
    (issue,) = template_issues(manifest, "x/bundle.toml", CLOCK)
    assert issue.where == "x/bundle.toml:8"
    assert issue.message.startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        'unit = "{{ opt }}"',
        'unit = "{{ facts.hostname }}"',
        'http = "{{ url }}"',
        'tcp = "h:{% if opt is defined %}{{ opt }}{% endif %}"',
        'http = "http://h:{{ port }}/"',
        "command = ['docker', '{% raw %}{{.State}}{% endraw %}']",
    ],
)
def test_what_only_a_host_can_tell_is_left_to_it(text: str) -> None:
    values = VALUES + 'url = "{{ facts.hostname }}"\n'
    assert not template_issues(parse_manifest(f"{values}[[health]]\n{text}\n".encode(), "b", "worker"), "b", CLOCK)


def test_what_is_not_declared_is_the_hosts_to_give_and_may_be_misspelled() -> None:
    text = f"{VALUES}[[health]]\nhttp = 'http://h:{{{{ prot }}}}/'\n"
    manifest = parse_manifest(text.encode(), "b", "worker")
    assert not template_issues(manifest, "b", CLOCK)
    (issue,) = undeclared(manifest, "b")
    assert issue.where == "b:7" and issue.message == 'prot is not a value of this bundle; did you mean "port"?'
    assert "every host has to give it" in issue.remedy


def test_units_to_enable_are_checked_as_well() -> None:
    text = f'{VALUES}[units]\nenable = [\n"{{{{ opt }}}}",\n"{{{{ port }}}}",\n]\n'
    (issue,) = template_issues(parse_manifest(text.encode(), "b", "worker"), "b", CLOCK)
    assert str(issue) == "b:9: units.enable[2]: '8080' has no unit type (write \"8080.service\")"


@pytest.mark.parametrize(("gpu", "units"), [("true", ("a.service", "gpu.service")), ("false", ("a.service",))])
def test_a_unit_for_some_hosts_only_is_enabled_there(gpu: str, units: tuple[str, ...]) -> None:
    enable = 'enable = ["a.service", "{% if gpu %}gpu.service{% endif %}"]'
    text = f"[values]\ngpu = {gpu}\n[units]\n{enable}\n"
    assert not template_issues(parse_manifest(text.encode(), "b", "worker"), "b", CLOCK)
    assert rendered({}, text).enable == units


def test_where_no_value_is_declared_the_host_may_have_any() -> None:
    manifest = parse_manifest(b'[[health]]\nhttp = "http://h:{{ port }}/"\n', "b", "worker")
    assert not template_issues(manifest, "b", CLOCK)
