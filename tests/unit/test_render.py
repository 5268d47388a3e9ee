# SPDX-License-Identifier: Apache-2.0
import functools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.errors import InputError
from ashore.nouns import digest
from ashore.nouns.bundle import Bundle
from ashore.nouns.facts import Address, Facts, Interface, Network
from ashore.nouns.files import Entry, Kind, OnEdit
from ashore.nouns.limits import Limits
from ashore.nouns.owners import Owners
from ashore.rules.bundles import sandbox
from ashore.rules.bundles.inputs import fingerprint
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.reads import dotted, undotted
from ashore.rules.bundles.render import Rendered, render
from ashore.rules.bundles.values import merge_values

ETH0 = Interface(name="eth0", ipv4="10.0.0.5", addresses_ipv4=(Address(address="10.0.0.5", prefix=24),))
VLAN = Interface(name="eth0.100", up=True, ipv4="10.1.0.5")
FACTS = Facts(
    hostname="h1",
    memory=8 << 30,
    os={"id": "debian"},
    network=Network(interfaces={"eth0": ETH0, "eth0.100": VLAN}, default=ETH0),
)
OWNERS = Owners(users={"root": 0, "app": 990}, groups={"root": 0, "app": 991})


def rendered(
    files: Mapping[str, str | Entry],
    toml: str = "",
    *,
    sets: Mapping[str, object] | None = None,
    facts: Facts = FACTS,
    limits: Limits | None = None,
) -> Rendered:
    entries: dict[str, Entry] = {}
    texts = {}
    for path, content in files.items():
        if isinstance(content, Entry):
            entries[path] = content
            continue
        data = content.encode()
        entries[path] = Entry(kind=Kind.FILE, mode=0o644, size=len(data), digest=digest.of(data))
        texts[entries[path].digest] = data
    manifest = parse_manifest(toml.encode(), "bundle.toml", "worker")
    bundle = Bundle(manifest=manifest, entries=entries, texts=texts, source="sha256:x")
    values = merge_values(manifest, (), sets)
    return render(bundle, facts, values, OWNERS, limits=limits or Limits(template_seconds=60), clock=_ticks())


def _ticks() -> "_Clock":
    return _Clock()


class _Clock:
    """A clock that goes a millisecond forward whenever it is looked at: limits hold on any machine alike."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def text(files: Mapping[str, str], path: str, toml: str = "", **sets: object) -> str:
    done = rendered(files, toml, sets=sets)
    return done.contents[done.wanted[path].entry.digest].decode()


def one(template: str, toml: str = "", **sets: object) -> str:
    return text({"x.j2": template}, "x", toml, **sets)


def problems(files: Mapping[str, str | Entry], toml: str = "", **sets: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        rendered(files, toml, sets=sets)
    return [str(issue) for issue in caught.value.issues]


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("ip={{ facts.network.default.ipv4 }}\n", "ip=10.0.0.5\n"),
        ("{{ facts['network'].interfaces['eth0.100'].ipv4 }}", "10.1.0.5"),
        ("{% for n in facts.network.interfaces %}{{ n }} {% endfor %}", "eth0 eth0.100 "),
        ("{% for n, i in facts.network.interfaces.items() %}{{ i.up }} {% endfor %}", "false true "),
        ("{{ facts.network.default.addresses_ipv4[0].prefix }}", "24"),
        ("{{ facts.cloud.region | default('none') }}", "none"),
        ("{{ facts.cloud is defined }}", "false"),
        ("{{ facts.os | tojson }}", '{"id": "debian"}'),
        ("{{ facts.memory // 1024 }} {{ '{:,}'.format(facts.memory) }}", "8388608 8,589,934,592"),
        ("{{ values.a }} {{ a }} {{ values['a'] }}", "1 1 1"),
        ("{{ t.x }} {{ values.t.y }}", "deep h1"),
        ("{{ a ~ true }} {{ yes }}", "1true true"),
        ("<&>{{ '<&>' | tojson }}", '<&>"<&>"'),
        ("{% set n = namespace(c=0) %}{% for i in range(3) if i %}{% set n.c = n.c + i %}{% endfor %}{{ n.c }}", "3"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(a) }}", "[1]"),
        ("no newline", "no newline"),
        ("newline\n\n", "newline\n\n"),
        ("{{ [3, 1] | sort | join(',') }}", "1,3"),
        ("{{ 30000 | tojson }} {{ facts.memory | tojson }}", "30000 8589934592"),
        ("{{ 30000 | round }} {{ -30000 | round(2) }} {{ [30000] | map('round') | list }}", "30000 -30000 [30000]"),
        ("{{ 30000 | center(7) }}", " 30000 "),
    ],
)
def test_what_templates_can_say(template: str, result: str) -> None:
    assert one(template, '[values]\na = 1\nyes = true\nt = { x = "deep", y = "{{ facts.hostname }}" }') == result


@pytest.mark.parametrize(
    "template",
    [
        "{% for s in servers %}{{ s.ip }}{% endfor %}",
        "{{ servers }}",
        "{% for name, x in values.items() %}{{ x }}{% endfor %}",
        "{% for x in t.values() %}{{ x }}{% endfor %}",
        "{{ t.get('ip') }}",
        "{{ t.items() | list }}",
        "{{ t.values() | join(',') }}",
        "{{ t }}",
    ],
)
def test_a_default_that_cannot_be_rendered_is_an_error_however_it_is_read(template: str) -> None:
    toml = '[values]\nservers = [{ ip = "{{ facts.kernel }}" }]\nt = { ip = "{{ facts.kernel }}" }\n'
    (told,) = problems({"x.j2": template}, toml)
    assert told.startswith("x.j2:1: ") and "facts.kernel is unknown on this host" in told, told


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ users | map(attribute='nmae') | list }}", "'dict object' has no attribute 'nmae'"),
        ("{{ [values.nope] }}", "values.nope is not set"),
        ("{{ {'host': values.nope} }}", "values.nope is not set"),
        ("{{ ([facts.os.nope], 1) ~ '' }}", "facts.os.nope is unknown"),
        ("{{ '%s' % [nope] }}", "nope is not a value"),
        ("{{ [nope] | tojson }}", "nope is not a value"),
        ("{{ [nope] | pprint }}", "nope is not a value"),
    ],
)
def test_an_unknown_name_in_a_list_or_table_is_an_error(template: str, said: str) -> None:
    (told,) = problems({"x.j2": template}, '[values]\nusers = [{ name = "a" }]\n')
    assert told.startswith("x.j2:1: ") and said in told, told


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ xs | map('upper') }}", "add | list"),
        ("{{ [xs | map('upper')] }}", "add | list"),
        ("{{ xs | reverse | upper }}", "add | list"),
        ("{{ '%s' | format(xs | reverse) }}", "add | list"),
        ("{{ '%s' % (xs | reverse) }}", "add | list"),
        ("{{ '{}'.format(xs | reverse) }}", "add | list"),
        ("{{ 'x' ~ (xs | reverse) }}", "add | list"),
        ("{{ xs | reverse | string }}", "add | list"),
        ("{{ facts.hostname.upper }}", "call it"),
        ("{{ {'x': facts.hostname.upper} }}", "call it"),
        ("{{ [[facts.hostname.upper]] | join }}", "call it"),
        ("{{ joiner }}", "call it"),
        ("{{ cycler(1) }}", "a Cycler has no text"),
    ],
)
def test_what_has_no_text_is_an_error_and_no_address_in_memory(template: str, said: str) -> None:
    (told,) = problems({"x.j2": template}, "[values]\nxs = ['a', 'b']\n")
    assert told.startswith("x.j2:1: ") and said in told, told


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{{ yes }} {{ yes | string }} {{ [yes, false] | join(' ') }} {{ '' ~ yes }}", "true true true false true"),
        ("{{ [{'a': yes}, {'a': 1}] | join('-', attribute='a') }}", "true-1"),
        ("{{ range(3) | map('string') | join }} {{ 'ab' | join('/') }} {{ [] | join(',') }}", "012 a/b "),
        ("{{ [yes] | tojson }} {{ [yes] }} {{ '%s' % yes }}", "[true] [True] True"),
    ],
)
def test_truth_is_written_as_toml_has_it(template: str, result: str) -> None:
    assert one(template, "[values]\nyes = true\n") == result


_WORDS = (
    "and or not in is if else for elif endif set macro block call filter recursive with without context ignore missing "
    "True none self super caller varargs kwargs loop range dict cycler joiner namespace lipsum facts values l_x class _"
)


@pytest.mark.parametrize("word", _WORDS.split())
def test_a_value_has_its_name_in_every_template_or_cannot_be_called_so(word: str) -> None:
    toml = f'[values]\n{word} = "V"\n'
    try:
        parse_manifest(toml.encode(), "bundle.toml", "worker")
    except InputError as error:
        assert "templates have that word already" in str(error)
        return
    template = (
        "{{ W }}{% macro m(a) %}{{ W }}{% endmacro %}{{ m(1) }}{% for i in [W] if W %}{{ W ~ i }}{% endfor %}"
        "{% block b %}{{ 1 if not W else W }}{% endblock %}{% if W == 'V' and W %}{{ W | lower }}{% endif %}"
    )
    assert one(template.replace("W", word), toml) == "VVVVVv"


def test_a_table_in_a_list_is_shown_as_what_it_holds() -> None:
    assert (
        one("{{ t.items() | list }}", '[values]\nt = { x = { y = "{{ facts.hostname }}" } }') == "[('x', {'y': 'h1'})]"
    )


def test_defaults_are_rendered_once_and_in_any_order() -> None:
    toml = '[values]\na = "{{ b }}/{{ values.c }}"\nb = "{{ c }}"\nc = "{{ facts.hostname }}"'
    assert one("{{ a }}", toml) == "h1/h1"
    assert one("{{ a }}", toml, c="{{ facts.memory }}") == "{{ facts.memory }}/{{ facts.memory }}"


def test_all_failures_with_file_line_and_name() -> None:
    files = {
        "etc/a.j2": "\n\n{{ facts.network.interfaces.eth1 }}",
        "etc/b.j2": "{{ nope }}",
        "etc/c.j2": "{% if %}",
        "etc/d.j2": "\n{% include 'etc/passwd' %}",
        "etc/e.j2": "{{ v }}",
        "etc/f.j2": "{{ 1 / 0 }}",
        "etc/g.j2": "{{ w }}",
        "etc/h.sh": "ok $A\n$NOPE",
    }
    toml = '[templates]\nshell = ["etc/*.sh"]\n[values]\na = 1\nv = "{{ facts.kernel }}"\nw = "{{ values.w }}"\n'
    told = problems(files, toml)
    for expected in (
        "etc/a.j2:3: facts.network.interfaces.eth1 is unknown on this host (it has: eth0, eth0.100)",
        "etc/b.j2:1: nope is not a value",
        "etc/c.j2:1: Expected an expression",
        "etc/d.j2:2: {% include %} is not possible",
        "etc/e.j2:1: values.v: facts.kernel is unknown on this host",
        "etc/f.j2:1: division by zero",
        "needs itself (w -> w)",
        "etc/h.sh:2: $NOPE: values.NOPE is not set",
    ):
        assert any(expected in line for line in told), (expected, told)
    assert len(told) == 8


HOSTILE = {
    "multiply": "{{ 'a' * 10**10 }}",
    "multiply a list": "{{ [1] * 10**10 }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "numbers that grow": "{% set n = namespace(x=7) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "silent loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "silent conditions": "{% for i in range(99999) %}{% for j in range(99999) if 0 %}{% endfor %}{% endfor %}",
    "long range": "{% for i in range(10**12) %}x{% endfor %}",
    "doubling": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling sum": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling block": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "much output": "{% for i in range(99999) %}" + "x" * 100 + "{% endfor %}",
    "wide percent": "{{ '%1000000000d' % 1 }}",
    "wide percent argument": "{{ '%*d' % (1000000000, 1) }}",
    "wide format": "{{ '{:1000000000}'.format(1) }}",
    "wide format argument": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "wide filter": "{{ 'x' | center(1000000000) }}",
    "wide method": "{{ 'x'.ljust(1000000000) }}",
    "wide format filter": "{{ '%99999999d' | format(1) }}",
    "replace": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "replace filter": "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
    "join": "{{ ('a' * 99999).join(range(99999) | map('string') | list) }}",
    "join filter": "{{ range(99999) | map('string') | join('a' * 99999) }}",
    "indent": "{{ ('\\n' * 99999) | indent(9999) }}",
    "indent by a text": "{{ ('a\\n' * 9999) | indent('x' * 9999) }}",
    "wide tojson": "{{ [1, 2] | tojson(150000000) }}",
    "far round": "{{ 1 | round(30000000, 'ceil') }}",
    "far round below": "{{ 1 | round(-30000000, 'ceil') }}",
    "translate": "{{ ('a' * 500).translate({97: 'b' * 99999}) | length }}",
    "bytes at all": "{{ 'a'.encode() | length }}",
    "round a little far": "{{ 1 | round(20000) }}",
    "tojson a little wide": "{{ [1] | tojson(20000) | length }}",
    "texts of one text": "{% set a = ['x' * 99999] * 99 %}{{ a | tojson | length }}",
    "translate by filter": "{{ (('a' * 500) | attr('translate'))({97: 'b' * 99999}) | length }}",
    "bytes": "{{ ('a' * 99999).encode().replace('a'.encode(), ('b' * 999).encode()) | length }}",
    "bytes of a number": "{{ (1).to_bytes(1000000000, 'big') | length }}",
    "a list of one list": "{% set a = [0] * 99999 %}{% set b = [a] * 400 %}{{ b | string | length }}",
    "a list of one list in capitals": "{% set a = [0] * 99999 %}{% set b = [a] * 400 %}{{ b | upper | length }}",
    "lists of one text": "{% set a = ['x' * 1000] * 99999 %}{{ a | pprint | length }}",
    "doubling lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macro that branches": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    "deep expression": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "class by filter": "{{ '' | attr('__class__') }}",
    "class by format": "{{ '{0.__class__}'.format(1) }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "view": "{{ facts.__class__ }}",
    "view's own": "{{ values.scope }}",
    "mutation": "{% set l = [1] %}{{ l.append(2) }}",
    "another template": "{% extends 'x' %}",
    "not the same twice": "{{ [1, 2] | random }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_what_templates_cannot_do(template: str) -> None:
    with pytest.raises(InputError) as caught:
        rendered({"x.j2": template}, limits=Limits(template_seconds=5))
    assert len(caught.value.issues) == 1
    assert caught.value.issues[0].where.startswith("x.j2")


def test_what_tells_of_a_long_list_does_not_go_through_all_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[object] = []
    monkeypatch.setattr(sandbox, "amount", lambda value, _fits, **_: walked.append(value))
    asked = "hosts | default([]) | selectattr('name') | map(attribute='name') | reverse | list | first"
    hosts = [{"name": f"h{number}"} for number in range(3)]
    assert one(f"{{{{ hosts | length }}}} {{{{ {asked} }}}}", hosts=hosts) == "3 h2"
    assert walked == [3]


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("$PUBLIC_IP ${PUBLIC_IP} ${public_ip}", "10.0.0.5 10.0.0.5 10.0.0.5"),
        ("$(id) `id` $1 $? ${x:-y} ${#x} $ $$ {{ public_ip }}", "$(id) `id` $1 $? ${x:-y} ${#x} $ $$ {{ public_ip }}"),
        ("kill $$MAINPID \\$MAINPID \\${MAINPID}", "kill $$MAINPID $MAINPID ${MAINPID}"),
        ("$on ${n}th", "true 3th"),
        ("\\n stays", "\\n stays"),
    ],
)
def test_shell_templates_expand_names_and_nothing_else(template: str, result: str) -> None:
    toml = '[templates]\nshell = ["x"]\n[values]\npublic_ip = "{{ facts.network.default.ipv4 }}"\non = true\nn = 3'
    assert text({"x": template}, "x", toml) == result


def test_a_value_in_a_shell_template_is_not_expanded_again() -> None:
    assert text({"x": "$a"}, "x", '[templates]\nshell = ["x"]', a="$b $(id)") == "$b $(id)"


def test_what_was_read_is_recorded_and_hashed() -> None:
    files = {"x.j2": "{{ public_ip }}{{ facts.network.interfaces['eth0.100'].ipv4 }}{{ facts.cloud is defined }}"}
    toml = '[values]\npublic_ip = "{{ facts.network.default.ipv4 }}"\nunused = 1'
    done = rendered(files, toml)
    assert done.facts_used == ("cloud", "network.default.ipv4", 'network.interfaces."eth0.100".ipv4')
    assert done.values_used == ("public_ip",)
    inputs = functools.partial(fingerprint, facts_used=done.facts_used, host_values=(), sets={}, salt=b"")
    assert inputs(_renamed()) == inputs(FACTS)
    others = [inputs(FACTS, salt=b"x"), inputs(FACTS, sets={"public_ip": "1"}), inputs(_cloudy())]
    assert inputs(FACTS) not in others


def _renamed() -> Facts:
    return Facts(hostname="other", network=FACTS.network)


def _cloudy() -> Facts:
    return Facts(hostname="h1", network=FACTS.network, cloud={})


def test_rules_reach_the_wanted_files() -> None:
    toml = """
[[files]]
path = "etc/*"
owner = "app"
group = "1234"
on_edit = "merge"
restart = ["a.service"]
[[files]]
path = "etc/x"
mode = "0600"
adopt = true
validate = ["check", "{path}"]
"""
    done = rendered({"etc": Entry(kind=Kind.DIR, mode=0o755), "etc/x.j2": "a", "etc/y": "b"}, toml)
    x, y, folder = done.wanted["etc/x"], done.wanted["etc/y"], done.wanted["etc"]
    assert (x.entry.uid, x.entry.gid, x.entry.mode, x.on_edit, x.adopt) == (990, 1234, 0o600, OnEdit.MERGE, True)
    assert (x.validate, x.restart, x.bundle) == (("check", "{path}"), ("a.service",), "worker")
    assert (y.entry.uid, y.entry.mode, y.adopt) == (990, 0o644, False)
    assert (folder.entry.uid, folder.entry.mode) == (0, 0o755)
    assert set(done.contents) == {x.entry.digest}, "only what was rendered is here"


def test_owners_that_the_host_lacks_are_named_all() -> None:
    told = problems({"x": "a"}, '[[files]]\npath = "x"\nowner = "nobody-here"\ngroup = "nor-here"')
    assert "the user nobody-here does not exist" in told[0]
    assert "the group nor-here does not exist" in told[1]


def test_setuid_and_capabilities_are_told() -> None:
    entry = Entry(kind=Kind.FILE, mode=0o4755, xattrs={"security.capability": b"x"})
    notes = rendered({"opt/x": entry}).notes
    assert any("/opt/x is setuid (4755)" in note for note in notes)
    assert any("file capabilities" in note for note in notes)


def test_hard_links_hold_only_while_both_names_are_the_same() -> None:
    first = Entry(kind=Kind.FILE, mode=0o644, digest=digest.of(b"x"))
    second = Entry(kind=Kind.FILE, mode=0o644, digest=digest.of(b"x"), link="a")
    assert rendered({"a": first, "b": second}).wanted["b"].entry.link == "a"
    apart = rendered({"a": first, "b": second}, '[[files]]\npath = "b"\nmode = "0600"')
    assert apart.wanted["b"].entry.link == ""


def test_a_template_that_is_not_utf8_has_its_line() -> None:
    data = b"a\n\xff"
    entry = Entry(kind=Kind.FILE, mode=0o644, size=3, digest=digest.of(data))
    bundle = Bundle(
        manifest=parse_manifest(b"", "b", "worker"), entries={"x.j2": entry}, texts={entry.digest: data}, source="x"
    )
    with pytest.raises(InputError) as caught:
        render(bundle, FACTS, merge_values(bundle.manifest), OWNERS)
    assert caught.value.issues[0].where == "x.j2:2"


@pytest.mark.parametrize("shell", [False, True])
def test_half_of_a_surrogate_pair_is_an_input_error(shell: bool) -> None:
    toml = "[values]\nhalf = \"{{ '\\\\ud800' }}\"\n" + ('[templates]\nshell = ["x"]\n' if shell else "")
    (told,) = problems({"x": "$half"} if shell else {"x.j2": "{{ half }}"}, toml)
    assert told.startswith("x") and "surrogate" in told
    assert rendered({"x.j2": "{{ '\\udcff' }}"}).wanted["x"].entry.size == 1, "a byte of the host's stays one"


def test_a_set_that_nothing_reads_is_told() -> None:
    notes = rendered({"x.j2": "{{ a }}"}, "[values]\nport = 1\n", sets={"a": 1, "prot": 2}).notes
    assert notes == ('the bundle worker neither declares nor reads a value prot; did you mean "port"?',)


@pytest.mark.parametrize("path", [("a",), ("network", "interfaces", "eth0.100", "ipv4"), ("a b", "c"), ()])
def test_dotted_names_are_read_back(path: tuple[str, ...]) -> None:
    assert undotted(dotted(path)) == path


_PIECES = (
    "{{ }} {% %} {# #} if for in endif endfor set macro x tok facts values . [ ] ( ) | ~ + * % 'a' 1 = , - default"
)
_pieces = st.sampled_from(_PIECES.split())


@given(st.lists(_pieces, max_size=14).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_template_or_an_input_error(template: str) -> None:
    data = template.encode(errors="surrogatepass")
    entry = Entry(kind=Kind.FILE, mode=0o644, size=len(data), digest=digest.of(data))
    for toml in (b"", b'[templates]\nshell = ["x.j2"]'):
        manifest = parse_manifest(toml + b"\n[values]\nx = 1\ntok = { secret = true }", "b", "worker")
        bundle = Bundle(manifest=manifest, entries={"x.j2": entry}, texts={entry.digest: data}, source="x")
        try:
            render(bundle, FACTS, merge_values(manifest, (), {"tok": "hunter2"}), OWNERS)
        except InputError as error:
            assert error.issues and "hunter2" not in str(error.issues)
