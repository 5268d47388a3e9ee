# SPDX-License-Identifier: Apache-2.0
"""What rendering reads of a bundle, as one content: kept on the host, it renders again without the image. Pure."""

import zlib

import msgspec

from ashore.nouns.bundle import Bundle

_QUICK = 1
"""zlib's level: templates are small, and digests do not get smaller."""


def pack(bundle: Bundle) -> bytes:
    """Manifest, index, templates and unit files; the other contents are on the host, by digest."""
    return zlib.compress(msgspec.msgpack.encode(bundle, order="deterministic"), _QUICK)


def unpack(data: bytes) -> Bundle | None:
    """The bundle; None where another version of ashore packed it otherwise."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=Bundle)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError):
        return None
