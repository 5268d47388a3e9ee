# SPDX-License-Identifier: Apache-2.0
"""Labels from a policy's files: last match, exact before expressions, types, substitutions; libselinux agrees."""

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ashore.errors import UnchangedError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.selinux import read_policy
from ashore.nouns.files import Kind
from ashore.nouns.selinux import PolicyFiles
from ashore.rules.files.filecontexts import FileContexts, parse

CASES = Path(__file__).parents[1] / "cases" / "selinux"
NAMES = ("", ".homedirs", ".local", ".subs", ".subs_dist")
WORDS = {Kind.FILE: "file", Kind.DIR: "dir", Kind.SYMLINK: "link"}


def root_with(folder: Path, texts: dict[str, str], config: str = "SELINUX=enforcing\nSELINUXTYPE=mine\n") -> Beneath:
    """A root whose policy ``mine`` has these files, by suffix."""
    files = folder / "etc/selinux/mine/contexts/files"
    files.mkdir(parents=True)
    (folder / "etc/selinux/config").write_text(config)
    for suffix, text in texts.items():
        (files / f"file_contexts{suffix}").write_text(text)
    return Beneath(str(folder))


def cases() -> dict[str, str]:
    return {suffix: (CASES / f"file_contexts{suffix}").read_text() for suffix in NAMES}


@pytest.fixture
def contexts(tmp_path: Path) -> FileContexts:
    found = read_policy(root_with(tmp_path, cases()))
    assert found is not None
    return parse(found)


def of_text(text: str) -> FileContexts:
    return parse(PolicyFiles(folder="etc/selinux/mine", base=text.encode()))


@pytest.mark.parametrize(
    ("path", "kind", "type_"),
    [
        ("unheard/of", Kind.FILE, "default_t"),
        ("alone", Kind.FILE, "etc_runtime_t"),
        ("alone", Kind.DIR, "default_t"),
        ("aquota.user", Kind.FILE, "quota_db_t"),
        ("aquotaxuser", Kind.FILE, "etc_runtime_t"),
        ("etc", Kind.DIR, "etc_t"),
        ("etcetera/x", Kind.FILE, "default_t"),
        ("etc/app/app.conf", Kind.FILE, "etc_t"),
        ("etc/shadow-", Kind.FILE, "shadow_t"),
        ("etc/c++.conf", Kind.FILE, "cpp_t"),
        ("etc/shadow-", Kind.SYMLINK, "etc_t"),
        ("opt", Kind.DIR, "opt_dir_t"),
        ("opt", Kind.SYMLINK, "opt_link_t"),
        ("opt/bin/x", Kind.FILE, "bin_t"),
        ("opt/bin/x", Kind.SYMLINK, "usr_t"),
        ("opt/a/lib/b", Kind.FILE, "lib_t"),
        ("usr/lib/libx264.so", Kind.FILE, "textrel_shlib_t"),
        ("usr/lib/sse2/libx264.so.1.2", Kind.FILE, "textrel_shlib_t"),
        ("usr/lib/libx264.so", Kind.SYMLINK, "lib_t"),
        ("usr/lib64/libx264.so", Kind.FILE, "textrel_shlib_t"),
        ("usr/lib64extra/x", Kind.FILE, "usr_t"),
        ("var/lib/app12/state", Kind.FILE, "app_var_lib_t"),
        ("var/lib/app1234", Kind.DIR, "var_t"),
        ("run/x.pid", Kind.FILE, "pid_t"),
        ("usr/lib/a name\nof two lines", Kind.FILE, "lib_t"),
        ("etc/Zürich", Kind.FILE, "etc_t"),
        ("etc/\udcff", Kind.FILE, "etc_t"),
    ],
)
def test_the_last_specification_that_matches_counts(contexts: FileContexts, path: str, kind: Kind, type_: str) -> None:
    assert contexts.label_for(path, kind) == f"system_u:object_r:{type_}:s0"


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("home/me/.ssh/config", "ssh_home_t"),
        ("srv/www/index.html", "httpd_sys_content_t"),
        ("opt/bin/kubelet", "kubelet_exec_t"),
        ("etc/motd", "local_motd_t"),
    ],
)
def test_what_the_administrator_says_comes_after_the_base(contexts: FileContexts, path: str, type_: str) -> None:
    assert f":{type_}:" in str(contexts.label_for(path, Kind.FILE))


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("etc/systemd/system/x.service", "usr/lib/systemd/system/x.service"),
        ("lib/x", "usr/lib/x"),
        ("data/x", "srv/x"),
        ("data/web/x", "srv/www/x"),
        ("data/website", "srv/website"),
        ("data/moved/bin/x", "opt/bin/x"),
        ("export/me/.ssh/id", "home/me/.ssh/id"),
        ("jail/etc/motd", "etc/motd"),
        ("jail/lib/x", "usr/lib/x"),
    ],
)
def test_a_path_is_labelled_as_the_one_that_stands_for_it(contexts: FileContexts, path: str, same: str) -> None:
    label = contexts.label_for(path, Kind.FILE)
    assert label is not None
    assert label == contexts.label_for(same, Kind.FILE)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "etc/x"),
        ("/etc/y  a:b:c_t:s0", "etc/x"),
        ("/etc/x -d a:b:c_t:s0", "etc/x"),
        ("/etc(/.*)? a:b:c_t:s0\n/etc/x.* <<none>>", "etc/x"),
        ("/etc(/.*)? a:b:c_t:s0\n/etc/x <<none>>", "etc/x"),
        ("/etc(/.*)? a:b:c_t:s0\n/etc/[[:alpha:]]+ a:b:d_t:s0", "etc/x"),
        ("/etc(/.*)? a:b:c_t:s0\n/etc/(x a:b:d_t:s0", "etc/x"),
    ],
)
def test_no_answer_is_better_than_a_guess(text: str, path: str) -> None:
    assert of_text(text).label_for(path, Kind.FILE) is None


@pytest.mark.parametrize("path", ["usr/b", "opt/c", "srv/d"])
def test_alternatives_are_all_looked_at(path: str) -> None:
    contexts = of_text("/usr/(a|b)|/opt/c|/srv/[()|]?d a:b:c_t:s0")
    assert contexts.label_for(path, Kind.FILE) == "a:b:c_t:s0"


def test_every_line_that_is_no_specification_is_named() -> None:
    with pytest.raises(UnchangedError) as caught:
        of_text("# fine\n/etc(/.*)? a:b:c_t:s0\n/alone\n\n/etc -x a:b:c_t:s0\n/etc -d\x1b a:b:c_t:s0\n")
    assert [issue.where.rpartition(":")[2] for issue in caught.value.issues] == ["3", "5", "6"]
    assert caught.value.issues[0].where == "/etc/selinux/mine/file_contexts:3"
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    ["", "SELINUX=disabled\nSELINUXTYPE=mine\n", "SELINUXTYPE=mine\n", "SELINUX=enforcing\n", "#SELINUX=enforcing\n"],
)
def test_a_root_whose_policy_is_off_or_absent_has_no_labels(tmp_path: Path, config: str) -> None:
    assert read_policy(root_with(tmp_path, cases(), config)) is None


@pytest.mark.parametrize(
    "config",
    [
        "SELINUX=permissive\nSELINUXTYPE=mine",
        "SELINUX= Enforcing \nSELINUXTYPE=other\n  selinuxtype= mine \n",
        "SELINUX=nonsense\nSELINUX=enforcing\nSELINUXTYPE=mine\n",
    ],
)
def test_a_root_names_its_policy_as_libselinux_reads_it(tmp_path: Path, config: str) -> None:
    assert read_policy(root_with(tmp_path, cases(), config)) is not None


class Counting(Beneath):
    """Notes what is opened."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, path: str, flags: int, *, mode: int = 0o600, follow: bool = False) -> int:
        self.opened.append(path)
        return super().open(path, flags, mode=mode, follow=follow)


def test_a_root_that_never_heard_of_selinux_costs_one_failed_open(tmp_path: Path) -> None:
    host = Counting(str(tmp_path))
    assert read_policy(host) is None
    assert host.opened == ["etc/selinux/config"]


def test_a_policy_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    host = root_with(tmp_path, {})
    (tmp_path / "etc/selinux/mine/contexts/files/file_contexts").mkdir()
    with pytest.raises(UnchangedError, match="cannot read /etc/selinux/mine/contexts/files/file_contexts"):
        read_policy(host)


# The real thing: matchpathcon(8) of libselinux, on the same files.


def libselinux(root: Path, policy: str, kind: Kind, paths: Sequence[str]) -> list[str | None]:
    argv = ["matchpathcon", "-P", str(root / "etc/selinux" / policy), "-n", "-m", WORDS[kind]]
    said: list[str] = []
    for start in range(0, len(paths), 2000):
        batch = [f"/{path}" for path in paths[start : start + 2000]]
        said += subprocess.run([*argv, *batch], capture_output=True, text=True, check=False).stdout.splitlines()
    assert len(said) == len(paths)
    return [None if label == "<<none>>" else label for label in said]


def compare(root: Path, policy: str, paths: Sequence[str]) -> None:
    found = read_policy(Beneath(str(root)))
    assert found is not None
    ours = parse(found)
    for kind in WORDS:
        theirs = dict(zip(paths, libselinux(root, policy, kind, paths), strict=True))
        different = {p: (kind, ours.label_for(p, kind), t) for p, t in theirs.items() if ours.label_for(p, kind) != t}
        assert different == {}
        assert len(set(theirs.values())) >= 10


needs_libselinux = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("matchpathcon") is None, reason="matchpathcon is missing: scripts/lab-packages"),
]


class TestAgainstLibselinux:
    pytestmark = needs_libselinux

    def test_of_a_small_policy(self, tmp_path: Path) -> None:
        root_with(tmp_path, cases())
        parts = [*_NAMES, "etc", "usr", "bin", "opt", "data", "web", "jail", "home", "me", ".ssh", "shadow-", "www"]
        pick = random.Random(1)
        paths = {"/".join(pick.choices(parts, k=pick.randint(1, 5))) for _ in range(4000)}
        compare(tmp_path, "mine", sorted(paths))

    @pytest.mark.parametrize("seed", range(3))
    def test_of_policies_made_by_chance(self, tmp_path: Path, seed: int) -> None:
        pick = random.Random(seed)
        root_with(tmp_path, {suffix: _policy(pick, n) for suffix, n in (("", 400), (".homedirs", 20), (".local", 40))})
        paths = {"/".join(pick.choices(_NAMES, k=pick.randint(1, 5))) for _ in range(4000)}
        compare(tmp_path, "mine", sorted(paths))


_NAMES = ("a", "b", "ab", "a.b", "lib", "lib64", "x1", "x22", ".d", "c++", "a-b")
_FIRST = ("a", "b", "ab", r"a\.b", "lib(64)?", "[^/]*", "(a|b)", ".*b", r"\.d", "a-b")
_SHAPES = (
    *_FIRST,
    *("a.b", "lib", "[^/]+", "x[0-9]+", r"x\d{2}", "a?b", "a*", r"c\+\+", "(a(b)?|lib)", "[ab]+", "[^a]*", r"a\-b"),
)
_ENDS = ("", "", "", "(/.*)?", "/.*", "(/.+)?", "/[^/]*", "(/a)*")


def _policy(pick: random.Random, lines: int) -> str:
    """Specifications without sense, in all the shapes."""
    made = ["/.*\tu:r:any_t:s0"]
    for number in range(lines):
        shapes = (pick.choice(_FIRST), *pick.choices(_SHAPES, k=pick.randint(0, 3)))
        pattern = "".join(f"/{shape}" for shape in shapes) + pick.choice(_ENDS)
        label = "<<none>>" if pick.random() < 0.05 else f"u:r:t{number}_t:s0"
        made.append("\t".join(filter(None, (pattern, pick.choice(("", "", "--", "-d", "-l", "-s")), label))))
    return "\n".join(made) + "\n"
