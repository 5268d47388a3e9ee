# SPDX-License-Identifier: Apache-2.0
import pytest

from ashore.errors import InputError
from ashore.rules.units import enablement

SYSTEM = "etc/systemd/system"


def links(unit: str, install: str, folder: str = SYSTEM) -> dict[str, str]:
    file = enablement.template_of(unit) or unit
    found = enablement.links_for(unit, f"[Install]\n{install}\n", f"{folder}/{file}")
    return {link.path.removeprefix(SYSTEM + "/"): link.target for link in found}


@pytest.mark.parametrize(
    ("unit", "install", "expected"),
    [
        ("x.service", "WantedBy=multi-user.target", ["multi-user.target.wants/x.service"]),
        (
            "x.service",
            "WantedBy=a.target b.target\nRequiredBy=c.service\nUpheldBy=d.service",
            ["a.target.wants/x.service", "b.target.wants/x.service", "c.service.requires/x.service",
             "d.service.upholds/x.service"],
        ),
        ("x.service", "WantedBy=a.target\nWantedBy=\nWantedBy=b.target", ["b.target.wants/x.service"]),
        ("x.service", "Alias=y.service x.service", ["y.service"]),
        ("x.service", "Alias=multi-user.target.wants/x.service", ["multi-user.target.wants/x.service"]),
        ("g@.service", "WantedBy=a.target", []),
        ("g@.service", "WantedBy=a.target\nDefaultInstance=tty1", ["a.target.wants/g@tty1.service"]),
        ("g@tty2.service", "WantedBy=a.target\nDefaultInstance=tty1", ["a.target.wants/g@tty2.service"]),
        ("g@.service", "WantedBy=h@.service", ["h@.service.wants/g@.service"]),
        ("g@.service", "Alias=h@.service", ["h@.service"]),
        ("g@a.service", "Alias=h@.service", ["h@a.service"]),
        ("g@a.service", "WantedBy=w@%i.target %p.target",
         ["w@a.target.wants/g@a.service", "g.target.wants/g@a.service"]),
        ("x.service", "", []),
    ],
)  # fmt: skip
def test_the_links_are_those_of_systemctl_enable(unit: str, install: str, expected: list[str]) -> None:
    assert sorted(links(unit, install)) == sorted(expected)


def test_a_link_names_the_unit_file_where_it_lies_and_a_template_for_its_instance() -> None:
    assert links("g@a.service", "WantedBy=m.target", "usr/lib/systemd/system") == {
        "m.target.wants/g@a.service": "/usr/lib/systemd/system/g@.service"
    }


@pytest.mark.parametrize(
    "install",
    ["WantedBy=multi-user", "Alias=x.timer", "Alias=x@.service", "WantedBy=../../x.target", "WantedBy=%H.target",
     "Alias=a/b.service", "WantedBy=/x.target"],
)  # fmt: skip
def test_names_that_systemd_refuses_are_refused(install: str) -> None:
    with pytest.raises(InputError, match=r"^a\.service: "):
        links("a.service", install)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"{SYSTEM}/x.service", "x.service"),
        ("usr/lib/systemd/system/x@.timer", "x@.timer"),
        ("usr/local/lib/systemd/system/a.mount", "a.mount"),
        ("lib/systemd/system/x.socket", "x.socket"),
        (f"{SYSTEM}/x.service.d/y.conf", "x.service"),
        (f"{SYSTEM}/x@a.service.d/y.conf", "x@a.service"),
        (f"{SYSTEM}/dev-disk-by\\x2dlabel-a.swap", "dev-disk-by\\x2dlabel-a.swap"),
        (f"{SYSTEM}/service.d/y.conf", None),
        (f"{SYSTEM}/x.service.d/y.txt", None),
        (f"{SYSTEM}/x.service.d/z/y.conf", None),
        (f"{SYSTEM}/a.target.wants/x.service", None),
        (f"{SYSTEM}/README", None),
        (f"{SYSTEM}", None),
        ("opt/x.service", None),
    ],
)
def test_the_unit_of_a_path(path: str, unit: str | None) -> None:
    assert enablement.unit_of(path) == unit


@pytest.mark.parametrize(
    ("unit", "folders"),
    [
        ("x.service", ("service.d", "x.service.d")),
        ("a-b-c.timer", ("timer.d", "a-.timer.d", "a-b-.timer.d", "a-b-c.timer.d")),
        ("a-b@x-y.service", ("service.d", "a-.service.d", "a-b@.service.d", "a-b@x-y.service.d")),
    ],
)
def test_the_folders_of_drop_ins(unit: str, folders: tuple[str, ...]) -> None:
    assert enablement.drop_in_folders(unit) == folders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Install]\nWantedBy=a.target\n", True),
        ("[Install]\nAlso=b.service\n", True),
        ("[Install]\nWantedBy=\n", False),
        ("[Install]\n", False),
        ("[Unit]\nWantedBy=a.target\n", False),
        ("#[Install]\n#WantedBy=a\n", False),
    ],
)
def test_whether_a_unit_can_be_enabled(text: str, expected: bool) -> None:
    assert enablement.has_install(text) is expected


def test_also_is_followed_within_the_bundle_and_a_loop_ends() -> None:
    shipped = {
        "a.service": enablement.Shipped(
            path=f"{SYSTEM}/a.service", text="[Install]\nWantedBy=m.target\nAlso=a.socket ssh.service"
        ),
        "a.socket": enablement.Shipped(
            path=f"{SYSTEM}/a.socket", text="[Install]\nWantedBy=sockets.target\nAlso=a.service"
        ),
    }
    found = enablement.closure(("a.service",), shipped)
    assert {unit: [link.path for link in links] for unit, links in found.items()} == {
        "a.service": [f"{SYSTEM}/m.target.wants/a.service"],
        "a.socket": [f"{SYSTEM}/sockets.target.wants/a.socket"],
    }


@pytest.mark.parametrize(
    ("path", "target", "unit"),
    [
        ("a.target.wants/x.service", "/usr/lib/systemd/system/x.service", "x.service"),
        ("a.service.upholds/g@b.service", "/etc/systemd/system/g@.service", "g@b.service"),
        ("y.service", "/usr/lib/systemd/system/x.service", "x.service"),
        ("h@a.service", "/usr/lib/systemd/system/g@.service", "g@a.service"),
        ("h@.service", "/usr/lib/systemd/system/g@.service", "g@.service"),
        ("x.service", "/dev/null", ""),
        ("x.service.d/x.conf", "/opt/x.conf", ""),
        ("x.service.d/x.service", "/opt/x.service", ""),
        ("a.target.wants/README", "/opt/README", ""),
    ],
)
def test_a_link_tells_which_unit_it_enables(path: str, target: str, unit: str) -> None:
    assert enablement.enabled_by(f"{SYSTEM}/{path}", target) == unit
    assert enablement.enabled_by(f"opt/{path}", target) == ""
