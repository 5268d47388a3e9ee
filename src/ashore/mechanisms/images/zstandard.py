# SPDX-License-Identifier: Apache-2.0
"""The zstd library under one name: the standard library's from Python 3.14 on, its backport before."""

import sys
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd as _zstd
else:
    from backports import zstd as _zstd

zstd: Any = _zstd
