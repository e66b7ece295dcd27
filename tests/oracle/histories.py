"""The states that a study can have had: events in their partitions' order, several partitions in any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Final, Generic, TypeVar

from state.attributes import Level
from tests.oracle.events import News, Patient, Told
from tests.oracle.patients import Overlay, Saying, lay_over
from tests.oracle.study import State, Study

T = TypeVar("T", Told, News)

_MOST: Final = 100_000  # histories of one study that are looked at; more would be a test that is too large


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What a message told, and where it stands on the topic. ``late``: it came later than a cut need wait for."""

    told: T
    partition: int
    offset: int
    late: bool


Counts = dict[int, int]  # events, by partition


def least_counts(entries: Sequence[Entry[Told]], is_due: Callable[[Entry[Told]], bool]) -> Counts:
    """Of each partition, up to which of a study's events an inventory must have them."""
    least: Counts = {}
    for partition, found in by_partition(entries).items():
        least[partition] = max((count for count, entry in enumerate(found, 1) if is_due(entry)), default=0)
    return least


def by_partition(entries: Sequence[Entry[Told]]) -> dict[int, list[Entry[Told]]]:
    found: defaultdict[int, list[Entry[Told]]] = defaultdict(list)
    for entry in entries:
        found[entry.partition].append(entry)
    return dict(found)


def histories(entries: Sequence[Entry[Told]], least: Mapping[int, int]) -> Iterator[tuple[Study, Counts]]:
    """The study after each run of its events that has at least so many of each partition, in every order in which
    partitions can come. Look at each before the next is asked for: it is the same object, changed.
    """
    partitions = by_partition(entries)
    begin = Study(), dict.fromkeys(partitions, 0)
    found = _one_partition(*begin, partitions) if len(partitions) == 1 else _several_partitions(*begin, partitions)
    for number, (study, counts) in enumerate(found):
        assert number < _MOST, "too many orders to look at"
        if all(counts[partition] >= count for partition, count in least.items()):
            yield study, counts


def _one_partition(
    study: Study, counts: Counts, partitions: Mapping[int, Sequence[Entry[Told]]]
) -> Iterator[tuple[Study, Counts]]:
    [(partition, entries)] = partitions.items()
    for entry in entries:
        study.apply(entry.told)
        counts = {partition: counts[partition] + 1}
        yield study, counts


def _several_partitions(
    study: Study, counts: Counts, partitions: Mapping[int, Sequence[Entry[Told]]]
) -> Iterator[tuple[Study, Counts]]:
    for partition, entries in partitions.items():
        if counts[partition] < len(entries):
            further, more = deepcopy(study), counts | {partition: counts[partition] + 1}
            further.apply(entries[counts[partition]].told)
            yield further, more
            yield from _several_partitions(further, more, partitions)


def overlays(
    sayings: Sequence[Saying], news: Sequence[Entry[News]], is_due: Callable[[Entry[News]], bool]
) -> Iterator[tuple[Overlay, list[News]]]:
    """What a study can have been shown with, and the news that leads to it.

    Of each patient that is what each partition told up to some message, all that is due included. News of two patients
    is read at two moments, so their partitions do not go together. What is told of patients who the study never was
    makes no difference.
    """
    runs: defaultdict[Patient, list[list[Sequence[News]]]] = defaultdict(list)
    for (_, patient), entries in _by_partition_and_patient(news).items():
        least = max((count for count, entry in enumerate(entries, 1) if is_due(entry)), default=0)
        told = [entry.told for entry in entries]
        runs[patient].append([told[:count] for count in range(least, len(told) + 1)])
    due = [entry.told for entry in news if is_due(entry)]

    def further(chosen: Mapping[Patient, list[News]]) -> Iterator[tuple[Overlay, list[News]]]:
        told = [one for found in chosen.values() for one in found]
        overlay = lay_over(sayings, told)
        unknown = next((one for one in overlay.patients if one not in chosen), None)
        if unknown is None:
            yield overlay, told + [one for one in due if one.of not in chosen]
            return
        for some in product(*runs[unknown]):
            yield from further({**chosen, unknown: [one for run in some for one in run]})

    for number, found in enumerate(further({})):
        assert number < _MOST, "too much news to look at"
        yield found


def _by_partition_and_patient(news: Sequence[Entry[News]]) -> dict[tuple[int, Patient], list[Entry[News]]]:
    found: defaultdict[tuple[int, Patient], list[Entry[News]]] = defaultdict(list)
    for entry in news:
        found[entry.partition, entry.told.of].append(entry)
    return dict(found)


def in_any_order(
    state: State,
    entries: Sequence[Entry[Told]],
    is_due: Callable[[Entry[Told]], bool],
    level: Level,
    start: int | None,
) -> str | None:
    """What is wrong with a study whose events may come in any order: what is due is there, nothing is invented."""
    least, most = Study(), Study()
    for entry in entries:
        most.apply(entry.told)
        if is_due(entry):
            least.apply(entry.told)
    low, high = least.effective(level, start), most.effective(level, start)
    if low == high:
        return None if state == low else f"it must be {low}"
    if not low["time"] <= state["time"] <= high["time"]:
        return f"its time is not between {low['time']} and {high['time']}"
    if level is not Level.INSTANCE:
        return None
    shown, needed, possible = _instances(state), _instances(low), _instances(high)
    if not needed.keys() <= shown.keys() <= possible.keys():
        return f"instances are missing or invented: at least {needed.keys()}, at most {possible.keys()}"
    for uid, one in shown.items():
        if one["attributes"] != possible[uid]["attributes"]:
            return f"instance {uid} must say {possible[uid]['attributes']}"
        if one["removal"] not in (possible[uid]["removal"], needed.get(uid, {"removal": None})["removal"]):
            return f"the removal of instance {uid} never was so"
    return None


def _instances(state: State) -> dict[str, State]:
    return {uid: one for series in state["series"].values() for uid, one in series["instances"].items()}
