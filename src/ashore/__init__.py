# SPDX-License-Identifier: Apache-2.0
"""Host software and configuration, delivered as OCI images."""

__version__ = "0.1.0"
