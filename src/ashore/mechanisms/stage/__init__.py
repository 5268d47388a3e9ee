# SPDX-License-Identifier: Apache-2.0
"""Files on their way in and out of a host: staged, supplied, exchanged, synced."""
