# SPDX-License-Identifier: Apache-2.0
import pytest

from ashore.errors import InputError, UsageError
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.values import Deferred, merge_values, parse_set


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a=1", "a", 1),
        ("a=true", "a", True),
        ("a=[1, 2]", "a", [1, 2]),
        ('a={ b = "c" }', "a", {"b": "c"}),
        ('a="1"', "a", "1"),
        ("a=plain text", "a", "plain text"),
        ("a=https://x:1/?q=1", "a", "https://x:1/?q=1"),
        ("a=", "a", ""),
        ("a.b.c=1", "a.b.c", 1),
        ("a=10.0.0.1", "a", "10.0.0.1"),
        ("a=2024-01-01", "a", "2024-01-01"),
        ("a=[2024-01-01]", "a", ["2024-01-01"]),
        ("a=18446744073709551615", "a", 18446744073709551615),
        ("a=18446744073709551616", "a", "18446744073709551616"),
        ("a=[18446744073709551616]", "a", "[18446744073709551616]"),
        ("a=nan", "a", "nan"),
        ("a=[1.5, inf]", "a", "[1.5, inf]"),
        ("a={ b = [-nan] }", "a", "{ b = [-nan] }"),
        ("a=[1.5]", "a", [1.5]),
        ("a=1\nb=2", "a", "1\nb=2"),
        ("a=0644", "a", "0644"),
    ],
)
def test_a_set_is_toml_or_text(text: str, key: str, value: object) -> None:
    assert parse_set(text) == (key, value)


@pytest.mark.parametrize("text", ["", "a", "=1", "a..b=1", ".a=1"])
def test_no_set(text: str) -> None:
    with pytest.raises(UsageError):
        parse_set(text)


def test_later_ones_win_and_tables_are_merged() -> None:
    manifest = parse_manifest(b'[values]\na = 1\nt = { x = 1, y = 1, z = "{{ a }}" }\nl = [1]\n', "b", "worker")
    host: list[tuple[str, dict[str, object]]] = [
        ("10.toml", {"t": {"y": 2}, "l": [2, 3]}),
        ("20.toml", {"a": 2, "extra": True}),
    ]
    values = merge_values(manifest, host, {"t.x": 3})
    assert values.tree == {"a": 2, "t": {"x": 3, "y": 2, "z": Deferred("{{ a }}")}, "l": [2, 3], "extra": True}


def test_only_the_bundles_own_defaults_are_templates() -> None:
    manifest = parse_manifest(b'[values]\na = "{{ facts.hostname }}"\nb = "{{ a }}"\n', "b", "worker")
    values = merge_values(manifest, [("x", {"a": "{{ evil }}"})], {"b": "{% evil %}"})
    assert values.tree == {"a": "{{ evil }}", "b": "{% evil %}"}


def test_all_missing_values_are_named_with_what_they_are() -> None:
    manifest = parse_manifest(
        b'[values]\napi = { required = true, description = "https URL" }\n'
        b"tok = { required = true, secret = true }\nopt = {}\n",
        "b",
        "kubernetes-worker",
    )
    with pytest.raises(InputError) as caught:
        merge_values(manifest)
    told = [str(issue) for issue in caught.value.issues]
    assert len(told) == 2
    assert "kubernetes-worker" in told[0] and "api" in told[0] and "https URL" in told[0] and "--set" in told[0]
    assert merge_values(manifest, [], {"api": "x", "tok": "y"}).secrets == {"tok"}


def test_a_set_that_the_bundle_does_not_declare_is_told_with_the_nearest() -> None:
    manifest = parse_manifest(b"[values]\napi_server = 1\n", "b", "worker")
    stray = merge_values(manifest, [("x", {"of_another_bundle": 1})], {"api_sever": 1}).stray
    assert stray == {"api_sever": '; did you mean "api_server"?'}
