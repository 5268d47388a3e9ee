# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the real parts: booted hosts. Without root, Debian and the packages they skip, and say so."""

from collections.abc import Iterator

import pytest

from tests.system import lab


def require_real() -> None:
    """Skip the test, with the reason, where no real host can be booted."""
    if reason := lab.missing():
        pytest.skip(f"no real host here: {reason}")


@pytest.fixture(scope="module")
def shared_host() -> Iterator[lab.Host]:
    """A booted host that the tests of a module share: for those that clean up after themselves."""
    require_real()
    with lab.host("shared") as host:
        yield host


@pytest.fixture
def fresh_host() -> Iterator[lab.Host]:
    """A booted host of this test's own, for those that reboot, kill or spoil it. Half a second."""
    require_real()
    with lab.host("fresh") as host:
        yield host
