# SPDX-License-Identifier: Apache-2.0
"""A bundle's folder becomes an image: the same one anywhere, with what was in it and nothing of the machine."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ashore.acts.author.build import build
from ashore.acts.author.buildtools import BuildTools
from ashore.acts.author.lint import lint
from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.cli import run
from ashore.errors import InputError, UsageError
from ashore.mechanisms.images.compression import open_layer
from ashore.mechanisms.images.streams import BytesStream, pipe
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.digest import of
from ashore.nouns.files import Entry
from ashore.nouns.image import COMPRESSIONS, OCI_LAYER, Image, Platform, VerifiedImage
from ashore.nouns.limits import DEFAULT
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference, parse
from ashore.rules.images.policy import Policy
from ashore.rules.images.verify import demanded, unjudged, verify
from tests.fakes.images import AMD64, MemorySink, MemoryStore, Silent

ARM64 = Platform("arm64")
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with one of everything."""
    top = tmp_path / "worker"
    root = top / "root"
    for name in ("etc/app", "opt/bin", "var/empty"):
        (root / name).mkdir(parents=True)
    (top / "bundle.toml").write_text('name = "worker"\nversion = "1.0"\n')
    (root / "etc/app/plain").write_text("plain\n")
    (root / "etc/app/key.pem").write_text(KEY)
    (root / "etc/app/none").write_text("")
    (root / "opt/bin/tool").write_bytes(os.urandom(1000) * 700)
    (root / "opt/bin/tool").chmod(0o4775)
    (root / "opt/bin/link").hardlink_to(root / "opt/bin/tool")
    (root / "etc/app/absolute").symlink_to("/nowhere")
    (root / "etc/app/ünïcode").write_text("x")
    (root / ("etc/" + "n" * 200)).write_text("long")
    return top


def tools(images: Mapping[str, ImageReader], policy: Policy | None = None) -> BuildTools:
    def admitted(image: Image, reference: ImageReference, _: ImageReader) -> VerifiedImage:
        return verify(image, reference, demanded(reference, policy), None) if policy else unjudged(image)

    def open_image(reference: ImageReference) -> ImageReader:
        return images[reference.repository.rpartition("/")[2]]

    return BuildTools(open_image=open_image, admitted=admitted, progress=Silent(), limits=DEFAULT)


class Counting(Silent):
    """Remembers what was announced as well."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: dict[str, int] = {}

    def begin(self, name: str, total: int) -> None:
        super().begin(name, total)
        self.totals[name] = total


def built(top: Path, *platforms: Platform, compression: str = "zstd:chunked", **images: ImageReader) -> MemoryStore:
    store = MemoryStore()
    build(str(top), store, tools(images), platforms=platforms, compression=compression)
    return store


def digest(top: Path, *platforms: Platform, compression: str = "zstd:chunked") -> str:
    return built(top, *platforms, compression=compression).resolve().digest


def image_of(store: MemoryStore, platform: Platform = AMD64) -> Image:
    return resolve_image(store, parse("oci:x"), platform, DEFAULT)


def fetched(store: MemoryStore, platform: Platform = AMD64) -> tuple[Mapping[str, Entry], dict[str, bytes]]:
    sink = MemorySink()
    verified = unjudged(image_of(store, platform))
    tree = fetch_tree(verified, store, sink, prefix="ashore", progress=Silent(), limits=DEFAULT)
    return tree, {path: sink.digests[entry.digest] for path, entry in tree.items() if entry.kind == "file"}


def archive_of(store: MemoryStore, platform: Platform = AMD64) -> bytes:
    image = image_of(store, platform)
    (descriptor,) = image.manifest.layers
    data = bytearray()
    stream = open_layer(
        BytesStream(store.blobs[descriptor.digest]), descriptor.media_type, DEFAULT, image.config.rootfs.diff_ids[0]
    )
    pipe(stream, data.extend)
    return bytes(data)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_goes_in_comes_out(bundle: Path, compression: str) -> None:
    tree, contents = fetched(built(bundle, compression=compression))
    root = bundle / "root"
    modes = {path.removeprefix("root/"): oct(entry.mode) for path, entry in tree.items() if entry.kind == "file"}
    assert modes == {
        "bundle.toml": "0o644",
        "etc/app/plain": "0o644",
        "etc/app/key.pem": "0o600",
        "etc/app/none": "0o644",
        "etc/app/ünïcode": "0o644",
        "etc/" + "n" * 200: "0o644",
        "opt/bin/link": "0o755",
        "opt/bin/tool": "0o755",
    }
    assert {path for path, entry in tree.items() if entry.kind == "dir"} == {
        "root", "root/etc", "root/etc/app", "root/opt", "root/opt/bin", "root/var", "root/var/empty",
    }  # fmt: skip
    assert tree["root/etc/app/absolute"].target == "/nowhere"
    assert tree["root/opt/bin/tool"].link == tree["root/opt/bin/link"].link == "root/opt/bin/link"
    for path in ("etc/app/plain", "etc/app/key.pem", "opt/bin/tool", "opt/bin/link"):
        assert contents[f"root/{path}"] == (root / path).read_bytes()
    assert all((entry.uid, entry.gid) == (0, 0) for entry in tree.values())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tarfile_agrees_with_every_member(bundle: Path, compression: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive_of(built(bundle, compression=compression)))) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert members[0].name == "ashore"
        for m in members:
            assert (m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "")
        tool = next(m for m in members if m.name.endswith("tool"))
        assert (tool.islnk(), tool.linkname) == (True, "ashore/root/opt/bin/link")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_nothing_of_the_machine_leaks_in(bundle: Path, compression: str, tmp_path: Path) -> None:
    first = digest(bundle, compression=compression)
    other = tmp_path / "elsewhere" / "worker"
    old = os.umask(0o077)
    try:
        for path in sorted(bundle.rglob("*"), reverse=True):  # another order of creation
            target = other / path.relative_to(bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                target.symlink_to(path.readlink())
            elif path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.name != "link":
                target.write_bytes(path.read_bytes())
        (other / "root/opt/bin/tool").chmod(0o700)
        (other / "root/opt/bin/link").hardlink_to(other / "root/opt/bin/tool")
    finally:
        os.umask(old)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert digest(other, compression=compression) == first


def test_a_changed_byte_and_a_changed_mode_are_another_image(bundle: Path) -> None:
    first = digest(bundle)
    (bundle / "root/etc/app/plain").chmod(0o755)
    second = digest(bundle)
    (bundle / "root/etc/app/plain").write_text("plaim\n")
    assert len({first, second, digest(bundle)}) == 3


def test_the_config_says_what_it_is(bundle: Path) -> None:
    image = image_of(built(bundle), ARM64)  # without --platform it fits all
    assert image.config.labels == {
        "org.opencontainers.image.title": "worker",
        "org.opencontainers.image.version": "1.0",
        "io.ashore.platform": "any",
    }
    assert image.config.created == "1970-01-01T00:00:00Z"
    assert image.manifest.annotations["org.opencontainers.image.title"] == "worker"


def test_without_a_manifest_the_folder_gives_the_name(bundle: Path) -> None:
    (bundle / "bundle.toml").unlink()
    store = built(bundle)
    assert image_of(store).config.labels["org.opencontainers.image.title"] == "worker"
    assert "bundle.toml" not in fetched(store)[0]


def test_modes_by_rule(bundle: Path) -> None:
    with (bundle / "bundle.toml").open("a") as file:
        file.write('[[files]]\npath="opt/bin/tool"\nmode="4750"\n[[files]]\npath="etc/app/*"\nmode="0600"\n')
        file.write('[[files]]\npath="var/empty"\nmode="0700"\n')
    tree, _ = fetched(built(bundle))
    assert oct(tree["root/etc/app/plain"].mode) == "0o600"
    assert oct(tree["root/var/empty"].mode) == "0o700"
    assert oct(tree["root/etc/app"].mode) == "0o755"
    assert oct(tree["root/etc/app/absolute"].mode) == "0o777"


def test_a_mode_is_that_of_the_named_link_alone(bundle: Path) -> None:
    with (bundle / "bundle.toml").open("a") as file:
        file.write('[[files]]\npath="opt/bin/link"\nmode="4755"\n')
    (bundle / "root/opt/bin/third").hardlink_to(bundle / "root/opt/bin/tool")
    tree, contents = fetched(built(bundle))
    found = {name: tree[f"root/opt/bin/{name}"] for name in ("link", "third", "tool")}
    assert {name: oct(entry.mode) for name, entry in found.items()} == {
        "link": "0o4755", "third": "0o755", "tool": "0o755",
    }  # fmt: skip
    assert found["link"].link == "" and found["tool"].link == found["third"].link == "root/opt/bin/third"
    assert contents["root/opt/bin/link"] == contents["root/opt/bin/tool"]


def test_a_build_with_hard_links_comes_to_its_end(bundle: Path) -> None:
    progress = Counting()
    tools_ = msgspec.structs.replace(tools({}), progress=progress)
    build(str(bundle), MemoryStore(), tools_)
    assert progress.totals == progress.amounts


def test_a_private_key_is_what_begins_a_line_and_is_no_program(bundle: Path) -> None:
    speaks = "#!/bin/sh\ngrep -q -e '-----BEGIN PRIVATE KEY-----' \"$1\"\n"
    long = KEY.replace("MHc", "MHcCAQEEII0hkT5vm9Jp")
    files = {
        "opt/check": speaks,
        "opt/with-key": f"#!/bin/sh\ncat <<END\n{KEY}END\n",
        "opt/speaks": speaks,
        "opt/late.pem": "#" * 70_000 + "\n" + KEY,
        "opt/numbered.pem": "-----BEGIN PKCS8 PRIVATE KEY-----\n",
        "opt/in.yaml": f"key: |\n  {KEY}",
        "opt/in.json": json.dumps({"private_key": long}),
        "opt/in.env": f'TLS_KEY="{long}"\n',
        "opt/old.json": json.dumps({"key": KEY.replace("KEY-----\n", "KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n", 1)}),
    }
    for path, text in files.items():
        (bundle / "root" / path).write_text(text)
    for path in ("opt/check", "opt/with-key"):
        (bundle / "root" / path).chmod(0o755)
    tree, _ = fetched(built(bundle))
    assert {path: oct(tree[f"root/{path}"].mode) for path in files} == {
        "opt/check": "0o755",
        "opt/with-key": "0o755",
        "opt/speaks": "0o644",
        "opt/late.pem": "0o600",
        "opt/numbered.pem": "0o600",
        "opt/in.yaml": "0o600",
        "opt/in.json": "0o600",
        "opt/in.env": "0o600",
        "opt/old.json": "0o600",
    }
    told = {found.where for found in lint(str(bundle)) if "private key" in found.message}
    assert {path.removeprefix("root/") for path in told} == {
        "etc/app/key.pem", "opt/with-key", "opt/late.pem", "opt/numbered.pem", "opt/in.yaml",
        "opt/in.json", "opt/in.env", "opt/old.json",
    }  # fmt: skip


def test_extended_attributes_are_kept(bundle: Path) -> None:
    target = bundle / "root/etc/app/plain"
    try:
        os.setxattr(target, "user.colour", b"\0blue\n")
        os.setxattr(target, "user.empty", b"")
    except OSError:
        pytest.skip("the file system has no user attributes")
    tree, _ = fetched(built(bundle))
    assert tree["root/etc/app/plain"].xattrs == {"user.colour": b"\0blue\n", "user.empty": b""}


@pytest.mark.real
def test_file_capabilities_are_kept(bundle: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(bundle / "root/etc/app/plain", "security.capability", capability)
    tree, _ = fetched(built(bundle))
    assert tree["root/etc/app/plain"].xattrs == {"security.capability": capability}


def test_platforms_make_an_index(bundle: Path) -> None:
    for arch in ("amd64", "arm64"):
        (bundle / f"root.{arch}/opt/bin").mkdir(parents=True)
        (bundle / f"root.{arch}/opt/bin/tool").write_text(arch)
    store = built(bundle, AMD64, ARM64)
    for platform in (AMD64, ARM64):
        image = image_of(store, platform)
        assert image.digest != image.manifest_digest
        assert image.config.platform == platform
        tree, contents = fetched(store, platform)
        assert contents["root/opt/bin/tool"] == platform.architecture.encode()
        assert contents["root/etc/app/plain"] == b"plain\n"
        assert len(contents["root/opt/bin/link"]) == 700_000
        assert tree["root/opt/bin/link"].link == ""
    with pytest.raises(InputError, match="no image for linux/riscv64"):
        image_of(store, Platform("riscv64"))


def test_one_platform_makes_one_image(bundle: Path) -> None:
    store = built(bundle, ARM64)
    assert image_of(store, ARM64).digest == image_of(store, ARM64).manifest_digest
    with pytest.raises(InputError, match="is for linux/arm64"):
        image_of(store, AMD64)


def test_an_overlay_replaces_kinds(bundle: Path) -> None:
    (bundle / "root.amd64/etc").mkdir(parents=True)
    (bundle / "root.amd64/etc/app").write_text("a file now")
    (bundle / "root.amd64/var/empty").mkdir(parents=True)
    (bundle / "root.amd64/var/empty/full").write_text("x")
    (bundle / "root.amd64/opt/bin/link").mkdir(parents=True)
    tree, contents = fetched(built(bundle, AMD64))
    assert contents["root/etc/app"] == b"a file now"
    assert not [path for path in tree if path.startswith("root/etc/app/")]
    assert (tree["root/opt/bin/link"].kind, "root/var/empty/full" in tree) == ("dir", True)


def test_files_for_platforms_without_platforms_are_not_left_out_silently(bundle: Path) -> None:
    (bundle / "root.arm64").mkdir()
    with pytest.raises(UsageError) as caught:
        built(bundle)
    assert caught.value.issues[0].where == "root.arm64"


def test_the_table_of_contents_says_where_every_file_lies(bundle: Path) -> None:
    store = built(bundle)
    (descriptor,) = image_of(store).manifest.layers
    blob, notes = store.blobs[descriptor.digest], descriptor.annotations
    assert descriptor.media_type == f"{OCI_LAYER}+zstd"
    new, old = "io.github.containers.zstd-chunked.", "io.containers.zstd-chunked."
    for key in ("manifest-checksum", "manifest-position", "tarsplit-position"):
        assert notes[new + key] == notes[old + key]
    at, size, raw, kind = (int(text) for text in notes[f"{new}manifest-position"].split(":"))
    table = blob[at : at + size]
    assert (of(table), kind) == (notes[f"{new}manifest-checksum"], 1)
    toc = json.loads(zstd.decompress(table))
    assert len(zstd.decompress(table)) == raw
    with tarfile.open(fileobj=io.BytesIO(archive_of(store))) as archive:
        names = [m.name + ("/" if m.isdir() else "") for m in archive.getmembers()]
    assert [entry["name"] for entry in toc["entries"]] == names
    _, contents = fetched(store)
    for entry in toc["entries"]:
        if "offset" in entry:
            data = zstd.decompress(blob[entry["offset"] : entry["endOffset"]])
            assert data == contents[entry["name"].removeprefix("ashore/")]
            assert of(data) == entry["digest"]


def test_the_split_archive_joins_to_the_archive(bundle: Path) -> None:
    import base64

    store = built(bundle)
    (descriptor,) = image_of(store).manifest.layers
    blob = store.blobs[descriptor.digest]
    at, size, raw = (
        int(text) for text in descriptor.annotations["io.github.containers.zstd-chunked.tarsplit-position"].split(":")
    )
    lines = zstd.decompress(blob[at : at + size])
    assert len(lines) == raw
    contents = fetched(store)[1]
    joined = bytearray()
    for number, line in enumerate(lines.splitlines()):
        piece = json.loads(line)
        assert piece["position"] == number
        if piece["type"] == 2:
            joined += base64.b64decode(piece["payload"])
        elif "size" in piece:
            joined += contents[piece["name"].removeprefix("ashore/")]
    assert bytes(joined) == archive_of(store)


def cli(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_the_command_line_builds_copies_and_inspects(
    bundle: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    assert cli("build", bundle, "-o", f"{kind}:{tmp_path}/out:v1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == [f"{kind}:{tmp_path}/out:v1"]
    assert cli("copy", f"{kind}:{tmp_path}/out:v1", f"docker-archive:{tmp_path}/saved") == 0
    capsys.readouterr()
    found = {}
    for name in (f"{kind}:{tmp_path}/out", f"docker-archive:{tmp_path}/saved"):
        assert cli("inspect", name, "--json") == 0
        found[name] = json.loads(capsys.readouterr().out)
    first, second = found.values()
    assert first["digest"] == said["built"]["digest"]
    assert first["files"] == second["files"]
    assert {"kind": "symlink", "mode": "0777", "path": "/etc/app/absolute", "target": "/nowhere"} in first["files"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-t", "localhost:1/x"], 2),
        (["--push"], 2),
        ([], 2),
        (["-o", "docker-archive:x"], 2),
        (["-o", "docker://localhost:1/x"], 2),
        (["-o", "oci:out", "--compression", "xz"], 2),
        (["-o", "oci:out", "--compression", "gzip", "--level", "12"], 2),
        (["-o", "oci:out", "--platform", "windows/amd64"], 2),
    ],
)
def test_what_cannot_be_asked_for(
    bundle: Path, arguments: Sequence[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("build", bundle, *arguments) == code
    assert sorted(os.listdir(tmp_path)) == ["worker"]


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_push_and_pull_have_a_direction(verb: str, tmp_path: Path) -> None:
    source, target = ("oci:a", "oci:b")
    assert cli(verb, source, target) == 2


@pytest.mark.real
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_skopeo_and_podman_read_what_we_build(bundle: Path, compression: str, tmp_path: Path) -> None:
    for program in ("skopeo", "podman"):
        if subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True).returncode:
            pytest.skip(f"{program} is not installed (apt-get install {program})")
    if os.geteuid() != 0:
        pytest.skip("podman needs root here")
    assert cli("build", bundle, "-o", f"oci:{tmp_path}/out", "--compression", compression) == 0
    subprocess.run(["skopeo", "copy", "-q", f"oci:{tmp_path}/out", f"dir:{tmp_path}/dir"], check=True)
    short = tempfile.mkdtemp(prefix="pod")  # podman's run root may have 50 bytes
    podman: list[Any] = ["podman", "--storage-driver", "vfs", "--root", f"{short}/s", "--runroot", f"{short}/r"]
    name = subprocess.run([*podman, "pull", "-q", f"oci:{tmp_path}/out"], check=True, capture_output=True, text=True)
    mount = subprocess.run(
        [*podman, "image", "mount", name.stdout.strip()], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        subprocess.run(["diff", "-r", "--no-dereference", bundle, f"{mount}/ashore"], check=True)
    finally:
        subprocess.run([*podman, "image", "umount", "-a"], check=True, capture_output=True)
        shutil.rmtree(short, ignore_errors=True)
