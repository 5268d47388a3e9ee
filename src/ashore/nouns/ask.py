# SPDX-License-Identifier: Apache-2.0
"""What somebody asks for: a bundle by its image's name, and what to do with the values recorded for it."""

from collections.abc import Mapping

import msgspec

from ashore.nouns.reference import ImageReference, Transport, parse


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle to install or upgrade."""

    reference: ImageReference
    written: str = ""
    """The reference as it is recorded: without the digest of this once."""
    sets: Mapping[str, object] = {}
    unset: tuple[str, ...] = ()
    reset: bool = False
    root_in_image: str = ""
    name: str = ""

    @property
    def judged(self) -> ImageReference:
        """What policy.json is asked about: an image that was brought in a layout is judged by the name that it has."""
        written = parse(self.written) if self.written else self.reference
        return self.reference if written.transport is self.reference.transport else written


NOTHING = Ask(reference=ImageReference(transport=Transport.LAYOUT, place=""))
"""Nothing is said of values, for a reference that is filled in later."""
