# SPDX-License-Identifier: Apache-2.0
"""Where the self-contained build begins."""

from ashore.__main__ import main

main()
