# SPDX-License-Identifier: Apache-2.0
"""registries.conf: from a name to its sources."""

import os
from pathlib import Path

import pytest

from ashore.acts.recorded import record_for
from ashore.errors import ExitCode, InputError, RegistryError
from ashore.mechanisms.registry import registries
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
        "registries.conf:1", "1.conf:2", "2.conf", "3.conf", "4.conf",
    ]  # fmt: skip
    assert caught.value.issues[1].message == "location: Expected `str`, got `int`"
    assert all(issue.remedy for issue in caught.value.issues[:2])


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
