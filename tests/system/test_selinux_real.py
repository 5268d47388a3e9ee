# SPDX-License-Identifier: Apache-2.0
"""The labels of Debian's own policy, as libselinux tells them for each path of a host."""

import pytest

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.selinux import read_policy
from tests.system import lab
from tests.system.conftest import require_real
from tests.unit.test_filecontexts import compare, needs_libselinux

pytestmark = [*needs_libselinux, pytest.mark.slow]


def test_every_path_of_a_debian_host_gets_the_label_that_its_policy_names() -> None:
    require_real()
    tree = lab.base_tree(["selinux-policy-default"])
    policy = read_policy(Beneath(str(tree)))
    assert policy is not None
    folders = ("etc", "usr/bin", "usr/lib/systemd", "usr/share/doc", "var/lib", "opt")
    paths = {str(path.relative_to(tree)) for folder in folders for path in (tree / folder).rglob("*")}
    specs = [line.split()[0].decode() for line in policy.base.splitlines() if line]
    paths |= {spec[1:].replace("(/.*)?", "/x").replace("\\", "") for spec in specs if "//" not in spec}
    compare(tree, "default", sorted(p for p in paths if p.isprintable() and "//" not in p)[::3])
