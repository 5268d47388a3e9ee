# SPDX-License-Identifier: Apache-2.0
"""What `ashore provision` prints: whole files as cases, and what is refused. tests/system has the real validators."""

import base64
import json
import tomllib
from pathlib import Path

import pytest

from ashore.cli import run

CASES = Path(__file__).resolve().parents[1] / "cases" / "provision"
IMAGE = "registry.example:5000/k8s/worker:1.0"
SHA = "0123456789abcdef" * 4
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
VALUES = 'api_server = "https://10.0.0.1:6443"\ntoken = "ünï \\"q\\""\n'
FILES = ("--values", "values.toml", "--registry-ca", "ca.pem")

ARGUMENTS = {
    "docker.service": ("unit", IMAGE),
    "docker-always.service": ("unit", IMAGE, "--pull", "always"),
    "podman-never.service": ("unit", IMAGE, "--engine", "podman", "--pull", "never"),
    "none.service": ("unit", IMAGE, "--engine", "none", "--pull", "always"),
    "none-fetched.service": (
        "unit", IMAGE, "--engine", "none", "--ashore-url", "https://files.example/ashore.tar.gz", "--sha256", SHA,
    ),
    "cloud-config.yaml": ("cloud-config", IMAGE, *FILES),
    "cloud-config-mirror.yaml": ("cloud-config", IMAGE, "--engine", "none", "--mirror", "mirror.example"),
    "coreos-cloudinit.yaml": ("coreos-cloudinit", IMAGE, *FILES),
    "ignition.json": ("ignition", IMAGE, *FILES),
    "butane.yaml": ("butane", IMAGE, *FILES),
    "butane-bare.yaml": ("butane", IMAGE),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder: a values file and an authority."""
    (tmp_path / "values.toml").write_text(VALUES)
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", ARGUMENTS)
def test_it_prints_what_the_case_has(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["provision", *ARGUMENTS[case]]) == 0
    assert capsys.readouterr().out == (CASES / case).read_text()


def test_every_case_is_run() -> None:
    assert {path.name for path in CASES.iterdir()} == set(ARGUMENTS)


@pytest.mark.parametrize("kind", ["cloud-config", "coreos-cloudinit", "butane"])
@pytest.mark.parametrize(
    "values",
    ["a = 1\n",
     'a = "  x: #y"\n\n\nb = """\n  deep\n"""\n', "# only: a comment\n", " a = 1\n", "\na = 1\n", "a = 1\n\n",
     'a = "\t"\n', 'a = "\U0001f6a2\u2028"\n', "a = '''%s $HOME `x` \\'''\n"],
)  # fmt: skip
def test_any_values_come_out_of_the_yaml_as_they_went_in(
    kind: str, values: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = pytest.importorskip("yaml")
    (folder / "values.toml").write_text(values)
    assert run(["provision", kind, IMAGE, "--values", "values.toml"]) == 0
    read = yaml.safe_load(capsys.readouterr().out)
    files = read["storage"]["files"] if kind == "butane" else read["write_files"]
    assert (files[0]["contents"]["inline"] if kind == "butane" else files[0]["content"]) == values
    assert files[0]["path"] == "/etc/ashore/values.d/50-provision.toml"


@pytest.mark.parametrize("mirror", ["mirror", "mirror.example:5000", "[::1]:5000", "localhost/a/b-c", "10.0.0.1"])
def test_any_location_of_registries_conf_is_a_mirror(mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["provision", "ignition", IMAGE, "--engine", "podman", "--mirror", mirror]) == 0
    (file,) = json.loads(capsys.readouterr().out)["storage"]["files"]
    text = base64.b64decode(file["contents"]["source"].partition("base64,")[2]).decode()
    assert tomllib.loads(text)["registry"][0]["mirror"] == [{"location": mirror}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (b"x = 99999999999999999999999\n", "a number of more than 64 bits"),
        ("é = 1\n".encode(), "not TOML"),
        (("x = '" + "é" * (512 << 10) + "'\n").encode(), "larger than 1048576 bytes"),
        (b"x = 1 # " + b"x" * ((1 << 20) - 8), "larger than 1048576 bytes"),
        (b"\xef\xbb\xbfx = 1\n", "not TOML"),
    ],
)
def test_values_that_a_host_would_refuse_are_refused_here(
    values: bytes, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "values.toml").write_bytes(values)
    assert run(["provision", "ignition", IMAGE, "--values", "values.toml"]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err


def test_the_largest_values_and_lines_of_another_system_are_taken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for values, wanted in ((b"x = 1 #" + b"x" * ((1 << 20) - 8), None), (b"a = 1\r\nb = 2", b"a = 1\nb = 2\n")):
        (folder / "values.toml").write_bytes(values)
        assert run(["provision", "ignition", IMAGE, "--values", "values.toml"]) == 0
        (file,) = json.loads(capsys.readouterr().out)["storage"]["files"]
        text = base64.b64decode(file["contents"]["source"].partition("base64,")[2])
        assert text == wanted or (wanted is None and text == values + b"\n")


def test_the_values_are_for_root_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["provision", "ignition", IMAGE, *FILES]) == 0
    files = json.loads(capsys.readouterr().out)["storage"]["files"]
    assert {f["path"]: f["mode"] for f in files}["/etc/ashore/values.d/50-provision.toml"] == 0o600


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("unit", "oci:somewhere"), 2, "in no registry"),
        (("unit", "Not An Image"), 3, "not an image reference"),
        (("unit", IMAGE, "--engine", "rkt"), 2, "rkt"),
        (("unit", IMAGE, "--pull", "sometimes"), 2, "sometimes"),
        (("unit", IMAGE, "--ashore-url", "https://x/y"), 2, "belong together"),
        (("unit", IMAGE, "--ashore-url", "https://x/y", "--sha256", SHA), 2, "--engine none"),
        (("unit", IMAGE, "--engine", "none", "--ashore-url", "https://x/y", "--sha256", "abc"), 2, "no"),
        (("unit", IMAGE, "--engine", "none", "--ashore-url", "https://x/'; rm -rf /", "--sha256", SHA), 2, "address"),
        *((("unit", IMAGE, "--engine", "none", "--ashore-url", f"https://x/{c}", "--sha256", SHA), 2, "address")
          for c in ("`id`", "$(id)", '"', "\\", "a b", "<x", "a\nb", "a\n", "ä", "a\tb", "{1,2}")),
        (("unit", IMAGE, "--engine", "none", "--ashore-url", "https://", "--sha256", SHA), 2, "address"),
        (("unit", IMAGE, "--engine", "none", "--ashore-url", "https://x/'", "--sha256", SHA), 2, "write %27"),
        (("unit", IMAGE, "--engine", "none", "--ashore-url", "https://x/ä", "--sha256", SHA), 2, "write %C3%A4"),
        (("cloud-config", IMAGE, "--values", "nowhere.toml"), 3, "cannot read"),
        (("cloud-config", IMAGE, "--values", "ca.pem"), 3, "not TOML"),
        (("cloud-config", IMAGE, "--registry-ca", "values.toml"), 3, "no certificate"),
        (("cloud-config", IMAGE, "--mirror", "m.example"), 2, "Docker"),
        *((("cloud-config", IMAGE, "--engine", "none", "--mirror", m), 2, "--mirror is not a registry")
          for m in ("https://m.example", 'm"x', "m\nx", "m x", "m.example:99999", "m.example/", "m/a//b", "/x", "m:x")),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["provision", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
