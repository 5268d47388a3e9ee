# SPDX-License-Identifier: Apache-2.0
"""What an image must be."""
