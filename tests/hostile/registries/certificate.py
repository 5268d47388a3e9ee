# SPDX-License-Identifier: Apache-2.0
"""A self-signed certificate for 127.0.0.1 alone."""

import subprocess
from pathlib import Path


def certificate_in(folder: Path) -> tuple[str, str]:
    """Certificate and key, as files.

    Raises:
        OSError, subprocess.CalledProcessError: openssl is not there, or cannot.
    """
    crt, key = str(folder / "server.crt"), str(folder / "server.key")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=home", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key
