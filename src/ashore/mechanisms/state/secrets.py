# SPDX-License-Identifier: Apache-2.0
"""Secret values given by --set: kept apart from every record, named by a salted hash. 0600 in a 0700 folder."""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Iterable

import msgspec

from ashore.errors import AshoreError
from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.state.history import History
from ashore.mechanisms.state.state import State

_SALT = "salt"
_LIMIT = 8 << 20
"""Bytes: of a value's at most 1 Mi characters, JSON writes some as six."""


class Secrets:
    """`secrets/` and the host's salt, below the state folder."""

    def __init__(self, state: State) -> None:
        self.state = state

    def salt(self, *, create: bool, anew: bool = False) -> bytes:
        """32 random bytes of this host; empty where there are none yet and none may be made.

        With `anew` those that are gone are made anew: recorded hashes match nothing then, and it goes on all the same.

        Raises:
            ChangedError: they are damaged, or gone: no generation came to be without them.
        """
        salt = self.state.read(_SALT, bytes, 4096)
        if salt is None and not anew and History(self.state).numbers():
            raise durable.damaged(_SALT, "it is missing")
        if salt is None and create:
            salt = os.urandom(32)
            self.state.write(_SALT, salt)
        return salt or b""

    def name(self, value: object, salt: bytes) -> str:
        """The salted hash that stands for `value` in records."""
        return hmac.new(salt, msgspec.json.encode(value), hashlib.sha256).hexdigest()

    def put(self, value: object, salt: bytes) -> str:
        """Store a value, unless it is there and whole; returns its name."""
        name = self.name(value, salt)
        with closing(self.state.folder("secrets")) as folder:
            if not self._holds(folder, name, salt):
                durable.replace(folder, name, durable.seal(value))
        return name

    def _holds(self, folder: int, name: str, salt: bytes) -> bool:
        with contextlib.suppress(OSError, AshoreError):
            found = durable.unseal(durable.read_all(folder, name, _LIMIT), object, f"secrets/{name}")
            return self.name(found, salt) == name
        return False

    def get(self, name: str) -> object:
        """The value of that name.

        Raises:
            ChangedError: it is gone or damaged.
        """
        folder = self.state.folder("secrets")
        try:
            return durable.unseal(durable.read_all(folder, name, _LIMIT), object, f"secrets/{name}")
        except FileNotFoundError as error:
            raise durable.damaged(f"secrets/{name}", "it is missing") from error
        finally:
            os.close(folder)

    def retain(self, names: Iterable[str]) -> None:
        """Drop what no kept generation refers to."""
        if self.state.fd is None:
            return
        with closing(self.state.folder("secrets")) as folder:
            for name in set(os.listdir(folder)) - set(names):
                os.unlink(name, dir_fd=folder)
