# SPDX-License-Identifier: Apache-2.0
"""What a distribution package placed at a path, as far as its records tell: a digest, and sometimes the content.

dpkg records the MD5 of configuration files in its status, and of others beside its lists; ucf(1), which many Debian
packages use for theirs, keeps the content as well. A newer version that was declined lies beside the file.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from ashore.mechanisms.beneath import Beneath
from ashore.nouns.limits import MIB

_STATUS = "var/lib/dpkg/status"
_INFO = "var/lib/dpkg/info"
_UCF = "var/lib/ucf"
_BESIDE = (".ucf-dist", ".dpkg-dist", ".ucf-old", ".dpkg-old")
_LARGEST = 256 * MIB


class Pristine(msgspec.Struct, frozen=True, kw_only=True):
    """A file as its package placed it."""

    md5: str
    content: bytes | None = None

    def is_it(self, data: bytes) -> bool:
        """Whether nobody changed it since."""
        return _md5(data) == self.md5


def ucf_owners(host: Beneath, paths: Iterable[str]) -> Mapping[str, str]:
    """The package of each path that ucf looks after: dpkg does not know these."""
    owners = {path.lstrip("/"): package for package, path in _pairs(host, f"{_UCF}/registry")}
    return {path: owners[path] for path in paths if path in owners}


def pristine(host: Beneath, packages: Mapping[str, str], limit: int) -> Mapping[str, Pristine]:
    """By path, for those whose package recorded what it placed; contents of more than `limit` bytes are left out."""
    wanted = set(packages)
    digests = {path.lstrip("/"): md5 for md5, path in _pairs(host, f"{_UCF}/hashfile")}
    digests = {**_beside_lists(host, packages), **_conffiles(host, wanted), **digests}
    return {
        path: Pristine(md5=digests[path], content=_content(host, path, digests[path], limit))
        for path in sorted(wanted & digests.keys())
    }


def _content(host: Beneath, path: str, md5: str, limit: int) -> bytes | None:
    for place in (f"{_UCF}/cache/:{path.replace('/', ':')}", *(path + suffix for suffix in _BESIDE)):
        with contextlib.suppress(OSError):
            data = host.read_bytes(place, limit)
            if _md5(data) == md5:
                return data
    return None


def _conffiles(host: Beneath, wanted: set[str]) -> dict[str, str]:
    """Lines of ``Conffiles:`` fields: `` /etc/x MD5``, and perhaps ``obsolete``."""
    found = {}
    for line in _lines(host, _STATUS):
        words = line.split()
        if line.startswith(" /") and len(words) >= 2 and len(words[1]) == 32 and words[0][1:] in wanted:
            found[words[0][1:]] = words[1]
    return found


def _beside_lists(host: Beneath, packages: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        names = [name for name in host.listdir(_INFO) if name.endswith(".md5sums")]
        for name in names:
            package = name.removesuffix(".md5sums").partition(":")[0]
            if package in packages.values():
                digests = {path: md5 for md5, path in _pairs(host, f"{_INFO}/{name}")}
                found |= {p: digests[p] for p, owner in packages.items() if owner == package and p in digests}
    return found


def _pairs(host: Beneath, path: str) -> Iterable[tuple[str, str]]:
    for line in _lines(host, path):
        first, _, second = line.partition(" ")
        if second.strip():
            yield first, second.strip()


def _lines(host: Beneath, path: str) -> list[str]:
    try:
        return host.read_bytes(path, _LARGEST).decode(errors="surrogateescape").split("\n")
    except OSError:
        return []


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
