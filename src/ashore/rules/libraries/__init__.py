# SPDX-License-Identifier: Apache-2.0
"""Shared libraries as the dynamic linker finds them."""
