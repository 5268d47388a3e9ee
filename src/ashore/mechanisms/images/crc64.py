# SPDX-License-Identifier: Apache-2.0
"""CRC-64/GO-ISO, which tar-split records of each file's content.

The polynomial is sparse, P = x^64 + x^4 + x^3 + x + 1, and over GF(2) squaring only spreads exponents:
P^s = x^64s + x^4s + x^3s + x^s + 1 for every power of two s. So a block is folded with a few shifts of
long integers, half of what is left at a time, instead of byte by byte.
"""

_ONES = (1 << 64) - 1


class Crc64:
    """Feed with `update`; `digest` is eight bytes, most significant first, as Go's hash/crc64 has them."""

    def __init__(self) -> None:
        self._state = _ONES

    def update(self, data: bytes | memoryview) -> None:
        # Bit 0 is the first one processed, so the highest power; 64 zero bits follow the data.
        value, bits = int.from_bytes(data, "little") ^ self._state, 8 * len(data) + 64
        fold = 1
        while 124 * fold * 2 <= bits:
            fold *= 2
        while bits > 64:
            while fold > 1 and 124 * fold > bits:
                fold //= 2
            width = min(60 * fold, bits - 64 * fold)
            low = value & ((1 << width) - 1)
            back = 60 * fold - width
            value >>= width
            value ^= (low << back) ^ (low << back + fold) ^ (low << back + 3 * fold) ^ (low << back + 4 * fold)
            bits -= width
        self._state = value

    def digest(self) -> bytes:
        return (self._state ^ _ONES).to_bytes(8, "big")
