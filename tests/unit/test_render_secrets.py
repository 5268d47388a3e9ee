# SPDX-License-Identifier: Apache-2.0
"""Values that are secrets: files that hold one are closed, and no message or record tells of it."""

import pytest

from ashore.errors import InputError
from tests.unit.test_render import problems, rendered

SECRET = '[values]\ntok = { secret = true }\nderived = "Bearer {{ tok }}"\nplain = "p"\n'


def test_files_with_a_secret_value_are_closed_and_marked() -> None:
    files = {"a.j2": "{{ tok }}", "b.j2": "{{ derived }}", "c.j2": "{{ plain }}", "d.j2": "{{ values | length }}"}
    done = rendered(files, SECRET, sets={"tok": "hunter2"})
    marked = {path: (item.secret, item.entry.mode) for path, item in done.wanted.items()}
    assert marked["a"] == marked["b"] == (True, 0o600), "also one that is derived from a secret value"
    assert marked["c"] == (False, 0o644)


def test_a_mode_that_opens_a_secret_file_is_kept_and_told() -> None:
    done = rendered({"a.j2": "{{ tok }}"}, SECRET + '[[files]]\npath = "a"\nmode = "0640"\n', sets={"tok": "hunter2"})
    assert done.wanted["a"].entry.mode == 0o640
    assert any("others may read it" in note for note in done.notes)


@pytest.mark.parametrize(
    "template",
    [
        "{{ tok + 1 }}",
        "{{ tok | int(none) + 1 }}",
        "{{ {}[tok] }}",
        "{{ facts[tok] }}",
        "{{ values[tok] }}",
        "{{ tok.hunter2x }}",
        "{{ [][tok] }}",
        "{{ tok | attr(tok) }}",
        "{{ range(tok) }}",
        "{{ derived.nope() }}",
        "{{ '%d' % tok }}",
    ],
)
def test_no_message_holds_a_secret(template: str) -> None:
    with pytest.raises(InputError) as caught:
        rendered({"x.j2": template}, SECRET, sets={"tok": "hunter2"})
    said = str(caught.value.issues).replace("hunter2x", "")  # which one of the templates spells
    assert "hunter2" not in said and "Bearer" not in said
    assert caught.value.issues[0].where == "x.j2:1"


PART = "[values]\ntok = { secret = true }\nhashes = { alice = 'x', other = 'y' }\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ hashes[tok.split(':')[1]] }}",
        "{{ hashes[tok.split(':')[1] | upper] }}",
        "{{ values[tok.split(':')[1]] }}",
        "{{ facts.network.interfaces[tok.split(':')[1]].ipv4 }}",
        "{{ {}[tok.split(':')[1]] }}",
        "{{ '' | attr(tok.split(':')[1]) }}",
        "{{ '' | attr('_' ~ tok.split(':')[1]) }}",
        "{{ ['a'] | map(tok.split(':')[1]) | list }}",
        "{{ [{}] | map(attribute=tok.split(':')[1]) | join }}",
        "{{ ['a'] | select(tok.split(':')[1]) | list }}",
        "{% set name = tok.split(':')[1] %}{{ '{x.%s}' % name }}{{ ('{x.%s}' % name).format(x=1) }}",
    ],
)
def test_no_message_holds_a_part_of_a_secret(template: str) -> None:
    with pytest.raises(InputError) as caught:
        rendered({"x.j2": template}, PART, sets={"tok": "alice:hunter2"})
    assert "hunter2" not in str(caught.value.issues).lower()
    assert caught.value.issues[0].where == "x.j2:1"


def test_a_message_names_what_a_template_that_reads_secrets_spells() -> None:
    toml = PART + "t = { z = 1 }\n"
    assert "nope is not a value" in problems({"x.j2": "{{ tok }}{{ nope }}"}, toml, tok="x")[0]
    assert (
        "values.t.y is not set and has no default (set are: z)"
        in problems({"x.j2": "{{ tok }}{{ t.y }}"}, toml, tok="x")[0]
    )
    told = problems({"x.j2": "{{ tok }}{{ facts.network.interfaces['eth0.200'] }}"}, toml, tok="x")[0]
    assert 'facts.network.interfaces."eth0.200" is unknown on this host (it has: eth0, eth0.100)' in told
    assert "No filter named 'nope'" in problems({"x.j2": "{{ tok | nope }}"}, toml, tok="x")[0]
    shell = '[templates]\nshell = ["x"]\n'
    assert "$NOPE: values.NOPE is not set" in problems({"x": "$TOK $NOPE"}, toml + shell, tok="x")[0]
    table = problems({"x.j2": "{{ tok.bob }}"}, toml, tok={"hunter2": 1})[0]
    assert "values.tok.bob is not set" in table and "hunter2" not in table, "names below a secret are secret as well"


def test_a_name_that_was_computed_of_a_secret_is_not_recorded() -> None:
    files = {
        "a.j2": "{% set user = tok.split(':')[0] %}{{ hashes[user] }}{{ values[user] | default('-') }}",
        "b.j2": "{{ tok }}{{ facts.network.interfaces[tok].ipv4 | default('-') }}{{ facts.cloud.x | default('-') }}",
    }
    done = rendered(files, PART, sets={"tok": "alice:hunter2"})
    assert done.values_used == (".", "hashes", "tok")
    assert done.facts_used == ("cloud", "network.interfaces")
    plain = rendered({"a.j2": "{{ facts.network.interfaces['eth' ~ 7] | default('-') }}"})
    assert plain.facts_used == ("network.interfaces.eth7",), "others are, as exactly as can be"
