# SPDX-License-Identifier: Apache-2.0
"""The OCI distribution client: images in registries, read and written."""

from ashore.mechanisms.registry.repository import Repository, open_repository
from ashore.mechanisms.registry.settings import RegistrySettings, load_settings

__all__ = ["RegistrySettings", "Repository", "load_settings", "open_repository"]
