# SPDX-License-Identifier: Apache-2.0
"""What is asked of everybody. Each job ends with a short answer, and whether it is what a user wants."""

from collections.abc import Callable, Mapping

import msgspec

from tests.compare import material
from tests.compare.contenders import Contender
from tests.compare.site import Site
from tests.system.snapshot import differences


class Answer(msgspec.Struct, frozen=True):
    """What came of it."""

    good: bool
    text: str


def leftovers(site: Site, contender: Contender) -> Answer:
    """1, then 2, then removed: what is not as before?"""
    if contender.name == "Ansible":  # its key is there before it comes
        site.host.write("root/.ssh/keep", "")
    before = site.snapshot()
    _install(site, contender, "1")
    _install(site, contender, "2")
    contender.remove(site, material.version("2"), material.UNITS)
    left = [line for line in differences(before, site.snapshot()) if not _of_the_tool(line)]
    by_hand = "" if contender.removes else "no way to remove; "
    return Answer(not left, f"{by_hand}{_counted(len(left), 'path')} left")


def there_and_back(site: Site, contender: Contender) -> Answer:
    """1, then 2, then 1 again: what is not as it was with 1?"""
    _install(site, contender, "1")
    first = site.snapshot()
    _install(site, contender, "2")
    _install(site, contender, "1")
    wrong = [line for line in differences(first, site.snapshot()) if not _of_the_tool(line)]
    return Answer(not wrong, f"{_counted(len(wrong), 'path')} wrong")


def restarts(site: Site, contender: Contender) -> Answer:
    """One file of one of three services changes."""
    _install(site, contender, "1")
    before = site.runs()
    _install(site, contender, "1b")
    after = site.runs()
    restarted = [name for name in material.SERVICES if before[name] != after[name]]
    stale = [name for name in material.SERVICES if not site.configured(name)]
    said = f"{len(restarted)} of 3 restarted" + (f", {stale[0]} runs with its old file" if stale else "")
    return Answer(restarted == ["alpha"] and not stale, said)


def nothing_changed(site: Site, contender: Contender) -> Answer:
    """The same once more."""
    _install(site, contender, "1")
    before = site.runs()
    _install(site, contender, "1")
    restarted = sum(before[name] != now for name, now in site.runs().items())
    return Answer(restarted == 0, f"{restarted} of 3 restarted")


def local_edit(site: Site, contender: Contender) -> Answer:
    """Somebody tuned a file of 1; 2 changes another line of it."""
    _install(site, contender, "1")
    file = site.host.path / material.EDITED
    file.write_text(file.read_text().replace("workers = 4", "workers = 16"))
    _install(site, contender, "2")
    now = site.read(material.EDITED)
    edit, change = "workers = 16" in now, "level = debug" in now
    if edit and change:
        return Answer(True, "both are there")
    return Answer(edit, "the edit stays, the change waits" if edit else "the edit is lost")


def shared_path(site: Site, contender: Contender) -> Answer:
    """Another package brings a path of the first."""
    _install(site, contender, "1")
    before = site.read(material.SHARED)
    went_well = contender.install(site, "other", material.second(), ())
    if site.read(material.SHARED) != before:
        return Answer(False, "overwritten, silently" if went_well else "overwritten")
    return Answer(not went_well, "refused" if not went_well else "left as it was, silently")


def bad_sshd(site: Site, contender: Contender) -> Answer:
    """A configuration that sshd refuses."""
    went_well = contender.install(site, "sshd", material.sshd(), ())
    if site.login_works():
        return Answer(True, "refused, sshd is as before")
    return Answer(False, f"sshd cannot start any more{', and nothing said so' if went_well else ''}")


def _install(site: Site, contender: Contender, number: str) -> None:
    assert contender.install(site, "demo", material.version(number), material.UNITS), (contender.name, number)


def _of_the_tool(line: str) -> bool:
    """The tool's own: what an engine or ssh keeps is no part of the job."""
    path = line[2:].partition(":")[0]
    return path.startswith(("root/.ssh", "etc/containers", "root/.local", "etc/cni")) or path in ("root", "etc")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


Job = Callable[[Site, Contender], Answer]
ALL: Mapping[str, Job] = {
    "version 1, then 2, then removed": leftovers,
    "version 1, then 2, then 1 again": there_and_back,
    "one file of one of three services changes": restarts,
    "nothing changes": nothing_changed,
    "a file was edited on the host, and 2 changes it as well": local_edit,
    "another package brings a path of the first": shared_path,
    "a configuration that sshd refuses": bad_sshd,
}
