# SPDX-License-Identifier: Apache-2.0
"""From what is wanted and what lies there to one plan."""
