"""Native events as the oracle reads them: written from the text of the contract, not from the program's own format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from state.attributes import Attribute, Level, recordable
from state.values import Item, Repairs, flat_item

Json = dict[str, Any]

MAX_CLOCK_SKEW: Final = 300_000_000  # microseconds; the default of consumer.max_clock_skew

_STUDY_UID: Final = "0020000D"
_SERIES_UID: Final = "0020000E"
_SOP_UID: Final = "00080018"
_REASON: Final = {"CodeValue": "00080100", "CodingSchemeDesignator": "00080102", "CodeMeaning": "00080104"}
_DT: Final = re.compile(r"(\d{14})\.(\d{6})([+-]\d{4})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEVELS: Final = (Level.STUDY, Level.SERIES, Level.INSTANCE)


@dataclass(frozen=True)
class Said:
    """What one data set says of one entity and of those above it."""

    series_uid: str
    sop_uid: str
    attributes: dict[Level, Item]
    announced_series: int | None
    announced_instances: int | None


@dataclass(frozen=True)
class Told:
    """One event. ``time`` is UTC microseconds."""

    action: str
    level: Level
    study_uid: str
    time: int
    reason: Item
    said: tuple[Said, ...]


def read_event(event: Json, timestamp: int) -> Told:
    """The event as the contract reads it; ``timestamp`` is its Kafka record's, UTC microseconds."""
    datasets = event["datasets"] if "datasets" in event else [event["dataset"]]
    level = Level(event["level"]) if "level" in event else _lowest(datasets[0])
    time = moment(event["time"]) if "time" in event else timestamp
    if time > timestamp + MAX_CLOCK_SKEW:
        time = timestamp
    reason = {tag: event["reason"][name] for name, tag in _REASON.items()} if event.get("reason") else {}
    return Told(
        action=event["action"],
        level=level,
        study_uid=_uid(datasets[0], _STUDY_UID),
        time=time,
        reason=reason,
        said=tuple(_said(dataset, level) for dataset in datasets),
    )


def moment(text: str) -> int:
    """UTC microseconds of ISO 8601 with offset, or of a full DICOM DT."""
    if match := _DT.fullmatch(text):
        found = datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S%f%z")
    else:
        found = datetime.fromisoformat(text)
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _lowest(dataset: Json) -> Level:
    if _SOP_UID in dataset:
        return Level.INSTANCE
    return Level.SERIES if _SERIES_UID in dataset else Level.STUDY


def _uid(dataset: Json, tag: str) -> str:
    return str(dataset[tag]["Value"][0])


def _said(dataset: Json, level: Level) -> Said:
    depth = _LEVELS.index(level)
    return Said(
        series_uid=_uid(dataset, _SERIES_UID) if depth > 0 else "",
        sop_uid=_uid(dataset, _SOP_UID) if depth > 1 else "",
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
