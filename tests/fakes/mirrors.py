# SPDX-License-Identifier: Apache-2.0
"""A registry and its mirror, as registries.conf has them."""

from pathlib import Path

from tests.fakes.registry import FakeRegistry


class Mirrored:
    """A root whose registries.conf names `mirror` for `main`."""

    def __init__(self, mirror: FakeRegistry, main: FakeRegistry, root: Path) -> None:
        self.mirror, self.main, self.root = mirror, main, root
        folder = root / "etc/containers"
        folder.mkdir(parents=True)
        conf = f'[[registry]]\nlocation = "{main.host}"\n[[registry.mirror]]\nlocation = "{mirror.host}"\n'
        (folder / "registries.conf").write_text(conf)

    def sync(self) -> None:
        """The mirror has what the registry has, and nobody has been asked yet."""
        for repository in self.main.blobs:
            self.mirror.blobs[repository] = dict(self.main.blobs[repository])
            self.mirror.manifests[repository] = dict(self.main.manifests[repository])
            self.mirror.tags[repository] = dict(self.main.tags[repository])
        self.mirror.seen.clear()
        self.main.seen.clear()
