# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests.flow.machine import close_all


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """The machines of a test are closed with it."""
    yield
    close_all()
