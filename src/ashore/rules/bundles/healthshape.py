# SPDX-License-Identifier: Apache-2.0
"""[[health]] of a `bundle.toml`, as it is read and as its schema tells. No I/O."""

import re
from urllib.parse import urlsplit

from ashore.nouns.bundle import Health
from ashore.nouns.shape import At, Field, Schema, Seconds, Table, Text, Unit
from ashore.rules.bundles.stepshape import Command
from ashore.rules.bundles.templated import OrTemplate, is_templated

_LAST_PORT = 65535


class Probe:
    """One [[health]]: a unit, a probe, or both."""

    def __init__(self, *, rendered: bool = False) -> None:
        """`rendered`: no text of it is a template any more, whatever came of one."""
        self.rendered = rendered
        unit = Unit() if rendered else OrTemplate(Unit())
        self.table = Table(
            {
                "unit": Field(unit, "must be active, and stay so for the settle time"),
                "http": Field(Text(), "must answer with a status from 200 to 399"),
                "tcp": Field(Text(), "HOST:PORT must take a connection"),
                "command": Field(Command(), "must end with 0"),
                "within": Field(Seconds(), "how long it may take; 90s if not said"),
                "settle": Field(Seconds(), "how long it must hold"),
            }
        )

    def read(self, value: object, at: At) -> object:
        read = self.table.read(value, at)
        if not isinstance(read, dict) or not isinstance(value, dict):
            return read
        probes = [name for name in ("http", "tcp", "command") if name in value]
        if len(probes) > 1:
            return at.problem(f"{at} has {' and '.join(probes)}", "one probe for each [[health]]: write two of them")
        if not probes and "unit" not in value:
            return at.problem(f"{at} checks nothing", "name a unit, http, tcp or command")
        if "http" in read and not self._is_template(read["http"]) and not _is_url(read["http"]):
            return at.below("http").problem(f"{at}.http: {read['http'][:80]!r} is not an http or https URL")
        if "tcp" in read and not self._is_template(read["tcp"]) and not _is_host_port(read["tcp"]):
            return at.below("tcp").problem(f"{at}.tcp: {read['tcp'][:80]!r} is not HOST:PORT")
        return Health(**read)

    def _is_template(self, text: str) -> bool:
        return not self.rendered and is_templated(text)

    def schema(self) -> Schema:
        return self.table.schema()


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _is_host_port(text: str) -> bool:
    found = re.fullmatch(r"\S+:([0-9]{1,5})", text)
    return found is not None and 0 < int(found[1]) <= _LAST_PORT
