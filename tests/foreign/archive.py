"""What another producer records of its studies: plain values, worked out from a study's number and edition alone.

An archive of any size needs no memory, and whoever asks again is told the same. Values that break their VR stand beside
what they must be read as, so the truth does not come from the code that repairs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.oracle.adversary import BEGIN

ROOT: Final = "1.3.6.1.4.1.55555"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
SR: Final = "1.2.840.10008.5.1.4.1.1.88.33"
SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
FIRST: Final = BEGIN - 400 * DAY  # when the oldest study was updated
LARGE: Final = 450  # instances of the largest studies
_EVERY: Final = 2_000  # studies, of which one is large
_REASON: Final = (("00080100", "113037"), ("00080102", "DCM"), ("00080104", "Rejected for Patient Safety Reasons"))


@dataclass(frozen=True)
class Value:
    """An attribute as it is ``written``, and what that must be read as (empty: nothing certain)."""

    written: str
    read: str

    @classmethod
    def of(cls, text: str) -> Value:
        return cls(text, text)

    @property
    def repaired(self) -> bool:
        return self.read != self.written and self.read != ""

    @property
    def emptied(self) -> bool:
        return self.read == "" != self.written


Values = dict[str, Value]  # by tag


@dataclass(frozen=True)
class Instance:
    uid: str
    values: Values
    removed: bool = False


@dataclass(frozen=True)
class Series:
    uid: str
    values: Values
    instances: Sequence[Instance]
    removed: bool = False


@dataclass(frozen=True)
class Record:
    """What one Inventory says of a study. Times are UTC microseconds; ``updated`` is None where it says none.

    ``local``: its times are written without an offset, in the archive's zone.
    """

    number: int
    edition: int
    uid: str
    recorded: int
    updated: int | None
    local: bool
    values: Values
    series: Sequence[Series]
    removed: bool = False
    reason: dict[str, str] = field(default_factory=dict)

    @property
    def all_values(self) -> list[Value]:
        of_series = [one.values for one in self.series]
        of_instances = [one.values for series in self.series for one in series.instances]
        return [value for values in (self.values, *of_series, *of_instances) for value in values.values()]


def study_uid(number: int) -> str:
    return f"{ROOT}.{number}"


def content_time(edition: int) -> int:
    """When the Inventory of an edition was begun: an hour before it recorded anything."""
    return BEGIN - DAY + edition * 2 * HOUR


def editions(number: int) -> list[int]:
    """The Inventories that record a study, oldest first: 0 and 1 hold one half each, 2 and 3 what changed since."""
    found = [number % 2]
    if number % 10 == 0:
        found.append(1)
    if number % 7 == 0:
        found.append(2)
    if number % 15 == 0:
        found.append(3)
    return found


def prevailing(number: int) -> Record:
    """The record that counts: the newest."""
    return record(number, editions(number)[-1])


def record(number: int, edition: int) -> Record:
    """What the Inventory of that edition says of a study."""
    uid = study_uid(number)
    removed = number % 23 == 5 or (edition == 3 and number % 4 == 0)
    parts = _series(uid, number, edition, removed)
    return Record(
        number,
        edition,
        uid,
        content_time(edition) + HOUR,
        None if number % 11 == 3 else FIRST + (number % 30_000_000) * SECOND + edition * HOUR,
        number % 5 == 1,
        _study_values(number, edition, parts),
        parts,
        removed,
        dict(_REASON) if removed and number % 2 else {},
    )


def _study_values(number: int, edition: int, parts: Sequence[Series]) -> Values:
    live = [one for one in parts if not one.removed]
    return {
        "00080020": Value("2026.01.02", "20260102") if number % 13 == 0 else Value.of(f"202601{number % 28 + 1:02}"),
        "00080030": Value.of(f"{number % 24:02}1500"),
        "00080050": Value("A" * 17, "") if number % 41 == 0 else Value.of(f"A{number}"),
        "00080061": Value.of("CT"),
        "00081030": Value.of(f"Schädel {edition} {number % 9}"),
        "00100010": Value.of(f"Müller^Nr{number % 1000}"),
        "00100020": Value.of(f"P{number // 3}"),
        "00100021": Value.of("HOSPITAL"),
        "00100030": Value("19991332", "") if number % 17 == 0 else Value.of("19700101"),
        "00100040": Value("f", "F") if number % 19 == 0 else Value.of("MF"[number % 2]),
        "00200010": Value.of(str(number % 100_000)),
        "00201206": Value.of(str(len(live))),
        "00201208": Value.of(str(sum(not one.removed for part in live for one in part.instances))),
    }


def _series(uid: str, number: int, edition: int, removed: bool) -> list[Series]:
    if number % 31 == 2:
        return []
    count = 1 + number % 3
    large = number % _EVERY == 17
    found = []
    for place in range(1, count + 1):
        series_uid = f"{uid}.{place}"
        instances = LARGE if large and place == 1 else 1 + (number + place) % 4
        report = place == 3
        values = {
            "00080060": Value("sr" if number % 29 == 0 else "SR", "SR") if report else Value.of("CT"),
            "0008103E": Value.of(f"Series {place} of edition {edition}"),
            "00200011": Value.of(str(place)),
        }
        # Never the first series nor its first instance: a study with nothing live in it would be said to be removed.
        gone = place == 2 and number % 9 == 1 and not removed
        below = [
            _instance(
                series_uid, sop, report, bad=number % 43 == sop, gone=not gone and sop > 1 and (number + sop) % 12 == 0
            )
            for sop in range(1, instances + 1 + edition)
        ]
        found.append(Series(series_uid, values, below, gone))
    return found


def _instance(series_uid: str, number: int, report: bool, *, bad: bool, gone: bool) -> Instance:
    values = {
        "00080016": Value.of(SR if report else CT),
        "00200013": Value("one", "") if bad else Value.of(str(number)),
    }
    if not report:
        values["00280010"] = values["00280011"] = Value.of("512")
    return Instance(f"{series_uid}.{number}", values, gone)
