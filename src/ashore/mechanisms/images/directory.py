# SPDX-License-Identifier: Apache-2.0
"""The directory of a delta: JSON, compressed. Nothing in it is believed: it only says where to look."""

from collections.abc import Sequence

import msgspec

from ashore.errors import NOT_DECODED, InputError
from ashore.nouns.delta import SEGMENT, Directory, Patch
from ashore.nouns.limits import Limits

_LEVEL = 19


def write_directory(patches: Sequence[Patch]) -> bytes:
    """The directory of these patches, as it is stored."""
    from ashore.mechanisms.images.zstandard import zstd

    data: bytes = zstd.compress(msgspec.json.encode(Directory(segment=SEGMENT, patches=tuple(patches))), _LEVEL)
    return data


def read_directory(data: bytes, patches_size: int, limits: Limits) -> Directory:
    """A stored directory; each patch lies within `patches_size` bytes.

    Raises:
        InputError: it is malformed, or over a limit.
    """
    from ashore.mechanisms.images.zstandard import zstd

    try:
        decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: limits.zstd_window_log})
        text = decoder.decompress(data, limits.delta_directory)
        if not decoder.eof or decoder.unused_data:
            raise InputError("a delta's directory is larger than it may be, or goes on after its end")
        directory = msgspec.json.decode(text, type=Directory)
    except (zstd.ZstdError, *NOT_DECODED) as error:
        raise InputError("a delta's directory is malformed", cause=str(error)) from error
    if any(patch.at + patch.length > patches_size for patch in directory.patches):
        raise InputError("a delta's directory names what lies outside of its patches")
    return directory
