# SPDX-License-Identifier: Apache-2.0
"""The pages that need a host: followed from their first line, with a booted host and Debian's registry."""

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import Page, pages
from tests.docs.shell import Reader
from tests.system import lab
from tests.system.conftest import require_real
from tests.system.registry_server import available, registry_server

pytestmark = pytest.mark.real

_BUILDERS = ("buildah", "skopeo")


@pytest.mark.parametrize(
    "page", [page for page in pages() if page.runs_real and not page.needs], ids=lambda page: page.name
)
def test_every_command_of_a_page_does_what_the_page_says_on_a_real_host(page: Page, tmp_path: Path) -> None:
    require_real()
    if not available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    text = "".join(line for block in page.blocks if block.is_real for line in block.lines)
    if absent := [name for name in _BUILDERS if f"$ {name} " in text and not shutil.which(name)]:
        pytest.skip(f"{', '.join(absent)} missing: run scripts/lab-packages")
    with registry_server() as registry, lab.host("node-1") as host:
        host.forward(registry.port)
        host.open_kernel()

        def on_host(command: str) -> tuple[int, str]:
            done = host.run(["bash", "-c", f"cd; exec 2>&1; {command}"], check=False, seconds=180)
            return done.returncode, done.stdout

        assert Reader(tmp_path / "you", registry.host, hosts={"host": on_host}).follow(page, real=True)
