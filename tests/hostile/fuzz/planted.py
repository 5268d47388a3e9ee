# SPDX-License-Identifier: Apache-2.0
"""A reader with a fault that nobody finds by chance: whoever goes by coverage comes to it step by step."""

from tests.hostile.fuzz.targets import Target


def _run(data: bytes) -> None:
    if len(data) > 4 and data[0] == 97 and data[1] == 115 and data[2] == 104 and data[3] == 33 and data[4] == 127:
        raise ValueError("found")


PLANTED = Target(_run, (b"12345678",))
