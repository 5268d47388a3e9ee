# SPDX-License-Identifier: Apache-2.0
"""Values of the kernel, on a folder that stands for /proc and /sys. Real ones: tests/system/test_reactions_real.py."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.errors import AshoreError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.host import kernel
from ashore.nouns.triggers import Setting

FORWARD, FILTER = "proc/sys/net/ipv4/ip_forward", "proc/sys/net/ipv4/conf/lo/rp_filter"
PARAMETER = "sys/module/firmware_class/parameters/path"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Beneath]:
    for path, text in {FORWARD: "0\n", FILTER: "4096\t87380\n", PARAMETER: "\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    with Beneath(str(tmp_path)) as opened:
        yield opened


def test_a_value_is_read_as_it_stands_and_what_cannot_be_read_is_absent(host: Beneath) -> None:
    assert kernel.read(host, [FORWARD, FILTER, PARAMETER, "proc/sys/none"]) == {
        FORWARD: "0",
        FILTER: "4096\t87380",
        PARAMETER: "",
    }


def test_a_parameter_of_a_module_gets_no_newline_and_a_setting_has_one(host: Beneath, tmp_path: Path) -> None:
    kernel.write(host, Setting(FORWARD, "1"))
    kernel.write(host, Setting(PARAMETER, "/opt/fw"))
    assert (tmp_path / FORWARD).read_text() == "1\n"
    assert (tmp_path / PARAMETER).read_text() == "/opt/fw"
    kernel.write(host, Setting(PARAMETER, ""))
    assert (tmp_path / PARAMETER).read_text() == "\n"


def test_what_is_not_there_cannot_be_set(host: Beneath) -> None:
    with pytest.raises(AshoreError, match="/proc/sys/none cannot be set to '1'"):
        kernel.write(host, Setting("proc/sys/none", "1"))
    assert kernel.put_back(host, [Setting("proc/sys/none", "1"), Setting(FORWARD, "7")]) == [
        "/proc/sys/none cannot be set to '1': No such file or directory"
    ]
    assert kernel.read(host, [FORWARD]) == {FORWARD: "7"}


def test_a_glob_names_what_is_there(host: Beneath) -> None:
    assert kernel.named_by(host, "proc/sys/net/ipv4/*/*/rp_filter") == (FILTER,)
    assert kernel.named_by(host, "proc/sys/net/ipv4/conf/l?/rp_*") == (FILTER,)
    assert kernel.named_by(host, "proc/sys/net/ipv4/conf/*/nothing") == ()


def test_modules_are_loaded_by_who_may(host: Beneath, tmp_path: Path) -> None:
    assert not kernel.may_load_modules(host)
    allowed, none = ("000001ffffffffff", "000001fffeff0000"), "00000000a80425fb"
    for own, first in itertools.product((*allowed, none), repeat=2):
        for process, text in (("self", f"CapEff:\t{own}\n"), ("1", f"CapEff:\t{allowed[0]}\nCapBnd:\t{first}\n")):
            (tmp_path / f"proc/{process}").mkdir(exist_ok=True)
            (tmp_path / f"proc/{process}/status").write_text(f"Name:\tx\n{text}")
        # Who enters a container with all capabilities is told what its PID 1 would do.
        assert kernel.may_load_modules(host) is (none not in (own, first))


def test_settings_are_read_only_where_their_file_system_is(host: Beneath) -> None:
    assert kernel.writable(host)
    assert not kernel.writable(host, "proc/none")
    with Beneath("/") as real:
        assert kernel.writable(real, "proc/sys") is not bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
