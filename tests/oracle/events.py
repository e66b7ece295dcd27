"""Native events as the oracle reads them: written from the text of the contract, not from the program's own format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from state.attributes import Attribute, Level, recordable
from state.values import Item, Repairs, flat_item

Json = dict[str, Any]

MAX_CLOCK_SKEW: Final = 300_000_000  # microseconds; the default of consumer.max_clock_skew

PATIENT_ID: Final = "00100020"
ISSUER: Final = "00100021"

_UIDS: Final = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
_REASON: Final = {"CodeValue": "00080100", "CodingSchemeDesignator": "00080102", "CodeMeaning": "00080104"}
_DT: Final = re.compile(r"(\d{14})\.(\d{6})([+-]\d{4})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEVELS: Final = tuple(_UIDS)


@dataclass(frozen=True)
class Said:
    """What one data set says of one entity and of those above it."""

    series_uid: str
    sop_uid: str
    attributes: dict[Level, Item]
    announced_series: int | None = None
    announced_instances: int | None = None


@dataclass(frozen=True)
class Told:
    """One event of one study. ``time`` is UTC microseconds."""

    action: str
    level: Level
    study_uid: str
    time: int
    reason: Item
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Patient:
    """A patient is the pair of Patient ID and issuer, as text; no issuer is an empty one."""

    id: str
    issuer: str


@dataclass(frozen=True, eq=False)
class News:
    """What a PATIENT event says of the patient ``of``: from ``time`` on that is ``becomes``, with these attributes.
    Each is one of its own, also when it tells the same.
    """

    of: Patient
    becomes: Patient
    time: int
    attributes: Item


def read_event(event: Json, timestamp: int) -> Told:
    """The event of one study, which renames nothing."""
    [told] = read_all(event, timestamp)
    assert isinstance(told, Told)
    return told


def read_all(event: Json, timestamp: int) -> list[Told | News]:
    """What the event tells, in its order; ``timestamp`` is its Kafka record's, UTC microseconds."""
    datasets = event["datasets"] if "datasets" in event else [event["dataset"]]
    level = Level(event["level"]) if "level" in event else _lowest(datasets[0])
    time = moment(event["time"]) if "time" in event else timestamp
    if time > timestamp + MAX_CLOCK_SKEW:
        time = timestamp
    prior = event.get("prior") or {}
    if level is Level.PATIENT:
        return list(_news(datasets[0], prior, time))
    reason = {tag: event["reason"][name] for name, tag in _REASON.items()} if event.get("reason") else {}
    found: list[Told | News] = []
    for dataset in datasets:
        if (old := _renamed(dataset, prior, level)) is not None:
            found.append(Told("delete", level, _uid(old, Level.STUDY), time, {}, (_said(old, level),)))
    by_study: dict[str, list[Said]] = {}
    for dataset in datasets:
        by_study.setdefault(_uid(dataset, Level.STUDY), []).append(_said(dataset, level))
    found += [Told(event["action"], level, uid, time, reason, tuple(said)) for uid, said in by_study.items()]
    return found


def moment(text: str) -> int:
    """UTC microseconds of ISO 8601 with offset, or of a full DICOM DT."""
    if match := _DT.fullmatch(text):
        found = datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S%f%z")
    else:
        found = datetime.fromisoformat(text)
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@cache
def patient_attributes() -> frozenset[str]:
    """The tags of the Patient Module that an inventory's record of a study holds: group 0010 of the table's study
    Items, which have none of the patient's condition at the time of the study.
    """
    condition = {"00101010", "00101020", "00101030"}  # age, size, weight: Patient Study Module
    return frozenset(tag for tag in recordable(Level.STUDY) if tag.startswith("0010")) - condition


def _news(dataset: Json, prior: Json, time: int) -> Iterator[News]:
    """News of the patient that the data set names, and of the one before, who becomes that patient.

    The prior identity is what ``prior`` gives; what it leaves out is as in the data set.
    """
    attributes = flat_item(dataset, {tag: recordable(Level.STUDY)[tag] for tag in patient_attributes()}, Repairs())
    given = flat_item(prior, {tag: recordable(Level.STUDY)[tag] for tag in (PATIENT_ID, ISSUER)}, Repairs())
    patient, before = patient_of(attributes), patient_of(attributes | given)
    # The patient has this ID and this issuer from now on, also where the issuer is none.
    attributes |= {PATIENT_ID: patient.id, ISSUER: patient.issuer}
    yield News(patient, patient, time, attributes)
    if before != patient:
        yield News(before, patient, time, attributes)


def patient_of(attributes: Item) -> Patient:
    return Patient(str(attributes.get(PATIENT_ID, "")), str(attributes.get(ISSUER, "")))


def _renamed(dataset: Json, prior: Json, level: Level) -> Json | None:
    """The old identity of what the data set names, if ``prior`` has another."""
    uids = {_UIDS[one]: dataset[_UIDS[one]] for one in _LEVELS[: _LEVELS.index(level) + 1]}
    before = uids | {tag: prior[tag] for tag in uids if tag in prior}
    return before if before != uids else None


def _lowest(dataset: Json) -> Level:
    named = [level for level, tag in _UIDS.items() if tag in dataset]
    return named[-1] if named else Level.PATIENT


def _uid(dataset: Json, level: Level) -> str:
    return str(dataset[_UIDS[level]]["Value"][0])


def _said(dataset: Json, level: Level) -> Said:
    depth = _LEVELS.index(level)
    return Said(
        series_uid=_uid(dataset, Level.SERIES) if depth > 0 else "",
        sop_uid=_uid(dataset, Level.INSTANCE) if depth > 1 else "",
        attributes={one: flat_item(dataset, _allowed(level, one), Repairs()) for one in _LEVELS[: depth + 1]},
        announced_series=_number(dataset, "00201206"),
        announced_instances=_number(dataset, "00201208"),
    )


@cache
def _allowed(level: Level, one: Level) -> dict[str, Attribute]:
    """An attribute that is known at several levels belongs to that of the event."""
    own = recordable(level)
    return {tag: row for tag, row in recordable(one).items() if one is level or tag not in own}


def _number(dataset: Json, tag: str) -> int | None:
    values = dataset.get(tag, {}).get("Value")
    return int(values[0]) if values else None
