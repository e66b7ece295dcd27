"""Discrepancies planted in a simulated migration, and what looks like one and is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

from state.times import MICROSECONDS, to_iso
from tests.oracle.events import Json

IGNORED: Final = "US"  # studies of this modality alone are out of scope

_STUDY: Final = "0020000D"
_SERIES: Final = "0020000E"
_INSTANCE: Final = "00080018"
_CLASS: Final = "00080016"
_MODALITY: Final = "00080060"
_PATIENT_ID: Final = "00100020"
_ACCESSION: Final = "00080050"
_CT: Final = "1.2.840.10008.5.1.4.1.1.2"


class Kind(StrEnum):
    """What goes wrong with a study."""

    MISSING_STUDY = "missing study"
    REMOVED_AT_TARGET = "study removed at the target"
    MISSING_SERIES = "missing series"
    MISSING_INSTANCE = "missing instance"
    EXTRA_INSTANCE = "extra instance"
    OTHER_INSTANCE = "an instance under another UID"
    OTHER_ACCESSION = "an attribute that must agree changed"
    OTHER_PATIENT = "stored under another patient's ID"
    EXTRA_STUDY = "extra study at the target"
    REMOVED_AT_SOURCE = "study removed at the source only"


class Decoy(StrEnum):
    """What looks like a discrepancy and is none."""

    SPELLING = "case, blanks and empty components"
    OTHER_ATTRIBUTE = "an attribute that need not agree"
    OUT_OF_SCOPE = "a study out of scope that is missing"
    MAPPED = "an accession number that the migration changes"
    REMOVED_ON_BOTH = "a study removed on both"
    REMOVED_INSTANCE = "an instance that one side never had and the other has removed"


@dataclass(slots=True)
class Known:
    """A study that nothing was removed of, as its store events tell: series -> SOP Instance UIDs."""

    uid: str
    series: dict[str, dict[str, None]] = field(default_factory=dict)
    modalities: set[str] = field(default_factory=set)

    @property
    def instances(self) -> int:
        return sum(map(len, self.series.values()))

    @property
    def largest(self) -> str:
        """The series that has most instances."""
        return max(self.series, key=lambda uid: (len(self.series[uid]), uid))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the comparison must say of a study."""

    kind: Kind
    place: str
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Plan:
    """``withheld`` are UIDs of studies, series and instances that the target is never told of; ``source`` and
    ``target`` what each is told in the end; ``mapped`` accession numbers.
    """

    expected: dict[str, Expected] = field(default_factory=dict)
    decoys: dict[str, Decoy] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    source: list[Json] = field(default_factory=list)
    target: list[Json] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)


def plan(events: Iterable[Json], each: int, decoys: int, begin: int) -> Plan:
    """Plant ``each`` discrepancies of each kind and ``decoys`` of each decoy among the studies of these events; what
    both sides are told in the end is from ``begin`` on (UTC microseconds).
    """
    known = _known(events)
    rng = Random(1)
    # Several series, and one of them with several instances: what is taken from a study leaves no series empty.
    in_scope = [one for one in known if one.modalities != {IGNORED} and 1 < len(one.series) < one.instances]
    outside = [one for one in known if one.modalities == {IGNORED}]
    rng.shuffle(in_scope)
    made = Plan()
    teller = _Teller(made, begin)
    for kind in Kind:
        for _ in range(each):
            teller.plant(kind, in_scope.pop())
    for decoy in Decoy:
        for _ in range(decoys):
            teller.mislead(decoy, outside.pop() if decoy is Decoy.OUT_OF_SCOPE else in_scope.pop())
    return made


def told_to_target(events: Iterable[tuple[Json, int]], withheld: set[str]) -> Iterator[tuple[Json, int]]:
    """The events without the data sets of what is withheld."""
    for event, timestamp in events:
        kept = [one for one in _datasets(event) if withheld.isdisjoint(_uids(one))]
        if len(kept) == len(_datasets(event)):
            yield event, timestamp
        elif kept:
            rest = {name: value for name, value in event.items() if name not in ("dataset", "datasets")}
            yield rest | {"datasets": kept}, timestamp


def study_of(event: Json) -> str:
    """The study that an event is about."""
    return _uid(_datasets(event)[0], _STUDY)


def _known(events: Iterable[Json]) -> list[Known]:
    found: dict[str, Known] = {}
    spoilt = set()
    for event in events:
        if event["action"] == "delete":
            spoilt.add(study_of(event))
        elif event["action"] == "store" and event["level"] == "INSTANCE":
            for one in _datasets(event):
                study = found.setdefault(_uid(one, _STUDY), Known(_uid(one, _STUDY)))
                study.series.setdefault(_uid(one, _SERIES), {})[_uid(one, _INSTANCE)] = None
                study.modalities.add(str(one[_MODALITY]["Value"][0]))
    return [one for uid, one in found.items() if uid not in spoilt]


class _Teller:
    """Says to both sides what makes a discrepancy; each thing it says is a second after the one before."""

    def __init__(self, made: Plan, begin: int) -> None:
        self._made = made
        self._now = begin
        self._number = 0

    def plant(self, kind: Kind, study: Known) -> None:
        made, uid, count = self._made, study.uid, study.instances
        self._number += 1
        number, series = self._number, study.largest
        first = next(iter(study.series[series]))
        other = f"1.2.826.0.1.77.{number}"
        place, reason = "different", ""
        match kind:
            case Kind.MISSING_STUDY:
                made.withheld.add(uid)
                place, reason = "missing", "not at the target"
            case Kind.REMOVED_AT_TARGET:
                self._say(made.target, "delete", "STUDY", {_STUDY: uid})
                place, reason = "missing", "removed at the target"
            case Kind.MISSING_SERIES:
                made.withheld.add(series)
                place, reason = "incomplete", _numbers(count, count - len(study.series[series]))
            case Kind.MISSING_INSTANCE:
                made.withheld.add(first)
                place, reason = "incomplete", _numbers(count, count - 1)
            case Kind.EXTRA_INSTANCE:
                self._store(uid, series, other)
                reason = _numbers(count, count + 1)
            case Kind.OTHER_INSTANCE:
                made.withheld.add(first)
                self._store(uid, series, other)
                reason = "other instances at the target"
            case Kind.OTHER_ACCESSION:
                self._update(made.target, uid, _ACCESSION, f"WRONG{number}")
                reason = "differs in AccessionNumber"
            case Kind.OTHER_PATIENT:
                self._update(made.target, uid, _PATIENT_ID, f"WRONG{number}")
                reason = "differs in PatientID"
            case Kind.EXTRA_STUDY:
                uid = other
                self._store(uid, f"{other}.1", f"{other}.1.1")
                place, reason = "extra", "not at the source"
            case Kind.REMOVED_AT_SOURCE:
                self._say(made.source, "delete", "STUDY", {_STUDY: uid})
                place, reason = "removed_at_source_only", "removed at the source, still at the target"
        made.expected[uid] = Expected(kind, place, (reason,))

    def mislead(self, decoy: Decoy, study: Known) -> None:
        made, uid = self._made, study.uid
        self._number += 1
        number, series = self._number, study.largest
        match decoy:
            case Decoy.SPELLING:
                self._update(made.source, uid, _PATIENT_ID, f"Pat {number} Ab")
                self._update(made.target, uid, _PATIENT_ID, f" PAT   {number} aB ")
            case Decoy.OTHER_ATTRIBUTE:
                self._update(made.target, uid, "00081030", f"Another description {number}")
            case Decoy.OUT_OF_SCOPE:
                made.withheld.add(uid)
            case Decoy.MAPPED:
                made.mapped[f"OLD{number}"] = f"NEW{number}"
                self._update(made.source, uid, _ACCESSION, f"OLD{number}")
                self._update(made.target, uid, _ACCESSION, f"NEW{number}")
            case Decoy.REMOVED_ON_BOTH:
                for side in (made.source, made.target):
                    self._say(side, "delete", "STUDY", {_STUDY: uid})
            case Decoy.REMOVED_INSTANCE:
                first = next(iter(study.series[series]))
                made.withheld.add(first)
                self._say(made.source, "delete", "INSTANCE", {_STUDY: uid, _SERIES: series, _INSTANCE: first})
        made.decoys[uid] = decoy

    def _store(self, study: str, series: str, instance: str) -> None:
        uids = {_STUDY: study, _SERIES: series, _INSTANCE: instance, _CLASS: _CT}
        self._say(self._made.target, "store", "INSTANCE", uids)

    def _update(self, side: list[Json], study: str, tag: str, value: str) -> None:
        vr = {_PATIENT_ID: "LO", _ACCESSION: "SH"}.get(tag, "LO")
        self._say(side, "update", "STUDY", {_STUDY: study}, {tag: {"vr": vr, "Value": [value]}})

    def _say(self, side: list[Json], action: str, level: str, uids: dict[str, str], more: Json | None = None) -> None:
        self._now += MICROSECONDS
        dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()} | (more or {})
        side.append({"action": action, "level": level, "time": to_iso(self._now), "dataset": dataset})


def _numbers(source: int, target: int) -> str:
    return f"{source} instances at the source, {target} at the target"


def _datasets(event: Json) -> list[Json]:
    found: list[Json] = event["datasets"] if "datasets" in event else [event["dataset"]]
    return found


def _uid(dataset: Json, tag: str) -> str:
    return str(dataset[tag]["Value"][0])


def _uids(dataset: Json) -> Iterator[str]:
    for tag in (_STUDY, _SERIES, _INSTANCE):
        if tag in dataset:
            yield _uid(dataset, tag)
