# SPDX-License-Identifier: Apache-2.0
"""What ashore keeps of a host: generations, contents, journal, secrets, the lock."""
