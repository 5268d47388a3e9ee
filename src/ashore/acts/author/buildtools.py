# SPDX-License-Identifier: Apache-2.0
"""What an author's stories work with."""

from collections.abc import Callable, Mapping

import msgspec

from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, Progress
from ashore.nouns.reference import ImageReference


class BuildTools(msgspec.Struct, frozen=True, kw_only=True):
    """Where included images and folders are, under which policy, and who is told."""

    open_image: Callable[[ImageReference], ImageReader]
    admitted: Callable[[Image, ImageReference, ImageReader], VerifiedImage]
    """Holds an image that something is taken of, and where it is, against the policy of this machine."""
    progress: Progress
    limits: Limits
    folders: Mapping[str, str] = {}
    """What [[include]] takes from folders, by the name that the bundle has for each."""
