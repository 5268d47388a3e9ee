# SPDX-License-Identifier: Apache-2.0
"""Questions about a host; nothing is changed."""
