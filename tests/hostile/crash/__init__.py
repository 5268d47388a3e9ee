# SPDX-License-Identifier: Apache-2.0
"""Kills, power cuts, errors of the disk, and two at once. Each harness is a command that prints passed / tried."""
