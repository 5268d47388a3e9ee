# SPDX-License-Identifier: Apache-2.0
"""What the tables of an image's layers claim, held to the limits that the layers read whole would be held to."""

from collections.abc import Sequence

from ashore.errors import InputError
from ashore.mechanisms.images.compression import check_expansion
from ashore.mechanisms.images.table import Listed
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import Limits


class Claims:
    """Counts over all layers of one image. What a file turns out to be is checked when it is unpacked."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries = self._bytes = 0

    def add(self, listed: Sequence[Listed], layer: Descriptor, where: str) -> None:
        """One more layer, with the members that its table lists.

        Raises:
            InputError: it claims more than an image may hold, or than its bytes can be.
        """
        content = sum(item.entry.size for item in listed)
        self._entries += len(listed)
        self._bytes += content
        if self._entries > self._limits.entries:
            raise InputError(f"{where}: more than {self._limits.entries} entries")
        if self._bytes > self._limits.image_bytes:
            cause = f"an image may hold {self._limits.image_bytes} bytes uncompressed"
            raise InputError(f"{where} is too large", cause=cause)
        check_expansion(content, layer.size, self._limits, where)
        if sum(item.end - item.start for item in listed) > layer.size:
            raise InputError(f"{where}: its table of contents is malformed", cause="files share the same bytes")
