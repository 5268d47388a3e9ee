# SPDX-License-Identifier: Apache-2.0
"""From a reference to a bundle and its contents."""
