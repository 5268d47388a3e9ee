# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ashore.errors import InputError
from ashore.nouns import digest
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import ConfigSection, Descriptor, Image, ImageConfig, Manifest, RootFs, VerifiedImage
from ashore.nouns.limits import DEFAULT, Limits
from ashore.rules.bundles import bundle as rules
from ashore.rules.bundles.bundle import needs_text, read_bundle
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.placing import host_path, matches, rule_for

DIGEST = digest.of(b"image")
DIR = Entry(kind=Kind.DIR, mode=0o755)


def image(reference: str = "localhost:5000/k8s/worker:1.0", labels: dict[str, str] | None = None) -> VerifiedImage:
    config = Descriptor(media_type="c", digest=DIGEST, size=1)
    made = Image(
        reference=reference,
        digest=DIGEST,
        manifest_digest=DIGEST,
        manifest=Manifest(schema_version=2, config=config, layers=()),
        config=ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFs(type="layers", diff_ids=()),
            config=ConfigSection(labels=labels),
        ),
    )
    return VerifiedImage(image=made, policy="no policy")


def file(text: str = "x") -> Entry:
    data = text.encode()
    return Entry(kind=Kind.FILE, mode=0o644, size=len(data), digest=digest.of(data))


def texts(*contents: str) -> dict[Digest, bytes]:
    return {digest.of(text.encode()): text.encode() for text in contents}


def problems(tree: dict[str, Entry], given: dict[Digest, bytes] | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_bundle(image(), tree, given or {})
    return [str(issue) for issue in caught.value.issues]


def test_a_bundle_with_its_manifest() -> None:
    toml = 'name = "kubernetes-worker"\n[templates]\nshell = ["etc/old.conf"]'
    tree = {
        "bundle.toml": file(toml),
        "README.md": file("skipped"),
        "root": DIR,
        "root/etc": DIR,
        "root/etc/a.j2": file("{{ a }}"),
        "root/etc/old.conf": file("$A"),
        "root/opt/bin/kubelet": file("binary"),
        "root/opt/link": Entry(kind=Kind.SYMLINK, mode=0o777, target="/nowhere"),
    }
    bundle = read_bundle(image(), tree, texts(toml, "{{ a }}", "$A", "binary"))
    assert bundle.manifest.name == "kubernetes-worker"
    assert set(bundle.entries) == {"etc", "etc/a.j2", "etc/old.conf", "opt/bin/kubelet", "opt/link"}
    assert bundle.texts == texts("{{ a }}", "$A"), "contents that no rule reads are not carried along"
    assert bundle.source == DIGEST


@pytest.mark.parametrize(
    ("reference", "labels", "name"),
    [
        ("localhost:5000/k8s/worker:1.0", None, "worker"),
        ("docker.io/library/nginx@" + DIGEST, None, "nginx"),
        ("oci:/tmp/some dir/out:1", None, "out"),
        ("localhost:5000/k8s/worker:1.0", {"org.opencontainers.image.title": "My Worker"}, "my-worker"),
    ],
)
def test_without_a_manifest_the_image_has_the_name(reference: str, labels: dict[str, str] | None, name: str) -> None:
    bundle = read_bundle(image(reference, labels), {"root": DIR, "root/etc/x": file()}, {})
    assert bundle.manifest.name == name


@pytest.mark.parametrize(
    ("path", "entry", "message"),
    [
        ("root/proc/x", file(), "nothing may be placed below /proc"),
        ("root/sys", DIR, "nothing may be placed below /sys"),
        ("root/dev/null", Entry(kind=Kind.OTHER, mode=0o666), "nothing may be placed below /dev"),
        ("root/run/x", DIR, "nothing may be placed below /run"),
        ("root/var/lib/ashore/x", file(), "nothing may be placed below /var/lib/ashore"),
        ("root/srv/.ashore/x", file(), "transactions use it"),
        ("root/etc/fifo", Entry(kind=Kind.OTHER, mode=0o644), "device, FIFO or socket"),
        ("root/etc/.ashore.j2", file(), "transactions use it"),
        ("root/etc/.wh.foo", file(), "names that begin with .wh. are reserved"),
        ("root/etc/" + "n" * 256, file(), "its name is too long"),
        ("root/" + "d/" * 127 + "x", file(), "more than 128 folders deep"),
        ("root/etc/link", Entry(kind=Kind.SYMLINK, mode=0o777, target="t" * 4001), "its target is too long"),
        ("root/etc/\udcff", file(), "its name is not UTF-8"),
        ("root/etc/../x", file(), "an empty part, . or .."),
        ("root/etc/.j2", file(), "has no name without its suffix"),
        ("root/etc/x.j2", file("not given"), "its content is missing in the image"),
        ("root/etc/systemd/system/a.service", file("not given"), "its content is missing in the image"),
    ],
)
def test_what_may_not_be_in_a_bundle(path: str, entry: Entry, message: str) -> None:
    assert any(message in problem for problem in problems({"root": DIR, path: entry}))


def test_what_looks_forbidden_and_is_not() -> None:
    tree = {"root": DIR, "root/process/x": file(), "root/var/lib/ashore-data": file(), "root/srv/run/x": file()}
    assert len(read_bundle(image(), tree, {}).entries) == 3


def test_nothing_lies_below_a_payload_symlink_or_file() -> None:
    tree = {
        "root": DIR,
        "root/etc/link": Entry(kind=Kind.SYMLINK, mode=0o777, target="/tmp"),
        "root/etc/link/deep/x": file(),
        "root/etc/plain": file(),
        "root/etc/plain/x": file(),
    }
    assert len([problem for problem in problems(tree) if "lies below" in problem]) == 2


def test_a_template_and_a_file_for_one_path() -> None:
    assert "root/etc/x.j2: lands on the same path as root/etc/x" in "".join(
        problems({"root": DIR, "root/etc/x": file(), "root/etc/x.j2": file("t")}, texts("t"))
    )


def test_all_problems_at_once() -> None:
    assert len(problems({"root": DIR, "root/dev/x": file(), "root/run/y": file(), "root/z.j2": file("no")})) == 3


def test_an_image_without_a_bundle() -> None:
    assert "carries no bundle" in problems({})[0]


def test_a_manifest_over_its_limit_is_refused_by_its_size() -> None:
    big = file("x" * 100)
    with pytest.raises(InputError, match="more than 10"):
        read_bundle(image(), {"bundle.toml": big}, {}, limits=Limits(bundle_toml=10))
    assert not needs_text("bundle.toml", big, limits=Limits(bundle_toml=10))


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("bundle.toml", True),
        ("root/a.j2", True),
        ("root/etc/systemd/system/a.service", True),
        ("root/usr/lib/systemd/system/a.timer.j2", True),
        ("root/etc/systemd/system/a.service.d/x.conf", True),
        ("root/etc/systemd/system/service.d/x.conf", True),
        ("root/etc/systemd/system/x.txt", False),
        ("root/etc/systemd/user/a.service", False),
        ("root/etc/shell.conf", True),
        ("root/opt/bin/x", False),
        ("other/a.j2", False),
    ],
)
def test_whose_bytes_are_needed(path: str, needed: bool) -> None:
    manifest = parse_manifest(b'[templates]\nshell = ["etc/*.conf"]', "b", "worker")
    assert needs_text(path, file(), manifest) is needed


@pytest.mark.parametrize(
    ("pattern", "path", "yes"),
    [
        ("etc/x", "etc/x", True),
        ("etc/*", "etc/x", True),
        ("etc/*", "etc/x/y", False),
        ("etc/**", "etc/x/y", True),
        ("etc/**", "etc", True),
        ("**/*.conf", "a.conf", True),
        ("**/*.conf", "etc/b/a.conf", True),
        ("etc/**/z", "etc/z", True),
        ("etc/**/z", "etc/a/b/z", True),
        ("etc/**/z", "etc/a/b", False),
        ("etc/[ab]", "etc/b", True),
        ("etc", "etc/b", False),
        ("etc/*/**/q", "etc/q", False),
    ],
)
def test_globs_go_by_parts(pattern: str, path: str, yes: bool) -> None:
    assert matches(pattern, path) is yes


def test_rules_are_laid_over_each_other_key_by_key() -> None:
    manifest = parse_manifest(
        b'[[files]]\npath = "etc/app/**"\nmode = "0640"\nowner = "app"\n'
        b'[[files]]\npath = "etc/app/x.conf"\nmode = "0600"',
        "b",
        "worker",
    )
    rule = rule_for(manifest, "etc/app/x.conf.j2", Kind.FILE)
    assert (rule.mode, rule.owner) == (0o600, "app"), "a template answers to its name on the host"
    assert rule_for(manifest, "etc/app/sub", Kind.DIR).mode is None, "a glob closes no folder"
    assert host_path(manifest, "etc/x.j2", Kind.SYMLINK) == "etc/x.j2", "only files are rendered"


PARTS = some.sampled_from(
    ["a", ".", "..", "", ".ashore", ".a", "...", "proc", "process", "run", "var", "lib", "a\n", "é", "\udce9"]
)
PATHS = some.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = some.sampled_from([*Kind])


@settings(max_examples=500, deadline=None)
@given(some.dictionaries(PATHS, KINDS, max_size=4))
def test_what_is_passed_at_a_glance_has_nothing_wrong(kinds: dict[str, Kind]) -> None:
    entries = {path: Entry(kind=kind, mode=0o755) for path, kind in kinds.items()}
    wrong = [issue for path, entry in entries.items() for issue in rules._entry_issues(path, entry, entries, DEFAULT)]
    assert rules._any_odd(entries) or not wrong


@pytest.mark.parametrize("path", ["etc/x.conf", "opt/.profile", "usr/share/a..b", "process/x", "srv/...", "a/b\nc"])
def test_a_usual_path_is_passed_at_a_glance(path: str) -> None:
    assert not rules._any_odd({"a": DIR, path: file()})
