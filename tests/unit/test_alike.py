# SPDX-License-Identifier: Apache-2.0
"""Many files that are alike: which one is taken, and that nobody looks through all of them for each.

With 50,000 of them, looking through all for each takes minutes.
"""

import pytest

from ashore.mechanisms.stage.loose import Loose, LooseFiles
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Entry, Kind, Seen, Stat, Wanted
from ashore.nouns.generation import FileRecord
from ashore.rules.files.hardlinks import regrouped

MANY = 50_000
STAT = Stat(1, 2, 0, 0, 0)
EMPTY, OTHER = of(b""), of(b"x")


def loose(name: str, area: int = 0) -> Loose:
    return Loose(area, name, 1, 0o644, 0, 0)


def ready(*names: str, area: int = 0, digest: Digest = EMPTY) -> LooseFiles:
    made = LooseFiles()
    for name in names:
        made.offer(digest, loose(name, area))
    return made


@pytest.mark.parametrize(
    ("names", "path", "taken"),
    [
        (["n/a", "n/b", "f1"], "b", "n/b"),
        (["n/a", "n/b", "f1"], "c", "f1"),
        (["n/a"], "c", "n/a"),
        ([], "c", None),
    ],
)
def test_a_path_takes_its_own_then_a_free_one_then_another_s(names: list[str], path: str, taken: str | None) -> None:
    files = ready(*names)
    found = files.claim(EMPTY, 0, path)
    assert (found.name if found else None) == taken
    assert len(files) == len(names) - (taken is not None)


def test_only_what_has_the_content_and_lies_in_the_area_is_taken() -> None:
    files = ready("n/a", "f1", area=1)
    assert files.claim(EMPTY, 0, "a") is None and files.claim(OTHER, 1, "a") is None
    assert files.of(OTHER) is None and files.of(EMPTY) in (loose("n/a", 1), loose("f1", 1))


def test_what_was_taken_is_not_there_any_more() -> None:
    files, one = ready("f1"), loose("f1")
    assert files.release(EMPTY, one) and not files.release(EMPTY, one)
    assert files.of(EMPTY) is None and files.claim(EMPTY, 0, "a") is None and len(files) == 0


def test_what_lies_in_new_folders_is_taken_out_at_once() -> None:
    files = ready("n/a", "f1", "n/b")
    files.offer(OTHER, loose("n/c", 2))
    assert {one.name for one in files.take_carried()} == {"n/a", "n/b", "n/c"}
    assert [files.of(EMPTY), files.of(OTHER), len(files)] == [loose("f1"), None, 1]


@pytest.mark.parametrize("kind", ["n/{}", "f{}"])
def test_many_with_one_content(kind: str) -> None:
    files = ready(*(kind.format(number) for number in range(MANY)))
    for number in reversed(range(MANY)):
        if number % 2:
            assert files.claim(EMPTY, 0, str(number)) is not None
        else:
            assert files.of(EMPTY) is not None
    assert len(files.take_carried()) in (0, MANY // 2)


def test_many_names_of_one_file() -> None:
    entry = Entry(kind=Kind.FILE, mode=0o644, digest=EMPTY, link="d0")
    paths = [f"d{number}" for number in range(MANY)]
    records = {path: FileRecord(bundle="b", entry=entry) for path in paths}
    desired = {path: Wanted(path=path, entry=entry, bundle="b") for path in paths}
    seen = {path: Seen(entry=entry, stat=STAT) for path in paths}
    assert regrouped(desired, records, seen, (), records) == []
    desired["new"] = Wanted(path="new", entry=entry, bundle="b")
    assert regrouped(desired, records, seen, (), records) == sorted(paths)
    assert regrouped(desired, records, seen, set(paths[1:]), records) == paths[:1]
