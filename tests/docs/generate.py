# SPDX-License-Identifier: Apache-2.0
"""The reference pages that are made from the code: ``python -m tests.docs.generate`` writes them, a test compares."""

import ast
import inspect
import re
from collections.abc import Iterator

import click
import msgspec

from ashore.cli import VERBS, program
from ashore.nouns import limits
from tests.docs.pages import DOCS

_CLI = """\
# Command line

A command is `ashore`, a verb, and then its options and arguments. The result goes to stdout (text, or with `--json` as
[documented](json.md)), talk and errors to stderr. An error has a message and, where there is one, a cause and a remedy;
the exit codes are [here](exit-codes.md). Made from the program itself by `tests/docs/generate.py`.

`IMAGE`, `SRC` and `DST` name an image by its transport: `[docker://]REGISTRY/NAME[:TAG][@DIGEST]`, `oci:DIR[:TAG]`,
`oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME:TAG]`. `oci:DIR` without a tag takes the only image.

| variable | for |
|---|---|
| `ASHORE_ROOT` | the same as `--root` |
| `ASHORE_CACHE` | where `plan` keeps what it fetched ([files](files.md)) |
| `ASHORE_SELF_CONTAINED` | the same as `--self-contained` of `build` |
| `NO_COLOR` | no colours |
| `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `SSL_CERT_FILE`, `HTTPS_PROXY` and others | [registries](registry.md) |

These hold for every verb: `--debug` shows tracebacks of errors, `-h` and `--help` tell what the verb takes.
`ashore --version` prints the version.
"""
_LIMITS = """\
# Limits

What ashore takes from outside, at the most. Beyond it an input is refused with exit code 3 (5 where size or digest
differ from what was announced, 4 where a registry is at fault), and nothing has changed.

All but `path` and `name`, which are the kernel's, can be set in
[`/etc/ashore/config.toml`](files.md#configtoml) of the root that a command works on (`build`, `lint`, `push`, `pull`
and `copy` read this machine's):

```toml etc/ashore/config.toml
[limits]
image_bytes      = "100 GiB"      # a number, or KiB, MiB, GiB, TiB
entries          = 2_000_000
template_seconds = "20s"
```

Made from `src/ashore/nouns/limits.py` by `tests/docs/generate.py`.

| limit | value | of what |
|---|---|---|
"""
_BYTES = {
    *("manifest", "image_bytes", "header", "xattrs", "bundle_toml", "template", "token", "error_body"),
    *("table", "range_gap", "blamed", "delta_directory", "delta_segment", "delta_window", "known"),
}
_EVERYWHERE = {"--debug", "--help"}
_PLAIN = {
    "layers": "Layers of an image: as many as overlayfs and Docker take.",
    "index_manifests": "Entries of an index.",
    "bundle_toml": "`bundle.toml`, and each of the host's TOML files.",
    "template_seconds": "Rendering of one template.",
    "redirects": "Redirects in a row.",
    "retries": "Repetitions of a request that failed in passing.",
    "connect_seconds": "Until a connection is up.",
    "referrers": "Referrers of an image.",
    "credential_helper_seconds": "Until a credential helper has answered.",
}
"""What the limits are about that have no sentence of their own."""


def cli_page() -> str:
    """Every verb with its arguments and options."""
    return _CLI + "".join(_verb(name) for name in VERBS)


def limits_page() -> str:
    """Every limit with its value."""
    said = dict(_field_texts())
    rows = [
        f"| `{field}` | {_amount(field, value)} | {said.get(field) or _PLAIN[field]} |"
        for field, value in msgspec.structs.asdict(limits.DEFAULT).items()
    ]
    return _LIMITS + "\n".join(rows) + "\n"


def _verb(name: str) -> str:
    assert isinstance(program, click.Group)
    context = click.Context(program, info_name="ashore")
    command = program.get_command(context, name)
    assert command is not None
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return _section(name, command) + "".join(_section(f"{name} {word}", part) for word, part in below)


def _section(name: str, command: click.Command) -> str:
    usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
    lines = ["", f"## ashore {name}", "", f"`ashore {name} {usage}`", "", inspect.cleandoc(command.help or ""), ""]
    options = [
        p for p in command.params if isinstance(p, click.Option) and not p.hidden and not _EVERYWHERE & {*p.opts}
    ]
    if options:
        lines += ["| option | meaning |", "|---|---|", *map(_option, options), ""]
    return "\n".join(lines)


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{_metavar(option)}`"
    said = [(option.help or _MISSING.get(option.opts[0], "")).strip()]
    said += ["Can be repeated."] if option.multiple and "repeated" not in said[0] else []
    said += [f"Default: `{option.default}`."] if option.show_default else []
    return f"| {names}{value} | {' '.join(said)} |".replace("|K=", "\\|K=")


_MISSING = {"--compression": "How layers are compressed.", "--unset": "Forget a value that --set recorded."}


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "\\|".join(option.type.choices)
    return option.metavar or "N"


def _field_texts() -> Iterator[tuple[str, str]]:
    """The strings below the fields of Limits, by field."""
    (struct,) = ast.parse(inspect.getsource(limits.Limits)).body
    assert isinstance(struct, ast.ClassDef)
    for field, text in zip(struct.body, struct.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            yield field.target.id, re.sub(r"\s+", " ", str(text.value.value))


def _amount(field: str, value: float) -> str:
    if field.endswith("_seconds"):
        return f"{value:g} s"
    if field in _BYTES:
        for unit, size in (("GiB", limits.GIB), ("MiB", limits.MIB), ("KiB", limits.KIB)):
            if value % size == 0:
                return f"{value // size:g} {unit}"
    return f"{value:,}"


PAGES = {"reference/cli.md": cli_page, "reference/limits.md": limits_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())


if __name__ == "__main__":
    main()
