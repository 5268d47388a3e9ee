# SPDX-License-Identifier: Apache-2.0
"""Who gets to see a credential: the registry it is for, its own token server, and nobody else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.errors import RegistryError
from ashore.mechanisms.registry import RegistrySettings, auth, registries, urls
from ashore.mechanisms.registry.auth import Authenticator, Challenge, parse_challenges
from ashore.mechanisms.registry.credentials import Credential
from ashore.mechanisms.registry.policy import TlsPolicy
from ashore.mechanisms.registry.registries import Registries, Source
from ashore.nouns import digest as digests
from tests.fakes import registry_replies as replies
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import LIMITS, Bytes, blob_of, drain, open_at, settings_in

LAYER = b"layer" * 10_000
USER, PASSWORD = "ann", "s3cret-of-ann"
SECRETS = (PASSWORD, "YW5uOnMzY3JldC1vZi1hbm4=", "token-")


def spilled(fake: FakeRegistry) -> int:
    """Bytes of credentials that a server saw, in whatever form."""
    everything = "\n".join(seen.text + seen.body.decode(errors="replace") for seen in fake.seen)
    headers = [
        seen.headers[name] for seen in fake.seen for name in seen.headers if name.lower() in ("authorization", "cookie")
    ]
    return sum(len(secret) * everything.count(secret) for secret in SECRETS) + sum(map(len, headers))


def fake_with_image(**named: object) -> FakeRegistry:
    fake = FakeRegistry(**named)  # type: ignore[arg-type]
    replies.put_image(fake, "team/app", "1.0", LAYER)
    return fake


@pytest.fixture
def foreign() -> Iterator[FakeRegistry]:
    with fake_with_image() as fake:
        yield fake


def known(fake: FakeRegistry, folder: Path) -> RegistrySettings:
    """Settings with the credential for `fake`."""
    return settings_in(str(folder), credentials={fake.host: (USER, PASSWORD)})


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
         [Challenge("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"})]),
        ("Basic realm=x", [Challenge("basic", {"realm": "x"})]),
        ("Basic", [Challenge("basic", {})]),
        ('Negotiate, Basic realm="a, b", BEARER Realm="r" , service = "s"',
         [Challenge("negotiate", {}), Challenge("basic", {"realm": "a, b"}),
          Challenge("bearer", {"realm": "r", "service": "s"})]),
        (r'Bearer realm="a\"b\\c"', [Challenge("bearer", {"realm": 'a"b\\c'})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm="unclosed', [Challenge("bearer", {})]),
        ("", []),
        ('="x"', []),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges([header]) == challenges


@given(st.text(max_size=300))
def test_no_header_is_too_odd(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize("header", ["," * 60_000, " " * 60_000, "a " * 30_000, 'a="' + "\\" * 60_000, "a=b," * 15_000])
def test_long_headers_take_no_long_time(header: str) -> None:
    parse_challenges([header] * 3)


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_credentials_work_and_are_asked_for_first(tmp_path: Path, kind: str) -> None:
    with fake_with_image(auth=kind) as fake:
        repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path))
        assert drain(repository.blob(blob_of(LAYER))) == LAYER
        repository.resolve()
        assert "Authorization" not in fake.seen[0].headers
        assert fake.count("GET", "/token") == (1 if kind == "token" else 0)


def test_a_public_image_needs_no_credential(tmp_path: Path) -> None:
    with fake_with_image(auth="token", public=True) as fake:
        open_at(f"{fake.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()
        assert all("Authorization" not in seen.headers for seen in fake.seen if "/token" in seen.path)


def test_an_identity_token_is_exchanged(tmp_path: Path) -> None:
    with fake_with_image(auth="token") as fake:
        fake.identity_token = "refresh-me"
        path = tmp_path / "auth.json"
        path.write_text(json.dumps({"auths": {fake.host: {"identitytoken": "refresh-me"}}}))
        settings = settings_in(str(tmp_path), environ={"REGISTRY_AUTH_FILE": str(path)})
        open_at(f"{fake.host}/team/app:1.0", settings).resolve()
        assert fake.count("POST", "/token") == 1
        assert all("refresh-me" not in seen.text for seen in fake.seen)


def test_an_expired_token_is_replaced_once(tmp_path: Path) -> None:
    with fake_with_image(auth="token") as fake:
        repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path))
        repository.resolve()
        fake.tokens = {"used-up": set()}
        repository.resolve()
        assert fake.count("GET", "/token") == 2


def test_pushing_and_mounting_ask_for_their_scopes(tmp_path: Path) -> None:
    with fake_with_image(auth="token") as fake:
        repository = open_at(f"{fake.host}/other/app:1.0", known(fake, tmp_path), push=True)
        assert repository.mount(digests.of(LAYER), "team/app")
        asked = next(seen.path for seen in fake.seen if "/token" in seen.path)
        assert "scope=repository%3Aother%2Fapp%3Apull%2Cpush" in asked
        assert "scope=repository%3Ateam%2Fapp%3Apull" in asked
        repository.put_blob(blob_of(b"x"), Bytes(b"x"))


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_registry_that_is_never_content(tmp_path: Path, kind: str) -> None:
    with fake_with_image(auth=kind) as fake:
        challenge = {"WWW-Authenticate": f'Bearer realm="{fake.realm}"' if kind == "token" else "Basic"}
        fake.misbehave("manifests", replies.answer(401, challenge), times=1000)
        with pytest.raises(RegistryError, match="not logged in") as caught:
            open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).resolve()
        assert len(fake.seen) <= 3
        assert PASSWORD not in f"{caught.value}{caught.value.remedy}"


REFUSED = 'Bearer realm="file:///token"'


@pytest.mark.parametrize("challenge", [f'Basic realm="x", {REFUSED}', f'{REFUSED}, Basic realm="x"'])
def test_a_password_will_do_where_the_token_server_is_not_asked(tmp_path: Path, challenge: str) -> None:
    with fake_with_image(auth="basic") as fake:
        fake.misbehave("manifests", replies.answer(401, {"WWW-Authenticate": challenge}))
        open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).resolve()
        fake.misbehave("manifests", replies.answer(401, {"WWW-Authenticate": challenge}))
        with pytest.raises(RegistryError, match="does not ask"):
            open_at(f"{fake.host}/team/app:1.0", settings_in(str(tmp_path))).resolve()


@pytest.mark.parametrize(
    "change",
    [
        replies.answer(200, {}, b"not json"),
        replies.answer(200, {}, b"{}"),
        replies.answer(200, {}, b'{"token": null}'),
        replies.answer(200, {}, b'{"token": "a\\r\\nX-Evil: 1"}'),
        replies.answer(200, {}, b'{"token": "' + b"a" * LIMITS.token + b'"}'),
        replies.endless,
        replies.answer(404),
    ],
)
def test_token_servers_that_are_not_right(tmp_path: Path, change: replies.Change) -> None:
    with fake_with_image(auth="token") as fake:
        fake.misbehave("token", change, times=1000)
        with pytest.raises(RegistryError, match="token"):
            open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).resolve()


def test_a_redirect_to_another_host_carries_nothing(tmp_path: Path, foreign: FakeRegistry) -> None:
    for kind in ("basic", "token"):
        with fake_with_image(auth=kind) as fake:
            repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path))
            repository.resolve()
            digest = digests.of(LAYER)
            fake.misbehave("blobs", replies.redirected(f"{foreign.url}/v2/team/app/blobs/{digest}"))
            assert drain(repository.blob(blob_of(LAYER))) == LAYER
    assert foreign.count("GET", "blobs") == 2
    assert spilled(foreign) == 0


def test_a_redirect_and_back_carries_nothing_either(tmp_path: Path, foreign: FakeRegistry) -> None:
    with fake_with_image(auth="basic") as fake:
        repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path))
        repository.resolve()
        back = f"{fake.url}/v2/team/app/blobs/{digests.of(LAYER)}"
        foreign.misbehave("any", replies.redirected(back))
        fake.misbehave("blobs", replies.redirected(f"{foreign.url}/hop"))
        with pytest.raises(RegistryError, match="401"):
            drain(repository.blob(blob_of(LAYER)))
        assert "Authorization" not in fake.seen[-1].headers


def test_a_redirect_within_the_registry_keeps_the_credential(tmp_path: Path) -> None:
    with fake_with_image(auth="basic") as fake:
        place = f"/v2/team/app/blobs/{digests.of(LAYER)}?again"
        fake.misbehave("blobs", replies.answer(401, {"WWW-Authenticate": "Basic"}))
        fake.misbehave("blobs", replies.redirected(place))
        assert drain(open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).blob(blob_of(LAYER))) == LAYER


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_challenge_of_another_host_is_not_answered(tmp_path: Path, foreign: FakeRegistry, kind: str) -> None:
    with fake_with_image(auth="basic") as fake:
        repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path))
        repository.resolve()
        foreign.auth = kind
        fake.misbehave("blobs", replies.redirected(f"{foreign.url}/v2/team/app/blobs/{digests.of(LAYER)}"))
        with pytest.raises(RegistryError, match="401"):
            repository.blob(blob_of(LAYER))
    assert spilled(foreign) == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_counted(tmp_path: Path, status: int) -> None:
    with fake_with_image() as fake:
        fake.misbehave("blobs", replies.redirected(f"/v2/team/app/blobs/{digests.of(LAYER)}", status), times=1000)
        with pytest.raises(RegistryError, match="more than 5 redirects"):
            open_at(f"{fake.host}/team/app:1.0", settings_in(str(tmp_path))).blob(blob_of(LAYER))
        assert len(fake.seen) == LIMITS.redirects + 1


def test_another_token_server_is_asked_over_http_without_a_credential(tmp_path: Path, foreign: FakeRegistry) -> None:
    with fake_with_image(auth="token", realm=f"{foreign.url}/token") as fake, pytest.raises(RegistryError):
        fake.tokens = foreign.tokens
        open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).resolve()
    assert foreign.count("GET", "/token") == 1
    assert spilled(foreign) == 0


def test_what_is_stored_for_the_token_server_is_left_alone(tmp_path: Path, foreign: FakeRegistry) -> None:
    """Else whoever runs a registry got a token of any other that the user is logged in to."""
    with fake_with_image(auth="token", realm=f"{foreign.url}/token") as fake, pytest.raises(RegistryError):
        open_at(f"{fake.host}/team/app:1.0", known(foreign, tmp_path)).resolve()
    assert foreign.count("GET", "/token") == 1
    assert spilled(foreign) == 0


@pytest.mark.parametrize("query", ["", "?scope=repository:me/private:push", "?a=b&%53cope=x;scope=y&service=z", "?a=b"])
def test_the_scope_is_not_for_the_challenge_to_choose(query: str) -> None:
    asked: list[str] = []

    def fetch(method: str, url: urls.Url, headers: object, body: bytes) -> bytes:
        asked.append(f"{url} {body.decode()}")
        return b'{"token": "t"}'

    place, source = urls.parse("https://reg.example/v2/"), Source(host="reg.example", repository="a")
    policy = TlsPolicy(source=source, registries=Registries())
    challenge = [f'Bearer realm="https://auth.example/token{query}",service="s",scope="repository:me/private:pull"']
    for credential in (OWN, Credential(token="identity")):
        authenticator = Authenticator(lambda host, repository, found=credential: found, fetch, policy)  # type: ignore[misc]
        authenticator.answer(place, challenge, ("repository:a:pull",))
    kept = "a=b" in query
    assert [text.lower().count("scope=") for text in asked] == [1, 1]
    assert ["scope=repository%3Aa%3Apull" in text and ("?a=b" in text) is kept for text in asked] == [True, True]


def test_a_token_server_s_redirect_carries_nothing(tmp_path: Path, foreign: FakeRegistry) -> None:
    with fake_with_image(auth="token") as fake:
        fake.misbehave("token", replies.redirected(f"{foreign.url}/token"))
        with pytest.raises(RegistryError):
            open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path)).resolve()
    assert foreign.count("GET", "/token") == 1
    assert spilled(foreign) == 0


def test_an_identity_token_is_never_redirected(tmp_path: Path, foreign: FakeRegistry) -> None:
    with fake_with_image(auth="token") as fake:
        fake.identity_token = PASSWORD
        path = tmp_path / "auth.json"
        path.write_text(json.dumps({"auths": {fake.host: {"identitytoken": PASSWORD}}}))
        fake.misbehave("token", replies.redirected(f"{foreign.url}/token", 308))
        settings = settings_in(str(tmp_path), environ={"REGISTRY_AUTH_FILE": str(path)})
        with pytest.raises(RegistryError):
            open_at(f"{fake.host}/team/app:1.0", settings).resolve()
    assert foreign.seen == []


def test_an_upload_sent_elsewhere_carries_nothing(tmp_path: Path, foreign: FakeRegistry) -> None:
    with fake_with_image(auth="token") as fake:
        foreign.uploads["0"] = bytearray()
        there = {"Location": f"{foreign.url}/v2/team/app/blobs/uploads/0"}
        repository = open_at(f"{fake.host}/team/app:1.0", known(fake, tmp_path), push=True)
        repository.has_blob(blob_of(LAYER))
        fake.misbehave("blobs/uploads", replies.answer(202, there), method="POST")
        repository.put_blob(blob_of(b"elsewhere"), Bytes(b"elsewhere"))
    assert foreign.count("PUT") == 1
    assert spilled(foreign) == 0


def test_cookies_are_not_kept(tmp_path: Path) -> None:
    with fake_with_image() as fake:
        fake.misbehave("any", replies.with_headers(Set_Cookie="a=b"))
        repository = open_at(f"{fake.host}/team/app:1.0", settings_in(str(tmp_path)))
        repository.resolve()
        repository.resolve()
        assert all("Cookie" not in seen.headers for seen in fake.seen)


OWN = Credential(user="own", password="own-secret")


@pytest.mark.parametrize(
    ("registry", "realm", "insecure", "sent"),
    [
        ("https://registry-1.docker.io/", "https://auth.docker.io/token", False, "own"),
        ("https://reg.example/", "https://reg.example/token", False, "own"),
        ("https://reg.example/", "https://reg.example:8443/token", False, "own"),
        ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", False, "own"),
        ("https://reg.example/", "https://evil.net/token", False, "own"),
        ("https://a.azurecr.io/", "https://b.azurecr.io/token", False, "own"),
        ("https://reg.example/", "https://lab.example/token", False, "nothing"),
        ("https://reg.example/", "http://reg.example/token", False, "refused"),
        ("https://reg.example/", "http://auth.reg.example/token", False, "refused"),
        ("https://reg.example/", "https://127.0.0.1/token", False, "refused"),
        ("https://reg.example/", "https://169.254.169.254/latest", False, "refused"),
        ("https://reg.example/", "https://0xa9fea9fe/latest", False, "refused"),
        ("https://reg.example/", "https://localhost/token", False, "refused"),
        ("https://reg.example/", "https://user:pw@reg.example/token", False, "refused"),
        ("https://reg.example/", "file:///etc/passwd", False, "refused"),
        ("https://reg.example/", "/token", False, "refused"),
        ("http://reg.example/", "http://reg.example/token", True, "own"),
        ("http://reg.example/", "http://auth.reg.example/token", True, "refused"),
        ("https://reg.example/", "https://auth.reg.example/token", True, "own"),
        ("http://reg.example/", "http://169.254.169.254/token", True, "refused"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/token", False, "own"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", False, "nothing"),
        ("http://localhost:5000/", "http://evil.net/token", False, "refused"),
        ("http://localhost:5000/", "https://evil.net/token", False, "own"),
    ],
)  # fmt: skip
def test_whose_credential_a_token_server_gets(registry: str, realm: str, insecure: bool, sent: str) -> None:
    place = urls.parse(registry)
    source = Source(host=place.host_port, repository="a", insecure=insecure)
    got: list[str] = []

    def fetch(method: str, url: urls.Url, headers: object, body: bytes) -> bytes:
        got.append(str(headers))
        return b'{"token": "t"}'

    def find(host: str, repository: str) -> Credential:
        assert (host, repository) == (source.host, source.repository)
        return OWN

    lax = Registries(entries=(registries._Registry(location="lab.example", insecure=True),))
    policy = TlsPolicy(source=source, registries=lax)
    authenticator = Authenticator(find, fetch, policy)
    challenge = [f'Bearer realm="{realm}"']
    if sent == "refused":
        with pytest.raises(RegistryError, match="does not ask"):
            authenticator.answer(place, challenge, ("s",))
        assert got == []
    else:
        assert authenticator.answer(place, challenge, ("s",)) == "Bearer t"
        assert got == [str({"Authorization": auth._basic(OWN)} if sent == "own" else {})]
