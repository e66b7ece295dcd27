"""Resolved records held against the live state: what an inventory says of a study must be what the state holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from state.attributes import Level
from state.studies import Studies
from writers import slices
from writers.reader import StudyItem
from writers.study_items import StudyItems

_ITEM_HEADER = 8  # bytes: an Item's tag and length


@dataclass(frozen=True, slots=True)
class Difference:
    """A study that the inventory and the state do not agree on: ``missing``, ``invented`` or ``different``."""

    study_instance_uid: str
    what: str


def differences(studies: Studies, effective: Mapping[str, StudyItem], level: Level) -> Iterator[Difference]:
    """Studies whose effective record is not what the state would write now, byte for byte.

    Item Inventory DateTime is left out of it: it says when the record was read.
    """
    items = StudyItems(level)
    seen = set()
    for read in studies.read(uid for _, uid in slices.everything(studies)):
        uid = read.record.study_instance_uid
        seen.add(uid)
        found = effective.get(uid)
        if found is None:
            yield Difference(uid, "missing")
        elif items.encode(read.record, found.item_inventory_datetime or 0)[_ITEM_HEADER:] != found.data:
            yield Difference(uid, "different")
    for uid in effective.keys() - seen:
        yield Difference(uid, "invented")
