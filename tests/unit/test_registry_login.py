# SPDX-License-Identifier: Apache-2.0
"""A login is checked by the registry, kept where every tool looks, and nothing else of the file is touched."""

import json
import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest

from ashore.acts.fetch.login import Login, login, logout
from ashore.cli.progress import Quiet
from ashore.errors import AshoreError, BlockedError, InputError, RegistryError
from ashore.mechanisms.registry import RegistrySettings
from ashore.mechanisms.registry.credentials import IN_FILES, is_name_of
from ashore.mechanisms.registry.keeping import keep
from ashore.nouns.reference import RegistryPlace, parse_registry
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import Bytes, blob_of, open_at, settings_in
from tests.hostile.registries.certificate import certificate_in

USER, PASSWORD = "ann", "s3cret:of-ann"
BLOB = b"something"


class Desk:
    """A user's home, and the file that his logins are kept in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {"PATH": os.environ["PATH"]}
        self.file = folder / ".config/containers/auth.json"

    @property
    def settings(self) -> RegistrySettings:
        return settings_in(str(self.folder), environ=self.environ)

    def write(self, document: object, name: str = ".config/containers/auth.json") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def login(self, place: str, user: str = USER, password: str = PASSWORD) -> Login:
        return login(parse_registry(place), user, password, settings=self.settings, progress=Quiet())

    def logout(self, place: str) -> Login | None:
        return logout(parse_registry(place), settings=self.settings)

    def auths(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.file.read_text())["auths"]
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def known(user: str, password: str) -> dict[str, str]:
    return {"auth": b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_login_that_the_registry_takes_opens_it(desk: Desk, kind: str) -> None:
    with FakeRegistry(auth=kind, user=USER, password=PASSWORD) as fake:
        with pytest.raises(RegistryError):
            open_at(f"{fake.host}/team/app:1", desk.settings, push=True).put_blob(blob_of(BLOB), Bytes(BLOB))
        kept = desk.login(fake.host)
        assert (kept.checked, kept.before) == (True, "")
        open_at(f"{fake.host}/team/app:1", desk.settings, push=True).put_blob(blob_of(BLOB), Bytes(BLOB))
        assert desk.auths() == {fake.host: known(USER, PASSWORD)}
        assert stat.S_IMODE(desk.file.stat().st_mode) == 0o600
        assert stat.S_IMODE(desk.file.parent.stat().st_mode) == 0o700
        assert os.listdir(desk.file.parent) == ["auth.json"]


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_wrong_password_is_not_kept(desk: Desk, kind: str) -> None:
    with FakeRegistry(auth=kind, user=USER, password=PASSWORD) as fake:
        with pytest.raises(RegistryError, match="does not take this user and password") as raised:
            desk.login(fake.host, password="wr0ng-secret")
        assert "wr0ng-secret" not in f"{raised.value} {raised.value.cause} {raised.value.remedy}"
    assert not desk.file.exists()


def test_a_registry_that_asks_for_no_login_has_not_checked_it(desk: Desk) -> None:
    with FakeRegistry() as fake:
        assert desk.login(fake.host).checked is False
        assert all("Authorization" not in seen.headers for seen in fake.seen)
    assert list(desk.auths()) == [fake.host]


def test_nobody_there_keeps_nothing(desk: Desk) -> None:
    with pytest.raises(RegistryError, match="connection refused"):
        desk.login("localhost:1")
    assert not desk.file.exists()


def test_all_else_in_the_file_stays(desk: Desk) -> None:
    helpers = {"gcr.example": "gcloud"}
    with FakeRegistry() as fake:
        others = {"reg.example": known("u", "p"), f"{fake.host}/team": known("u", "q")}
        old = {f"https://{fake.host}/v1/": known("old", "old")}
        desk.write({"HttpHeaders": {"x": "y"}, "credHelpers": helpers, "auths": {**others, **old}})
        desk.login(fake.host)
        said = json.loads(desk.file.read_text())
        mine = {fake.host: known(USER, PASSWORD)}
        assert said == {"HttpHeaders": {"x": "y"}, "credHelpers": helpers, "auths": {**others, **old, **mine}}
        desk.logout(fake.host)
        assert desk.auths() == others


def test_a_part_of_a_registry_has_its_own_login(desk: Desk) -> None:
    with FakeRegistry(auth="basic", user=USER, password=PASSWORD) as fake:
        desk.login(f"{fake.host}/team/a")
        desk.login(fake.host)
        assert set(desk.auths()) == {fake.host, f"{fake.host}/team/a"}
        assert all(seen.path in ("/v2/", "/v2") for seen in fake.seen)
        desk.logout(f"{fake.host}/team/a")
        assert set(desk.auths()) == {fake.host}


def test_docker_hub_has_one_name(desk: Desk) -> None:
    hub = "https://index.docker.io/v1/"
    desk.write({"auths": {hub: known("u", "p"), "docker.io": known("u", "q"), f"{hub}access-token": known("u", "r")}})
    assert desk.logout("index.docker.io") is not None
    assert desk.auths() == {}


def test_docker_stays_logged_in_to_docker_hub(desk: Desk) -> None:
    hub = "https://index.docker.io/v1/"
    dockers = {hub: known("u", "p"), f"{hub}access-token": known("u", "r"), f"{hub}refresh-token": known("u", "s")}
    desk.write({"auths": {**dockers, "index.docker.io": known("u", "q")}})
    keep(str(desk.file), "docker.io", USER, PASSWORD, instead=lambda key: is_name_of(key, "docker.io"))
    assert desk.auths() == {**dockers, "docker.io": known(USER, PASSWORD)}
    found = desk.settings.credentials((IN_FILES,)).find("docker.io")
    assert found and found.user == USER


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_namespace_is_not_docker_s_spelling(desk: Desk, name: str) -> None:
    desk.write({"auths": {f"reg.example/{name}": known("u", "p")}})
    assert desk.settings.credentials((IN_FILES,)).find("reg.example", "app") is None
    assert desk.logout("reg.example") is None
    assert desk.logout(f"reg.example/{name}") is not None


def test_a_link_and_its_owner_stay(desk: Desk) -> None:
    real = desk.folder / "dotfiles/auth.json"
    real.parent.mkdir()
    real.write_text("")
    desk.file.parent.mkdir(parents=True)
    desk.file.symlink_to(real)
    if os.geteuid() == 0:
        os.chown(real.parent, 1234, 1235)
        os.chown(real, 1234, 1235)
    with FakeRegistry() as fake:
        desk.login(fake.host)
    assert desk.file.is_symlink() and list(json.loads(real.read_text())["auths"]) == [fake.host]
    if os.geteuid() == 0:
        assert (real.stat().st_uid, real.stat().st_gid) == (1234, 1235)


def test_another_file_that_is_read_first_is_told(desk: Desk) -> None:
    desk.environ["XDG_RUNTIME_DIR"] = str(desk.folder / "run-user")
    first = desk.folder / "run-user/containers/auth.json"
    with FakeRegistry() as fake:
        desk.write({"auths": {fake.host: known("u", "p")}}, "run-user/containers/auth.json")
        assert desk.login(fake.host).before == str(first)
        gone = desk.logout(fake.host)
    assert gone and (gone.file, gone.before) == (str(desk.file), str(first))


def test_logging_out_twice(desk: Desk) -> None:
    assert desk.logout("reg.example") is None
    desk.write({"auths": {"reg.example": known("u", "p")}})
    assert desk.logout("reg.example") is not None
    assert desk.logout("reg.example") is None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "is not an auth file"),
        ({"credHelpers": {"localhost:1": "gcloud"}}, "docker-credential-gcloud"),
        ({"credsStore": "pass"}, "docker-credential-pass"),
    ],
)
def test_a_file_that_it_cannot_be_kept_in_is_said_before_anybody_is_asked(
    desk: Desk, document: object, said: str
) -> None:
    for helper in ("gcloud", "pass"):
        (desk.folder / f"docker-credential-{helper}").write_text("#!/bin/sh\necho not found\nexit 1\n")
        (desk.folder / f"docker-credential-{helper}").chmod(0o755)
    desk.write(document)
    before = desk.file.read_bytes()
    desk.environ["PATH"] = f"{desk.folder}:{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", desk.environ["PATH"])
        with pytest.raises(InputError, match=said):
            desk.login("localhost:1")
    assert desk.file.read_bytes() == before


def test_logins_that_only_helpers_have(desk: Desk) -> None:
    conf = desk.folder / "etc/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text('credential-helpers = ["pass"]\n')
    with pytest.raises(InputError, match="not looked for in files"):
        desk.login("localhost:1")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("reg.example", RegistryPlace(host="reg.example")),
        ("localhost", RegistryPlace(host="localhost")),
        ("[::1]:5000/a/b", RegistryPlace(host="[::1]:5000", path="a/b")),
        ("index.docker.io", RegistryPlace(host="docker.io")),
        *((text, None) for text in ("", "team", "team/app", "https://reg.example", "reg.example/a:1", "reg.example:0")),
        *((text, None) for text in ("reg.example/", "reg.example/A", "reg example", "reg.example/a@sha256:00")),
    ],
)
def test_what_one_logs_in_to(text: str, place: RegistryPlace | None) -> None:
    if place:
        assert parse_registry(text) == place
        return
    with pytest.raises(AshoreError, match="not a registry's name"):
        parse_registry(text)


@pytest.mark.parametrize(
    ("entry", "place", "goes"),
    [
        ('location = "{}"', "{}", True),
        ('prefix = "{}/team"\nlocation = "{}/team"', "{}/team/a", True),
        ('prefix = "{}/team"\nlocation = "{}/team"', "{}", False),
        ('prefix = "other.example"\nlocation = "{}"', "{}", True),
        ('prefix = "{}"\nlocation = "other.example"', "{}", False),
        ('location = "{}/team"\n[[registry]]\nlocation = "{}"', "{}/team/a", False),
        ('prefix = "other.example"\nlocation = "{}/team"\n[[registry]]\nlocation = "{}"', "{}/team", False),
    ],
)
def test_a_certificate_is_not_checked_where_the_host_says_so(desk: Desk, entry: str, place: str, goes: bool) -> None:
    conf = desk.folder / "etc/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    with FakeRegistry(certificate=certificate_in(desk.folder)) as fake:
        conf.write_text("[[registry]]\n" + entry.replace("{}", fake.host) + "\ninsecure = true\n")
        if goes:
            desk.login(place.format(fake.host))
        else:
            with pytest.raises(RegistryError, match="certificate is not trusted"):
                desk.login(place.format(fake.host))


@pytest.mark.parametrize(("blocked", "place"), [("{}", "{}"), ("{}", "{}/team"), ("{}/team", "{}/team/a")])
def test_a_blocked_registry_is_told_nothing(desk: Desk, blocked: str, place: str) -> None:
    with FakeRegistry() as fake:
        _configured(desk, f'[[registry]]\nprefix = "{blocked.format(fake.host)}"\nblocked = true\n')
        with pytest.raises(BlockedError, match="is blocked"):
            desk.login(place.format(fake.host))
        assert fake.seen == [] and not desk.file.exists()


def _configured(desk: Desk, text: str) -> None:
    conf = desk.folder / "etc/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(text)
