# SPDX-License-Identifier: Apache-2.0
"""Records in pieces: the same values as in one, whatever their length."""

import msgspec
import pytest

from ashore.errors import ChangedError
from ashore.mechanisms import durable
from ashore.mechanisms.jsonpieces import pieces
from ashore.nouns.digest import of
from ashore.nouns.surrogates import told


class Inner(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    data: bytes = b""


class Outer(msgspec.Struct, frozen=True):
    number: int
    steps: tuple[Inner, ...] = ()
    files: dict[str, Inner] = {}
    other: str | None = None


def outer(length: int) -> Outer:
    inner = [Inner(f'n{number} \u00e9"\\', bytes([number % 256])) for number in range(length)]
    return Outer(7, tuple(inner), {f"k{one.name}": one for one in inner})


@pytest.mark.parametrize("length", [0, 1, 499, 500, 501, 1000, 1001, 3000])
def test_what_is_read_is_what_was_written(length: int) -> None:
    value = outer(length)
    assert msgspec.json.decode(b"".join(pieces(value)), type=Outer) == value
    assert msgspec.json.decode(b"".join(pieces(value.steps)), type=tuple[Inner, ...]) == value.steps
    assert msgspec.json.decode(b"".join(pieces(value.files)), type=dict[str, Inner]) == value.files


def test_short_values_are_as_msgspec_has_them() -> None:
    for value in (7, "x", [1, 2], {"b": 1, "a": 2}, outer(0), outer(3)):
        assert b"".join(pieces(value)) == msgspec.json.encode(value, order="deterministic")


def test_the_order_of_a_mapping_does_not_tell_how_it_was_made() -> None:
    files = outer(2000).files
    assert b"".join(pieces(files)) == b"".join(pieces(dict(reversed(files.items()))))


def test_no_piece_is_long() -> None:
    value = outer(20_000)
    whole = len(msgspec.json.encode(value))
    assert max(map(len, pieces(value))) < whole / 20
    assert max(map(len, durable.seal(value))) < whole / 8


def test_a_sealed_record_is_read_back_and_a_changed_byte_is_seen() -> None:
    value = outer(1200)
    data = b"".join(durable.seal(value))
    assert durable.unseal(data, Outer, "x") == value
    for at in range(0, len(data) - 1, 97):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ChangedError):
            durable.unseal(bytes(changed), Outer, "x")


def test_a_record_of_an_earlier_ashore_is_read() -> None:
    body = msgspec.json.encode(outer(2))
    digest = of(body)
    data = b'{"schema":1,"digest":"%s","body":%s}\n' % (digest.encode(), body)
    assert durable.unseal(data, Outer, "x") == outer(2)


@pytest.mark.parametrize("at", [0, 700, 1199])
@pytest.mark.parametrize(
    "name", ["\udcff", "caf\udce9/\udc80", "\0", "\0dcff", "\\u0000\udcff", "\ud83d\ude00", "\U0001f600"]
)
def test_a_name_that_is_not_utf8_is_read_back_exactly(name: str, at: int) -> None:
    steps = [Inner(f"n{number}", b"\xff\0") for number in range(1200)]
    steps[at] = Inner(name)
    value = Outer(7, (*steps, Inner("\0")), {one.name: one for one in steps}, "\0x")
    data = b"".join(durable.seal(value))
    data.decode()
    assert durable.unseal(data, Outer, "x") == value
    for flipped in range(0, len(data) - 1, 4999):
        changed = bytearray(data)
        changed[flipped] ^= 3  # 1 becomes 2, and 2 becomes 1
        with pytest.raises(ChangedError):
            durable.unseal(bytes(changed), Outer, "x")


def test_an_escaped_record_is_not_read_as_a_plain_one() -> None:
    data = b"".join(durable.seal(["\udcff"]))
    assert data == b"".join(durable.seal(["\udcff"])) and b'"schema":2' in data
    with pytest.raises(ChangedError):
        durable.unseal(data.replace(b'"schema":2', b'"schema":1'), list[str], "x")


def test_a_record_without_such_a_name_is_as_an_earlier_ashore_reads_it() -> None:
    assert msgspec.json.decode(b"".join(durable.seal(outer(2))))["schema"] == 1


def test_a_nul_that_an_earlier_ashore_wrote_is_one() -> None:
    body = msgspec.json.encode(["\0dcff"])
    data = b'{"schema":1,"digest":"%s","body":%s}\n' % (of(body).encode(), body)
    assert durable.unseal(data, list[str], "x") == ["\0dcff"]


def test_what_people_read_is_utf8() -> None:
    assert told({"b": "caf\udce9", "a": Inner("\udcff", b"\xff")}, "sorted") == (
        rb'{"a":{"data":"/w==","name":"\\udcff"},"b":"caf\\udce9"}'
    )
