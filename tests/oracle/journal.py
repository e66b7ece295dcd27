"""Everything that was published, and whether an inventory tells what the guarantee promises (design, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from state.attributes import Level
from tests.oracle.events import Json, News, Patient, Told, read_all
from tests.oracle.histories import Counts, Entry, histories, in_any_order, least_counts, overlays
from tests.oracle.patients import named, own_words, reachable
from tests.oracle.shown import shown
from tests.oracle.study import State, Study
from writers.reader import InventoryFile, StudyItem
from writers.resolve import resolve
from writers.tree import load_tree

MAX_OUT_OF_ORDER: Final = 5_000_000  # microseconds; the default of consumer.max_out_of_order


@dataclass(frozen=True)
class Match:
    """A history that explains what is shown: so many events of each partition, and this news."""

    counts: Counts
    news: set[News]

    def covers(self, least: Counts, news: set[News]) -> bool:
        return news <= self.news and all(self.counts.get(one, 0) >= count for one, count in least.items())


@dataclass
class Journal:
    """``level`` and ``start`` are those of the chain; ``start`` None while it is open or not known.

    ``scattered`` are studies whose events come over several partitions without a key, and whose order does not matter.
    """

    level: Level
    start: int | None = None
    scattered: Collection[str] = ()
    entries: dict[str, list[Entry[Told]]] = field(default_factory=dict)
    news: list[Entry[News]] = field(default_factory=list)
    _latest: int = 0
    _known: dict[tuple[Path, int], State] = field(default_factory=dict)
    _matched: dict[object, Match] = field(default_factory=dict)
    _patients: dict[tuple[str, int], set[Patient]] = field(default_factory=dict)

    def add(self, event: Json, timestamp: int, partition: int = 0, offset: int = 0) -> None:
        """Note an event, in the order of the topic."""
        latest = max(self._latest, timestamp)
        for told in read_all(event, timestamp):
            late = told.time <= latest - MAX_OUT_OF_ORDER
            if isinstance(told, News):
                self.news.append(Entry(told, partition, offset, late))
            else:
                self.entries.setdefault(told.study_uid, []).append(Entry(told, partition, offset, late))
        self._latest = latest

    def last_offsets(self) -> dict[int, int]:
        """The last offset of each partition."""
        entries: list[Entry[Any]] = [*self.news, *(entry for found in self.entries.values() for entry in found)]
        return {entry.partition: entry.offset for entry in sorted(entries, key=lambda entry: entry.offset)}

    def state(self, study_uid: str) -> State:
        """A study after all its events."""
        study = Study()
        for entry in self.entries[study_uid]:
            study.apply(entry.told)
        return study.effective(self.level, self.start, [entry.told for entry in self.news])

    def shown(self, head: Path) -> dict[str, State]:
        """The studies as an inventory shows them, with all that it incorporates."""
        return {item.study_instance_uid: self._state(item) for item in self._effective(head)}

    def check_present(self, head: Path) -> None:
        """The stream is quiet: the inventory shows each study as it now is, and no other."""
        self.check_states(self.shown(head))

    def check_states(self, found: Mapping[str, State]) -> None:
        """The same for states wherever they are found."""
        assert found.keys() == self.entries.keys()
        for uid, state in found.items():
            problem = self._problem(uid, state, lambda entry: True, None)
            assert problem is None, f"study {uid} is {state}; {problem}"

    def check(self, head: Path, applied: Mapping[int, int], until: int, unsettled: Collection[str] = ()) -> None:
        """Each study is shown in a state that it had, with every event up to the cut.

        Those are what was ``applied`` when it was begun, and what has a time up to its Content Date/Time ``until`` and
        did not come late. Studies that are ``unsettled`` have to be there, in whatever state: their events are being
        applied again on purpose.
        """

        def is_due(entry: Entry[Any]) -> bool:
            timely = entry.told.time <= until and not entry.late
            return timely or entry.offset <= applied.get(entry.partition, -1)

        items = {item.study_instance_uid: item for item in self._effective(head)}
        assert items.keys() <= self.entries.keys(), "an inventory shows a study that never was"
        for uid, entries in list(self.entries.items()):
            if uid not in items:
                assert not any(map(is_due, list(entries))), f"study {uid} is missing"
            elif uid not in unsettled:
                state, place = self._state(items[uid]), (items[uid].path, items[uid].offset)
                problem = self._problem(uid, state, is_due, place)
                assert problem is None, f"study {uid} never was {state}; {problem}"

    def _problem(self, uid: str, state: State, is_due: Callable[[Entry[Any]], bool], place: object) -> str | None:
        """Why a study cannot be so, with what is due; None if it can."""
        entries = list(self.entries[uid])
        if uid in self.scattered:
            return in_any_order(state, entries, is_due, self.level, self.start)
        news = self._news_of(uid, entries)
        least, due_news = least_counts(entries, is_due), {entry.told for entry in news if is_due(entry)}
        if (known := self._matched.get(place)) is not None and known.covers(least, due_news):
            return None
        near = 0
        for study, counts in histories(entries, least):
            if not self._may_have_had(study, state["time"], news):
                continue
            near += 1
            without_news = study.without_news(self.level)
            for overlay, told in overlays(study.sayings, news, is_due):
                found = study.shown_with(overlay, without_news, self.start)
                if found["time"] <= state["time"] and found | {"time": state["time"]} == state:
                    if place is not None:
                        self._matched[place] = Match(counts, set(told))
                    return None
        return f"{near} of its histories have that time; in the end it is {self.state(uid)}"

    def _may_have_had(self, study: Study, time: int, news: Sequence[Entry[News]]) -> bool:
        """Whether a study so far told of can have a Study Update DateTime: that of its own events, or of news.

        News that was laid over once has raised the time for good, also if the study's own events have since named
        another patient. Here alone the outcome depends on what came first, so any news of its patients will do.
        """
        own = study.time if self.start is None else max(study.time, self.start)
        return time == own or (time > own and any(entry.told.time == time for entry in news))

    def _news_of(self, uid: str, entries: Sequence[Entry[Told]]) -> list[Entry[News]]:
        """The news of any patient that the study's events ever named, and of whom these became."""
        if not self.news:
            return []
        news = list(self.news)
        if (uid, len(entries)) not in self._patients:
            patients, study = set(), Study()
            for entry in entries:
                study.apply(entry.told)
                if (found := named(own_words(study.sayings))) is not None:
                    patients.add(found[0])
            self._patients[uid, len(entries)] = patients
        relevant = set(reachable(self._patients[uid, len(entries)], [entry.told for entry in news]))
        return [entry for entry in news if entry.told in relevant]

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
