# SPDX-License-Identifier: Apache-2.0
"""ashore's column of the comparison: every job ends as a user wants. The others' columns: make compare."""

from collections.abc import Iterator

import pytest

from tests.compare import jobs
from tests.compare.contenders import Ashore
from tests.compare.site import site
from tests.system import registry_server
from tests.system.conftest import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def registry() -> Iterator[registry_server.RegistryServer]:
    require_real()
    with registry_server.registry_server() as server:
        yield server


@pytest.mark.parametrize("title", jobs.ALL)
def test_a_job_ends_as_a_user_wants(title: str, registry: registry_server.RegistryServer) -> None:
    with site("job", registry) as place:
        answer = jobs.ALL[title](place, Ashore())
    assert answer.good, answer.text
