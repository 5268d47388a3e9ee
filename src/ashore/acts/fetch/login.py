# SPDX-License-Identifier: Apache-2.0
"""Logging in to a registry, and out: checked by the registry, kept where every tool looks."""

import msgspec
from msgspec.structs import replace

from ashore.errors import AshoreError, InputError
from ashore.mechanisms.registry import keeping
from ashore.mechanisms.registry.credentials import IN_FILES, Credential, CredentialStore, is_login_of, is_name_of
from ashore.mechanisms.registry.greeting import greet
from ashore.mechanisms.registry.settings import RegistrySettings
from ashore.nouns.files import printable
from ashore.nouns.ports import Progress
from ashore.nouns.reference import RegistryPlace

_ANOTHER_FILE = "name another file with REGISTRY_AUTH_FILE"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A login that was kept, or dropped.

    `checked`: the registry was asked. `before`: the file or helper which has another one that is used instead;
    after a logout, one that is left. `trouble`: why that could not be seen.
    """

    registry: str
    file: str
    user: str = ""
    checked: bool = False
    before: str = ""
    trouble: str = ""


def login(place: RegistryPlace, user: str, password: str, *, settings: RegistrySettings, progress: Progress) -> Login:
    """Have the registry check `user` and `password`, and keep them.

    Raises:
        InputError: the login could not be kept or would not be read: a file is broken, helpers have them.
        RegistryError: the registry does not take it, or is blocked.
        UnchangedError: the file cannot be written.
    """
    path = settings.auth_file()
    _check_kept_in_files(place, path, _store(settings))
    checked = greet(place, user, password, settings, progress)
    # Docker's own spellings stay: it knows no other, and these are read after the new one.
    keeping.keep(path, str(place), user, password, instead=lambda key: is_name_of(key, place.host, place.path))
    kept = Login(registry=str(place), file=path, user=user, checked=checked)
    used = _found(place, settings)
    if isinstance(used, AshoreError):
        return replace(kept, trouble=used.message)
    if used is None:
        raise InputError(f"the login was kept in {printable(path)}, and is not found there", remedy=_ANOTHER_FILE)
    return replace(kept, before=used.source if used.source != path else "")


def logout(place: RegistryPlace, *, settings: RegistrySettings) -> Login | None:
    """Drop what `login` kept; None if there is nothing.

    Raises:
        InputError: an auth file is broken.
        RegistryError: there is none in the file, and a helper failed.
        UnchangedError: it cannot be written.
    """
    path = settings.auth_file()
    gone = keeping.forget(path, lambda key: is_login_of(key, place.host, place.path))
    left = _found(place, settings)
    if isinstance(left, AshoreError):
        if not gone:
            raise left
        return Login(registry=str(place), file=path, trouble=left.message)
    if not gone and not left:
        return None
    return Login(registry=str(place), file=path if gone else "", before=left.source if left else "")


def _found(place: RegistryPlace, settings: RegistrySettings) -> Credential | AshoreError | None:
    """What is used from now on; what is wrong with that undoes nothing any more."""
    try:
        return _store(settings).find(place.host, place.path)
    except AshoreError as error:
        return error


def _store(settings: RegistrySettings) -> CredentialStore:
    return settings.credentials(settings.registries().helpers)


def _check_kept_in_files(place: RegistryPlace, path: str, store: CredentialStore) -> None:
    if not store.in_files:
        cause = f"credential-helpers of registries.conf does not name {IN_FILES}"
        raise InputError(
            "logins are not looked for in files", cause=cause, remedy=f"add {IN_FILES} to it, or log in by a helper"
        )
    keeping.check(path)
    store.check_until(path)
    if helper := store.helper(path, place.host):
        raise InputError(
            f"{printable(path)} leaves the logins of {place.host} to docker-credential-{printable(helper)}",
            remedy="log in with docker or podman, or take the helper out of the file",
        )
