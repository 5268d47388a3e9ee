# SPDX-License-Identifier: Apache-2.0
"""The self-contained build on its way: into an installer image, and onto a host whole or not at all."""

import os
from pathlib import Path

import pytest

from ashore.acts.author.buildtools import BuildTools
from ashore.acts.author.installer import build_installer
from ashore.acts.boot.hand_over import place_recovery
from ashore.acts.fetch.fetch import carried_digest, resolve_image
from ashore.errors import InputError, UnchangedError, UsageError, VerificationError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.images.blobfiles import FolderFiles
from ashore.mechanisms.images.layout import LayoutReader, LayoutWriter
from ashore.mechanisms.own import ownbuild
from ashore.nouns import reference
from ashore.nouns.image import INDEXES, Platform
from ashore.nouns.limits import DEFAULT
from ashore.rules.provision.hostunits import RECOVER_LINK, RECOVER_PATH, RECOVER_TEXT, unconfirmed_units
from tests.fakes.images import Silent

ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 11 + b"\x3e\x00"
LINK = "opt/bin/ashore"
TOOLS = BuildTools(
    open_image=lambda _: pytest.fail("asked"),
    admitted=lambda *_: pytest.fail("judged"),
    progress=Silent(),
    limits=DEFAULT,
)


def make_build(folder: Path, text: bytes = b"one") -> Path:
    """A folder that looks like the real thing."""
    (folder / "lib/deep").mkdir(parents=True)
    (folder / "c-library/lib64").mkdir(parents=True)
    (folder / "ashore").write_bytes(ELF + text)
    (folder / "ashore").chmod(0o755)
    (folder / "lib/deep/data").write_bytes(b"data")
    (folder / "lib/link").symlink_to("deep/data")
    (folder / "c-library/lib64/ld-linux-x86-64.so.2").write_bytes(b"loader")
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return make_build(tmp_path / "build")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "host").mkdir()
    return tmp_path / "host"


def place(root: Path, build: Path, version: str = "1") -> str:
    with Beneath(str(root)) as host:
        program = ownbuild.place(host, str(build), version, ownbuild.read(str(build)).digest)
        ownbuild.point(host, program)
    return program


def test_it_is_placed_whole_without_the_c_library_and_the_link_leads_to_it(root: Path, build: Path) -> None:
    assert place(root, build) == "opt/ashore/1/ashore"
    there = root / "opt/ashore/1"
    assert sorted(p.name for p in there.iterdir()) == ["ashore", "lib"]
    assert (there / "ashore").stat().st_mode & 0o777 == 0o755
    assert (there / "lib/link").read_bytes() == b"data"
    assert os.readlink(root / LINK) == "/opt/ashore/1/ashore"
    assert os.listdir(root / "opt/ashore") == ["1"]


def test_the_same_build_is_left_alone_and_another_one_never_overwrites_it(
    root: Path, build: Path, tmp_path: Path
) -> None:
    place(root, build)
    inode = (root / "opt/ashore/1/ashore").stat().st_ino
    place(root, build)
    assert (root / "opt/ashore/1/ashore").stat().st_ino == inode
    other = place(root, make_build(tmp_path / "other", b"two"))
    assert other.startswith("opt/ashore/1-")
    assert (root / "opt/ashore/1/ashore").stat().st_ino == inode, "a service may still run from it"
    assert os.readlink(root / LINK) == f"/{other}"


def test_a_damaged_build_is_refused_and_leaves_nothing(root: Path, build: Path) -> None:
    digest = ownbuild.read(str(build)).digest
    (build / "lib/deep/data").write_bytes(b"dirt")
    with Beneath(str(root)) as host, pytest.raises(VerificationError, match="damaged"):
        ownbuild.place(host, str(build), "1", digest)
    assert os.listdir(root / "opt/ashore") == []
    assert not os.path.lexists(root / LINK)


def test_what_a_killed_run_left_is_swept(root: Path, build: Path) -> None:
    left = root / "opt/ashore/.1234.new/lib"
    left.mkdir(parents=True)
    place(root, build)
    assert os.listdir(root / "opt/ashore") == ["1"]


def test_somebody_elses_program_is_not_replaced(root: Path, build: Path) -> None:
    (root / "opt/bin").mkdir(parents=True)
    (root / LINK).write_text("mine")
    with pytest.raises(UnchangedError, match="not ashore's"):
        place(root, build)
    assert (root / LINK).read_text() == "mine"
    assert not (root / "opt/ashore").exists()


def test_opt_may_be_a_symlink_within_the_host(root: Path, build: Path) -> None:
    (root / "var/opt").mkdir(parents=True)
    (root / "opt").symlink_to("/var/opt")
    place(root, build)
    assert (root / "var/opt/ashore/1/ashore").is_file()


def test_older_builds_go_but_the_last(root: Path, build: Path, tmp_path: Path) -> None:
    program = ""
    for number in range(4):
        program = place(root, make_build(tmp_path / f"b{number}", b"%d" % number), f"{number}")
        os.utime(root / f"opt/ashore/{number}", (number, number))
    with Beneath(str(root)) as host:
        ownbuild.drop_older(host, program)
    assert sorted(os.listdir(root / "opt/ashore")) == ["2", "3"]


@pytest.mark.parametrize("spoil", ["ashore", "c-library/lib64/ld-linux-x86-64.so.2"])
def test_what_is_no_build_is_refused(build: Path, spoil: str) -> None:
    (build / spoil).unlink()
    if spoil != "ashore":
        (build / "c-library/lib64").rmdir()
    with pytest.raises(InputError, match="no self-contained build"):
        ownbuild.read(str(build))


def test_one_name_serves_engines_and_hosts(build: Path, tmp_path: Path) -> None:
    top = tmp_path / "worker"
    (top / "root/etc").mkdir(parents=True)
    (top / "root/etc/app").write_text("x")
    made = []
    for folder in ("first", "second"):
        target = tmp_path / folder
        writer = LayoutWriter(str(target), "", DEFAULT)
        made.append(
            build_installer(
                str(top), writer, TOOLS, str(build), reference="r.example/w:1", compression="zstd", level=None
            )
        )
    assert made[0].digest == made[1].digest, "the same folder gives the same image"
    name = reference.parse(f"oci:{tmp_path / 'first'}")
    reader = LayoutReader(FolderFiles(name.place), name, DEFAULT)
    top_descriptor = reader.resolve()
    assert top_descriptor.media_type in INDEXES
    image = resolve_image(reader, name, Platform("amd64"), DEFAULT)
    assert image.digest == image.manifest_digest == carried_digest(reader, top_descriptor, "it", DEFAULT)
    assert image.digest != top_descriptor.digest
    assert "io.ashore.installer" not in image.config.labels


def test_a_bundle_for_another_processor_gets_no_installer(build: Path, tmp_path: Path) -> None:
    (tmp_path / "worker/root").mkdir(parents=True)
    writer = LayoutWriter(str(tmp_path / "out"), "", DEFAULT)
    with pytest.raises(UsageError, match="is for amd64, the bundle for linux/arm64") as caught:
        build_installer(
            str(tmp_path / "worker"), writer, TOOLS, str(build),
            reference="r.example/w:1", compression="zstd", level=None, platforms=(Platform("arm64"),),
        )  # fmt: skip
    assert "--platform linux/amd64" in caught.value.remedy


def test_the_recovery_unit_is_enabled_even_if_the_run_before_was_cut_short(root: Path) -> None:
    (root / RECOVER_PATH).parent.mkdir(parents=True)
    (root / RECOVER_PATH).write_text(RECOVER_TEXT)
    with Beneath(str(root)) as host:
        assert place_recovery(host)
        assert (root / RECOVER_LINK).is_symlink()
        assert not place_recovery(host)


def test_an_installer_leaves_a_mask_of_the_recovery_unit(root: Path) -> None:
    (root / RECOVER_PATH).parent.mkdir(parents=True)
    (root / RECOVER_PATH).symlink_to("/dev/null")
    with Beneath(str(root)) as host:
        assert not place_recovery(host)
    assert (root / RECOVER_PATH).is_symlink() and not (root / RECOVER_LINK).is_symlink()


def test_what_locks_people_out_is_loaded_after_it_went_back() -> None:
    """Also before sysinit.target, where most of a firewall is: Debian's nftables.service waits for nothing."""
    service, _ = unconfirmed_units(("/opt/bin/ashore",), 1, look=False).values()
    for text in (RECOVER_TEXT, service):
        (line,) = (line for line in text.splitlines() if line.startswith("Before="))
        before = set(line.removeprefix("Before=").split())
        assert {f"{name}.service" for name in ("nftables", "netfilter-persistent", "ufw", "ssh", "sshd")} <= before
        assert {f"{name}.service" for name in ("systemd-networkd", "NetworkManager", "systemd-sysctl")} <= before
        assert "systemd-modules-load.service" not in before, "it may be what mounts a local file system"
        assert "\nType=notify\nTimeoutStartSec=infinity\n" in text, "on a host that is up nothing waits for it"
