# SPDX-License-Identifier: Apache-2.0
"""Texts that make a machine install a bundle when it boots. Pure."""
