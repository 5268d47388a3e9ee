# SPDX-License-Identifier: Apache-2.0
"""An installer image on hosts that are made like CoreOS and Flatcar: what comes with the system cannot be written."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.own_build import own_build
from tests.system.snapshot import FOLDERS, Snapshot, differences, snapshot
from tests.system.test_installer import ASHORE, bundle, host, layout, run_image, unpack

pytestmark = pytest.mark.real

_ = host, layout  # fixtures
# /var a file system of its own, /etc an overlay whose upper layer lies elsewhere, /usr never written.
FLATCAR = """\
set -e
mkdir -p /run/shape/upper /run/shape/work
cp -a /var /run/shape/var
mount -t tmpfs -o mode=755 none /var
cp -a /run/shape/var/. /var/
mount -t overlay -o lowerdir=/etc,upperdir=/run/shape/upper,workdir=/run/shape/work none /etc
mount --bind /usr /usr
mount -o remount,bind,ro /usr
"""
# /opt leads to /var.
COREOS = f"""\
rmdir /opt
ln -s var/opt /opt
{FLATCAR}
mkdir -p /var/opt
"""


@pytest.fixture(params=[FLATCAR, COREOS], ids=["flatcar", "coreos"])
def shaped(host: lab.Host, request: pytest.FixtureRequest) -> lab.Host:
    """The host of the installer's tests, with its tree mounted as that system does."""
    host.run(["sh", "-c", request.param])
    return host


@pytest.fixture
def look(shaped: lab.Host) -> Callable[[], Snapshot]:
    """All paths through the host's own mounts, but for where its engine has the image."""
    folders = [*(folder for folder in FOLDERS if folder != "srv"), "var/opt"]
    return lambda: snapshot(Path(shaped.live_root), folders)


def test_only_opt_etc_and_var_are_written_and_all_is_given_back(
    shaped: lab.Host, look: Callable[[], Snapshot], tmp_path: Path
) -> None:
    assert shaped.run(["touch", "/usr/x"], check=False).returncode != 0
    before = look()
    done = run_image(shaped)
    assert done.returncode == 0, done.stderr
    assert shaped.show("app.service", "ActiveState") == "active"
    changed = [line[2:] for line in differences(before, look())]
    assert changed
    assert [path for path in changed if not path.startswith(("opt", "etc/", "var/"))] == []

    image = tmp_path / "broken"
    folder = bundle(tmp_path, "2", "exit 3")
    build = [ASHORE, "build", str(folder), "--installer", "--self-contained", str(own_build()), "-o", f"oci:{image}"]
    subprocess.run(build, check=True)
    held = look()
    unpack(shaped, image)  # its engine has it somewhere where it may write
    done = run_image(shaped)
    assert done.returncode == 7, done.stdout + done.stderr
    assert differences(held, look()) == []
    assert shaped.show("app.service", "ActiveState") == "active"

    shaped.run(["/opt/bin/ashore", "remove", "worker", "--purge"])
    assert differences(before, look()) == []
