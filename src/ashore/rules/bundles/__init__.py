# SPDX-License-Identifier: Apache-2.0
"""What a bundle may say, and what its templates become."""
