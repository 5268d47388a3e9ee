# SPDX-License-Identifier: Apache-2.0
"""ashore's own build and units on a host."""
