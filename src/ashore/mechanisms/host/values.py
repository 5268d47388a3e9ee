# SPDX-License-Identifier: Apache-2.0
"""The host's own values: ``etc/ashore/values.d/*.toml``, in the order of their names."""

from ashore.errors import InputError, Issue, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.nouns import toml
from ashore.nouns.config import VALUES_FOLDER
from ashore.nouns.files import shown
from ashore.nouns.limits import DEFAULT
from ashore.nouns.toml import Document


def read_values(host: Beneath) -> tuple[Document, ...]:
    """What each file holds; none if there is no such folder.

    Raises:
        InputError: every file that cannot be read or is not TOML, with ``file:line``.
    """
    try:
        names = host.listdir(VALUES_FOLDER)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"cannot read {shown(VALUES_FOLDER)}", cause=words_of(error)) from error
    found = []
    issues: list[Issue] = []
    for name in names:
        if not name.endswith(".toml") or name.startswith("."):
            continue
        path = f"{VALUES_FOLDER}/{name}"
        try:
            document = toml.parse(host.read_bytes(path, DEFAULT.bundle_toml), shown(path), values="")
        except OSError as error:
            issues.append(Issue(where=shown(path), message=f"cannot be read: {words_of(error)}"))
        except InputError as error:
            issues += error.issues
        else:
            found.append(document)
    if issues:
        raise InputError(f"the values in {shown(VALUES_FOLDER)} cannot be used", issues=issues)
    return tuple(found)
