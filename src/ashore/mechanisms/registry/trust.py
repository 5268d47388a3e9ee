# SPDX-License-Identifier: Apache-2.0
"""TLS: which authorities are trusted for which host, and which client certificate is shown to it."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ashore.errors import InputError, UsageError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.ifthere import listdir_if_there
from ashore.nouns.files import printable

if TYPE_CHECKING:
    import ssl

CERTS_FOLDERS = ("etc/containers/certs.d", "etc/docker/certs.d")
"""Below the root; each has a folder for a ``HOST`` or ``HOST:PORT``, as references have it (containers-certs.d(5))."""

# Where distributions keep all authorities, for builds whose OpenSSL looks elsewhere.
_SYSTEM_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
)


def context(names: Sequence[str], *, verify: bool, config_root: str, environ: Mapping[str, str]) -> "ssl.SSLContext":
    """The TLS context for connections to a host that has these `names`: as it is written, and without https's port.

    Authorities are SSL_CERT_FILE's and SSL_CERT_DIR's, else the system's, and those of certs.d for this host.

    Raises:
        UsageError: SSL_CERT_FILE cannot be read.
        InputError: a file of certs.d cannot be used.
    """
    import ssl

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        _authorities(made, config_root, environ)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    with Beneath(config_root) as host:
        for path in _certs(host, names):
            _use(made, host, path)
    return made


def _authorities(made: "ssl.SSLContext", config_root: str, environ: Mapping[str, str]) -> None:
    import ssl

    file, folder = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    if file or folder:
        try:
            made.load_verify_locations(cafile=file, capath=folder)
        except (OSError, ssl.SSLError) as error:
            shown = printable(file or folder or "")
            raise UsageError(f"SSL_CERT_FILE={shown} cannot be used", cause=str(error)) from None
        return
    usual = ssl.get_default_verify_paths()
    if usual.cafile or (usual.capath and os.listdir(usual.capath)):
        made.set_default_verify_paths()
        return
    with Beneath(config_root) as host:
        for bundle in _SYSTEM_BUNDLES:
            with contextlib.suppress(FileNotFoundError), _opened(host, bundle) as path:
                made.load_verify_locations(cafile=path)
                return


def _certs(host: Beneath, names: Sequence[str]) -> Iterator[str]:
    for folder in (f"{base}/{name}" for base in CERTS_FOLDERS for name in names):
        try:
            found = listdir_if_there(host, folder)
        except PermissionError:
            continue  # as containers/image does: Docker's folder is closed to others on some hosts
        except OSError as error:
            raise InputError(f"{printable(folder)} cannot be used", cause=error.strerror or "") from None
        if found is not None:
            yield from (f"{folder}/{name}" for name in found)
            return


def _use(made: "ssl.SSLContext", host: Beneath, path: str) -> None:
    import ssl

    try:
        if path.endswith(".crt"):
            with _opened(host, path) as file:
                made.load_verify_locations(cafile=file)
        elif path.endswith(".cert"):
            with _opened(host, path) as file, _opened(host, path.removesuffix(".cert") + ".key") as key:
                made.load_cert_chain(file, key)
    except (OSError, ssl.SSLError) as error:
        remedy = "a .crt is an authority; a .cert is a client certificate and needs a .key of the same name"
        raise InputError(f"{printable(path)} cannot be used", cause=str(error), remedy=remedy) from None


@contextlib.contextmanager
def _opened(host: Beneath, path: str) -> Iterator[str]:
    """A path for OpenSSL, which takes nothing else, to a file beneath the root."""
    with closing(host.open_regular(path)) as descriptor:
        yield f"/proc/self/fd/{descriptor}"
