# SPDX-License-Identifier: Apache-2.0
"""Bundles that would take what no bundle may have, or whose manifest or templates are an attack."""

from ashore.nouns.limits import Limits
from tests.fakes.images import folder, layer, member, symlink
from tests.hostile.images.case import Case, bundle

QUICK = Limits(template_seconds=0.3)


def tree(says: str, *paths: str, code: int = 3, lands: tuple[str, ...] = ()) -> Case:
    """A bundle of these paths."""
    made = bundle(layer(*[member(f"ashore/root/{path}", b"x") for path in paths]))
    return Case(made, code=code, says=says, entry=paths[0] if code else "", lands=lands)


def manifest(says: str, toml: bytes, *more: bytes) -> Case:
    """A bundle with this bundle.toml."""
    made = bundle(layer(member("ashore/bundle.toml", toml), member("ashore/root/srv/x", b"x"), *more))
    return Case(made, says=says, most_written=4 << 20)


def template(says: str, text: bytes, name: str = "srv/x") -> Case:
    """A bundle with this template."""
    return Case(
        bundle(layer(member(f"ashore/root/{name}.j2", text))), says=says, entry=name, limits=QUICK, most_written=4 << 20
    )


def fails(says: str, *members: bytes) -> Case:
    return Case(bundle(layer(*members)), says=says)


CASES: dict[str, Case] = {
    **{f"places {path}": tree("nothing may be placed below", path) for path in (
        "proc/sys/kernel/core_pattern", "sys/power/state", "dev/sda", "run/systemd/system/x.service",
        "var/lib/ashore/current", "var/lib/ashore/content/sha256/aa/x", ".ashore/x")},
    "places a folder called .ashore": tree("called .ashore", "srv/.ashore/x"),
    "places into /run by the host's own symlink": Case(
        bundle(layer(member("ashore/root/var/run/systemd/system/x.service", b"x"))),
        says="nothing may be placed below", entry="/var/run"),
    "renders over the state": tree("nothing may be placed below", "var/lib/ashore.j2"),
    "renders over /dev": tree("nothing may be placed below", "dev.j2"),
    "a template without a name": tree("no name", "srv/.j2"),
    "a template and its result": tree("lands on the same path", "srv/x.j2", "srv/x"),
    "a bundle.toml that is a symlink": fails("bundle.toml is a symlink", symlink("ashore/bundle.toml", "/etc/shadow"),
        member("ashore/root/srv/x", b"x")),
    "a bundle.toml that is a folder": fails("bundle.toml is a dir", folder("ashore/bundle.toml"),
        member("ashore/root/srv/x", b"x")),
    "a root that is a file": fails("root", member("ashore/root", b"x")),
    "nothing at all": fails("carries no bundle", member("etc/victim", b"x")),
    "a bundle.toml of 2 MiB": manifest("more than", b"#" * (2 << 20)),
    "a bundle.toml that is no text": manifest("", b"\xff\xfe\0"),
    "a bundle.toml nested deep": manifest("", b"x = " + b"[" * 50_000),
    "a bundle.toml of dotted keys": manifest("", b".".join([b"a"] * 50_000) + b" = 1"),
    "a bundle.toml with a number without end": manifest("", b"schema = " + b"9" * 50_000),
    "a bundle.toml of another schema": manifest("schema", b"schema = 99"),
    "a bundle.toml with a name that leads out": manifest("name", b'name = "../../x"'),
    "a bundle.toml with a name that a terminal obeys": manifest("name", rb'name = "\u001b[2J"'),
    "a bundle.toml with files that lead out": manifest("path", b'[[files]]\npath = "../etc/victim"\nmode = "0777"'),
    "a bundle.toml with a mode that is none": manifest("mode", b'[[files]]\npath = "srv/x"\nmode = "99999"'),
    "a bundle.toml with health in a file": manifest("http", b'[[health]]\nhttp = "file:///etc/shadow"\nwithin = "1s"'),
    "a bundle.toml with a unit that leads out": manifest("", b'[units]\nenable = ["../../etc/victim.service"]'),
    "a bundle.toml with a unit that is an option": manifest("", b'[units]\nenable = ["--now"]'),
    "a template of 2 MiB": template("more than", b"x" * (2 << 20)),
    "a template that never ends": template(
        "", b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
    "a template of one huge number": template("", b"{{ 9 ** (9 ** 9) }}"),
    "a template of one huge text": template("", b"{{ 'a' * 10 ** 10 }}"),
    "a template that grows": template("", b"{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}"),
    "a template of a huge format": template("", b"{{ '%9999999999d' % 1 }}"),
    "a template of a huge width": template("", b"{{ '{:>9999999999}'.format(1) }}"),
    "a template that calls itself": template("", b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    "a template that looks for classes": template("", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a template that looks by attr": template("", b"{{ ''|attr('__class__') }}"),
    "a template that looks by format": template("", b"{{ '{0.__class__.__init__.__globals__}'.format(facts) }}"),
    "a template that looks by map": template("", b"{{ [''] | map(attribute='__class__') | list }}"),
    "a template that includes": template("", b"{% include '/etc/shadow' %}"),
    "a template that includes outward": template("", b"{% include '../../../etc/shadow' %}"),
    "a template that imports": template("", b"{% import 'os' as os %}{{ os.system('id') }}"),
    "a template of brackets": template("", b"{{ " + b"(" * 20_000 + b"1" + b")" * 20_000 + b" }}"),
    "a template of ifs": template("", b"{% if 1 %}" * 5000 + b"{% endif %}" * 5000),
    "a template that is no text": template("", b"\xff{{ 1 }}"),
    "a template of what is not defined": template("", b"{{ values.nothing }}"),
    "a template that seeks its own source": template("", b"{{ self.__init__.__globals__ }}"),
    "a template that waits in a filter": template(
        "", b"{{ range(99999) | map('string') | join | list | map('string') | join | string | center(99999999999) }}"),
}  # fmt: skip
