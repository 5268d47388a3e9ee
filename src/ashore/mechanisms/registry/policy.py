# SPDX-License-Identifier: Apache-2.0
"""Which hosts may be spoken to without a checked certificate, and which without TLS."""

import msgspec

from ashore.mechanisms.registry import urls
from ashore.mechanisms.registry.registries import Registries, Source
from ashore.mechanisms.registry.urls import Url


class TlsPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy while `source` is spoken to: its own mark counts for it, the files' for other hosts."""

    source: Source
    registries: Registries

    def insecure(self, url: Url) -> bool:
        """Whether the host of `url` was marked insecure by its owner's will."""
        own = url.host == urls.parse(f"https://{self.source.host}").host and self._named(url)
        return self.source.insecure if own else self.registries.insecure(url.host_port)

    def plain(self, url: Url) -> bool:
        """Whether http will do: for what is insecure, and for loopback, which no stranger overhears."""
        return self.insecure(url) or urls.is_loopback(url.host)

    def verified(self, url: Url) -> bool:
        """Whether an answer from `url` is surely from its host."""
        return url.scheme == "https" and not self.insecure(url)

    def _named(self, url: Url) -> bool:
        return url.port in {urls.parse(f"{scheme}://{self.source.host}").port for scheme in ("http", "https")}
