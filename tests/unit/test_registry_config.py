# SPDX-License-Identifier: Apache-2.0
"""registries.conf and auth files: from a name to its sources and its credential."""

import base64
import json
import os
from pathlib import Path

import pytest

from ashore.acts.recorded import record_for
from ashore.errors import ExitCode, InputError, RegistryError
from ashore.mechanisms.registry import registries
from ashore.mechanisms.registry.credentials import CredentialStore
from ashore.mechanisms.registry.registries import Source
from ashore.nouns.ask import Ask
from ashore.nouns.digest import of
from ashore.nouns.generation import BundleRecord, Generation, Verb
from ashore.nouns.reference import parse

PIN = "@sha256:" + "a" * 64


def _conf(root: Path, text: str, name: str = registries.CONF) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(root)


def _names(root: str, name: str, *, push: bool = False) -> list[str]:
    found = registries.load(root).sources(parse(name), push=push)
    return [f"{s.host}/{s.repository}{' insecure' if s.insecure else ''}" for s in found]


def test_without_files_a_name_is_its_own_source(tmp_path: Path) -> None:
    assert registries.load(str(tmp_path)).sources(parse("reg.example/a/b:1")) == (
        Source(host="reg.example", repository="a/b"),
    )


MIRRORED = """
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "reg.example/team"
location = "inner.example:5000/t"
insecure = true
[[registry.mirror]]
location = "m1.example/x"
[[registry.mirror]]
location = "m2.example"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.example"
pull-from-mirror = "tag-only"
[[registry]]
location = "reg.example"
[[registry]]
prefix = "*.wild.example"
insecure = true
[[registry]]
location = "bad.example"
blocked = true
"""


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("reg.example/team/app:1", ["m1.example/x/app", "m3.example/app", "inner.example:5000/t/app insecure"]),
        ("reg.example/team/app" + PIN,
         ["m1.example/x/app", "m2.example/app insecure", "inner.example:5000/t/app insecure"]),
        ("reg.example/teams/app:1", ["reg.example/teams/app"]),
        ("a.wild.example/app:1", ["a.wild.example/app insecure"]),
        ("a.wild.example:5000/app:1", ["a.wild.example:5000/app insecure"]),
        ("wild.example/app:1", ["wild.example/app"]),
        ("evilwild.example/app:1", ["evilwild.example/app"]),
        ("busybox", ["docker.io/library/busybox"]),
    ],
)  # fmt: skip
def test_the_longest_prefix_decides(tmp_path: Path, name: str, sources: list[str]) -> None:
    assert _names(_conf(tmp_path, MIRRORED), name) == sources


SPELLED = """
[[registry]]
location = "slash.example/"
[[registry.mirror]]
location = "mirror.example/x//"
[[registry]]
prefix = "old.example/team/"
location = "new.example:5000/"
[[registry]]
prefix = "*.moved.example"
location = "inner.example"
[[registry]]
prefix = "*.port.example:5000"
location = "inner.example:6000"
[[registry]]
prefix = "*.deep.example/team"
location = "inner.example/t"
[[registry]]
location = "tagged.example/app"
[[registry]]
prefix = "tagged.example/app:1"
location = "inner.example/app:1"
[[registry]]
prefix = "tagged.example/app:2"
location = "inner.example/two"
[[registry]]
prefix = "tagged.example/app@PIN"
location = "pinned.example/app@PIN"
[[registry]]
location = "index.docker.io/team"
[[registry.mirror]]
location = "hub.example"
""".replace("@PIN", PIN)


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("slash.example/app:1", ["mirror.example/x/app", "slash.example/app"]),
        ("old.example/team/app:1", ["new.example:5000/app"]),
        ("old.example/teams/app:1", ["old.example/teams/app"]),
        ("a.moved.example/app:1", ["inner.example/app"]),
        ("a.moved.example:5000/app:1", ["inner.example:5000/app"]),
        ("a.port.example:5000/app:1", ["inner.example:6000/app"]),
        ("a.port.example/app:1", ["a.port.example/app"]),
        ("a.deep.example/team/app:1", ["inner.example/t/app"]),
        ("a.deep.example/teams/app:1", ["a.deep.example/teams/app"]),
        ("tagged.example/app:1", ["inner.example/app"]),
        ("tagged.example/app:2", ["inner.example/two"]),
        ("tagged.example/app:10", ["tagged.example/app"]),
        ("tagged.example/app/deeper:1", ["tagged.example/app/deeper"]),
        (f"tagged.example/app{PIN}", ["pinned.example/app"]),
        (f"tagged.example/app:1{PIN}", ["pinned.example/app"]),
        ("team/app:1", ["hub.example/app", "docker.io/team/app"]),
        ("index.docker.io/team/app:1", ["hub.example/app", "docker.io/team/app"]),
    ],
)  # fmt: skip
def test_names_may_be_spelled_as_containers_image_reads_them(tmp_path: Path, name: str, sources: list[str]) -> None:
    assert _names(_conf(tmp_path, SPELLED), name) == sources


def test_what_was_recorded_by_docker_hub_s_old_name_is_the_same() -> None:
    digest = of(b"")
    record = BundleRecord(
        name="a", version="1", reference="index.docker.io/team/a:1", digest=digest, manifest_digest=digest, inputs=""
    )
    current = Generation(number=1, transaction="t", time="", verb=Verb.INSTALL, bundles=(record,))
    assert record_for(Ask(reference=parse("index.docker.io/team/a:1")), current) == record


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("r.example/", "r.example/a:1"),
        ("r.example/a:1", "r.example/a:1"),
        ("r.example/a:1", f"r.example/a:1{PIN}"),
        (f"r.example/a{PIN}", f"r.example/a:1{PIN}"),
        ("*.example/a:1", "r.example/a:1"),
        ("*.example:5000", "r.example:5000/a:1"),
        ("docker.io", "index.docker.io/library/a:1"),
        ("index.docker.io", "a:1"),
    ],
)
def test_what_is_blocked_is_blocked_by_any_spelling(tmp_path: Path, prefix: str, name: str) -> None:
    root = _conf(tmp_path, f'[[registry]]\nprefix = "{prefix}"\nblocked = true\n')
    with pytest.raises(RegistryError, match="is blocked"):
        _names(root, name)


@pytest.mark.parametrize("location", ["inner.example/a:2", "inner.example:6000", "inner.example/x"])
def test_a_rewritten_name_is_a_repository(tmp_path: Path, location: str) -> None:
    prefix = "r.example:5000/a:1" if location.endswith(":2") else "*.example"
    root = _conf(tmp_path, f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n')
    with pytest.raises(InputError, match=r"leads to inner\.example"):
        _names(root, "r.example:5000/a:1")


def test_pushes_go_to_the_place_itself(tmp_path: Path) -> None:
    assert _names(_conf(tmp_path, MIRRORED), "reg.example/team/app:1", push=True) == [
        "inner.example:5000/t/app insecure"
    ]


def test_mirror_by_digest_only_holds_for_all_mirrors(tmp_path: Path) -> None:
    text = '[[registry]]\nlocation = "r.example"\nmirror-by-digest-only = true\n'
    text += '[[registry.mirror]]\nlocation = "m.example"\n'
    root = _conf(tmp_path, text)
    assert _names(root, "r.example/a:1") == ["r.example/a"]
    assert _names(root, "r.example/a" + PIN) == ["m.example/a", "r.example/a"]


def test_a_blocked_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"bad\.example is blocked") as caught:
        _names(_conf(tmp_path, MIRRORED), "bad.example/a:1")
    assert caught.value.code is ExitCode.REFUSED


def test_drop_ins_replace_what_came_before(tmp_path: Path) -> None:
    _conf(tmp_path, '[[registry]]\nlocation = "r.example"\ninsecure = true\n')
    _conf(tmp_path, '[[registry]]\nlocation = "r.example"\n', f"{registries.CONF_FOLDER}/50-x.conf")
    _conf(tmp_path, "not read", f"{registries.CONF_FOLDER}/README")
    assert _names(str(tmp_path), "r.example/a:1") == ["r.example/a"]


def test_all_broken_files_are_reported_at_once(tmp_path: Path) -> None:
    _conf(tmp_path, "[[registry]\n")
    _conf(tmp_path, "[[registry]]\nlocation = 5\n", f"{registries.CONF_FOLDER}/1.conf")
    _conf(tmp_path, '[registries.insecure]\nregistries = ["x"]\n', f"{registries.CONF_FOLDER}/2.conf")
    _conf(tmp_path, "[[registry]]\ninsecure = true\n", f"{registries.CONF_FOLDER}/3.conf")
    _conf(tmp_path, '[[registry]]\nlocation = "https://r.example"\n', f"{registries.CONF_FOLDER}/4.conf")
    with pytest.raises(InputError) as caught:
        registries.load(str(tmp_path))
    assert [issue.where.rpartition("/")[2] for issue in caught.value.issues] == [
        "registries.conf", "1.conf", "2.conf", "3.conf", "4.conf",
    ]  # fmt: skip


BLOCKED = '[[registry]]\nlocation = "r.example"\nblocked = true\n'


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("etc/containers/registries.conf", "/usr/share/d/x.conf"),
        ("etc/containers/registries.conf", "../../usr/share/d/x.conf"),
        ("etc/containers/registries.conf.d", "/usr/share/d"),
        ("etc/containers/registries.conf.d/1.conf", "/usr/share/d/x.conf"),
    ],
)
def test_symlinks_are_followed_below_the_root(tmp_path: Path, link: str, target: str) -> None:
    _conf(tmp_path, BLOCKED, "usr/share/d/x.conf")
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(target)
    with pytest.raises(RegistryError, match="is blocked"):
        _names(str(tmp_path), "r.example/a:1")


@pytest.mark.parametrize("name", ["registries.conf", "registries.conf.d", "registries.conf.d/1.conf"])
@pytest.mark.parametrize("kind", ["nowhere", "outside", "loop", "fifo"])
def test_what_is_there_and_cannot_be_read_is_named(tmp_path: Path, name: str, kind: str) -> None:
    outside = tmp_path / "outside.conf"
    outside.write_text(BLOCKED)
    path = tmp_path / "root/etc/containers" / name
    path.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"nowhere": "/new.conf", "outside": str(outside), "loop": path.name}[kind])
    with pytest.raises(InputError) as caught:
        registries.load(str(tmp_path / "root"))
    assert [issue.where for issue in caught.value.issues] == [f"etc/containers/{name}"]


def test_a_drop_in_is_masked_with_a_symlink_to_dev_null(tmp_path: Path) -> None:
    path = tmp_path / "etc/containers/registries.conf.d/1.conf"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    assert _names(str(tmp_path), "r.example/a:1") == ["r.example/a"]


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Home:
    """A folder that is root, home and session at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"XDG_RUNTIME_DIR": str(folder / "run-user"), "PATH": f"{folder}/bin:{os.environ['PATH']}"}

    def write(self, name: str, document: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))

    def helper(self, name: str, script: str) -> None:
        path = self.folder / "bin" / f"docker-credential-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def store(self, **named: tuple[str, ...]) -> CredentialStore:
        return CredentialStore(str(self.folder), self.environ, str(self.folder), helper_seconds=10, **named)

    def found(self, host: str, repository: str = "", **named: tuple[str, ...]) -> str:
        credential = self.store(**named).find(host, repository)
        return f"{credential.user}:{credential.password}{credential.token}" if credential else "none"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path)
    monkeypatch.setenv("PATH", made.environ["PATH"])
    return made


FILES = [
    "run-user/containers/auth.json",
    f"run/containers/{os.getuid()}/auth.json",
    ".config/containers/auth.json",
    ".docker/config.json",
]


def test_files_are_asked_in_their_order(home: Home) -> None:
    assert home.found("reg.example") == "none"
    for name in reversed(FILES):
        home.write(name, {"auths": {"reg.example": _auth("u", name)}})
        assert home.found("reg.example") == f"u:{name}"
    home.environ["REGISTRY_AUTH_FILE"] = str(home.folder / "chosen.json")
    assert home.found("reg.example") == "none"
    home.write("chosen.json", {"auths": {"reg.example": _auth("u", "chosen")}})
    assert home.found("reg.example") == "u:chosen"


def test_the_host_s_auth_file_is_looked_for_below_the_root(home: Home) -> None:
    home.write("var/auth.json", {"auths": {"reg.example": _auth("u", "p")}})
    path = home.folder / FILES[1]
    path.parent.mkdir(parents=True)
    path.symlink_to("/var/auth.json")
    assert home.found("reg.example") == "u:p"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"cannot read .*auth\.json"):
        home.found("reg.example")


def test_the_most_specific_name_wins(home: Home) -> None:
    names = ("reg.example", "reg.example/a", "reg.example/a/b", "reg.example:5000")
    home.write(FILES[0], {"auths": {name: _auth("u", name) for name in names}})
    assert home.found("reg.example", "a/b") == "u:reg.example/a/b"
    assert home.found("reg.example", "a/c") == "u:reg.example/a"
    assert home.found("reg.example", "ab") == "u:reg.example"
    assert home.found("reg.example:5000", "a/b") == "u:reg.example:5000"
    assert home.found("other.example", "a/b") == "none"


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://reg.example/v2/", "reg.example"),
        ("http://reg.example:5000", "reg.example:5000"),
    ],
)
def test_docker_s_spelling_of_keys(home: Home, key: str, host: str) -> None:
    home.write(FILES[3], {"auths": {key: _auth("u", "p:with:colons")}, "HttpHeaders": {"x": "y"}})
    assert home.found(host, "library/x") == "u:p:with:colons"
    assert home.found("evil.example", "library/x") == "none"


HUB = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("keys", "host", "found"),
    [
        (["reg.example", "https://reg.example/v1/"], "reg.example", "reg.example"),
        (["https://reg.example/v1/", "reg.example"], "reg.example", "reg.example"),
        (["reg.example", "https://reg.example/other/api"], "reg.example", "reg.example"),
        (["https://reg.example/v1/", "https://reg.example/other/api"], "reg.example", "https://reg.example/v1/"),
        ([HUB, f"{HUB}access-token", f"{HUB}refresh-token"], "docker.io", HUB),
        ([f"{HUB}access-token", f"{HUB}refresh-token", HUB], "docker.io", HUB),
        (["https://docker.io", "index.docker.io"], "docker.io", "index.docker.io"),
    ],
)
def test_of_several_keys_the_exact_one_is_used(home: Home, keys: list[str], host: str, found: str) -> None:
    home.write(FILES[0], {"auths": {key: _auth("u", key) for key in keys}})
    assert home.found(host, "library/x") == f"u:{found}"


@pytest.mark.parametrize("key", ["reg.example", "https://reg.example", "http://reg.example/v2/"])
def test_an_empty_entry_hides_no_login_of_another_spelling(home: Home, key: str) -> None:
    home.write(FILES[0], {"auths": {key: {}, "https://reg.example/v1/": _auth("u", "p")}})
    assert home.found("reg.example", "app") == "u:p"


def test_docker_s_other_tokens_are_no_login(home: Home) -> None:
    home.write(FILES[0], {"auths": {f"{HUB}access-token": _auth("u", "a"), f"{HUB}refresh-token": _auth("u", "r")}})
    assert home.found("docker.io", "library/x") == "none"


def test_identity_tokens(home: Home) -> None:
    home.write(FILES[0], {"auths": {"reg.example": {**_auth("00", ""), "identitytoken": "refresh-me"}}})
    assert home.found("reg.example") == "00:refresh-me"


def test_an_empty_entry_is_no_credential(home: Home) -> None:
    home.write(FILES[0], {"auths": {"reg.example": {}}})
    home.write(FILES[3], {"auths": {"reg.example": _auth("u", "p")}})
    assert home.found("reg.example") == "u:p"


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"auths": []}', '{"auths": {"reg.example": {"auth": "%%%"}}}',
     '{"auths": {"reg.example": {"auth": "bm9jb2xvbg=="}}}', '{"auths": {"reg.example": 5}}', "\xff"],
)  # fmt: skip
def test_a_broken_auth_file_is_an_error_that_names_it(home: Home, text: str) -> None:
    path = home.folder / FILES[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"auth\.json"):
        home.found("reg.example")


def test_where_an_auth_file_is_broken_is_told_by_line_and_nothing_that_it_says(home: Home) -> None:
    home.write(FILES[0], '{"auths":\n {"reg.example": {"auth": "hunter2"} oh}}')
    with pytest.raises(InputError, match="line 2 column 38") as caught:
        home.found("reg.example")
    assert "hunter2" not in str(caught.value)


def test_helpers_are_asked_for_their_hosts_only(home: Home) -> None:
    home.helper(
        "one", 'read host; echo "{\\"ServerURL\\":\\"$host\\",\\"Username\\":\\"u\\",\\"Secret\\":\\"for-$host\\"}"'
    )
    home.write(FILES[0], {"credHelpers": {"reg.example": "one", "docker.io": "one"}})
    assert home.found("reg.example", "a") == "u:for-reg.example"
    assert home.found("docker.io", "library/a") == "u:for-https://index.docker.io/v1/"
    assert home.found("other.example", "a") == "none"


def test_the_store_of_all_others(home: Home) -> None:
    home.helper("all", 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"refresh-me\\"}"')
    home.write(FILES[3], {"auths": {"reg.example": {}}, "credsStore": "all"})
    assert home.found("reg.example") == ":refresh-me"


def test_helpers_of_registries_conf(home: Home) -> None:
    home.helper("conf", 'echo "{\\"Username\\":\\"u\\",\\"Secret\\":\\"conf\\"}"')
    assert home.found("reg.example", "", helpers=("conf",)) == "u:conf"


def test_a_helper_whose_answer_is_no_utf8(home: Home) -> None:
    home.helper("odd", 'printf "{\\"Username\\":\\"\\377\\",\\"Secret\\":\\"x\\"}"')
    with pytest.raises(RegistryError, match="did not answer with JSON"):
        home.found("reg.example", "", helpers=("odd",))


def test_a_helper_that_knows_nothing(home: Home) -> None:
    home.helper("none", "echo credentials not found in native keychain; exit 1")
    home.write(FILES[0], {"credsStore": "none"})
    assert home.found("reg.example") == "none"


@pytest.mark.parametrize(
    ("name", "script", "message"),
    [
        ("broken", "echo locked >&2; exit 1", "gave no credential"),
        ("garbage", "echo s3cret-garbage", "did not answer with JSON"),
    ],
)
def test_a_helper_that_fails(home: Home, name: str, script: str, message: str) -> None:
    home.helper(name, script)
    home.write(FILES[0], {"credsStore": name})
    with pytest.raises(RegistryError, match=message) as caught:
        home.found("reg.example")
    assert "s3cret" not in f"{caught.value} {caught.value.remedy}"


def test_a_helper_that_leaves_a_daemon_behind_has_answered(home: Home) -> None:
    home.helper("agent", 'sleep 20 &\necho "{\\"Username\\":\\"u\\",\\"Secret\\":\\"agent\\"}"')
    home.write(FILES[0], {"credsStore": "agent"})
    assert home.found("reg.example") == "u:agent"


def test_a_helper_that_does_not_end_is_there_all_the_same(home: Home) -> None:
    home.helper("stuck", "exec sleep 20")
    home.write(FILES[0], {"credsStore": "stuck"})
    store = CredentialStore(str(home.folder), home.environ, str(home.folder), helper_seconds=0.2)
    with pytest.raises(RegistryError, match=r"did not end within 0\.2 s") as caught:
        store.find("reg.example")
    assert "install" not in caught.value.remedy


def test_a_helper_that_is_not_there(home: Home) -> None:
    home.write(FILES[0], {"credsStore": "nowhere"})
    with pytest.raises(RegistryError, match="docker-credential-nowhere") as caught:
        home.found("reg.example")
    assert caught.value.remedy == "install docker-credential-nowhere"


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "-x", ""])
def test_a_helper_s_name_is_a_name(home: Home, name: str) -> None:
    home.write(FILES[0], {"credHelpers": {"reg.example": name}})
    with pytest.raises(InputError, match="credential helper"):
        home.found("reg.example")


def test_credentials_do_not_show_themselves(home: Home) -> None:
    home.write(FILES[0], {"auths": {"reg.example": _auth("ann", "s3cret")}})
    assert "s3cret" not in repr(home.store().find("reg.example"))
