# SPDX-License-Identifier: Apache-2.0
"""Real machines, in QEMU: Debian's kernel, Docker with all its privileges, and power cuts."""
