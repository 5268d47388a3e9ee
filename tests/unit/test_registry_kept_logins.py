# SPDX-License-Identifier: Apache-2.0
"""Where a login is kept: whose file that is, what else is in it, and what is asked afterwards."""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.errors import InputError, RegistryError, UnchangedError
from ashore.mechanisms.registry.authfiles import LARGEST
from ashore.mechanisms.registry.failures import NotFoundError
from ashore.mechanisms.registry.keeping import keep
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import open_at
from tests.unit.test_registry_login import PASSWORD, USER, Desk, known

FIRST = "run-user/containers/auth.json"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.mark.parametrize("auth", ["?", "bm8gY29sb24=", "/w=="])
def test_a_broken_entry_is_mended_by_a_login(desk: Desk, fake: FakeRegistry, auth: str) -> None:
    desk.write({"auths": {fake.host: {"auth": auth}}})
    desk.login(fake.host)
    assert desk.auths() == {fake.host: known(USER, PASSWORD)}


def test_a_helper_that_is_asked_later_is_none_of_a_login_s(desk: Desk, fake: FakeRegistry) -> None:
    desk.write({"credsStore": "not-there"}, ".docker/config.json")
    kept = desk.login(fake.host)
    assert (kept.before, kept.trouble) == ("", "")


def test_a_helper_that_fails_before_it_undoes_no_login(desk: Desk, fake: FakeRegistry) -> None:
    desk.environ["XDG_RUNTIME_DIR"] = str(desk.folder / "run-user")
    desk.write({"credHelpers": {fake.host: "not-there"}}, FIRST)
    kept = desk.login(fake.host)
    assert "docker-credential-not-there" in kept.trouble and list(desk.auths()) == [fake.host]


def test_a_helper_that_fails_undoes_no_logout(desk: Desk, fake: FakeRegistry) -> None:
    desk.login(fake.host)
    desk.write({"credsStore": "not-there"}, ".docker/config.json")
    gone = desk.logout(fake.host)
    assert gone and gone.file == str(desk.file) and "docker-credential-not-there" in gone.trouble
    with pytest.raises(RegistryError, match="docker-credential-not-there"):
        desk.logout(fake.host)


@pytest.mark.parametrize("odd", [b'"\xff"', b"1e400", b"[" * 3000 + b"]" * 3000])
def test_what_cannot_be_written_again_is_said_first(desk: Desk, fake: FakeRegistry, odd: bytes) -> None:
    desk.write({})
    desk.file.write_bytes(b'{"x": %s}' % odd)
    with pytest.raises(InputError, match="is not an auth file"):
        desk.login(fake.host)
    assert fake.seen == [] and desk.file.read_bytes() == b'{"x": %s}' % odd


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_somebody_else_planted_gets_no_login(desk: Desk, fake: FakeRegistry) -> None:
    desk.write({})
    os.chown(desk.file, 1234, 1234)
    with pytest.raises(InputError, match="is somebody else's"):
        desk.login(fake.host)
    with pytest.raises(InputError, match="is somebody else's"):
        desk.logout(fake.host)
    assert fake.seen == [] and json.loads(desk.file.read_text()) == {}


def test_two_logins_at_once_are_both_kept(desk: Desk) -> None:
    desk.file.parent.mkdir(parents=True)
    with FakeRegistry() as fake:
        folder = os.open(desk.file.parent, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        other = threading.Thread(target=desk.login, args=(fake.host,))
        other.start()
        other.join(1)
        assert other.is_alive(), "it waits for the first"
        desk.write({"auths": {"reg.example": known("u", "p")}})
        os.close(folder)
        other.join()
        assert set(desk.auths()) == {"reg.example", fake.host}


def test_a_lock_that_is_never_given_back(desk: Desk) -> None:
    desk.write({})
    folder = os.open(desk.file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    with pytest.raises(UnchangedError, match="cannot write") as raised:
        keep(str(desk.file), "reg.example", USER, PASSWORD, instead=lambda _: False, patience=0.2)
    assert "somebody else" in raised.value.cause
    os.close(folder)


def test_a_file_that_would_be_too_large(desk: Desk, fake: FakeRegistry) -> None:
    desk.write({"x": "x" * (LARGEST - 50)})
    before = desk.file.read_bytes()
    with pytest.raises(InputError, match="no room"):
        desk.login(fake.host)
    assert desk.file.read_bytes() == before and json.loads(before) and os.listdir(desk.file.parent) == ["auth.json"]


@pytest.mark.parametrize("name", ["pipe", "folder", "in/file/auth.json", "slash/"])
def test_what_is_no_file_is_refused(desk: Desk, name: str) -> None:
    os.mkfifo(desk.folder / "pipe")
    (desk.folder / "folder").mkdir()
    (desk.folder / "in").mkdir()
    (desk.folder / "in/file").touch()
    desk.environ["REGISTRY_AUTH_FILE"] = f"{desk.folder}/{name}"
    with FakeRegistry() as fake:
        with pytest.raises((InputError, UnchangedError)) as raised:
            desk.login(fake.host)
        with contextlib.suppress(InputError):
            desk.logout(fake.host)
    assert str(desk.folder / name) in str(raised.value)


@pytest.mark.parametrize("takes_all", [True, False])
def test_a_token_server_that_is_not_trusted_with_a_password(desk: Desk, takes_all: bool) -> None:
    with FakeRegistry(auth="token", user=USER, password=PASSWORD, public=takes_all) as server:
        with FakeRegistry(auth="token", realm=f"{server.url}/token") as fake:
            fake.tokens = server.tokens
            with pytest.raises(RegistryError, match="does not trust with one") as raised:
                desk.login(fake.host)
        assert f"{server.url}/token" in str(raised.value) and not desk.file.exists()
        assert server.seen and all("Authorization" not in seen.headers for seen in server.seen)


@pytest.mark.parametrize("kind", ["basic", "token"])
@pytest.mark.parametrize(("name", "remedy"), [("{}/team", "{}/team"), ("{}", "{}"), ("https://{}/v1/", "{}")])
def test_the_remedy_is_the_login_that_was_refused(desk: Desk, kind: str, name: str, remedy: str) -> None:
    with FakeRegistry(auth=kind, user=USER, password=PASSWORD) as fake:
        desk.write({"auths": {name.format(fake.host): known(USER, "of-old")}})
        with pytest.raises(RegistryError) as raised:
            open_at(f"{fake.host}/team/app:1", desk.settings).resolve()
        assert raised.value.remedy.startswith(f"ashore login {remedy.format(fake.host)} (")
        desk.login(remedy.format(fake.host))
        with pytest.raises(NotFoundError):
            open_at(f"{fake.host}/team/app:1", desk.settings).resolve()
