# SPDX-License-Identifier: Apache-2.0
"""One suite for the registry in memory and for Debian's: what a repository promises to its users."""

import os
import tempfile
from collections.abc import Iterator

import pytest

from ashore.errors import InputError, RegistryError, VerificationError
from ashore.mechanisms.registry import Repository
from ashore.nouns import digest as digests
from ashore.nouns.image import OCI_MANIFEST, Descriptor
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import Bytes, Lying, Told, blob_of, drain, manifest_of, open_at, settings_in
from tests.system.registry_server import RegistryServer, available

USER, PASSWORD = "ann", "s3cret-of-ann"
CONFIG = b'{"architecture":"amd64","os":"linux"}'
SMALL = b"a small layer" * 100
LARGE = os.urandom(9 * 1024 * 1024)


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "fake-basic",
        "fake-token",
        *(pytest.param(n, marks=pytest.mark.real) for n in ("real", "real-basic")),
    ],
)
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    kind, _, auth = request.param.partition("-")
    if kind == "fake":
        with FakeRegistry(auth=auth, user=USER, password=PASSWORD) as fake:
            yield fake.host
        return
    if not available():
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    user = USER if auth else ""
    with tempfile.TemporaryDirectory() as folder, RegistryServer(folder, user=user, password=PASSWORD) as server:
        yield server.host


@pytest.fixture
def there(host: str, tmp_path: str) -> "There":
    return There(host, str(tmp_path))


class There:
    """A registry and how to open its repositories."""

    def __init__(self, host: str, folder: str) -> None:
        self.host = host
        self.settings = settings_in(folder, credentials={host: (USER, PASSWORD)})

    def open(self, name: str, *, push: bool = False, progress: Told | None = None) -> Repository:
        return open_at(f"{self.host}/{name}", self.settings, push=push, progress=progress)

    def pushed(self, name: str, *layers: bytes) -> Descriptor:
        repository = self.open(name, push=True)
        for blob in (CONFIG, *layers):
            repository.put_blob(blob_of(blob), Bytes(blob))
        manifest = manifest_of(CONFIG, *layers)
        repository.put_manifest(OCI_MANIFEST, manifest, named=True)
        repository.close()
        return blob_of(manifest, OCI_MANIFEST)


@pytest.mark.parametrize("layer", [SMALL, LARGE, b""], ids=["small", "in chunks", "empty"])
def test_what_was_pushed_is_pulled(there: There, layer: bytes) -> None:
    pushed = there.pushed("team/round:1.0", layer)
    repository = there.open("team/round:1.0")
    resolved = repository.resolve()
    assert resolved == pushed
    media_type, data = repository.manifest(resolved.digest)
    assert (media_type, digests.of(data)) == (OCI_MANIFEST, pushed.digest)
    assert drain(repository.blob(blob_of(layer))) == layer


def test_a_digest_is_resolved_and_checked(there: There) -> None:
    pushed = there.pushed("team/pinned:1.0", SMALL)
    assert there.open(f"team/pinned@{pushed.digest}").resolve() == pushed


def test_a_missing_tag_is_named(there: There) -> None:
    there.pushed("team/tags:1.0", SMALL)
    with pytest.raises(RegistryError, match=r"team/tags has no tag 2\.0") as caught:
        there.open("team/tags:2.0").resolve()
    assert caught.value.code == 4


def test_a_missing_manifest_and_blob_are_named(there: There) -> None:
    there.pushed("team/holes:1.0", SMALL)
    absent = digests.of(b"absent")
    repository = there.open("team/holes:1.0")
    with pytest.raises(RegistryError, match=absent):
        repository.manifest(absent)
    with pytest.raises(RegistryError, match="not found"):
        repository.blob(blob_of(b"absent"))


def test_a_tag_moves_only_when_named(there: There) -> None:
    first = there.pushed("team/moves:1.0", SMALL)
    repository = there.open("team/moves:1.0", push=True)
    repository.put_blob(blob_of(b"other"), Bytes(b"other"))
    other = manifest_of(CONFIG, b"other")
    assert repository.put_manifest(OCI_MANIFEST, other, named=False) == digests.of(other)
    assert repository.resolve().digest == first.digest
    assert repository.manifest(digests.of(other))[1] == other
    repository.put_manifest(OCI_MANIFEST, other, named=True)
    assert there.open("team/moves:1.0").resolve().digest == digests.of(other)


def test_a_pinned_reference_takes_no_other_manifest(there: There) -> None:
    pushed = there.pushed("team/pin:1.0", SMALL)
    repository = there.open(f"team/pin:1.0@{pushed.digest}", push=True)
    with pytest.raises(InputError, match="pins another digest"):
        repository.put_manifest(OCI_MANIFEST, manifest_of(CONFIG), named=True)


def test_has_blob_says_what_is_there(there: There) -> None:
    there.pushed("team/has:1.0", SMALL)
    repository = there.open("team/has:1.0", push=True)
    assert repository.has_blob(blob_of(SMALL))
    assert not repository.has_blob(blob_of(b"never pushed"))
    assert not there.open("team/nothing:1.0", push=True).has_blob(blob_of(SMALL))


def test_a_blob_is_mounted_from_a_neighbour(there: There) -> None:
    there.pushed("team/mount-from:1.0", SMALL)
    repository = there.open("other/mount-to:1.0", push=True)
    assert repository.mount(digests.of(SMALL), "team/mount-from")
    assert repository.has_blob(blob_of(SMALL))
    assert not repository.mount(digests.of(b"nobody has this"), "team/mount-from")


def test_part_of_a_blob(there: There) -> None:
    there.pushed("team/range:1.0", SMALL)
    stream = there.open("team/range:1.0").blob_range(blob_of(SMALL), 100, 50)
    assert stream is not None
    assert drain(stream, 7) == SMALL[100:150]


def test_pushing_twice_changes_nothing(there: There) -> None:
    first = there.pushed("team/twice:1.0", SMALL)
    assert there.pushed("team/twice:1.0", SMALL) == first
    assert drain(there.open("team/twice:1.0").blob(blob_of(SMALL))) == SMALL


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "in chunks"])
def test_what_fails_verification_is_not_stored(there: There, data: bytes) -> None:
    changed = bytes([data[0] ^ 1]) + data[1:]
    repository = there.open("team/lies:1.0", push=True)
    with pytest.raises(VerificationError):
        repository.put_blob(blob_of(changed), Lying(changed))
    assert not repository.has_blob(blob_of(changed))


def test_a_registry_that_gets_other_bytes_refuses_them(there: There) -> None:
    repository = there.open("team/wrong:1.0", push=True)
    with pytest.raises(RegistryError, match="push blob"):
        repository.put_blob(blob_of(SMALL), Bytes(SMALL[::-1]))
    assert not repository.has_blob(blob_of(SMALL))


def test_progress_counts_every_byte(there: There) -> None:
    told = Told()
    repository = there.open("team/progress:1.0", push=True, progress=told)
    name = digests.short(digests.of(LARGE))
    repository.put_blob(blob_of(LARGE), Bytes(LARGE))
    assert (told.totals[name], told.done[name]) == (len(LARGE), len(LARGE))
    told.done.clear()
    drain(repository.blob(blob_of(LARGE)))
    assert told.done[name] == len(LARGE)
    assert told.lines == [f"end {name}"] * 2


def test_a_wrong_password_is_said_with_the_remedy(there: There, tmp_path: str) -> None:
    there.pushed("team/secret:1.0", SMALL)
    settings = settings_in(str(tmp_path), credentials={there.host: (USER, "wrong-password")})
    repository = open_at(f"{there.host}/team/secret:1.0", settings)
    try:
        repository.resolve()
    except RegistryError as error:
        assert f"ashore login {there.host}" in error.remedy
        assert "auth.json" in error.remedy
        assert "wrong-password" not in f"{error} {error.remedy}"
    else:
        open_at(f"{there.host}/team/secret:1.0", settings_in(str(tmp_path))).resolve()  # this registry is open to all
