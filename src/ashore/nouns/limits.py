# SPDX-License-Identifier: Apache-2.0
"""Every limit on what comes from outside, in one typed place."""

import msgspec

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds, the rest counts. Passed in, so that configuration can raise them."""

    manifest: int = 4 * MIB
    """A manifest, index or image config. The distribution specification asks registries for at least 4 MiB."""
    layers: int = 127
    """Layers of an image: as many as overlayfs and Docker take."""
    index_depth: int = 2
    """An index may name indexes; deeper is a loop or a trick."""
    index_manifests: int = 1024
    image_bytes: int = 32 * GIB
    """All layers of an image, uncompressed."""
    expansion: int = 1200
    """Uncompressed bytes for each compressed one, beyond the first 16 MiB (gzip itself ends at 1,032)."""
    zstd_window_log: int = 27
    """The window a zstd frame may ask for: 128 MiB."""
    table: int = 64 * MIB
    """The table of contents of a layer, compressed and not; beyond it the layer is read whole."""
    range_gap: int = 64 * KIB
    """Two ranges of a blob this near are asked for as one."""
    delta_directory: int = 16 * MIB
    """The directory of a delta, compressed and not; beyond it the delta is passed over."""
    delta_segment: int = 8 * MIB
    """So much of a file one segment of a patch makes, at the most; it is in memory."""
    delta_window: int = 16 * MIB
    """So much of the old file a segment of a patch may look at; it is in memory."""
    delta_ranges: int = 64
    """Parts of a delta that are asked for; what would take more is fetched without it."""
    known: int = 64 * MIB
    """What is kept of images for their next versions: tables of contents, and the texts that rules read."""
    connections: int = 6
    """Ranges of a blob that are asked for at once, each over a connection of its own."""
    connections_near: int = 16
    """The same of a registry that is near: it is asked before an update is planned, and read when it is."""
    rate: int = 0
    """Bytes a second that all downloads take together; 0: as many as come."""
    entries: int = 1_000_000
    """Entries of all layers of an image."""
    placed: int = 250_000
    """Paths of an image below the bundle's folder, also of folders that nobody declares: all are in memory."""
    frames: int = 2_000_000
    """Compressed members or frames of a layer: empty ones cost time and bring nothing."""
    blamed: int = 64 * MIB
    """A malformed layer of at most so many bytes is read once more, to tell a wrong digest from a wrong author."""
    header: int = 1 * MIB
    """The extended (PAX, GNU) headers of one tar entry."""
    path: int = 4000
    """Bytes of a path below the root: PATH_MAX less room for the root itself."""
    name: int = 255
    """Bytes of one name of a path: NAME_MAX."""
    depth: int = 128
    """Folders on the way to an entry."""
    xattrs: int = 64 * KIB
    """All extended attributes of an entry."""
    bundle_toml: int = 1 * MIB
    template: int = 1 * MIB
    """A template, and separately what it renders to; unit files are held to it as well."""
    template_seconds: float = 5.0
    token: int = 1 * MIB
    """A token server's answer."""
    error_body: int = 64 * KIB
    """What is read of a registry's error message."""
    redirects: int = 5
    retries: int = 5
    connect_seconds: float = 10.0
    idle_seconds: float = 30.0
    """A connection that delivers nothing for so long is broken off."""
    referrers: int = 1000
    referrer_pages: int = 10
    """Answers that a list of referrers may come in."""
    signatures: int = 64
    """Signatures beside an image, where a policy asks for one; the rest is not looked at."""
    payload: int = 64 * KIB
    """What one of them signed."""
    credential_helper_seconds: float = 30.0


DEFAULT = Limits()

FIXED = frozenset({"path", "name"})
"""The kernel's own: configuration raises all others."""
