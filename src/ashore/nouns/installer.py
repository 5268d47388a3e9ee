# SPDX-License-Identifier: Apache-2.0
"""An installer image: the self-contained build, and a bundle image as a layout, for a host that has neither."""

import msgspec

from ashore.nouns.digest import WireDigest

BIN = "ashore/bin"
"""The self-contained build, in an installer image."""
LAYOUT = "ashore/image"
"""The bundle image, in an installer image."""
CARD_PATH = "ashore/installer.json"
C_LIBRARY = "c-library"
"""Within the build: what the programs of an image need where there is no distribution. Hosts have their own."""
ANNOTATION_ROLE = "io.ashore.role"
"""In the index of an installer image: which entry is the ``bundle`` image. Engines take the other one."""
ROLE_BUNDLE = "bundle"
LABEL_INSTALLER = "io.ashore.installer"
"""The version of ashore that an installer image brings."""

BUILDS = "opt/ashore"
"""On the host: a folder for each version."""
RECOVER_UNIT = "ashore-recover.service"
"""On the host: ends what a kill or a power cut left of a change; where nothing is left to do, it does nothing."""
PROGRAM_LINK = "opt/bin/ashore"
"""On the host: leads to the program of the newest one."""
INCOMING = "var/lib/ashore/incoming"
"""On the host: bundle images on their way in, as layouts named by digest."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What an installer image says of itself."""

    version: str
    """Of ashore."""
    build: WireDigest
    """Over the files of the build, as `mechanisms.own.ownbuild` takes it."""
    image: WireDigest
    """What the layout's only entry names: the digest that is recorded on the host."""
    reference: str = ""
    """The name that it was built for; recorded, so that the host can upgrade from there."""
