# SPDX-License-Identifier: Apache-2.0
"""What decides how a registry is spoken to: where the configuration lies, the environment, limits."""

import random
import time
from collections.abc import Callable, Mapping

import msgspec

from ashore.mechanisms.registry import authfiles, registries
from ashore.mechanisms.registry.credentials import CredentialStore
from ashore.nouns.limits import DEFAULT, Limits


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Made by `load_settings`. Files are read when a repository is opened, auth files when they are needed."""

    config_root: str
    environ: Mapping[str, str]
    home: str
    limits: Limits = DEFAULT
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def __repr__(self) -> str:
        return f"RegistrySettings(config_root={self.config_root!r})"  # the environment may hold passwords

    def registries(self) -> registries.Registries:
        """registries.conf as it is now."""
        return registries.load(self.config_root)

    def auth_file(self) -> str:
        """Where a login is kept."""
        return authfiles.own_path(self.environ, self.home)

    def credentials(self, helpers: tuple[str, ...]) -> CredentialStore:
        """The auth files and `helpers`."""
        return CredentialStore(
            self.config_root,
            self.environ,
            self.home,
            helpers=helpers,
            helper_seconds=self.limits.credential_helper_seconds,
        )


def load_settings(
    config_root: str, environ: Mapping[str, str], home: str, *, limits: Limits = DEFAULT
) -> RegistrySettings:
    """Settings for the configuration below `config_root` and the credentials of a user. Reads nothing yet."""
    return RegistrySettings(config_root=config_root, environ=dict(environ), home=home, limits=limits)
