# SPDX-License-Identifier: Apache-2.0
"""What a root says about SELinux: the files of its policy that map paths to labels."""

import msgspec


class PolicyFiles(msgspec.Struct, frozen=True, kw_only=True):
    """``file_contexts`` and its companions, as they lie in `folder`; empty where there is none (file_contexts(5))."""

    folder: str
    base: bytes
    homedirs: bytes = b""
    local: bytes = b""
    subs: bytes = b""
    subs_dist: bytes = b""
