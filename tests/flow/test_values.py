# SPDX-License-Identifier: Apache-2.0
"""Values and facts of a host: recorded, forgotten, missing, and secret ones seen by nobody."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from ashore.acts.ask.look import diff, owns
from ashore.acts.ask.render import render_file
from ashore.acts.ask.values import lines, values
from ashore.acts.change.noop import nothing_to_do
from ashore.acts.change.preview import plan_install
from ashore.acts.plan.differences import differences
from ashore.cli.render_drift import difference_json
from ashore.cli.render_outcome import show
from ashore.cli.render_plan import plan_json, plan_text
from ashore.errors import InputError
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns import digest
from ashore.nouns.facts import Interface, Network
from ashore.nouns.limits import DEFAULT
from ashore.rules.bundles.values import parse_set
from tests.flow.machine import FACTS, Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
CONF = {"etc/app.conf.j2": "port={{ port }} name={{ name }}\n"}
TOML = '[values]\nport = 8080\nname = "plain"\n'
SECRET = "s3cr3t-hunter2-Ω"
TOKEN = {"etc/app/token.j2": "token={{ token }}\n", "etc/app/plain.j2": "host={{ facts.hostname }}\n"}
NEEDS_TOKEN = "[values]\ntoken = { required = true, secret = true }\n"


@pytest.fixture
def app(host: Machine) -> Machine:
    host.images.add(ONE, CONF, TOML)
    host.images.add(TWO, {**CONF, "etc/new": "x"}, TOML)
    return host


def test_a_bundles_default_gives_way_to_the_hosts_file_and_that_to_the_command_line(app: Machine) -> None:
    app.install(ONE)
    assert app.read("etc/app.conf") == "port=8080 name=plain\n"
    app.write("etc/ashore/values.d/10-site.toml", "port = 81\nname = 'site'\n")
    app.write("etc/ashore/values.d/20-node.toml", "name = 'node'\n")
    app.install(ONE)
    assert app.read("etc/app.conf") == "port=81 name=node\n"
    app.install(ONE, sets={"port": 443})
    assert app.read("etc/app.conf") == "port=443 name=node\n"


def test_a_date_is_a_text_whether_the_image_or_the_host_has_it(app: Machine) -> None:
    toml = "[values]\nwhen = 2024-01-01T12:00:00+02:00\ndays = [2024-01-01]\nother = 1\n"
    app.images.add(ONE, {"etc/app.conf.j2": "{{ when }} {{ days }} {{ name }} {{ other }}\n"}, toml)
    app.write("etc/ashore/values.d/10-site.toml", "name = [07:32:00]\n")
    app.install(ONE)
    said = "2024-01-01T12:00:00+02:00 ['2024-01-01'] ['07:32:00']"
    assert app.read("etc/app.conf") == f"{said} 1\n"
    app.upgrade("app", sets={"other": 2})
    assert app.read("etc/app.conf") == f"{said} 2\n"
    app.images.add(TWO, {"etc/app.conf.j2": "{{ when.year }}"}, toml)
    with pytest.raises(InputError, match="no attribute 'year'"):
        app.install(TWO)


@pytest.mark.parametrize("text", ["[inf, 1979-05-27, nan]", "{ a = inf }", "nan"])
def test_what_set_said_is_the_same_at_the_next_rendering(app: Machine, text: str) -> None:
    app.install(ONE, sets=dict([parse_set(f"name={text}")]))
    assert app.read("etc/app.conf") == f"port=8080 name={text}\n"
    app.upgrade("app", sets={"port": 1})
    assert app.read("etc/app.conf") == f"port=1 name={text}\n"


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1])
def test_a_number_that_no_record_can_hold_is_refused_with_its_line(app: Machine, number: int) -> None:
    with pytest.raises(InputError, match=r"bundle\.toml:3: a number of more than 64 bits"):
        app.images.add(ONE, CONF, TOML.replace("[values]", f"[values]\nt = {{}}\nbig = {{ x = [{number}] }}"))
        app.install(ONE)
    app.write("etc/ashore/values.d/10-site.toml", f"\nport = {number}\n")
    with pytest.raises(InputError, match=r"10-site\.toml:2: a number of more than 64 bits"):
        app.install(TWO)


def test_what_set_said_is_used_again_by_upgrade_until_it_is_unset(app: Machine) -> None:
    app.install(ONE, sets={"port": 443, "name": "given"})
    app.images.add(ONE, {**CONF, "etc/more": "y"}, TOML)
    app.upgrade("app")
    assert app.read("etc/app.conf") == "port=443 name=given\n"
    app.install(TWO)
    assert app.read("etc/app.conf") == "port=443 name=given\n", "and by an install of another tag"
    app.upgrade("app", unset=("port",))
    assert app.read("etc/app.conf") == "port=8080 name=given\n"
    app.upgrade("app", sets={"name": "other"})
    app.upgrade("app")
    assert app.read("etc/app.conf") == "port=8080 name=other\n"
    app.upgrade("app", reset=True)
    assert app.read("etc/app.conf") == "port=8080 name=plain\n"


LIMITS = {"etc/limits.j2": "cpu={{ limits.cpu }} memory={{ limits.memory }}\n"}
LIMITS_TOML = "[values]\nlimits = { cpu = 1, memory = 1 }\n"


def test_the_newest_set_wins_also_over_a_dotted_one(host: Machine) -> None:
    host.images.add(ONE, LIMITS, LIMITS_TOML)
    host.install(ONE, sets={"limits": {"cpu": 2}})
    host.install(ONE, sets={"limits.cpu": 4})
    assert host.read("etc/limits") == "cpu=4 memory=1\n"
    host.install(ONE, sets={"limits": {"cpu": 2}})
    assert host.read("etc/limits") == "cpu=2 memory=1\n", "what was said before limits.cpu is said again"
    host.install(ONE, sets={"limits.cpu": 4, "limits": {"cpu": 8}})
    assert host.read("etc/limits") == "cpu=8 memory=1\n"
    host.upgrade("app", sets={"limits.memory": 3})
    assert host.read("etc/limits") == "cpu=8 memory=3\n"


def test_unset_forgets_what_is_below_a_name_too(host: Machine) -> None:
    host.images.add(ONE, {**LIMITS, "etc/less.j2": "{{ limitsless }}\n"}, LIMITS_TOML)
    host.install(ONE, sets={"limits.cpu": 4, "limits.memory": 4, "limitsless": 1})
    host.upgrade("app", unset=("limits.cpu",))
    assert host.read("etc/limits") == "cpu=1 memory=4\n"
    host.upgrade("app", unset=("limits",))
    assert host.read("etc/limits") == "cpu=1 memory=1\n"
    assert [*host.tools().history.current().bundles[0].sets] == ["limitsless"]


def test_values_come_back_with_their_generation(app: Machine) -> None:
    app.install(ONE, sets={"port": 1})
    app.install(ONE, sets={"port": 2})
    app.images.down = True
    app.roll_back()
    assert app.read("etc/app.conf") == "port=1 name=plain\n"
    app.images.down = False
    app.images.add(ONE, {**CONF, "etc/more": "y"}, TOML)
    app.upgrade("app")
    assert app.read("etc/app.conf") == "port=1 name=plain\n"


def test_a_value_of_the_host_is_never_a_template(app: Machine) -> None:
    app.install(ONE, sets={"name": "{{ facts.hostname }}"})
    assert app.read("etc/app.conf") == "port=8080 name={{ facts.hostname }}\n"
    app.write("etc/ashore/values.d/site.toml", "name = '{{ 7 * 7 }}'\n")
    app.install(ONE, reset=True)
    assert app.read("etc/app.conf") == "port=8080 name={{ 7 * 7 }}\n"


def test_a_changed_fact_is_a_change_and_another_one_is_not(host: Machine) -> None:
    host.images.add(ONE, {"etc/ip.j2": "{{ facts.network.default.ipv4 }}\n"})
    host.install(ONE)
    assert host.read("etc/ip") == "10.0.0.5\n"
    host.facts = msgspec.structs.replace(FACTS, hostname="renamed")
    assert not host.install(ONE).changed
    host.facts = msgspec.structs.replace(FACTS, network=Network(default=Interface(name="eth0", ipv4="10.0.0.6")))
    assert host.install(ONE).changed
    assert host.read("etc/ip") == "10.0.0.6\n"


@pytest.mark.parametrize(
    "text", ["{{ token }}\n", "{{ values.token }}\n", "{% if port %}{{ token }}{% endif %}\n", "shell: $TOKEN\n"]
)
def test_a_value_that_is_declared_and_not_set_is_named_where_it_is_read(host: Machine, text: str) -> None:
    """Not required: only some templates, in some cases, read it."""
    toml = '[values]\nport = 1\ntoken = { secret = true, description = "the join token" }\n'
    name = "etc/token.conf" if "$" in text else "etc/token.conf.j2"
    shell = f'[templates]\nshell = ["{name}"]\n' if "$" in text else ""
    host.images.add(
        ONE, {name: text, "etc/other.j2": "{{ token is defined }} {{ token | default('none') }}"}, toml + shell
    )
    with pytest.raises(InputError) as raised:
        host.install(ONE)
    (issue,) = raised.value.issues
    assert f"{name}:1" in issue.where
    assert "the value token is not set: the join token (write token = ... in /etc/ashore/values.d" in issue.message
    assert issue.message.endswith("or say --set-file token=FILE)"), "a command line shows it to all users of the host"
    host.install(ONE, sets={"token": "s3cret"})
    assert "s3cret" in host.read("etc/token.conf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port={{ port }}\n{{ prot }}\n", ("etc/app.conf.j2:2", "prot is not a value")),
        ("{{ facts.network.interfaces.eth7.ipv4 }}\n", ("etc/app.conf.j2:1", "eth7")),
        ("{{ facts.cloud.region }}\n", ("etc/app.conf.j2:1", "facts.cloud")),
        ("\n\n{% if x %}\n", ("etc/app.conf.j2:3",)),
        ("a\n{{ 'x' | nosuchfilter }}\n", ("etc/app.conf.j2:2", "nosuchfilter")),
        ("{% include '/etc/passwd' %}", ("etc/app.conf.j2:1",)),
        ("{{ ''.__class__.__mro__ }}", ("etc/app.conf.j2:1",)),
        ("{% for i in range(10**9) %}x{% endfor %}", ("etc/app.conf.j2",)),
    ],
    ids=["value", "interface", "fact", "syntax", "filter", "include", "sandbox", "endless"],
)
def test_what_a_template_misses_stops_before_anything_changes(host: Machine, text: str, said: tuple[str, ...]) -> None:
    host.images.add(ONE, {"etc/app.conf.j2": text, "etc/fine": "x"}, TOML)
    before = host.tree()
    with pytest.raises(InputError) as raised:
        host.install(ONE)
    assert raised.value.code == 3
    message = str(raised.value)
    assert all(word in message for word in said), message
    assert host.tree() == before
    assert host.leftovers() == []


def test_all_that_is_missing_is_said_at_once_with_its_description(host: Machine) -> None:
    host.images.add(
        ONE,
        {"etc/a.j2": "{{ a }}"},
        '[values]\na = { required = true, description = "the first" }\n'
        "b = { required = true, secret = true }\nc = { required = true }\n",
    )
    with pytest.raises(InputError) as raised:
        host.install(ONE, sets={"c": 1})
    assert ["a is not set: the first" in str(i) or "b is not set" in str(i) for i in raised.value.issues] == [
        True,
        True,
    ]
    assert "--set a=" in raised.value.issues[0].remedy
    assert "--set-file b=FILE" in raised.value.issues[1].remedy


def test_a_missing_value_of_one_bundle_keeps_the_others_from_changing(host: Machine) -> None:
    host.images.add(ONE, {"etc/a": "x"})
    host.images.add("reg.example/other:1", {"etc/b.j2": "{{ missing }}"})
    before = host.tree()
    with pytest.raises(InputError, match="missing"):
        host.install(ONE, "reg.example/other:1")
    assert host.tree() == before


def test_a_broken_values_file_names_its_line(app: Machine) -> None:
    app.write("etc/ashore/values.d/site.toml", "port = 1\nname = \n")
    before = app.tree()
    with pytest.raises(InputError) as raised:
        app.install(ONE)
    assert "site.toml" in str(raised.value) and "2" in str(raised.value)
    assert app.tree() == before


def everything_written(host: Machine) -> dict[str, bytes]:
    """All that lies on the host but the rendered files and the secret store itself."""
    found = {}
    for base in (host.root / "var/lib/ashore", host.folder / "cache"):
        for file in Path(base).rglob("*"):
            if file.is_file() and file.parent.name != "secrets":
                found[str(file.relative_to(host.folder))] = file.read_bytes()
    return found


def leaks(data: bytes | str) -> bool:
    """The secret as text, or as JSON would write it."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return any(form in text for form in (SECRET, json.dumps(SECRET)[1:-1], "hunter2"))


def test_a_secret_value_appears_nowhere(host: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    host.images.add(TWO, {**TOKEN, "etc/app/token.j2": "new token={{ token }}\n"}, NEEDS_TOKEN)
    shown: list[str] = []
    for name in (ONE, TWO):
        tools = host.tools()
        plan, supply = plan_install(tools, [host.ask(name, sets={"token": SECRET})])
        diffs = differences(tools, plan, supply)
        shown += [plan_text(plan, diffs), json.dumps(plan_json(plan, diffs), default=str, ensure_ascii=False)]
        outcome = host.install(name, sets={"token": SECRET})
        show(outcome, as_json=True)
        show(outcome, as_json=False)
    assert SECRET in host.read("etc/app/token")
    assert (host.root / "etc/app/token").stat().st_mode & 0o077 == 0, "others may not read it"
    host.write("etc/app/token", f"{SECRET} edited\n")
    shown += [text for _, text in diff(host.tools())]
    with pytest.raises(InputError, match="secret"):
        render_file(host.tools(), host.ask(ONE, sets={"token": SECRET}), "/etc/app/token")
    host.roll_back()
    captured = capsys.readouterr()
    assert not [text for text in (*shown, captured.out, captured.err) if leaks(text)]
    files = everything_written(host)
    assert any("audit" in name for name in files) and any("generations" in name for name in files)
    stored = {name for name, data in files.items() if leaks(data)}
    assert all("/content/sha256/" in name for name in stored), "rendered contents may, 0600 in a 0700 folder"
    assert (host.root / "var/lib/ashore").stat().st_mode & 0o077 == 0


def test_no_json_has_what_a_guess_at_a_secret_could_be_checked_by(
    host: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    shown: list[Any] = []
    for pin in ("4711", "0815"):
        tools = host.tools()
        plan, supply = plan_install(tools, [host.ask(ONE, sets={"token": pin})])
        shown += cast("list[Any]", plan_json(plan, differences(tools, plan, supply))["steps"])
        show(host.install(ONE, sets={"token": pin}), as_json=True)
    entries = [step[side] for step in shown for side in ("old", "new") if step["path"] == "/etc/app/token"]
    assert entries[0] is None and len(entries) == 4
    assert not any({"size", "digest"} & entry.keys() for entry in entries[1:])
    plain = next(step for step in shown if step["path"] == "/etc/app/plain")
    assert plain["new"]["digest"] and plain["new"]["size"], "that of another file is told"
    digests = [digest.of(f"token={pin}\n".encode()) for pin in ("4711", "0815")]
    printed = capsys.readouterr().out
    assert not [d for d in digests if d in printed]
    host.write("etc/app/token", "edited\n")
    (edited,) = (difference_json(item, text) for item, text in diff(host.tools()))
    for side in (edited["old"], edited["new"]):
        assert isinstance(side, dict) and side["mode"] and not {"size", "digest"} & side.keys()
    owner, other = owns(host.tools(), "/etc/app/token"), owns(host.tools(), "/etc/app/plain")
    assert owner is not None and other is not None
    assert (owner.digest, bool(other.digest)) == ("", True)


def test_a_secret_is_kept_for_upgrades_and_goes_with_the_last_generation_that_needs_it(host: Machine) -> None:
    host.write("etc/ashore/config.toml", "keep = 1\n")
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    host.install(ONE, sets={"token": SECRET})
    host.images.add(ONE, {**TOKEN, "etc/more": "x"}, NEEDS_TOKEN)
    host.upgrade("app")
    assert SECRET in host.read("etc/app/token")
    host.remove("app")
    left = [f for f in (host.root / "var/lib/ashore").rglob("*") if f.is_file() and leaks(f.read_bytes())]
    assert left == []


def test_a_value_that_was_secret_stays_so_when_a_new_version_declares_it_no_more(
    host: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    host.images.add(TWO, {**TOKEN, "etc/app/token.j2": "new token={{ token }}\n"}, "[values]\nother = 1\n")
    host.install(ONE, sets={"token": SECRET})
    tools = host.tools()
    plan, supply = plan_install(tools, [host.ask(TWO)])
    show(host.install(TWO), as_json=True)
    assert host.read("etc/app/token") == f"new token={SECRET}\n"
    assert (host.root / "etc/app/token").stat().st_mode & 0o077 == 0
    assert not leaks(plan_text(plan, differences(tools, plan, supply)) + capsys.readouterr().out)
    assert all("/content/sha256/" in name for name, data in everything_written(host).items() if leaks(data))
    host.upgrade("app", unset=("token",), sets={"token": "plain"})
    assert host.tools().history.current().bundles[0].sets["token"].value == "plain"


def test_the_longest_secret_is_read_again(host: Machine) -> None:
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    longest = "\x01" * DEFAULT.template  # JSON writes six bytes for each
    sets = Secrets(host.tools().state)
    name = sets.put(longest, sets.salt(create=True))
    assert sets.get(name) == longest


def test_a_secret_of_the_hosts_own_file_is_written_nowhere_else(host: Machine) -> None:
    host.write("etc/ashore/values.d/secret.toml", f"token = '{SECRET}'\n", mode=0o600)
    host.images.add(ONE, TOKEN, NEEDS_TOKEN)
    plan, supply = plan_install(host.tools(), [host.ask(ONE)])
    diffs = differences(host.tools(), plan, supply)
    assert not leaks(plan_text(plan, diffs) + json.dumps(plan_json(plan, diffs), default=str))
    host.install(ONE)
    assert SECRET in host.read("etc/app/token")
    assert all("/content/sha256/" in name for name, data in everything_written(host).items() if leaks(data))


def test_a_recorded_secret_cannot_be_guessed_from_its_hash(host: Machine, tmp_path: Path) -> None:
    records = []
    for name in ("first", "second"):
        machine = Machine(tmp_path / name, host.images)
        host.images.add(ONE, TOKEN, NEEDS_TOKEN)
        machine.install(ONE, sets={"token": "1234"})
        bundle = machine.tools().history.current().bundles[0]
        records.append((bundle.sets["token"].secret, bundle.inputs))
    assert records[0][0] != records[1][0], "the same value on two hosts has two names"
    assert records[0][1] != records[1][1]


def test_a_template_error_does_not_quote_a_secret(host: Machine) -> None:
    host.images.add(ONE, {"etc/a.j2": "{{ token }}{{ token.missing }}{{ token + 1 }}"}, NEEDS_TOKEN)
    with pytest.raises(InputError) as raised:
        host.install(ONE, sets={"token": SECRET})
    assert not leaks(str(raised.value))


def test_shell_templates_expand_names_and_run_nothing(host: Machine) -> None:
    host.images.add(
        ONE,
        {"etc/old.conf": "port=$port ${name} $(touch /tmp/owned) `id`\n"},
        TOML + '[templates]\nshell = ["etc/old.conf"]\n',
    )
    host.install(ONE)
    assert host.read("etc/old.conf") == "port=8080 plain $(touch /tmp/owned) `id`\n"


def test_a_value_of_another_type_is_refused_with_where_it_was_said_and_nothing_changes(app: Machine) -> None:
    app.install(ONE, sets={"port": "81"})
    assert app.read("etc/app.conf") == "port=81 name=plain\n", "a text is read as the number that it is to be"
    app.write("etc/ashore/values.d/10-site.toml", "\nname = ['a']\n")
    before = app.tree()
    with pytest.raises(InputError) as caught:
        app.install(TWO, sets=dict([parse_set("port=maybe")]))
    assert [str(issue) for issue in caught.value.issues] == [
        "/etc/ashore/values.d/10-site.toml:2: name must be a string, not a list",
        "--set port: port must be an integer, not a string (write --set port=8080)",
    ]
    assert app.tree() == before


def test_what_was_recorded_is_read_as_a_new_version_has_it(app: Machine) -> None:
    app.install(ONE, sets={"port": 81, "name": "7"})
    app.images.add(TWO, CONF, '[values]\nport = "a"\nname = { type = "integer", choices = [7, 8] }\n')
    app.install(TWO)
    assert app.read("etc/app.conf") == "port=81 name=7\n"
    with pytest.raises(InputError, match="name must be 7 or 8, not 9"):
        app.upgrade("app", sets={"name": 9})


OTHER = "reg.example/other:1"


def test_what_is_said_to_one_bundle_is_no_other_ones(app: Machine) -> None:
    app.images.add(OTHER, {"etc/other.j2": "{{ port }} {{ values | length }}\n"}, "[values]\nport = 1\n")
    app.write("etc/ashore/values.d/10.toml", "port = 81\n[bundle.app]\nport = 82\nnaem = 'x'\n")
    app.write("etc/ashore/values.d/20.toml", "port = 83\n[bundle.app.more]\n")
    notes = app.install(ONE).plan.notes
    app.install(OTHER)
    assert (app.read("etc/app.conf"), app.read("etc/other")) == ("port=82 name=plain\n", "83 1\n")
    assert 'the bundle app neither declares nor reads a value naem; did you mean "name"?' in notes
    app.install(ONE, sets={"port": 84})
    assert app.read("etc/app.conf") == "port=84 name=plain\n"


def test_a_changed_value_of_another_bundle_is_no_change(app: Machine) -> None:
    app.write("etc/ashore/values.d/10.toml", "[bundle.app]\nport = 82\n[bundle.other]\nport = 1\n")
    number = app.install(ONE).generation.number
    app.write("etc/ashore/values.d/10.toml", "[bundle.app]\nport = 82\n[bundle.other]\nport = 2\n")
    assert nothing_to_do(app.tools(), [app.ask(ONE)])
    app.write("etc/ashore/values.d/10.toml", "[bundle.app]\nport = 83\n")
    assert app.install(ONE).generation.number == number + 1
    assert app.read("etc/app.conf") == "port=83 name=plain\n"


def test_where_each_value_was_said(app: Machine) -> None:
    toml = TOML + "tok = { secret = true }\nopt = {required = false}\nlimits = { cpu = 1, host = '{{ port }}' }\n"
    app.images.add(ONE, {"etc/app.conf.j2": "{{ name }} {{ extra }}\n"}, toml)
    app.write("etc/ashore/values.d/10.toml", "extra = [1]\nunread = 1\nname = 'n'\n[bundle.app]\nname = 'mine'\n")
    app.install(ONE, sets={"limits.cpu": 4, "tok": SECRET})
    found = values(app.tools(), app.tools().history.current().bundles[0])
    assert lines(found) == [
        "values.extra = [1]  (/etc/ashore/values.d/10.toml:1)",
        "values.limits.cpu = 4  (--set limits.cpu)",
        'values.limits.host = "{{ port }}"  (default)',
        'values.name = "mine"  (/etc/ashore/values.d/10.toml:5)',
        "values.opt is not set",
        "values.port = 8080  (default)",
        "values.tok is secret  (--set tok)",
    ]
    assert SECRET not in str(found)
