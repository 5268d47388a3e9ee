# SPDX-License-Identifier: Apache-2.0
"""Auth files and credential helpers: from a registry's name to its credential."""

import base64
import json
import os
from pathlib import Path

import pytest

from ashore.errors import InputError, RegistryError
from ashore.mechanisms.registry.credentials import CredentialStore


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


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "-x"])
def test_a_helper_s_name_is_a_name(home: Home, name: str) -> None:
    home.write(FILES[0], {"credHelpers": {"reg.example": name}})
    with pytest.raises(InputError, match="credential helper"):
        home.found("reg.example")


def test_a_helper_without_a_name_says_as_docker_has_it_that_the_file_has_the_login(home: Home) -> None:
    home.helper("all", 'echo "{\\"Username\\":\\"all\\",\\"Secret\\":\\"x\\"}"')
    auths = {"reg.example": _auth("ann", "one")}
    home.write(FILES[3], {"auths": auths, "credHelpers": {"reg.example": "", "empty.example": ""}, "credsStore": "all"})
    assert home.found("reg.example") == "ann:one"
    assert home.found("empty.example") == "none"
    assert home.found("other.example") == "all:x"


def test_credentials_do_not_show_themselves(home: Home) -> None:
    home.write(FILES[0], {"auths": {"reg.example": _auth("ann", "s3cret")}})
    assert "s3cret" not in repr(home.store().find("reg.example"))
