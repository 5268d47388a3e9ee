# SPDX-License-Identifier: Apache-2.0
"""The boot unit: installs one image when the machine boots, and keeps a good node up when it cannot."""

import re
from enum import StrEnum

import msgspec

from ashore.errors import ExitCode, UsageError
from ashore.nouns.config import Pull
from ashore.nouns.installer import PROGRAM_LINK, RECOVER_UNIT
from ashore.nouns.reference import ImageReference, Transport
from ashore.rules.provision.hostunits import ENVIRONMENT, SETTLE_UNIT

_FINAL = "2 3 5 6 7 8"
"""Exit codes that another try does not mend (docs/reference/exit-codes.md)."""
_CHARACTERS = r"A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-"
_ADDRESS, _FORBIDDEN = re.compile(rf"https?://[{_CHARACTERS}]+"), re.compile(rf"[^{_CHARACTERS}]")
"""The characters of RFC 3986 but for ' and $: what is left means nothing to a shell within double quotes."""


class Engine(StrEnum):
    """Who runs the installer image; ``none``: an ashore on the host pulls by itself."""

    DOCKER = "docker"
    PODMAN = "podman"
    NONE = "none"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host without ashore gets it from: the archive of the self-contained build."""

    url: str
    sha256: str


def boot_unit(reference: ImageReference, engine: Engine, pull: Pull, fetched: Fetched | None = None) -> str:
    """The text of ``ashore-boot.service``.

    Raises:
        UsageError: what is asked for does not fit together.
    """
    if reference.transport is not Transport.REGISTRY:
        raise UsageError(f"{reference} is in no registry", remedy="a machine that boots pulls from a registry")
    if fetched and engine is not Engine.NONE:
        raise UsageError("--ashore-url is for --engine none", remedy=f"an installer image brings ashore to {engine}")
    before = _fetch(fetched) if fetched else ()
    command = _own(reference, pull) if engine is Engine.NONE else _engine(reference, engine, pull)
    after = "network-online.target nss-lookup.target " + RECOVER_UNIT
    if engine is Engine.DOCKER:
        after += " docker.service"
    lines = (
        "[Unit]",
        f"Description=Install {reference}",
        "Wants=network-online.target" + (" docker.service" if engine is Engine.DOCKER else ""),
        f"After={after}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "TimeoutStartSec=infinity",
        "Restart=on-failure",
        "RestartSec=15s",
        f"RestartPreventExitStatus={_FINAL}",
        "StandardOutput=journal+console",
        f"EnvironmentFile=-{ENVIRONMENT}",
        *before,
        *command,
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    )
    return "\n".join(lines) + "\n"


def _own(reference: ImageReference, pull: Pull) -> tuple[str, ...]:
    return (f"ExecStart=/{PROGRAM_LINK} boot --pull {pull} {reference}",)


def _engine(reference: ImageReference, engine: Engine, pull: Pull) -> tuple[str, ...]:
    """Pull by policy. What is installed stays where nothing newer is to be had: an image that the engine has from
    an earlier boot may be older than what `ashore upgrade` brought since.
    """
    kept = f"{{ [ -x /{PROGRAM_LINK} ] && /{PROGRAM_LINK} boot --pull never {reference} && exit 0; }}"
    there = f"{engine} image inspect {reference} >/dev/null 2>&1"
    get = f"{engine} pull --quiet {reference}"
    down = f"{engine} cannot pull {reference}, which the pull policy always asks for; what is here stays"
    told = f'{{ echo "{down}" >&2; false; }}'
    ways = {Pull.MISSING: (kept, there, get), Pull.ALWAYS: (get, told, kept, there), Pull.NEVER: (kept, there)}[pull]
    absent = f"{reference} is not here, and " + (
        "the pull policy is never" if pull is Pull.NEVER else f"{engine} cannot pull it"
    )
    code = ExitCode.UNCHANGED if pull is Pull.NEVER else ExitCode.NETWORK
    run = (
        f"{engine} run --rm --privileged --pid=host --network=host --ipc=host --uts=host"
        f" --volume /:/rootfs {reference} --boot --reference {reference}"
    )
    own = f"/{PROGRAM_LINK}"
    spread = (f"  [ ! -x {own} ] || {own} boot --spread {reference}; \\",) if pull is Pull.ALWAYS else ()
    return (
        "ExecStart=/bin/sh -c '\\",
        # After an engine that was restarted under us: PID 1 goes on, and the bundle's units wait for this one.
        f"  systemctl start {SETTLE_UNIT} 2>/dev/null && exit 0; \\",
        *spread,
        f"  {ways[0]} \\",
        *(f"  || {way} \\" for way in ways[1:]),
        f"  || {{ command -v {engine} >/dev/null \\",
        f'       || {{ echo "error: there is no {engine} on this host" >&2; exit 127; }}; \\',
        f'       echo "error: {absent}" >&2; exit {code}; }}; \\',
        f"  exec {run}'",
    )


def _no_address(url: str) -> UsageError:
    message, cause = "--ashore-url is not an address", f"{url[:200]!r}"
    found = _FORBIDDEN.search(url)
    if not found or not url.startswith(("http://", "https://")):
        return UsageError(message, cause=cause, remedy="https://...")
    code = "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))
    return UsageError(message, cause=f"{found[0]!r} may not be in it: {cause}", remedy=f"write {code} in its place")


def _fetch(fetched: Fetched) -> tuple[str, ...]:
    if len(fetched.sha256) != 64 or set(fetched.sha256) - set("0123456789abcdef"):
        raise UsageError("--sha256 is not a SHA-256", cause=f"{fetched.sha256[:80]!r}", remedy="64 hexadecimal digits")
    if not _ADDRESS.fullmatch(fetched.url):
        raise _no_address(fetched.url)
    url = fetched.url.replace("%", "%%")  # systemd's specifiers
    curl = "curl --fail --silent --show-error --location --globoff"
    folder = f"/opt/ashore/{fetched.sha256[:12]}"
    return (
        "ExecStartPre=/bin/sh -ec '\\",
        f"  [ ! -x {folder}/ashore ] || exit 0; \\",
        f"  rm -rf {folder}.new; mkdir -p {folder}.new /opt/bin; \\",
        f'  {curl} --output {folder}.new/archive "{url}"; \\',
        f'  echo "{fetched.sha256}  {folder}.new/archive" | sha256sum --check --quiet; \\',
        f"  tar -xzf {folder}.new/archive -C {folder}.new; sync -f {folder}.new; \\",
        f"  rm -rf {folder}; mv -T {folder}.new/ashore {folder}; rm -rf {folder}.new; \\",
        f"  ln -sfn {folder}/ashore /opt/bin/.ashore.new; mv -T /opt/bin/.ashore.new /{PROGRAM_LINK}'",
    )
