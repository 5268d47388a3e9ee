# SPDX-License-Identifier: Apache-2.0
"""TLS: which authorities are trusted for which host, and which client certificate is shown to it."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ashore.errors import InputError, UsageError
from ashore.nouns.files import printable

if TYPE_CHECKING:
    import ssl

CERTS_FOLDERS = ("etc/containers/certs.d", "etc/docker/certs.d")
"""Below the root; each has a folder for a ``HOST`` or ``HOST:PORT`` (containers-certs.d(5))."""

# Where distributions keep all authorities, for builds whose OpenSSL looks elsewhere.
_SYSTEM_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
)


def context(host_port: str, *, verify: bool, config_root: str, environ: Mapping[str, str]) -> "ssl.SSLContext":
    """The TLS context for connections to `host_port`.

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
    for path in _certs(config_root, host_port):
        _use(made, path)
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
    for bundle in _SYSTEM_BUNDLES:
        path = os.path.join(config_root, bundle)
        if os.path.exists(path):
            made.load_verify_locations(cafile=path)
            return


def _certs(config_root: str, host_port: str) -> Iterator[str]:
    for base in CERTS_FOLDERS:
        folder = os.path.join(config_root, base, host_port)
        if os.path.isdir(folder):
            yield from (os.path.join(folder, name) for name in sorted(os.listdir(folder)))
            return


def _use(made: "ssl.SSLContext", path: str) -> None:
    import ssl

    try:
        if path.endswith(".crt"):
            made.load_verify_locations(cafile=path)
        elif path.endswith(".cert"):
            made.load_cert_chain(path, path.removesuffix(".cert") + ".key")
    except (OSError, ssl.SSLError) as error:
        remedy = "a .crt is an authority; a .cert is a client certificate and needs a .key of the same name"
        raise InputError(f"{printable(path)} cannot be used", cause=str(error), remedy=remedy) from None
