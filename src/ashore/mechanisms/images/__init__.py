# SPDX-License-Identifier: Apache-2.0
"""Image formats: tar, compression, layouts and archives, read as streams and written the same anywhere."""
