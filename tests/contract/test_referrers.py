# SPDX-License-Identifier: Apache-2.0
"""One suite for all that can hold what refers to an image: registries with and without a list, layouts, archives."""

import contextlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ashore.acts.author.attached import Carried, attached_to
from ashore.acts.author.copy import copy
from ashore.errors import AshoreError, VerificationError
from ashore.mechanisms.images.archive import TarFileWriter
from ashore.mechanisms.images.layout import REF_NAME
from ashore.mechanisms.images.transports import open_reader, open_writer
from ashore.nouns.delta import ARTIFACT, FROM
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Descriptor, referrers_tag
from ashore.nouns.limits import DEFAULT
from ashore.nouns.ports import ImageReader, ImageWriter, ReferrerReader, ReferrerWriter
from ashore.nouns.reference import parse
from ashore.nouns.signature import tags_beside
from tests.fakes.images import MemoryStore, Silent, layer, member, put_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import Bytes, settings_in
from tests.system.registry_server import RegistryServer, available

Writer = Callable[[], contextlib.AbstractContextManager[ImageWriter]]


class Place:
    """Where an image is, by name."""

    def __init__(self, name: str, folder: str) -> None:
        self.name, self._settings = name, settings_in(folder)

    @contextlib.contextmanager
    def writer(self) -> Iterator[ImageWriter]:
        with open_writer(
            parse(self.name), settings_factory=lambda: self._settings, progress=Silent(), limits=DEFAULT
        ) as writer:
            yield writer

    def reader(self) -> ImageReader:
        return open_reader(parse(self.name), settings_factory=lambda: self._settings, progress=Silent(), limits=DEFAULT)

    def listed(self, subject: Digest, **how: object) -> tuple[Descriptor, ...]:
        reader = self.reader()
        assert isinstance(reader, ReferrerReader)
        return reader.referrers(subject, **how).found  # type: ignore[arg-type]


@pytest.fixture(
    params=[
        "a registry with a list",
        "a registry with a list in pages",
        "a registry without",
        pytest.param("Debian's registry", marks=pytest.mark.real),
        "oci",
        "oci with tag",
        "oci-archive",
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind, _, tag = request.param.partition(" with tag")
    if kind.startswith("oci"):
        yield Place(f"{kind}:{tmp_path}/image{':v1' if tag or request.param == 'oci with tag' else ''}", str(tmp_path))
        return
    with contextlib.ExitStack() as stack:
        if kind.startswith("Debian"):
            if not available():
                pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            host = stack.enter_context(RegistryServer(folder)).host
        else:
            fake = stack.enter_context(FakeRegistry())
            fake.lists_referrers = "without" not in kind
            fake.referrers_a_page = 1 if "pages" in kind else 0
            host = fake.host
        yield Place(f"{host}/team/app:1", str(tmp_path))


def image() -> tuple[MemoryStore, Digest]:
    store = MemoryStore()
    put_image(store, (layer(member("ashore/root/a", b"one")),))
    assert store.named is not None
    return store, store.named.digest


def referrer(subject: Digest, kind: str, *, number: int = 0) -> tuple[Descriptor, bytes]:
    empty = {"mediaType": OCI_EMPTY, "digest": of(b"{}"), "size": 2}
    annotations = {"number": str(number)}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
        "annotations": annotations,
    }
    data = json.dumps(document).encode()
    return (
        Descriptor(
            media_type=OCI_MANIFEST, digest=of(data), size=len(data), artifact_type=kind, annotations=annotations
        ),
        data,
    )


def put(writer: ImageWriter, subject: Digest, what: tuple[Descriptor, bytes]) -> None:
    assert isinstance(writer, ReferrerWriter)
    blob = Descriptor(media_type=OCI_EMPTY, digest=of(b"{}"), size=2)
    if not writer.has_blob(blob):
        writer.put_blob(blob, Bytes(b"{}"))
    writer.put_referrer(subject, *what)


def published(place: Place, *what: tuple[Descriptor, bytes]) -> Digest:
    """The image with these beside it, which are there before it has a name."""
    store, subject = image()
    with place.writer() as writer:
        for one in what:
            put(writer, subject, one)
        copy(parse("docker.io/x"), store, parse(place.name), writer, platform=None, progress=Silent(), limits=DEFAULT)
    return subject


def test_what_refers_to_an_image_is_listed_with_its_type_and_annotations(place: Place) -> None:
    _, subject = image()
    both = referrer(subject, "application/vnd.a", number=1), referrer(subject, "application/vnd.b", number=2)
    assert published(place, *both) == subject
    found = place.listed(subject)
    assert sorted(found, key=lambda entry: entry.annotations["number"]) == [one for one, _ in both]
    of_type = place.listed(subject, artifact_type="application/vnd.a")
    assert both[0][0] in of_type, "others may be among them"


def test_the_image_is_found_as_before(place: Place) -> None:
    _, subject = image()
    published(place, referrer(subject, "application/vnd.a"))
    assert place.reader().resolve().digest == subject


def test_nothing_refers_to_what_nothing_refers_to(place: Place) -> None:
    subject = published(place)
    assert place.listed(subject) == ()
    assert place.listed(of(b"another")) == ()


def test_what_says_itself_that_it_is_of_another_image_is_not_carried(place: Place) -> None:
    """Under a tag anybody can list anything."""
    _, subject = image()
    published(place, referrer(of(b"another image"), "application/vnd.other"))
    assert not list(attached_to(place.reader(), subject, Carried.ALL, DEFAULT))


def test_the_same_twice_is_listed_once(place: Place) -> None:
    _, subject = image()
    one = referrer(subject, "application/vnd.a")
    published(place, one)
    if not place.name.startswith("oci-archive"):
        with place.writer() as writer:
            put(writer, subject, one)
    assert place.listed(subject) == (one[0],)


def test_what_is_carried_is_carried(place: Place, tmp_path: Path) -> None:
    _, subject = image()
    published(place, referrer(subject, "application/vnd.a", number=1), referrer(subject, "application/vnd.b", number=2))
    found = list(attached_to(place.reader(), subject, Carried.ALL, DEFAULT))
    assert {one.descriptor.artifact_type for one in found} == {"application/vnd.a", "application/vnd.b"}
    assert not list(attached_to(place.reader(), subject, Carried.DELTAS, DEFAULT))
    target = Place(f"oci:{tmp_path}/target", str(tmp_path))
    with target.writer() as writer:
        copy(
            parse(place.name),
            place.reader(),
            parse(target.name),
            writer,
            platform=None,
            progress=Silent(),
            limits=DEFAULT,
            carried=Carried.ALL,
        )
    assert len(target.listed(subject)) == 2


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
@pytest.mark.parametrize("carried", [Carried.DELTAS, Carried.ALL])
def test_of_what_a_list_says_nothing_but_the_digest_goes_along(tmp_path: Path, form: str, carried: Carried) -> None:
    """A size would shift what an archive holds; a name would make another image of it."""
    with FakeRegistry() as registry:
        registry.lists_referrers = False
        place = Place(f"{registry.host}/team/app:1", str(tmp_path))
        subject = published(place)
        right, data = referrer(subject, ARTIFACT)
        with place.writer() as writer:
            put(writer, subject, (right, data))
        lie = msgspec.structs.replace(right, size=1 << 9, annotations={REF_NAME: "2", FROM: subject})
        index = msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [lie]})
        registry.manifests["team/app"][of(index)] = (OCI_INDEX, index)
        registry.tags["team/app"][referrers_tag(subject)] = of(index)
        target = Place(f"{form}:{tmp_path}/target:1", str(tmp_path))
        with target.writer() as writer:
            read, told = place.reader(), Silent()
            copy(parse(place.name), read, parse(target.name), writer, platform=None, progress=told, limits=DEFAULT,
                 carried=carried)  # fmt: skip
        assert target.listed(subject) == (right,)
        assert target.reader().resolve().digest == subject
        with pytest.raises(AshoreError, match="names no image"):
            Place(f"{form}:{tmp_path}/target:2", str(tmp_path)).reader().resolve()


def test_a_list_that_says_another_type_than_the_manifest_is_not_believed(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        registry.lists_referrers = False
        place = Place(f"{registry.host}/team/app:1", str(tmp_path))
        subject = published(place)
        right, data = referrer(subject, "application/vnd.other")
        with place.writer() as writer:
            put(writer, subject, (msgspec.structs.replace(right, artifact_type=ARTIFACT), data))
        assert [entry.artifact_type for entry in place.listed(subject)] == [ARTIFACT]
        assert not list(attached_to(place.reader(), subject, Carried.DELTAS, DEFAULT))


def test_an_archive_takes_no_file_of_another_size(tmp_path: Path) -> None:
    with TarFileWriter(str(tmp_path / "made.tar")) as archive:
        for size in (2, 4):
            with pytest.raises(VerificationError, match=f"{size} bytes were announced, 3 came"):
                archive.add("file", size, Bytes(b"abc"))
        archive.add("file", 3, Bytes(b"abc"))
        archive.finish()
    with tarfile.open(tmp_path / "made.tar") as made:
        assert [(member.name, member.size) for member in made] == [("file", 3)]


def test_an_entry_of_another_kind_that_cannot_be_read_is_no_reason(tmp_path: Path) -> None:
    place = Place(f"oci:{tmp_path}/made:1", str(tmp_path))
    subject = published(place, right := referrer(subject_of_all(), ARTIFACT))
    index = json.loads((tmp_path / "made/index.json").read_text())
    index["manifests"].append(
        {"mediaType": OCI_MANIFEST, "digest": of(b"gone"), "size": 4, "artifactType": "application/vnd.other"}
    )
    (tmp_path / "made/index.json").write_text(json.dumps(index))
    assert [one.descriptor for one in attached_to(place.reader(), subject, Carried.DELTAS, DEFAULT)] == [right[0]]


def subject_of_all() -> Digest:
    return image()[1]


def test_a_tag_that_is_no_list_is_not_written_over(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        registry.lists_referrers = False
        place = Place(f"{registry.host}/team/app:1", str(tmp_path))
        subject = published(place)
        registry.tags["team/app"][referrers_tag(subject)] = subject
        with place.writer() as writer, pytest.raises(AshoreError, match="no list of referrers"):
            put(writer, subject, referrer(subject, "application/vnd.a"))


@pytest.mark.parametrize("entries", [None, 60_000], ids=["malformed", "too large"])
def test_a_list_that_cannot_be_read_is_not_written_over(tmp_path: Path, entries: int | None) -> None:
    with FakeRegistry() as registry:
        registry.lists_referrers = False
        place = Place(f"{registry.host}/team/app:1", str(tmp_path))
        subject = published(place)
        one = {"mediaType": "text/x", "digest": f"sha256:{'0' * 64}", "size": 1}
        index = json.dumps({"manifests": [one] * entries}).encode() if entries else b"{"
        registry.manifests["team/app"][of(index)] = (OCI_INDEX, index)
        registry.tags["team/app"][referrers_tag(subject)] = of(index)
        with place.writer() as writer, pytest.raises(AshoreError, match="too large, or malformed"):
            put(writer, subject, referrer(subject, "application/vnd.a"))
        assert registry.tags["team/app"][referrers_tag(subject)] == of(index)


def test_what_others_put_into_the_index_under_the_tag_stays(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        registry.lists_referrers = False
        place = Place(f"{registry.host}/team/app:1", str(tmp_path))
        subject = published(place)
        strange = {"mediaType": "text/x", "digest": "sha512:" + "0" * 128, "size": 1, "unknown": {"to": "us"}}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [strange]}).encode()
        registry.manifests["team/app"][of(index)] = (OCI_INDEX, index)
        registry.tags["team/app"][referrers_tag(subject)] = of(index)
        one = referrer(subject, "application/vnd.a")
        with place.writer() as writer:
            put(writer, subject, one)
        assert place.listed(subject) == (one[0],)
        written = registry.manifests["team/app"][registry.tags["team/app"][referrers_tag(subject)]][1]
        assert json.loads(written)["manifests"] == [strange, msgspec.to_builtins(one[0])]


def test_what_lies_under_a_tag_beside_the_image(place: Place) -> None:
    _, subject = image()
    tag, (_, data) = tags_beside(subject)[0], referrer(subject, "application/vnd.a")
    blob = Descriptor(media_type=OCI_EMPTY, digest=of(b"{}"), size=2)
    store, _ = image()
    with place.writer() as writer:
        assert isinstance(writer, ReferrerWriter)
        assert writer.there_tagged(tag) is None
        writer.put_blob(blob, Bytes(b"{}"))
        writer.put_tagged(tag, OCI_MANIFEST, data)
        copy(parse("docker.io/x"), store, parse(place.name), writer, platform=None, progress=Silent(), limits=DEFAULT)
    reader = place.reader()
    assert isinstance(reader, ReferrerReader)
    found = reader.tagged(tag)
    assert found is not None and found.digest == of(data)
    assert reader.manifest(found.digest) == (OCI_MANIFEST, data)
    assert reader.tagged(tags_beside(subject)[1]) is None
    assert reader.resolve().digest == subject, "it is no image of its own"


def test_what_lies_under_a_tag_gives_way_to_another(place: Place) -> None:
    if place.name.startswith("oci-archive"):
        return  # it is written anew, each time
    subject = published(place)
    tag = tags_beside(subject)[0]
    for number in range(2):
        _, data = referrer(subject, "application/vnd.a", number=number)
        with place.writer() as writer:
            assert isinstance(writer, ReferrerWriter)
            writer.put_blob(Descriptor(media_type=OCI_EMPTY, digest=of(b"{}"), size=2), Bytes(b"{}"))
            writer.put_tagged(tag, OCI_MANIFEST, data)
            assert writer.there_tagged(tag) == data
    reader = place.reader()
    assert reader.resolve().digest == subject
