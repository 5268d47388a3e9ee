# SPDX-License-Identifier: Apache-2.0
"""What an author does before anything is built: new and lint, through the command line."""

import json
import os
from pathlib import Path

import pytest

from ashore.acts.author.lint import Tree, errors, lint
from ashore.acts.author.new import new
from ashore.cli import run
from ashore.errors import ExitCode, InputError
from ashore.nouns import digest
from ashore.nouns.bundle import Bundle
from ashore.nouns.facts import Facts
from ashore.nouns.files import Entry, Kind
from ashore.nouns.owners import Owners
from ashore.rules.bundles.lint import Severity
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.render import render
from ashore.rules.bundles.values import merge_values


def put(root: Path, files: dict[str, str]) -> str:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return str(root)


def told(folder: str) -> list[str]:
    return [f"{found.where}: {found.severity}: {found.message}" for found in lint(folder)]


def test_a_new_bundle_lints_clean_and_renders_on_any_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new", "my-app"]) == ExitCode.DONE
    assert told("my-app") == []
    template = (tmp_path / "my-app/root/etc/my-app/my-app.env.j2").read_bytes()
    entry = Entry(kind=Kind.FILE, mode=0o644, size=len(template), digest=digest.of(template))
    manifest = parse_manifest((tmp_path / "my-app/bundle.toml").read_bytes(), "bundle.toml", "")
    bundle = Bundle(
        manifest=manifest, entries={"etc/my-app/my-app.env.j2": entry}, texts={entry.digest: template}, source="x"
    )
    for facts, expected in ((Facts(hostname="h1"), b"hello from h1"), (Facts(), b"hello from somewhere")):
        done = render(bundle, facts, merge_values(manifest), Owners())
        assert expected in done.contents[done.wanted["etc/my-app/my-app.env"].entry.digest]


def test_a_unit_to_check_whose_name_is_nearly_that_of_a_shipped_one_is_named(tmp_path: Path) -> None:
    names = ["foo.service", "fooo.service", "elsewhere.service", "w@a.service", "{{ facts.hostname }}.service"]
    text = "".join(f'[[health]]\nunit = "{name}"\n' for name in names)
    unit = "[Service]\nExecStart=/bin/x\n"
    shipped = {f"root/etc/systemd/system/{name}.service": unit for name in ("foo", "w@")}
    folder = put(tmp_path / "app", {"bundle.toml": text, **shipped})
    assert told(folder) == ['bundle.toml:4: warning: fooo.service is not shipped; did you mean "foo.service"?']


def test_a_check_that_has_no_time_is_an_error(tmp_path: Path) -> None:
    text = "".join(
        f'[[health]]\ntcp = "127.0.0.1:1"\nwithin = {time}\nsettle = "9s"\n' for time in ('"0s"', '"1s"', 0.0, 0.5)
    )
    folder = put(tmp_path / "app", {"bundle.toml": text, "root/etc/x": "x"})
    said = "within 0s nothing can start or answer"
    assert told(folder) == [f"bundle.toml:{line}: error: {said}" for line in (3, 11)], (
        "settle counts from when it is up"
    )
    assert [issue.where for issue in errors(folder)] == ["bundle.toml:3", "bundle.toml:11"], "build says it as well"


def test_new_touches_nothing_that_exists(tmp_path: Path) -> None:
    folder = put(tmp_path / "app", {"mine": "x"})
    with pytest.raises(InputError, match="exists already"):
        new(folder)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="exists already"):
        new(str(tmp_path / "link"))
    assert sorted(os.listdir(tmp_path)) == ["app", "link"]
    assert os.listdir(folder) == ["mine"]


@pytest.mark.parametrize("name", ["Upper", "sp ace", "..", "-x"])
def test_new_wants_a_name_that_a_bundle_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a bundle's name"):
        new(str(tmp_path / "sub" / name))
    assert os.listdir(tmp_path) == []


def test_new_leaves_nothing_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot make"):
        new(str(tmp_path / "no-such-folder" / "app"))
    assert os.listdir(tmp_path) == []


def test_every_problem_at_once_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "bad",
        {
            "bundle.toml": """[values]
a = "{{ facts.hostnam }}"
b = { default = "{{ nope" }
c = { default = 1, secrt = true }
d = { default = "x", secret = true }
[units]
enable = ["fooo.service", "elsewhere.service", "noinst.service"]
[[files]]
path = "srv/nothing.conf"
[[files]]
path = "etc/y*.j2"
validate = ["true"]
[[files]]
path = "opt/lifted/*"
[[include]]
image = "x"
path = "a"
to = "opt/lifted"
[[include]]
image = "y"
path = "a"
to = "opt/lifted/x"
""",
            "root/dev/x": "",
            "root/etc/a.j2": "\n{{ aa }} {{ values.q }} {{ values.r | default(1) }} {{ z is defined }}",
            "root/etc/b.j2": "{{ facts.network.default.ipv5 }} {{ facts['os'].anything }} {{ facts.cloud.any.thing }}",
            "root/etc/c.j2": "{% if %}",
            "root/etc/d.j2": "{% include 'x' %}",
            "root/etc/e": "x",
            "root/etc/e.j2": "{{ a }}",
            "root/etc/key.pem": "-----BEGIN EC PRIVATE KEY-----\n",
            "root/etc/systemd/system/foo.service": "Foo=1\n[Unit\nblah\n[Service]\nExecStart=bin/x \\\n  no equals\n",
            "root/etc/systemd/system/noinst.service": "[Service]\nExecStart=/bin/true\n",
            "root/etc/systemd/system/half.service": "[Unit]\nDescription=x\n",
            "root/etc/systemd/system/idle.service": "[Service]\nType=simple\n",
            "root/etc/systemd/system/empty.timer": "# later\n",
            "root.arm64/opt/bin.j2": "{{ a }",
        },
    )
    os.mkfifo(tmp_path / "bad/root/etc/fifo")
    assert told(folder) == [
        'bundle.toml:2: error: facts.hostnam is not a fact; did you mean "hostname"?',
        "bundle.toml:3: error: unexpected end of template, expected 'end of print statement'.",
        "bundle.toml:4: warning: values.c is a plain table, for its key 'secrt'; did you mean \"secret\"?",
        "bundle.toml:5: warning: the secret value d has a default, which everybody who has the image can read",
        "bundle.toml:7: warning: elsewhere.service is not shipped",
        'bundle.toml:7: warning: fooo.service is not shipped; did you mean "foo.service"?',
        "bundle.toml:7: warning: noinst.service has no [Install] section: it is started, and not again after a boot",
        "bundle.toml:9: error: files: srv/nothing.conf names nothing below root/",
        "bundle.toml:11: error: files: etc/y*.j2 names nothing below root/",
        "bundle.toml:22: warning: opt/lifted/x overlaps the include of x to opt/lifted",
        "root.arm64/opt/bin.j2:1: error: unexpected '}'",
        "root/dev: error: nothing may be placed below /dev",
        "root/dev/x: error: nothing may be placed below /dev",
        'root/etc/a.j2:2: warning: aa is not a value of this bundle; did you mean "a"?',
        "root/etc/a.j2:2: warning: values.q is not a value of this bundle",
        'root/etc/b.j2:1: error: facts.network.default.ipv5 is not a fact; did you mean "ipv6"?',
        "root/etc/c.j2:1: error: Expected an expression, got 'end of statement block'",
        "root/etc/d.j2:1: error: {% include %} is not possible: a template stands alone",
        "root/etc/e.j2: error: lands on the same path as root/etc/e",
        "root/etc/fifo: error: is a device, FIFO or socket",
        "root/etc/key.pem: warning: holds a private key: everybody who may pull the image has it",
        "root/etc/systemd/system/empty.timer: error: holds no setting",
        "root/etc/systemd/system/foo.service:1: error: 'Foo=1' stands before any section: systemd ignores it",
        "root/etc/systemd/system/foo.service:2: error: '[Unit' is not a section",
        "root/etc/systemd/system/foo.service:3: error: 'blah' has no =: systemd ignores it",
        "root/etc/systemd/system/foo.service:5: error: ExecStart=bin/x is not an absolute path",
        "root/etc/systemd/system/half.service: error: has no [Service] section",
        "root/etc/systemd/system/idle.service: error: has no ExecStart=",
    ]


def test_what_is_right_is_not_found_fault_with(tmp_path: Path) -> None:
    units = "root/etc/systemd/system"
    folder = put(
        tmp_path / "good",
        {
            "bundle.toml": """[values]
port = 1
[[files]]
path = "opt/microcode"
mode = "0600"
[templates]
shell = ["opt/s"]
""",
            "root/etc/a.j2": """{% if proxy is defined %}proxy={{ proxy }}{% endif %}
{% if port and values.zone is defined %}zone={{ values.zone }}{{ zone.sub }}{% endif %}
{{ values.other if other is defined else port }}{% if facts.later is defined %}{{ facts.later.x }}{% endif %}
{% if gone is not defined %}{% else %}{{ gone }}{% endif %}{{ "x" if it is defined and it == 1 }}
{% for v in values.values() %}{{ v }}{% endfor %}{% for k, v in facts.items() %}{{ k }}{% endfor %}
{{ facts.network.get("x") }}{{ facts.os.keys() | list }}
""",
            "root.amd64/opt/microcode": "x",
            "root.amd64/opt/s": "$port",
            "root.arm64/opt/t": "x",
            f"{units}/masked.service": "",
            f"{units}/ends.service": "[Unit]\nSuccessAction=reboot\n[Service]\nRemainAfterExit=no\n",
            f"{units}/said.service": "[Unit]\nDescription=a\u2028b\x85c\n[Service]\nExecStart=/bin/true\n",
            f"{units}/on-top.service": "[Unit]\nDescription=x\n",
            f"{units}/on-top.service.d/a.conf": "[Service]\nExecStart=/bin/true\n",
            f"{units}/on-.service.d/a.conf": "[Service]\nType=notify\n",
        },
    )
    assert told(folder) == []


def test_a_name_that_is_asked_for_elsewhere_is_unknown_here(tmp_path: Path) -> None:
    text = "{% if proxy is defined %}{{ proxy }}{{ praxy }}{% endif %}\n{{ proxy }}\n{{ facts.value() }}"
    assert told(put(tmp_path / "app", {"bundle.toml": "[values]\nport = 1\n", "root/etc/a.j2": text})) == [
        "root/etc/a.j2:1: warning: praxy is not a value of this bundle",
        "root/etc/a.j2:2: warning: proxy is not a value of this bundle",
        "root/etc/a.j2:3: error: facts.value is not a fact",
    ]


def test_a_broken_manifest_does_not_hide_the_tree(tmp_path: Path) -> None:
    folder = put(tmp_path / "app", {"bundle.toml": "naem = 1\n[x", "root/run/x": "", "root/a.j2": "{{"})
    assert [line.split(":")[0] for line in told(folder)] == ["bundle.toml", "root/a.j2", "root/run", "root/run/x"]


_TREE = {
    "root/etc/a.j2": "{{ port }} {{ prot }}",
    "root/etc/systemd/system/a.service": "[Unit]\nblah\n[Service]\nExecStart=/bin/x\n",
}
_OF_TREE = [
    'root/etc/a.j2:1: prot is not a value of this bundle; did you mean "port"?',
    "root/etc/systemd/system/a.service:2: 'blah' has no =: systemd ignores it",
]
_NAMES_NOTHING = "files: opt/none names nothing below root/"
_VALUES = "[values]\nport = 1\n"
_RULE = '[[files]]\npath = "opt/none"\n'


@pytest.mark.parametrize(
    ("toml", "of_manifest", "of_tree"),
    [
        (
            f'naem = 1\n{_VALUES}[units]\nenable = ["b.service"]\n{_RULE}',
            ["1: unknown key 'naem'; did you mean \"name\"?", "5: b.service is not shipped", f"7: {_NAMES_NOTHING}"],
            _OF_TREE,
        ),
        (
            f'{_VALUES}{_RULE}mode = "9"\n',
            ["4: files: opt/none names nothing below root/", "5: files[1].mode: '9' is not a mode"],
            _OF_TREE,
        ),
        (f"{_VALUES}big-one = 3\n", ["3: 'big-one' cannot be a value's name"], _OF_TREE),
        ("schema = 0\n" + _VALUES + _RULE, ["1: schema is 0", f"5: {_NAMES_NOTHING}"], _OF_TREE),
        # Of a value that is wrong the name is known.
        ("[values]\nport = { choices = 1 }\nx = 1\n", ["2: values.port.choices must be an array"], _OF_TREE),
        (
            f"{_VALUES}big = {1 << 70}\n{_RULE}",
            ["3: a number of more than 64 bits", f"5: {_NAMES_NOTHING}"],
            _OF_TREE[1:],
        ),
        # What may come of what is left out is not told.
        ("values = 1\n" + _RULE, ["1: values must be a table", f"3: {_NAMES_NOTHING}"], _OF_TREE[1:]),
        ("[valeus]\nport = 1\n[values]\nx = 1\n", ["1: unknown key 'valeus'"], _OF_TREE[1:]),
        (f'{_VALUES}{_RULE}[[include]]\nimage = "x"\nto = "opt"\n', ["5: include[1] has no path"], _OF_TREE),
        (f"{_VALUES}[templates]\nshell = [1]\n", ["4: templates.shell[1] must be a string"], _OF_TREE[:1]),
        # A place is that of the file, whatever is left out before it.
        (
            f'{_VALUES}[units]\nenable = ["a b", "b.service"]\n[[files]]\nmode = "0600"\n{_RULE}',
            [
                "4: b.service is not shipped",
                "4: units.enable[1]: 'a b' is not a unit's name",
                "5: files[1] has no path",
                f"8: {_NAMES_NOTHING}",
            ],
            _OF_TREE,
        ),
    ],
)
def test_what_is_wrong_in_a_manifest_hides_nothing_else(
    tmp_path: Path, toml: str, of_manifest: list[str], of_tree: list[str]
) -> None:
    found = [f"{f.where}: {f.message}" for f in lint(put(tmp_path / "app", {"bundle.toml": toml, **_TREE}))]
    expected = [*(f"bundle.toml:{line}" for line in of_manifest), *of_tree]
    assert len(found) == len(expected), found
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found


def test_of_a_newer_schema_nothing_else_is_said(tmp_path: Path) -> None:
    folder = put(tmp_path / "app", {"bundle.toml": "schema = 2\nnew = 1\n", "root/run/x": ""})
    first, *others = lint(folder)
    assert first.where == "bundle.toml:1" and "not known to this one" in first.remedy
    assert [found.where for found in others] == ["root/run", "root/run/x"]


def test_what_cannot_be_read_hides_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, files that are read, and the manifest itself."""
    files = {
        "bundle.toml": f'{_VALUES}{_RULE}[units]\nenable = ["b.service"]\n',
        "root/opt/hidden/x": "",
        "root/etc/gone": "x",
        "root/etc/gone.j2": "{{",
        **_TREE,
    }
    folder = put(tmp_path / "app", files)
    listed, opened = os.listdir, os.open

    def refused(path: object) -> None:
        if str(path).endswith(("/hidden", "/gone", "/gone.j2")):
            raise PermissionError(13, "Permission denied")

    def listdir(path: str) -> list[str]:
        refused(path)
        return listed(path)

    def open_it(path: str, *given: int, **named: int) -> int:
        refused(path)
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(os, "open", open_it)
    cannot = "cannot be read: Permission denied"
    assert [f"{f.where}: {f.message}" for f in lint(folder) if "lands on" not in f.message] == [
        _OF_TREE[0],
        f"root/etc/gone: {cannot}",
        f"root/etc/gone.j2: {cannot}",
        _OF_TREE[1],
        f"root/opt/hidden: {cannot}",
    ]


def test_without_a_manifest_names_are_the_hosts_to_give(tmp_path: Path) -> None:
    assert told(put(tmp_path / "app", {"root/etc/a.j2": "{{ from_the_host }} {{ values.x }}"})) == []


def test_what_is_no_bundle(tmp_path: Path) -> None:
    folder = put(tmp_path / "app", {"readme": "x"})
    assert "is no bundle" in told(folder)[0]
    with pytest.raises(InputError):
        lint(str(tmp_path / "none"))
    with pytest.raises(InputError):
        lint(str(tmp_path / "app/readme"))


def test_symlinks_in_a_bundle_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "outside", {"x.j2": "{{"})
    folder = put(tmp_path / "app", {"root/etc/a": "x"})
    (tmp_path / "app/root/etc/link").symlink_to(tmp_path / "outside")
    (tmp_path / "app/root/etc/b.j2").symlink_to("/etc/shadow")
    assert told(folder) == []


def test_a_root_that_is_a_link_to_a_folder_is_read_as_build_reads_it(tmp_path: Path) -> None:
    put(tmp_path / "real", {"etc/a.j2": "{{", "proc/x": ""})
    folder = put(tmp_path / "app", {"bundle.toml": 'name = "app"\n'})
    (tmp_path / "app/root").symlink_to("../real")
    assert [line.split(":")[0] for line in told(folder)] == ["root/etc/a.j2", "root/proc", "root/proc/x"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == ExitCode.INPUT
    said = capsys.readouterr()
    return said.out + said.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("root", "is not a folder"),
        ("root.amd64", "is not a folder"),
        ("root.x86_64/", "did you mean root.amd64?"),
        ("root.armv7l/", "did you mean root.arm?"),
        ("root.bak/", "riscv64"),
        ("root./", "riscv64"),
    ],
)
def test_files_that_no_platform_would_get_are_refused_by_build_and_lint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    put(tmp_path / "app", {"bundle.toml": 'name = "app"\n', "root.txt": "a note"})
    (tmp_path / "app" / name).mkdir() if name.endswith("/") else (tmp_path / "app" / name).write_text("x")
    for arguments in (["lint"], ["build", "--platform", "linux/amd64", "-o", f"oci:{tmp_path}/out"]):
        told = refused([arguments[0], str(tmp_path / "app"), *arguments[1:]], capsys)
        assert f"{name.rstrip('/')}: " in told and said in told and "root.txt" not in told


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nothing"])
def test_a_manifest_that_is_no_file_is_refused_by_build_and_lint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = put(tmp_path / "app", {"root/etc/a": "x"})
    path = tmp_path / "app/bundle.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    for arguments in (["lint", folder], ["build", folder, "-o", f"oci:{tmp_path}/out"]):
        said = refused(arguments, capsys)
        assert "bundle.toml is not a file" in said and "oci:" not in said


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"root/etc/x": "x"}, ExitCode.DONE),
        ({"root/k.pem": "-----BEGIN PRIVATE KEY-----"}, ExitCode.DONE),
        ({"root/run/x": "x"}, ExitCode.INPUT),
    ],
)
def test_exit_code_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], code: ExitCode
) -> None:
    folder = put(tmp_path / "app", files)
    assert run(["lint", folder, "--json"]) == code
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert any(found["severity"] == Severity.ERROR for found in findings) is (code is ExitCode.INPUT)


def test_build_refuses_what_lint_calls_an_error_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "app"
    (folder / "root/etc").mkdir(parents=True)
    (folder / "root/etc/x").write_text("x")
    (folder / "bundle.toml").write_text('name = "app"\n[[files]]\npath = "etc/y"\nmode = "9"\n')
    (folder / "root/etc/a.j2").write_text("{{ facts.hostnam }}\n")
    command = ["build", str(folder), "-o", f"oci:{tmp_path}/out"]
    assert run(command) == 3
    said = capsys.readouterr().err
    assert "root/etc/a.j2:1" in said, "all of them at once"
    assert "bundle.toml:3" in said and "names nothing below root/" in said and "--no-lint" in said
    assert "bundle.toml:4" in said and not (tmp_path / "out").exists()
    (folder / "bundle.toml").write_text('name = "app"\n[[files]]\npath = "etc/y"\n')
    assert run(command) == 3
    assert run([*command, "--no-lint"]) == 0


def test_build_takes_what_systemd_and_a_host_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is an error: a target without a setting, a byte order mark, a unit of the host by a near name, and
    what only comes of a template."""
    units = tmp_path / "app/root/etc/systemd/system"
    units.mkdir(parents=True)
    service = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    for name, text in {
        "app.target": "# all of it\n[Unit]\n",
        "app.slice": "[Slice]\n",
        "mnt-app.mount": "[Mount]\nWhat=/dev/app\n",
        "mnt-app.automount": "[Install]\nWantedBy=multi-user.target\n",
        "marked.service": f"\ufeff{service}",
        "nfs-servers.service": service,
        "empty.service": "# all in the drop-in\n",
        "empty.service.d/10.conf": service,
        "off.service": "[Unit]\nSuccessAction=poweroff\n",
        "whole.service.j2": "{{ unit }}\n",
        "made.service.j2": "[Unit]\nDescription={{ a }}\n{% for name in ['Service'] %}\n[{{ name }}]\n{% endfor %}\n",
        "shell.service": "[Service]\nExecStart=${PREFIX}/bin/true\n$more\n",
        "also.service": "$unit\n",
    }.items():
        (units / name).parent.mkdir(exist_ok=True)
        (units / name).write_text(text)
    shell = ", ".join(f'"etc/systemd/system/{name}.service"' for name in ("shell", "also"))
    (tmp_path / "app/bundle.toml").write_text(
        f'[units]\nenable = ["nfs-server.service"]\n[templates]\nshell = [{shell}]\n'
    )
    assert run(["build", str(tmp_path / "app"), "-o", f"oci:{tmp_path}/out"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("second", "code"), [("two", 0), ("one", 3)])
def test_two_includes_may_go_into_one_folder_if_they_bring_different_files(
    tmp_path: Path, second: str, code: int
) -> None:
    for name in ("one", "two"):
        put(tmp_path / name, {f"d/{name}": name})
    include = '[[include]]\nfolder = "{}"\npath = "d"\nto = "opt/bin"\n'
    folder = put(tmp_path / "app", {"bundle.toml": include.format("a") + include.format("b"), "root/etc/x": ""})
    given = ["--folder", f"a={tmp_path}/one", "--folder", f"b={tmp_path}/{second}"]
    assert run(["build", folder, *given, "-o", f"oci:{tmp_path}/out"]) == code


def test_what_is_right_is_not_read_twice_to_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 files took twice as long."""
    folder = put(tmp_path / "app", {"root/opt/x": "-----BEGIN PRIVATE KEY-----", "root/etc/a.j2": "{{ 1 }}"})
    read, asked = Tree.read, list[str]()

    def noted(tree: Tree, path: str, limit: int) -> bytes:
        asked.append(path)
        return read(tree, path, limit)

    monkeypatch.setattr(Tree, "read", noted)
    assert errors(folder) == []
    assert asked == ["etc/a.j2"]
    assert len(lint(folder)) == 1


def test_build_leaves_it_to_the_host_which_values_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "root/etc").mkdir(parents=True)
    (folder / "root/etc/a.conf.j2").write_text("{{ site }} {{ other }}\n")
    (folder / "root/etc/b.conf.j2").write_text("{% if x is undefined %}{% set x = 'a' %}{% endif %}{{ x }}\n")
    (folder / "bundle.toml").write_text('name = "app"\n[values]\nother = 1\n')
    (found,) = lint(str(folder))
    assert (found.where, found.severity) == ("root/etc/a.conf.j2:1", Severity.WARNING), "it may well be misspelled"
    assert "every host has to give it" in found.remedy and "[values]" in found.remedy
    assert run(["lint", str(folder)]) == 0
    assert run(["build", str(folder), "-o", f"oci:{tmp_path}/out"]) == 0
