# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from ashore.errors import Issue
from ashore.nouns.bundle import Health
from ashore.nouns.files import Entry, Kind
from ashore.nouns.generation import BundleRecord, FileRecord
from ashore.rules.blame import to_blame


def record(name: str, **given: object) -> BundleRecord:
    empty = dict.fromkeys(("version", "reference", "digest", "manifest_digest", "inputs"), "")
    return msgspec.structs.replace(msgspec.convert(empty | {"name": name}, BundleRecord), **given)


def file(bundle: str) -> FileRecord:
    return FileRecord(bundle=bundle, entry=Entry(kind=Kind.FILE, mode=0o644))


WEB = record("web", enabled=("web@1.service",), health=(Health(http="http://localhost/"), Health(unit="proxy.service")))
APP = record("app", enabled=("app.service",))
FILES = {
    "etc/app.conf": file("app"),
    "usr/lib/systemd/system/job.service": file("app"),
    "etc/systemd/system/proxy.service": file("app"),
    "etc/systemd/system/cron.service.d/app.conf": file("app"),
    "etc/other": file("other"),
}


@pytest.mark.parametrize(
    ("where", "blamed"),
    [
        ("web@1.service", {"web"}),
        ("http://localhost/", {"web"}),
        ("app.service", {"app"}),
        ("job.service", {"app"}),
        ("cron.service", {"app"}),
        ("/etc/app.conf", {"app"}),
        ("proxy.service", set()),
        ("/etc/other", set()),
        ("host.service", set()),
        ("", set()),
    ],
)
def test_a_failure_is_the_fault_of_the_one_bundle_that_it_is_about(where: str, blamed: set[str]) -> None:
    assert to_blame([Issue(where=where, message="failed")], [WEB, APP], FILES) == blamed


def test_each_failure_is_looked_at_by_itself() -> None:
    issues = [Issue(where=where, message="failed") for where in ("app.service", "web@1.service", "proxy.service")]
    assert to_blame(issues, [WEB, APP], FILES) == {"web", "app"}
