# SPDX-License-Identifier: Apache-2.0
import os
import struct
from pathlib import Path

import pytest

from ashore.rules.libraries.elf import soname
from ashore.rules.libraries.linker import Library, candidates, is_library, search_folders, shadows
from tests.fakes.elf import library

DEBIAN = {
    "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
    "etc/ld.so.conf.d/libc.conf": "# libc default configuration\n/usr/local/lib\n",
    "etc/ld.so.conf.d/x86_64-linux-gnu.conf": "/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n"
    "/usr/lib/x86_64-linux-gnu\n",
    "etc/ld.so.conf.d/README": "/not/read\n",
}
FOLDERS = search_folders(DEBIAN)


def name_of(data: bytes) -> str:
    return soname(lambda offset, length: data[offset : offset + length])


def test_the_folders_in_the_order_in_which_the_linker_searches_them() -> None:
    assert FOLDERS == (
        "usr/local/lib",
        "usr/local/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib",
        "usr/lib64",
    )


def test_includes_are_relative_to_etc_and_end() -> None:
    texts = {"etc/ld.so.conf": "include ld.so.conf.d/*.conf\n/opt/a = libc6\nhwcap 1 x\n"}
    texts["etc/ld.so.conf.d/loop.conf"] = "include /etc/ld.so.conf\n/opt/b # why\n"
    assert search_folders(texts)[:2] == ("opt/b", "opt/a")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("usr/local/lib/libx.so", True),
        ("usr/local/lib/libx.so.1.2", True),
        ("lib/x86_64-linux-gnu/libx.so.1", True),
        ("usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", True),
        ("usr/local/lib/python3/x.so", False),
        ("opt/lib/libx.so.1", False),
        ("usr/lib/libx.a", False),
        ("usr/lib/ld.so.conf", False),
    ],
)
def test_what_ldconfig_would_look_at(path: str, expected: bool) -> None:
    assert is_library(path, FOLDERS) is expected


def shadowed(path: str, name: str, *host: str) -> list[str]:
    assert set(host) <= candidates([Library(path=path, name=name)], FOLDERS)
    return [s.hides for s in shadows([Library(path=path, name=name)], FOLDERS, set(host))]


def test_a_library_in_an_earlier_folder_hides_the_hosts() -> None:
    assert shadowed("usr/local/lib/libz.so.1.9", "libz.so.1", "usr/lib/x86_64-linux-gnu/libz.so.1") == [
        "usr/lib/x86_64-linux-gnu/libz.so.1"
    ]


def test_a_library_in_the_same_folder_hides_the_hosts_where_it_is_newer() -> None:
    host = "usr/lib/x86_64-linux-gnu/libz.so.1"
    assert shadowed("usr/lib/x86_64-linux-gnu/libz.so.1.9", "libz.so.1", host) == [host]


def test_a_library_in_a_later_folder_or_at_the_very_path_hides_nothing() -> None:
    assert shadowed("usr/lib/libz.so.1.9", "libz.so.1", "usr/local/lib/libz.so.1") == []
    assert shadowed("usr/local/lib/libz.so.1", "libz.so.1", "usr/local/lib/libz.so.1") == []
    assert shadows([Library(path="opt/libz.so.1", name="libz.so.1")], FOLDERS, {"usr/lib/libz.so.1"}) == ()


def test_the_name_of_a_library_of_this_machine_is_that_by_which_it_is_found() -> None:
    found = next(Path("/usr/lib").glob("*-linux-gnu/libc.so.6"))
    descriptor = os.open(found, os.O_RDONLY)
    assert soname(lambda offset, length: os.pread(descriptor, length, offset)) == "libc.so.6"
    os.close(descriptor)


def test_a_library_and_what_is_none() -> None:
    assert name_of(library("libx.so.1")) == "libx.so.1"
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF", b"INPUT ( libx.so.1 )\n", library("")):
        assert name_of(data) == ""


def test_a_library_of_32_bits_and_the_other_byte_order() -> None:
    strings = b"\0libbig.so.2\0"
    head = b"\x7fELF\x01\x02\x01" + bytes(9) + struct.pack(">HHIIIIIHHHHHH", 3, 8, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    segments = struct.pack(">8I", 1, 0, 0x1000, 0x1000, 300, 300, 4, 1) + struct.pack(">8I", 2, 128, 0, 0, 24, 24, 4, 1)
    data = (head + segments).ljust(128, b"\0") + struct.pack(">6I", 5, 0x10A0, 14, 1, 0, 0)
    assert name_of(data.ljust(160, b"\0") + strings) == "libbig.so.2"


@pytest.mark.parametrize("cut", range(0, 220, 7))
def test_a_torn_library_has_no_name_or_its_own(cut: int) -> None:
    whole = library("libx.so.1")
    assert name_of(whole[:cut]) in ("", "libx.so.1")
    damaged = bytearray(whole)
    damaged[cut : cut + 8] = b"\xff" * 8
    assert isinstance(name_of(bytes(damaged)), str)
