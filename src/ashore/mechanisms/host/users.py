# SPDX-License-Identifier: Apache-2.0
"""The users and groups of a root, as its own passwd(5) and group(5) say. NSS is not asked: it is this machine's."""

from collections.abc import Iterator

from ashore.errors import InputError, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import shown
from ashore.nouns.limits import MIB
from ashore.nouns.owners import Owners

USERS = "etc/passwd"
GROUPS = "etc/group"
_LARGEST = 16 * MIB
_NO_ID = 2**32 - 1


def read_owners(host: Beneath) -> Owners:
    """Ids by name. Lines that are no entries are passed over, as the C library does; root is always there.

    Raises:
        InputError: a file cannot be read, or is over 16 MiB.
    """
    return Owners(
        users={"root": 0} | dict(_entries(host, USERS)),
        groups={"root": 0} | dict(_entries(host, GROUPS)),
    )


def _entries(host: Beneath, path: str) -> Iterator[tuple[str, int]]:
    try:
        data = host.read_bytes(path, _LARGEST)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot read {shown(path)}", cause=words_of(error)) from error
    seen = set()
    for line in data.decode(errors="surrogateescape").splitlines():
        name, *rest = line.split(":")
        number = rest[1] if len(rest) > 1 else ""
        # The first entry of a name is the one that getpwnam finds.
        if name and name not in seen and number.isascii() and number.isdecimal() and int(number) < _NO_ID:
            seen.add(name)
            yield name, int(number)
