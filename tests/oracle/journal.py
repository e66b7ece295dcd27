"""Everything that was published, and whether an inventory tells what the guarantee promises (design, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from state.attributes import Level
from tests.oracle.events import Json, Told, read_event
from tests.oracle.shown import shown
from tests.oracle.study import State, Study
from writers.reader import InventoryFile, StudyItem
from writers.resolve import resolve
from writers.tree import load_tree

MAX_OUT_OF_ORDER: Final = 5_000_000  # microseconds; the default of consumer.max_out_of_order


@dataclass(frozen=True)
class Entry:
    """One event of a study and where it stands on the topic. ``late``: it came later than a cut need wait for."""

    told: Told
    partition: int
    offset: int
    late: bool

    def due(self, applied: Mapping[int, int], until: int) -> bool:
        """Whether an inventory with Content Date/Time ``until`` must show it."""
        return self.offset <= applied.get(self.partition, -1) or (self.told.time <= until and not self.late)


@dataclass
class Journal:
    """``level`` and ``start`` are those of the chain; ``start`` None while it is open or not known."""

    level: Level
    start: int | None = None
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    _latest: int = 0
    _known: dict[tuple[Path, int], State] = field(default_factory=dict)
    _matched: dict[tuple[Path, int], int] = field(default_factory=dict)

    def add(self, event: Json, timestamp: int, partition: int = 0, offset: int = 0) -> None:
        """Note an event, in the order of the topic."""
        told = read_event(event, timestamp)
        late = told.time < self._latest - MAX_OUT_OF_ORDER
        self._latest = max(self._latest, timestamp)
        self.entries.setdefault(told.study_uid, []).append(Entry(told, partition, offset, late))

    def state(self, study_uid: str, count: int | None = None) -> State:
        """A study after its first ``count`` events; after all by default."""
        study = Study()
        for entry in self.entries[study_uid][:count]:
            study.apply(entry.told)
        return study.effective(self.level, self.start)

    def check_present(self, head: Path) -> None:
        """The stream is quiet: the inventory shows each study as it now is, and no other."""
        found = {item.study_instance_uid: self._state(item) for item in self._effective(head)}
        assert found.keys() == self.entries.keys()
        for uid, state in found.items():
            assert state == self.state(uid), f"study {uid}"

    def check(self, head: Path, applied: Mapping[int, int], until: int) -> None:
        """Each study is shown in a state that it had, with every event up to the cut.

        Those are what was ``applied`` when it was begun (last offset by partition), and what has a time up to its
        Content Date/Time ``until`` and did not come late.
        """
        items = {item.study_instance_uid: item for item in self._effective(head)}
        assert items.keys() <= self.entries.keys(), "an inventory shows a study that never was"
        for uid, entries in list(self.entries.items()):
            least = max((count for count, entry in enumerate(entries, 1) if entry.due(applied, until)), default=0)
            if uid in items:
                assert self._had(items[uid], least), f"study {uid} never was so, with its first {least} events"
            else:
                assert not least, f"study {uid} is missing, whose first {least} events are due"

    def _had(self, item: StudyItem, least: int) -> bool:
        place = (item.path, item.offset)
        if self._matched.get(place, -1) >= least:
            return True
        record, study = self._state(item), Study()
        for count, entry in enumerate(list(self.entries[item.study_instance_uid]), 1):
            study.apply(entry.told)
            time = study.time if self.start is None else max(study.time, self.start)
            if count >= least and time == record["time"] and study.effective(self.level, self.start) == record:
                self._matched[place] = count
        return self._matched.get(place, -1) >= least

    def _state(self, item: StudyItem) -> State:
        place = (item.path, item.offset)
        if place not in self._known:
            self._known[place] = shown(item.data, item.study_update_datetime)
        return self._known[place]

    def _effective(self, head: Path) -> list[StudyItem]:
        items = [found.item for found in resolve(load_tree(head))]
        assert len({item.study_instance_uid for item in items}) == len(items)
        return items


def own_records(inventory: Path) -> set[str]:
    """The studies that are among an inventory's own records."""
    with InventoryFile(inventory) as file:
        return {item.study_instance_uid for item in file.studies()}
