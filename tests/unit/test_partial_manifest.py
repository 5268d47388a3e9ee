# SPDX-License-Identifier: Apache-2.0
"""A bundle.toml that is wrong: what lint knows all the same. How it is told: tests/flow/test_author.py."""

import pytest

from ashore.rules.bundles.partial import partial


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        ("[values]\nport = 1\n", {"port"}),
        ("[values]\nport = { choices = 1 }\n", {"port"}),
        # A template may say big_one: that is how it is written once the name is put right.
        ("[values]\nport = 1\nbig-one = 3\n", {"port", "big_one"}),
        ("[values]\nport = 1\nIf = 3\n", {"port", "If"}),
        ("[values]\nport = 1\n[valeus]\nx = 1\n", None),
        ("values = 1\n", None),
    ],
)
def test_the_names_of_values_are_known_unless_a_table_of_them_is_not(toml: str, names: set[str] | None) -> None:
    known, _ = partial(toml.encode(), "bundle.toml", "app")
    assert known is not None
    assert (None if known.names is None else {*known.names.values}) == names
