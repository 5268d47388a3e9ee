# SPDX-License-Identifier: Apache-2.0
"""What `stays` passes over, the long way would have left as it is as well: the same record, and nothing to do."""

import itertools

import msgspec

from ashore.nouns.digest import of
from ashore.nouns.files import Decided, Entry, Kind, OnEdit, Seen, Stat, Wanted
from ashore.nouns.generation import FileRecord
from ashore.rules.files.decide import Draft, View, plan_wanted
from ashore.rules.files.filerecords import stays

PATH = "etc/app.conf"
ENTRY = Entry(kind=Kind.FILE, mode=0o644, size=1, digest=of(b"1"))
STAT = Stat(1, 2, 1, 4, 5)
RECORD = FileRecord(bundle="app", entry=ENTRY, stat=STAT)
WANTED = Wanted(path=PATH, entry=msgspec.structs.replace(ENTRY), bundle="app")
OTHERS = [
    msgspec.structs.replace(ENTRY, mode=0o600),
    Entry(kind=Kind.FILE, mode=0o644, size=1, digest=of(b"2")),
    Entry(kind=Kind.SYMLINK, mode=0o777, target="x"),
    Entry(kind=Kind.DIR, mode=0o755),
]
ENTRIES = (None, ENTRY, *OTHERS)
VALUES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("base", "put", "found", "original", "edit", "edit_of"), ENTRIES),
    "entry": tuple(OTHERS),
    "stat": (None, Stat(1, 3, 1, 4, 5)),
    **dict.fromkeys(("deleted", "secret", "adopt", "settled", "restored", "absent"), (True,)),
    "bundle": ("other",),
    "others": ({"other": ENTRY}, {"third": ENTRY}),
    "through": (("lib",), ("opt/x", "srv/x")),
    "on_edit": tuple(OnEdit),
    "decided": tuple(Decided),
    **dict.fromkeys(("validate", "reload", "restart"), (("/bin/true",),)),
}


def each_of(fields: tuple[str, ...]) -> list[dict[str, object]]:
    """Nothing else, and each field with everything else that it may be: what nearly stays shows most."""
    return [{}, *({name: value} for name in fields for value in VALUES.get(name, ()))]


def test_what_is_as_it_was_stays() -> None:
    assert stays(WANTED, RECORD, Seen(entry=RECORD.entry, stat=STAT))


def test_the_short_way_ends_where_the_long_one_does() -> None:
    assert {*FileRecord.__struct_fields__, *Wanted.__struct_fields__} <= {*VALUES, "path"}, "what else?"
    taken = 0
    for of_record, of_wanted in itertools.product(
        each_of(FileRecord.__struct_fields__), each_of(Wanted.__struct_fields__)
    ):
        record = msgspec.structs.replace(RECORD, **of_record)
        wanted = msgspec.structs.replace(WANTED, **of_wanted)
        for seen in (Seen(entry=record.lay or ENTRY, stat=STAT), Seen(entry=OTHERS[1], stat=STAT), None):
            if stays(wanted, record, seen):
                taken += 1
                draft = Draft()
                plan_wanted(PATH, wanted, record, View(seen={PATH: seen} if seen else {}), draft)
                assert draft.records == {PATH: record}, (of_record, of_wanted)
                assert not (draft.steps or draft.kept or draft.conflicts or draft.gone or draft.notes)
    assert taken > 20
