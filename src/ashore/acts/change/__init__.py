# SPDX-License-Identifier: Apache-2.0
"""The ways to change a host: each says what is wanted, `install.change` does the rest."""
