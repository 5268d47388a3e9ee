# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests.flow.machine import close_all


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what takes too long for every change (marked long), too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `long` is left out, and counted as deselected, unless it is asked for."""
    if config.getoption("--long"):
        return
    left = [item for item in items if "long" in item.keywords]
    items[:] = [item for item in items if "long" not in item.keywords]
    config.hook.pytest_deselected(items=left)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """The machines of a test are closed with it."""
    yield
    close_all()
