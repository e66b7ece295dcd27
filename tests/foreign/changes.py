"""Events that come after an archive's Inventory was imported, and some that it has in it already.

Which study is changed how follows from its number, so that every kind meets imported studies of every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from state.times import to_iso
from tests.foreign.archive import CT, HOUR, SECOND, Record, content_time, prevailing, study_uid
from tests.oracle.adversary import BEGIN, element
from tests.oracle.events import Json

BEGUN: Final = content_time(3)  # when the root was begun: what was told up to then is in it
REASON: Final = {"CodeValue": "113001", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Rejected for Quality Reasons"}


@dataclass(frozen=True)
class Message:
    """An event and when it is told: its record's timestamp, UTC microseconds."""

    event: Json
    timestamp: int


def changes(studies: int, part: int, parts: int, *, before: bool = False) -> Iterator[Message]:
    """What happens in one of several parts of time to an archive of so many studies, to one study in 20 or so.

    ``before``: only what comes to the same if it is applied before the Inventory is imported. A study of which it is
    not known that it was removed before does not.
    """
    moment = BEGIN + part * HOUR
    for number in range(part, studies, 20 * parts):
        kinds = list(_KINDS)
        kind = kinds[number // (20 * parts) % len(kinds)]
        told = prevailing(number)
        if not before or (kind != "late" and not (kind == "known already, and changed" and told.removed)):
            yield from _KINDS[kind](told, moment)
        moment += SECOND
    for number in range(studies + part, studies + max(studies // 50, 4), parts):
        yield Message(_store(study_uid(number), 1, 1, moment), moment)
        yield Message(_store(study_uid(number), 1, 2, moment + 1), moment)
        moment += SECOND


def updated(record: Record) -> int:
    """The update time with which a record is imported: that of its Inventory if it has none."""
    return content_time(record.edition) if record.updated is None else record.updated


def _stored(record: Record, moment: int) -> Iterator[Message]:
    """Another instance; a removed study comes back with it alone."""
    yield Message(_store(record.uid, 1, 900, moment), moment)


def _updated(record: Record, moment: int) -> Iterator[Message]:
    values = {"00081030": element("LO", "Corrected"), "00100040": element("CS", "O")}
    yield Message(_event("update", "STUDY", moment, record.uid, values), moment)


def _deleted(record: Record, moment: int) -> Iterator[Message]:
    yield Message(_event("delete", "STUDY", moment, record.uid, {}) | {"reason": REASON}, moment)


def _thinned(record: Record, moment: int) -> Iterator[Message]:
    """A series of it goes, or an instance."""
    if len(record.series) > 1:
        yield Message(_event("delete", "SERIES", moment, record.uid, _uids(record.uid, 1)), moment)
    else:
        yield Message(_event("delete", "INSTANCE", moment, record.uid, _uids(record.uid, 1, 1)), moment)


def _deleted_and_sent_anew(record: Record, moment: int) -> Iterator[Message]:
    yield from _deleted(record, moment)
    yield Message(_store(record.uid, 1, 1, moment + 2), moment + SECOND)


def _known_already(record: Record, moment: int) -> Iterator[Message]:
    """The topic goes back to before the Inventory was begun: its history of the study was told, and is, in it."""
    last = updated(record)
    told = min(last + 3_000, BEGUN)
    yield Message(_store(record.uid, 1, 1, last - 3_000), told)
    yield Message(_store(record.uid, 1, 800, last - 2_500), told)
    yield Message(_event("update", "STUDY", last - 2_000, record.uid, {"00081030": element("LO", "Of old")}), told)
    yield Message(_event("delete", "STUDY", last - 1_500, record.uid, {}), told)
    yield Message(_store(record.uid, 1, 1, last - 1_000), told)


def _known_already_and_changed(record: Record, moment: int) -> Iterator[Message]:
    yield from _known_already(record, moment)
    yield from _stored(record, moment)


def _late(record: Record, moment: int) -> Iterator[Message]:
    """Older than the record, but told after its Inventory was begun: nobody can have known."""
    yield Message(_store(record.uid, 1, 700, updated(record) - 5_000), moment)
    yield Message(_event("update", "SERIES", updated(record) - 4_000, record.uid, _uids(record.uid, 1)), moment)


def _renamed(record: Record, moment: int) -> Iterator[Message]:
    """The patient has another name in all studies."""
    values = {tag: element("LO", record.values[tag].read) for tag in ("00100020", "00100021")}
    values["00100010"] = element("PN", {"Alphabetic": "Renamed^By Event"})
    yield Message({"action": "update", "level": "PATIENT", "time": to_iso(moment), "dataset": values}, moment)


_KINDS: Final[dict[str, Callable[[Record, int], Iterator[Message]]]] = {
    "stored": _stored,
    "updated": _updated,
    "deleted": _deleted,
    "thinned": _thinned,
    "deleted and sent anew": _deleted_and_sent_anew,
    "known already": _known_already,
    "known already, and changed": _known_already_and_changed,
    "late": _late,
    "renamed": _renamed,
}


def _store(study: str, series: int, instance: int, moment: int) -> Json:
    values = _uids(study, series, instance)
    return _event("store", "INSTANCE", moment, study, values | {"00080016": element("UI", CT)})


def _uids(study: str, series: int, instance: int | None = None) -> Json:
    found = {"0020000E": element("UI", f"{study}.{series}")}
    if instance is not None:
        found["00080018"] = element("UI", f"{study}.{series}.{instance}")
    return found


def _event(action: str, level: str, moment: int, study: str, values: Json) -> Json:
    dataset = {"0020000D": element("UI", study)} | values
    return {"action": action, "level": level, "time": to_iso(moment), "dataset": dataset}
