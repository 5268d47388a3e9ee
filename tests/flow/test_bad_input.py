# SPDX-License-Identifier: Apache-2.0
"""Bad input, through the command line: the documented code, a cause and a remedy, and a host that is as before."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ashore.nouns.digest import Digest
from ashore.nouns.image import OCI_MANIFEST
from tests.cli.shell import NOBODY, Shell, refused
from tests.fakes.bundles import FakeImages, Folder, Tree, layer
from tests.fakes.registry import FakeRegistry
from tests.system.registry_server import free_port

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, and users to become")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("name = ", ["bundle.toml:1"]),
        ('name = "app"\n\nversoin = "1"\n', ["bundle.toml:3", "versoin", "version"]),
        ('[[files]]\npath = "etc/x"\nmod = "0600"\n', ["bundle.toml:3", "mod", "mode"]),
        ("name = 7\n", ["bundle.toml:1", "name"]),
        ('[[files]]\npath = "etc/app"\nmode = 600\n', ["bundle.toml:3", "mode", '"0644"']),
        ('[[files]]\npath = "etc/app"\non_edit = "keeep"\n', ["on_edit", "keep"]),
        ('[units]\nenable = "app.service"\n', ["bundle.toml:2", "enable"]),
        ("schema = 99\n", ["schema", "99"]),
        ('name = "Not A Name"\n', ["bundle.toml:1", "Not A Name"]),
        (
            '[[include]]\nimage="HTTP://x"\npath="a"\nto="proc/x"\n[[include]]\nimage="x"\npath="a"\nto="b/.ashore"\n',
            ["bundle.toml:2", "HTTP://x", "bundle.toml:4", "/proc", "bundle.toml:8", "transactions use it"],
        ),
        ('name = 7\nverson = 1\n[[files]]\nmode = "9"\n', ["bundle.toml:1", "bundle.toml:2", "path", "9"]),
    ],
    ids=[
        "syntax",
        "unknown key",
        "unknown key in a table",
        "type",
        "mode",
        "choice",
        "list",
        "schema",
        "name",
        "include",
        "all",
    ],
)
def test_a_broken_manifest_is_refused_with_file_and_line(shell: Shell, toml: str, said: list[str]) -> None:
    folder = shell.bundle("app", {"etc/app": "x"}, toml)
    for ran in (shell.ashore("lint", str(folder)), shell.ashore("build", str(folder), "-o", "oci:out")):
        assert ran.code == 3
        for word in said:
            assert word in ran.out + ran.err, (word, ran)
        assert "Traceback" not in ran.err
    assert not (shell.folder / "out").exists(), "a build that is refused leaves nothing"


def test_a_broken_manifest_in_an_image_changes_nothing(shell: Shell) -> None:
    """What `docker build` makes of a folder that nobody linted."""
    image = as_layout(shell, {"etc/app": "x"}, 'name = "app"\nversoin = 1\n')
    with shell.unchanged():
        refused(shell.on_root("install", image), 3, "versoin", "version")
        refused(shell.on_root("plan", image), 3, "versoin")


@pytest.mark.parametrize("path", ["proc/x", "sys/x", "dev/x", "run/x", "var/lib/ashore/current", "../../etc/x"])
def test_a_path_that_no_bundle_may_have(shell: Shell, path: str) -> None:
    image = as_layout(shell, {path: "x", "etc/app": "x"})
    with shell.unchanged():
        refused(shell.on_root("install", image), 3, path.replace("../../", "").split("/")[-1])


def as_layout(shell: Shell, tree: Tree, toml: str = "", labels: Mapping[str, str] | None = None) -> str:
    """An image that no `ashore build` would make, as an OCI layout."""
    images = FakeImages()
    return laid_out(shell, images, images.add("x", tree, toml, labels=labels))


def laid_out(shell: Shell, images: FakeImages, digest: Digest) -> str:
    """An image of these as a layout."""
    folder = shell.folder / "handmade.oci"
    (folder / "blobs/sha256").mkdir(parents=True)
    for name, data in images._blobs.items():
        (folder / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(data)
    manifest = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(images._blobs[digest])}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return f"oci:{folder}"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("naem = 1\n", ["bundle.toml is wrong", "bundle.toml:1: unknown key"]),
        ("name = \n", ["bundle.toml is not TOML"]),
        ("folder", ["bundle.toml is a dir"]),
        ("manifest", ["is malformed"]),
        ('name = "other"', ["two of the images carry a bundle named other", "remedy: "]),
    ],
)
def test_of_two_images_the_one_that_is_refused_is_named(shell: Shell, toml: str, said: list[str]) -> None:
    right = shell.image("right", {"etc/app": "x"}, 'name = "other"\n')
    wrong = as_layout(shell, {"etc/bad": "x"}, toml if "name" in toml or "naem" in toml else "")
    layout = Path(wrong.removeprefix("oci:"))
    if toml == "folder":
        fake = FakeImages()
        shutil.rmtree(layout)
        wrong = laid_out(shell, fake, fake.add_layers("x", [layer({"bundle.toml": Folder()}, "ashore")]))
    if toml == "manifest":
        digest = hashlib.sha256(b"[1").hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(b"[1")
        index = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{digest}", "size": 2}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    with shell.unchanged():
        for asked in ((right, wrong), (wrong, right)):
            ran = shell.on_root("install", *asked)
            refused(ran, 3, *said, wrong)
            assert (right in ran.err) is ("two of" in said[0])


@pytest.mark.parametrize("verb", ["lint", "build"])
def test_a_folder_that_is_missing(shell: Shell, verb: str) -> None:
    refused(shell.ashore(verb, "nowhere", *(["-o", "oci:out"] if verb == "build" else [])), 3, "nowhere")


def test_an_include_that_fails_says_where_it_stands_and_where_it_was_looked_for(shell: Shell) -> None:
    """A relative path counts from where the build runs, and not from the bundle's folder."""
    relative = '[[include]]\nimage = "oci:../x"\npath = "a"\nto = "opt/x"\n'
    folder = shell.bundle("app", {"etc/app": "x"}, relative)
    looked = f"there is no {shell.folder.parent}/x"
    refused(shell.ashore("build", str(folder), "-o", "oci:out"), 3, "bundle.toml:1: ", looked, "where the build runs")
    away = f'[[include]]\nimage = "127.0.0.1:{free_port()}/x:1"\npath = "a"\nto = "opt/y"\n'
    (folder / "bundle.toml").write_text(relative + away)
    ran = shell.ashore("build", str(folder), "-o", "oci:out")
    refused(ran, 4, "bundle.toml:5: including 127.0.0.1", "connection refused", "bundle.toml:1: ", looked)


def test_an_included_image_that_is_missing_stops_the_build(shell: Shell) -> None:
    toml = f'[[include]]\nimage = "oci:{shell.folder}/nowhere"\npath = "bin/x"\nto = "opt/x"\n'
    folder = shell.bundle("app", {"etc/app": "x"}, toml)
    ran = shell.ashore("build", str(folder), "-o", "oci:out")
    assert ran.code in (3, 4), ran
    refused(ran, ran.code, "nowhere")


def test_a_folder_option_that_names_no_folder(shell: Shell) -> None:
    folder = shell.bundle("app", {"etc/app": "x"}, "")
    for wrong in ("release", "release=", "=x"):
        refused(shell.ashore("build", str(folder), "--folder", wrong, "-o", "oci:out"), 2, f"--folder {wrong}")


def test_a_file_that_the_included_image_has_not(shell: Shell) -> None:
    image = shell.image("tools", {"etc/tool": "x"})
    toml = f'[[include]]\nimage = "{image}"\npath = "ashore/root/etc/nothing"\nto = "opt/x"\n'
    ran = shell.ashore("build", str(shell.bundle("app", {"etc/app": "x"}, toml)), "-o", "oci:out")
    refused(ran, 3, "etc/nothing")


def test_all_that_includes_cannot_bring_is_said_at_once_with_its_line(shell: Shell) -> None:
    image = shell.image("tools", {"etc/tool": "x"})
    toml = f'[[include]]\nimage = "{image}"\npath = "ashore/no"\nto = "opt/x"\n'
    toml += f'[[include]]\nimage = "oci:{shell.folder}/nowhere"\npath = "a"\nto = "opt/y"\n'
    toml += '[[include]]\nfolder = "f"\npath = "none"\nto = "opt/z"\n'
    (shell.folder / "f").mkdir()
    arguments = ("--folder", f"f={shell.folder}/f", "-o", "oci:out")
    ran = shell.ashore("build", str(shell.bundle("app", {"etc/app": "x"}, toml)), *arguments)
    refused(ran, 3, "bundle.toml:1: ", "ashore/no", "bundle.toml:5: ", "nowhere", "bundle.toml:9: ", "/none")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{{ prot }}\n", ["etc/app.conf.j2:2", "prot"]),
        ("{{ facts.cloud.nothing }}\n", ["etc/app.conf.j2:1", "facts.cloud"]),
        ("{% if %}\n", ["etc/app.conf.j2:1"]),
    ],
    ids=["value", "fact", "syntax"],
)
def test_a_template_that_fails_names_file_line_and_variable(shell: Shell, template: str, said: list[str]) -> None:
    folder = shell.bundle("app", {"etc/app.conf.j2": template}, "[values]\nport = 1\n")
    built = shell.ashore("build", str(folder), "-o", "oci:out")
    if built.code != 0:
        refused(built, 3, *said)
        return
    with shell.unchanged():
        refused(shell.on_root("install", "oci:out"), 3, *said)
        refused(shell.on_root("plan", "oci:out"), 3, *said)


def test_a_required_value_that_is_missing_says_how_to_set_it(shell: Shell) -> None:
    toml = '[values]\napi = { required = true, description = "https URL" }\n'
    image = shell.image("app", {"etc/app.j2": "{{ api }}"}, toml)
    with shell.unchanged():
        refused(shell.on_root("install", image), 3, "api", "https URL", "--set api=")


def test_a_layout_or_archive_that_is_missing_or_is_none(shell: Shell) -> None:
    (shell.folder / "file").write_text("no archive\n")
    (shell.folder / "empty").mkdir()
    with shell.unchanged():
        for name in ("oci:nowhere", "oci-archive:nowhere", "docker-archive:nowhere", "oci:empty", "oci-archive:file"):
            ran = shell.on_root("install", name)
            assert ran.code in (3, 4), (name, ran)
            refused(ran, ran.code, name.partition(":")[2])


def test_a_tag_that_a_layout_has_not(shell: Shell) -> None:
    shell.image("app", {"etc/app": "x"})
    with shell.unchanged():
        ran = shell.on_root("install", f"oci:{shell.folder}/app.oci:nothing")
        assert ran.code in (3, 4)
        refused(ran, ran.code, "nothing")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


def push(shell: Shell, registry: FakeRegistry, name: str = "app") -> str:
    """A bundle in the registry."""
    folder = shell.bundle(name, {"etc/app.conf": "one\n"})
    reference = f"{registry.host}/team/{name}:1"
    built = shell.ashore("build", str(folder), "-t", reference, "--push")
    assert built.code == 0, built.err
    return reference


def test_a_tag_or_repository_that_the_registry_has_not(shell: Shell, registry: FakeRegistry) -> None:
    push(shell, registry)
    with shell.unchanged():
        refused(shell.on_root("install", f"{registry.host}/team/app:nothing"), 4, "nothing")
        refused(shell.on_root("install", f"{registry.host}/nobody/knows:1"), 4, "nobody/knows")
        refused(shell.on_root("plan", f"{registry.host}/team/app:nothing"), 4, "nothing")


def test_no_permission_says_where_credentials_belong(shell: Shell) -> None:
    with FakeRegistry(auth="basic") as closed, shell.unchanged():
        ran = shell.on_root("install", f"{closed.host}/team/app:1")
        refused(ran, 4, closed.host, "login")


def test_a_registry_that_is_down(shell: Shell) -> None:
    with shell.unchanged():
        ran = shell.on_root("install", f"localhost:{free_port()}/team/app:1")
        refused(ran, 4, "refused")


def test_a_digest_that_does_not_hold(shell: Shell, registry: FakeRegistry) -> None:
    reference = push(shell, registry)
    blobs = registry.blobs["team/app"]
    largest = max(blobs, key=lambda digest: len(blobs[digest]))
    blobs[largest] = bytes(len(blobs[largest]))
    with shell.unchanged():
        refused(shell.on_root("install", reference), 5, "digest")
    assert not list((shell.root / "var/lib/ashore").glob("journal*"))


def test_a_digest_that_the_user_named_and_the_registry_does_not_serve(shell: Shell, registry: FakeRegistry) -> None:
    reference = push(shell, registry)
    manifests = registry.manifests["team/app"]
    (digest,) = manifests
    manifests[digest] = (manifests[digest][0], manifests[digest][1] + b" ")
    pinned = f"{reference.rpartition(':')[0]}@{digest}"
    with shell.unchanged():
        refused(shell.on_root("install", pinned), 5, digest)


def test_a_policy_that_refuses_everything_refuses(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    (shell.root / "etc/containers").mkdir()
    (shell.root / "etc/containers/policy.json").write_text('{"default": [{"type": "reject"}]}')
    with shell.unchanged():
        refused(shell.on_root("install", image), 5, "policy")
    (shell.root / "etc/containers/policy.json").write_text('{"default": [{"type": "signedBy", "keyPath": "/k"}]}')
    with shell.unchanged():
        refused(shell.on_root("install", image), 5, "signedBy", "remedy: check it by what can")
    (shell.root / "etc/containers/policy.json").write_text("{")
    with shell.unchanged():
        ran = shell.on_root("install", image)
        assert ran.code in (3, 5)
        refused(ran, ran.code, "policy.json", "man 5 containers-policy.json")


def test_an_image_that_is_damaged_or_of_the_other_kind_says_what_to_do(shell: Shell) -> None:
    folder = shell.image("app", {"etc/app": "x"}).removeprefix("oci:")
    for kind in ("oci", "docker"):
        assert shell.ashore("copy", f"oci:{folder}", f"{kind}-archive:{shell.folder}/{kind}.tar").code == 0
    with shell.unchanged():
        for kind, other in (("oci", "docker"), ("docker", "oci")):
            ran = shell.on_root("install", f"{kind}-archive:{shell.folder}/{other}.tar")
            refused(ran, 3, f"remedy: it is an archive of the other kind: {other}-archive:{shell.folder}/{other}.tar")
        largest = max(Path(folder, "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
        for spoilt in (bytes(largest.stat().st_size), b"short"):
            largest.write_bytes(spoilt)
            refused(shell.on_root("install", f"oci:{folder}"), 5, "remedy: it is damaged: get or build the image again")
        Path(folder, "index.json").write_text("{")
        refused(shell.on_root("install", f"oci:{folder}"), 3, "index.json", "remedy: it is damaged")


@pytest.mark.parametrize("kind", ["nowhere", "loop", "folder", "fifo"])
def test_a_policy_that_cannot_be_read_admits_nothing(shell: Shell, kind: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    path = shell.root / "etc/containers/policy.json"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"nowhere": "/usr/share/policy.json", "loop": "policy.json"}[kind])
    with shell.unchanged():
        refused(shell.on_root("install", image), 3, "policy.json")


@pytest.mark.parametrize("way", ["../{}", "allowed/../{}", "allowed/link", "{}/"])
def test_no_way_of_writing_a_path_leads_past_the_policy(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    image = shell.image("app", {"etc/app": "x"}).removeprefix("oci:")
    allowed = shell.folder / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(image)
    rules = {
        "default": [{"type": "reject"}],
        "transports": {"oci": {str(allowed): [{"type": "insecureAcceptAnything"}]}},
    }
    (shell.root / "etc/containers").mkdir()
    (shell.root / "etc/containers/policy.json").write_text(json.dumps(rules))
    monkeypatch.chdir(allowed if way.startswith("..") else shell.folder)
    path = way.format(Path(image).name)
    with shell.unchanged():
        refused(shell.on_root("install", f"oci:{path}"), 5, "policy")
        refused(shell.on_root("install", f"oci:{shell.folder}/allowed/../{Path(image).name}"), 5, "policy")
    shutil.move(image, allowed / "real")
    assert shell.on_root("install", f"oci:{allowed}/../allowed/real").code == 0


def test_what_a_terminal_would_obey_is_not_written_to_it(shell: Shell) -> None:
    image = as_layout(shell, {"etc/app": "x"}, 'name = "app"\nversion = "1\\u001b[8m"\n')
    assert shell.on_root("install", image).code == 0
    for ran in (shell.ashore("inspect", image), shell.on_root("status"), shell.on_root("history")):
        assert ran.code == 0 and "app 1\\x1b[8m" in ran.out and "\x1b" not in ran.out + ran.err


def test_half_a_character_in_a_config_is_malformed(shell: Shell) -> None:
    image = as_layout(shell, {"etc/app": "x"}, labels={"io.ashore.root": "\ud800"})
    for command in ("inspect", "install", "plan"):
        ran = shell.ashore(command, image) if command == "inspect" else shell.on_root(command, image)
        refused(ran, 3, "half of a character")


def test_a_symlinks_target_and_an_attribute_that_are_not_utf8(shell: Shell) -> None:
    folder = shell.bundle("app", {"etc/app": "x"})
    os.symlink(b"\xff", os.fsencode(folder / "root/etc/link"))
    os.setxattr(os.fsencode(folder / "root/etc/app"), b"user.\xff", b"1")
    for ran in (
        shell.ashore("lint", str(folder)),
        *(shell.ashore("build", str(folder), "-o", "oci:out", "--compression", how) for how in ("gzip", "zstd")),
    ):
        assert ran.code == 3 and "fault" not in ran.err
        assert "root/etc/link" in ran.out + ran.err and "its target is not UTF-8" in ran.out + ran.err
        assert "root/etc/app" in ran.out + ran.err and "its name is not UTF-8" in ran.out + ran.err


def test_a_folder_where_a_file_goes_and_a_file_where_a_folder_goes(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x", "opt/tool/bin": "y", "etc/mine": "z"})
    (shell.root / "etc/app").mkdir()
    (shell.root / "etc/app/precious").write_text("data")
    (shell.root / "opt/tool").write_text("a file")
    (shell.root / "etc/mine").write_text("by hand")
    with shell.unchanged():
        refused(shell.on_root("install", image), 6, "/etc/app", "/opt/tool", "/etc/mine", "adopt")
        ran = shell.on_root("plan", image)
        refused(ran, 6, "/etc/app", "/opt/tool", "/etc/mine", "no bundle and no package")
        listed = shell.on_root("plan", image, "--json")
        assert listed.code == 6
        assert {c["path"] for c in listed.json()["conflicts"]} == {"/etc/app", "/opt/tool", "/etc/mine"}


@pytest.mark.parametrize("verb", ["install", "remove", "rollback", "upgrade", "recover", "prune"])
def test_another_ashore_at_work(shell: Shell, verb: str) -> None:
    image = shell.image("app", {"etc/app": "x"})
    assert shell.on_root("install", image).code == 0
    other = shell.image("other", {"etc/other": "x"})
    arguments = {"install": [other], "remove": ["app"], "upgrade": ["app", "--set", "x=1"]}.get(verb, [])
    with open(shell.root / "var/lib/ashore/lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with shell.unchanged():
            refused(shell.on_root(verb, *arguments), 9, "another ashore")
    assert shell.on_root("status").code == 0


def test_reading_does_not_wait_for_another_ashore(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    assert shell.on_root("install", image).code == 0
    with open(shell.root / "var/lib/ashore/lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for verb in ("status", "history", "diff"):
            assert shell.on_root(verb).code == 0
        assert shell.on_root("plan", image).code == 0


@ROOT
def test_an_immutable_file(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x", "etc/other": "y"}, '[[files]]\npath = "etc/app"\nadopt = true\n')
    (shell.root / "etc/app").write_text("mine")
    if subprocess.run(["chattr", "+i", str(shell.root / "etc/app")], capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with shell.unchanged():
            refused(shell.on_root("install", image), 7, "/etc/app", "immutable", "chattr")
    finally:
        subprocess.run(["chattr", "-i", str(shell.root / "etc/app")], check=True)


@ROOT
def test_somebody_who_may_not_write_the_root(open_shell: Shell) -> None:
    shell = open_shell
    image = shell.image("app", {"etc/app": "x"})
    env = {"HOME": str(shell.folder / "home"), "ASHORE_CACHE": str(shell.folder / "home/cache")}
    (shell.folder / "home").mkdir()
    os.chown(shell.folder / "home", NOBODY, NOBODY)
    with shell.unchanged():
        ran = shell.process("install", image, "--root", str(shell.root), uid=NOBODY, env=env)
        refused(ran, 7, "var/lib/ashore")
        plan = shell.process("plan", image, "--root", str(shell.root), uid=NOBODY, env=env)
        assert str(NOBODY) not in plan.out, "it shows what root's install would do"
        assert plan.code == 0, plan.err
        assert "/etc/app" in plan.out


@ROOT
def test_an_ordinary_user_installs_on_a_root_of_his_own(open_shell: Shell) -> None:
    """Files cannot be given away then: all are his."""
    shell = open_shell
    mode = '[[files]]\npath = "/opt/secret"\nmode = "0200"\n'
    image = shell.image("app", {"etc/app": "x", "opt/bin/app": "y", "opt/secret": "z"}, mode)
    own = shell.folder / "own"
    for path in ("own", "own/etc", "own/var", "own/var/lib", "home"):
        (shell.folder / path).mkdir()
        os.chown(shell.folder / path, NOBODY, NOBODY)
    env = {"HOME": str(shell.folder / "home"), "ASHORE_CACHE": str(shell.folder / "home/cache")}
    for verb, arguments in (("install", [image]), ("status", []), ("install", [image]), ("remove", ["app"])):
        ran = shell.process(verb, *arguments, "--root", str(own), uid=NOBODY, env=env)
        assert ran.code == 0, (verb, ran)
        if verb == "install":
            assert (own / "etc/app").stat().st_uid == NOBODY
    assert not (own / "etc/app").exists() and not (own / "opt").exists()


def test_a_state_that_is_damaged_is_said_and_nothing_is_taken_for_granted(shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    assert shell.on_root("install", image).code == 0
    for name in ("current", "generations/000001.json"):
        file = shell.root / "var/lib/ashore" / name
        whole = file.read_bytes()
        for broken in (b"", whole[:-20], whole.replace(b"1", b"2"), b"{}", b"\xff\xfe"):
            file.write_bytes(broken)
            with shell.unchanged():
                refused(shell.on_root("remove", "app"), 8, "damaged", name)
                refused(shell.on_root("status"), 8, "damaged", name)
        file.write_bytes(whole)
    assert shell.on_root("remove", "app").code == 0


def test_hosts_files_that_are_broken(shell: Shell) -> None:
    image = shell.image("app", {"etc/app.j2": "{{ port }}"}, "[values]\nport = 1\n")
    (shell.root / "etc/ashore/values.d").mkdir(parents=True)
    for path, text, said in (
        ("etc/ashore/values.d/site.toml", "port = \n", "site.toml"),
        ("etc/ashore/config.toml", "kep = 3\n", "keep"),
        ("etc/ashore/config.toml", "keep = 'three'\n", "keep"),
    ):
        (shell.root / path).write_text(text)
        with shell.unchanged():
            refused(shell.on_root("install", image), 3, said)
        (shell.root / path).unlink()
    assert shell.on_root("install", image).code == 0
