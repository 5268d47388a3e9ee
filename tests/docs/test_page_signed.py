# SPDX-License-Identifier: Apache-2.0
"""The pages that sign images: followed with the cosign of a newer Debian, and Debian's registry."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.docs.pages import Page, pages
from tests.docs.shell import Reader
from tests.system.registry_server import available, registry_server
from tests.system.signing import cosign_at

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (available() and shutil.which("mmdebstrap")),
        reason="needs root, docker-registry, and mmdebstrap for cosign of a newer Debian",
    ),
]


@pytest.mark.parametrize("page", [page for page in pages() if "cosign" in page.needs], ids=lambda page: page.name)
def test_every_command_about_signatures_does_what_the_page_says(page: Page) -> None:
    with tempfile.TemporaryDirectory(prefix="ashore-page-", dir="/tmp") as folder, registry_server() as registry:
        own = Path(folder, "bin")
        own.mkdir()
        cosign_at(own)
        path = f"{own}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        reader = Reader(Path(folder, "you"), registry.host, environment={"PATH": path})
        assert reader.follow(page, real=True)
