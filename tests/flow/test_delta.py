# SPDX-License-Identifier: Apache-2.0
"""A host that has an older version fetches what makes the new one out of it; without a delta, or with a wrong one,
it fetches as ever. Requests and bytes are counted.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ashore.acts.fetch.bases import Bases
from ashore.cli import run
from ashore.nouns.delta import ARTIFACT, FROM
from ashore.nouns.digest import hex_of, of
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, answer
from tests.flow.machine import Machine, snapshot

_FILES = 120
_CONFIG = "root/opt/share/d3/tool.conf"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "host"
    (root / "var/lib").mkdir(parents=True)
    return root


class Author:
    """Publishes versions of a bundle of 120 files that do not compress, with a template, a unit and a 2 KB config."""

    def __init__(self, registry: FakeRegistry, folder: Path) -> None:
        self.registry, self.folder = registry, folder / "bundle/many"
        numbers = random.Random(1)
        for number in range(_FILES):
            self.write(f"root/opt/share/d{number % 7}/f{number}", numbers.randbytes(3000))
        self.write(_CONFIG, "".join(f"key{n} = {numbers.random()}\n" for n in range(75)).encode())
        self.write("bundle.toml", b'name = "many"\nversion = "1"\n[values]\nport = 1\n')
        self.write("root/etc/many.conf.j2", b"port={{ port }}\n")
        self.write(
            "root/etc/systemd/system/many.service", b"[Service]\nExecStart=/opt/x\n[Install]\nWantedBy=a.target\n"
        )

    def write(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def change(self, path: str = _CONFIG, text: bytes = b"changed = true\n") -> None:
        data = (self.folder / path).read_bytes()
        self.write(path, data[:500] + text + data[500:])

    def publish(self, tag: str, *given: str) -> str:
        reference = f"{self.registry.host}/team/many:{tag}"
        assert run(["build", str(self.folder), "-t", reference, "--push", *given]) == 0
        return reference


@pytest.fixture
def author(registry: FakeRegistry, tmp_path: Path) -> Author:
    return Author(registry, tmp_path)


def install(reference: str, host: Path) -> None:
    assert run(["install", reference, "--root", str(host)]) == 0


def as_if_new(reference: str, tmp_path: Path) -> dict[str, tuple[object, ...]]:
    """A host that has `reference` and never had another."""
    root = tmp_path / "as-if-new"
    shutil.rmtree(root, ignore_errors=True)
    (root / "var/lib").mkdir(parents=True)
    install(reference, root)
    return snapshot(root)


def fetched(registry: FakeRegistry, act: Callable[[], object]) -> tuple[int, int, list[str]]:
    """Requests, bytes, and the ranges of blobs that were asked for while `act` ran."""
    registry.seen.clear()
    before = registry.sent
    act()
    ranges = [seen.headers["Range"] for seen in registry.seen if "Range" in seen.headers]
    return len(registry.seen), registry.sent - before, ranges


@pytest.mark.parametrize("lists", [True, False], ids=["a list of referrers", "a tag"])
@pytest.mark.parametrize("how", ["after the fact", "when it is built"])
def test_one_changed_file_takes_five_requests_and_a_few_kilobytes(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path, lists: bool, how: str
) -> None:
    registry.lists_referrers = lists
    first = author.publish("1")
    install(first, host)
    author.change()
    if how == "after the fact":
        second = author.publish("2")
        assert run(["delta", first, second]) == 0
    else:
        second = author.publish("2", "--delta-from", first)
    requests, amount, ranges = fetched(registry, lambda: install(second, host))
    assert requests <= 5, [seen.path for seen in registry.seen]
    assert amount < 8_000
    assert not ranges, "the delta came along in its manifest"
    assert snapshot(host) == as_if_new(second, tmp_path)


@pytest.mark.parametrize("lists", [True, False], ids=["a list of referrers", "a tag"])
def test_a_moved_tag_is_looked_up_once(registry: FakeRegistry, author: Author, host: Path, lists: bool) -> None:
    registry.lists_referrers = lists
    latest = author.publish("latest")
    install(latest, host)
    author.change()
    author.publish("latest", "--delta-from", latest)
    requests, amount, _ = fetched(registry, lambda: run(["upgrade", "--root", str(host)]))
    assert [seen.method for seen in registry.seen].count("HEAD") == 1
    assert requests <= 6
    assert amount < 8_000
    assert run(["diff", "--exit-code", "--root", str(host)]) == 0


def test_without_a_delta_it_costs_one_request_more(registry: FakeRegistry, author: Author, host: Path) -> None:
    install(author.publish("1"), host)
    author.change()
    second = author.publish("2")
    requests, _, ranges = fetched(registry, lambda: install(second, host))
    asked = [seen.path.split("?")[0].split("/")[4] for seen in registry.seen]
    assert asked == ["manifests", "blobs", "referrers", "blobs", "blobs"]
    assert len(ranges) == 2, "the table and the file: bundle.toml, the template and the unit are known"
    assert requests == 5


def test_where_there_is_no_list_that_is_remembered(registry: FakeRegistry, author: Author, host: Path) -> None:
    registry.lists_referrers = False
    install(author.publish("1"), host)
    for number, extra in (("2", 2), ("3", 1)):
        author.change()
        reference = author.publish(number)
        fetched(registry, lambda reference=reference: install(reference, host))  # type: ignore[misc]
        lookups = [seen for seen in registry.seen if "referrers" in seen.path or "sha256-" in seen.path]
        assert len(lookups) == extra


def test_nothing_to_do_asks_for_no_delta(registry: FakeRegistry, author: Author, host: Path) -> None:
    first = author.publish("1")
    install(first, host)
    requests, _, _ = fetched(registry, lambda: install(first, host))
    assert requests == 1


def test_what_is_put_right_fetches_no_table_again(registry: FakeRegistry, author: Author, host: Path) -> None:
    """The same image once more, since a file went: what is known of it is known."""
    first = author.publish("1")
    install(first, host)
    (host / _CONFIG.removeprefix("root/")).unlink()
    fetched(registry, lambda: install(first, host))
    assert not [seen for seen in registry.seen if "referrers" in seen.path or "Range" in seen.headers]


def test_a_first_install_asks_for_no_delta(registry: FakeRegistry, author: Author, host: Path) -> None:
    first = author.publish("1")
    author.change()
    second = author.publish("2", "--delta-from", first)
    fetched(registry, lambda: install(second, host))
    assert not [seen for seen in registry.seen if "referrers" in seen.path]


def big(seed: int, *, changed: bool = False) -> bytes:
    """3 MB that do not compress; changed, 5 of each 1000 bytes are others, and some came in between."""
    data = bytearray(random.Random(seed).randbytes(3_000_000))
    if changed:
        numbers = random.Random(seed + 1)
        for _ in range(15_000):
            data[numbers.randrange(len(data))] ^= 0x55
        data[1_000_000:1_000_000] = numbers.randbytes(5000)
    return bytes(data)


def test_large_files_are_made_out_of_their_older_versions(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    for number in range(3):
        author.write(f"root/opt/bin/big{number}", big(number))
    first = author.publish("1")
    install(first, host)
    for number in range(3):
        author.write(f"root/opt/bin/big{number}", big(number, changed=True))
    author.change("bundle.toml", b"\n# a comment\n")
    author.change("root/etc/many.conf.j2", b"more={{ port }}\n")
    second = author.publish("2", "--delta-from", first)
    requests, amount, ranges = fetched(registry, lambda: install(second, host))
    assert amount < 500_000, "of 9 MB"
    assert requests <= 9
    assert all(wanted.startswith("bytes=") and wanted.count("-") == 1 for wanted in ranges)
    assert snapshot(host) == as_if_new(second, tmp_path)
    assert (host / "etc/many.conf").read_text() == "port=1\nmore=1\n"


def test_an_older_host_takes_what_it_can_use(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    """The delta starts at version 2, the host has version 1: patches go by the digests of files."""
    author.write("root/opt/bin/big", big(1))
    install(author.publish("1"), host)
    author.change()
    second = author.publish("2")
    author.write("root/opt/bin/big", big(1, changed=True))
    third = author.publish("3", "--delta-from", second)
    _, amount, _ = fetched(registry, lambda: install(third, host))
    assert amount < 500_000
    assert snapshot(host) == as_if_new(third, tmp_path)


def test_of_several_deltas_the_one_that_starts_at_what_is_installed(
    registry: FakeRegistry, author: Author, host: Path
) -> None:
    first = author.publish("1")
    install(first, host)
    author.change()
    second = author.publish("2")
    author.change("root/opt/share/d0/f0")
    third = author.publish("3", "--delta-from", first, "--delta-from", second)
    requests, amount, ranges = fetched(registry, lambda: install(third, host))
    assert (requests, ranges) == (4, [])
    assert amount < 15_000


def test_a_host_whose_file_was_edited_fetches_the_file(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    text = b'name = "many"\n[values]\nport = 1\n[[files]]\npath = "opt/share/**"\non_edit = "replace"\n'
    author.write("bundle.toml", text)
    first = author.publish("1")
    install(first, host)
    (host / _CONFIG.removeprefix("root/")).write_text("mine\n")
    author.change()
    second = author.publish("2", "--delta-from", first)
    _, _, ranges = fetched(registry, lambda: install(second, host))
    assert len(ranges) == 1, "the index is made, the file is fetched"
    assert snapshot(host) == as_if_new(second, tmp_path)


def test_a_cache_that_is_gone_costs_the_table(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    first = author.publish("1")
    install(first, host)
    shutil.rmtree(tmp_path / "cache")
    author.change()
    second = author.publish("2", "--delta-from", first)
    _, amount, ranges = fetched(registry, lambda: install(second, host))
    assert len(ranges) == 2, "the table; bundle.toml, template and unit. The config is made"
    assert amount < 60_000
    assert snapshot(host) == as_if_new(second, tmp_path)


def damage(folder: Path) -> None:
    for file in folder.iterdir():
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :])


def test_a_cache_that_somebody_wrote_to_is_not_believed(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    first = author.publish("1")
    install(first, host)
    damage(tmp_path / "cache/known")
    author.change()
    second = author.publish("2", "--delta-from", first)
    install(second, host)
    assert snapshot(host) == as_if_new(second, tmp_path)


def test_a_stored_content_that_is_damaged_is_nothing_to_build_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.images.add("reg.example/app:1", {"opt/x": "content"})
    machine.install("reg.example/app:1")
    digest = of(b"content")
    bases = Bases(machine.tools())
    assert bases.has(digest)
    with bases.opened(digest) as found:
        assert found is not None and found.read(0, 10) == b"content"
    stored = machine.root / "var/lib/ashore/content/sha256" / hex_of(digest)[:2] / hex_of(digest)
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(b"damaged")
    with bases.opened(digest) as found:
        assert found is not None and found.read(0, 10) == b"content", "it lies in place as well"
    (machine.root / "opt/x").write_text("edited")
    assert bases.open(digest) is None
    with bases.opened(digest) as found:
        assert found is None


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_image_whose_layers_are_fetched_whole_gets_no_delta(
    author: Author, compression: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = author.publish("1", "--compression", compression)
    author.change()
    second = author.publish("2", "--compression", compression)
    assert run(["delta", first, second]) == 3
    said = capsys.readouterr().err
    assert f"{second}@" in said and "cannot have a delta" in said and "--compression zstd:chunked" in said


def test_a_delta_that_is_larger_than_what_it_saves_is_not_stored(
    registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, names = tmp_path / "tiny/root/opt/tiny", [f"{registry.host}/team/tiny:{n}" for n in (1, 2)]
    file.parent.mkdir(parents=True)
    for number, name in enumerate(names):
        file.write_text("a small file\n" * (3 + number))
        assert run(["build", str(tmp_path / "tiny"), "-t", name, "--push"]) == 0
    before = sum(map(len, registry.blobs.values()))
    assert run(["delta", *names]) == 0
    assert "nothing to save" in capsys.readouterr().out
    assert sum(map(len, registry.blobs.values())) == before


def test_an_old_image_of_another_compression_is_as_good(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    author.write("root/opt/bin/big", big(1))
    first = author.publish("1", "--compression", "gzip")
    install(first, host)
    author.write("root/opt/bin/big", big(1, changed=True))
    second = author.publish("2", "--delta-from", first)
    _, amount, _ = fetched(registry, lambda: install(second, host))
    assert amount < 500_000
    assert snapshot(host) == as_if_new(second, tmp_path)


def referrers(registry: FakeRegistry, name: str) -> list[dict[str, Any]]:
    documents = (json.loads(data) for _, data in registry.manifests[name].values())
    return [document for document in documents if document.get("artifactType") == ARTIFACT]


@pytest.mark.parametrize("lists", [True, False], ids=["a list of referrers", "a tag"])
@pytest.mark.parametrize("way", ["registry", "oci:{}/out", "oci:{}/out:tag", "oci-archive:{}/out.tar"])
def test_deltas_go_where_their_image_goes(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path, way: str, lists: bool
) -> None:
    registry.lists_referrers = lists
    first = author.publish("1")
    author.change()
    second = author.publish("2", "--delta-from", first)
    target = f"{registry.host}/mirror/many"
    way = way.format(tmp_path)
    if way == "registry":
        assert run(["copy", second, f"{target}:2"]) == 0
    else:
        assert run(["pull", second, way]) == 0
        assert run(["push", way, f"{target}:2"]) == 0
    assert [document["annotations"].keys() for document in referrers(registry, "mirror/many")] == [{FROM}]
    assert run(["copy", first, f"{target}:1"]) == 0
    install(f"{target}:1", host)
    _, amount, _ = fetched(registry, lambda: install(f"{target}:2", host))
    assert amount < 8_000


def test_deltas_stay_where_they_are_if_that_is_wanted(registry: FakeRegistry, author: Author) -> None:
    first = author.publish("1")
    author.change()
    second = author.publish("2", "--delta-from", first)
    assert run(["copy", second, f"{registry.host}/mirror/many:2", "--referrers", "none"]) == 0
    assert not referrers(registry, "mirror/many")


@pytest.mark.parametrize("place", ["oci:{}/out", "oci:{}/out:tag", "oci-archive:{}/out.tar"])
def test_a_delta_is_stored_beside_an_image_on_disk(author: Author, tmp_path: Path, place: str) -> None:
    where, old = place.format(tmp_path), f"oci:{tmp_path}/old"
    assert run(["build", str(author.folder), "-o", old]) == 0
    author.change()
    assert run(["build", str(author.folder), "-o", where]) == 0
    assert run(["delta", old, where]) == 0
    assert run(["delta", old, where]) == 0, "once more is the same"
    target = f"{author.registry.host}/mirror/many"
    assert run(["push", where, f"{target}:2"]) == 0
    assert len(referrers(author.registry, "mirror/many")) == 1
    assert run(["inspect", where]) == 0, "the layout still holds one image"


def test_a_delta_from_the_image_itself_is_nothing(
    author: Author, capsys: pytest.CaptureFixture[str], registry: FakeRegistry
) -> None:
    first = author.publish("1")
    capsys.readouterr()
    assert run(["delta", first, first]) == 0
    assert "nothing to save" in capsys.readouterr().out
    assert not referrers(registry, "team/many")


def test_an_index_gets_a_delta_for_each_platform(registry: FakeRegistry, author: Author) -> None:
    both = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    author.write("root.arm64/opt/only-arm", b"x" * 5000)
    first = author.publish("1", *both)
    author.change()
    second = author.publish("2", *both, "--delta-from", first)
    made = referrers(registry, "team/many")
    digest = registry.tags["team/many"]["2"]
    images = json.loads(registry.manifests["team/many"][digest][1])["manifests"]
    assert {d["subject"]["digest"] for d in made} == {image["digest"] for image in images}
    assert run(["copy", second, f"{registry.host}/mirror/many:2", "--platform", "linux/arm64"]) == 0
    assert len(referrers(registry, "mirror/many")) == 1


@pytest.mark.parametrize("status", [403, 500])
def test_an_image_is_copied_where_its_deltas_cannot_be_asked_for(
    registry: FakeRegistry, author: Author, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = author.publish("1")
    registry.misbehave("referrers", answer(status), times=100)
    assert run(["copy", first, f"{registry.host}/mirror/many:1"]) == 0
    assert "copied without its deltas" in capsys.readouterr().err
    assert run(["copy", first, f"{registry.host}/mirror/many:2", "--referrers", "all"]) == 4


def test_signatures_and_the_like_come_along_when_all_shall(registry: FakeRegistry, author: Author) -> None:
    first = author.publish("1")
    digest = registry.tags["team/many"]["1"]
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": _EMPTY, "size": 2}
    registry.blobs["team/many"][_EMPTY] = b"{}"
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.sbom",
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1},
    }
    from tests.fakes.registry_replies import digest_of

    data = json.dumps(document).encode()
    registry.manifests["team/many"][digest_of(data)] = ("application/vnd.oci.image.manifest.v1+json", data)
    assert run(["copy", first, f"{registry.host}/mirror/deltas:1"]) == 0
    assert len(registry.manifests["mirror/deltas"]) == 1
    assert run(["copy", first, f"{registry.host}/mirror/all:1", "--referrers", "all"]) == 0
    assert registry.manifests["mirror/all"][digest_of(data)][1] == data


_EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def ignoring_ranges(registry: FakeRegistry) -> Callable[[Reply], Reply]:
    def change(reply: Reply) -> Reply:
        if reply.status != 206:
            return reply
        digest = reply.headers["Docker-Content-Digest"]
        return answer(200, {}, next(b[digest] for b in registry.blobs.values() if digest in b))(reply)

    return change


def test_a_registry_that_ignores_ranges_is_read_whole(
    registry: FakeRegistry, author: Author, host: Path, tmp_path: Path
) -> None:
    author.write("root/opt/bin/big", big(1))
    first = author.publish("1")
    install(first, host)
    author.write("root/opt/bin/big", big(1, changed=True))
    second = author.publish("2", "--delta-from", first)
    registry.misbehave("blobs", ignoring_ranges(registry), times=1000)
    install(second, host)
    assert snapshot(host) == as_if_new(second, tmp_path)
    assert not os.listdir(host / "var/lib/ashore/stage")
