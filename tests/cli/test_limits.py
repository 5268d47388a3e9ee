# SPDX-License-Identifier: Apache-2.0
"""Limits hold, say so, and are raised by the host's configuration."""

import msgspec
import pytest

from ashore.errors import InputError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.host.config import read_config
from ashore.nouns.limits import DEFAULT, FIXED, GIB
from tests.cli.shell import Shell, refused

ENTRIES = {f"etc/app/{n}": f"{n}\n" for n in range(9)}


def configure(shell: Shell, text: str) -> None:
    (shell.root / "etc/ashore").mkdir(exist_ok=True)
    (shell.root / "etc/ashore/config.toml").write_text(text)


@pytest.mark.parametrize(
    ("lowered", "said"),
    [
        ("entries = 5", "entries"),
        ("placed = 5", "paths"),
        ("manifest = 100", "bytes"),
        ("path = 20", "unknown key"),
        ('image_bytes = "1 KiB"', "bytes"),
        ("depth = 1", "deep"),
    ],
)
def test_a_limit_holds_where_it_is_set_and_not_where_it_is_raised(shell: Shell, lowered: str, said: str) -> None:
    image = shell.image("app", ENTRIES)
    configure(shell, f"[limits]\n{lowered}\n")
    with shell.unchanged():
        refused(shell.on_root("install", image), 3, said)
    configure(shell, "[limits]\nentries = 2_000_000\n")
    assert shell.on_root("install", image).code == 0


def test_more_than_the_default_is_taken_where_the_host_says_so(shell: Shell) -> None:
    image = shell.image(
        "app", {"etc/app.j2": "{{ facts.hostname }}" + "x" * 700_000, "etc/b.j2": "{{ 'x' * 900_000 }}"}
    )
    configure(shell, "[limits]\ntemplate = 800_000\n")
    with shell.unchanged():
        refused(shell.on_root("plan", image), 3, "b.j2")
        refused(shell.on_root("install", image), 3, "b.j2")
    configure(shell, '[limits]\ntemplate = "2 MiB"\ntemplate_seconds = "20s"\n')
    assert shell.on_root("install", image).code == 0
    assert (shell.root / "etc/b").stat().st_size == 900_000


def test_what_is_no_limit_is_refused_with_its_line(shell: Shell) -> None:
    image = shell.image("app", ENTRIES)
    configure(shell, '[limits]\nimage_bytes = "1 Gb"\nentrys = 5\nlayers = 0\nzstd_window_log = 32\nredirects = true\n')
    with shell.unchanged():
        for verb in ("plan", "install"):
            ran = shell.on_root(verb, image)
            refused(ran, 3, *(f"config.toml:{line}" for line in (2, 3, 4, 5, 6)), 'did you mean "entries"')
    assert shell.on_root("recover").code == 0
    assert shell.on_root("status").code == 0


def test_every_limit_but_the_kernels_can_be_set(shell: Shell) -> None:
    fields = msgspec.structs.asdict(DEFAULT).keys() - FIXED
    configure(shell, "[limits]\n" + "".join(f"{name} = 7\n" for name in fields) + "")
    with Beneath(str(shell.root)) as host:
        assert set(msgspec.structs.asdict(read_config(host).limits).values()) == {7, DEFAULT.path, DEFAULT.name}
        configure(shell, '[limits]\nimage_bytes = "100 GiB"\n')
        assert read_config(host).limits.image_bytes == 100 * GIB
        configure(shell, "[limits]\npath = 5000\n")
        with pytest.raises(InputError):
            read_config(host)
