"""The end of step 1: what a batch tells, by shard and study, without what is applied already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from consumers.counts import CountName
from consumers.events import Action, Event, Heartbeat, PatientEvent, Told
from consumers.owing import Mixed, Pending
from state.attributes import ISSUER_OF_PATIENT_ID, PATIENT_ID

_UNKNOWN: Final = 1 << 63
_STORE: Final = Action.STORE  # most are stores, and to look an enumeration's member up is slow
_COUNT_OF: Final[dict[Action, CountName]] = {
    Action.STORE: "events_store",
    Action.UPDATE: "events_update",
    Action.DELETE: "events_delete",
}


class Decoded(Struct, gc=False):
    """One Kafka record of a partition (``<topic id>:<partition>``) and what it tells; nothing if it was no event.

    ``timestamp`` is the record's in UTC microseconds; one that is not known is later than any.
    """

    partition: str
    offset: int
    told: Sequence[Told]
    timestamp: int = _UNKNOWN


@dataclass(slots=True)
class Grouped:
    """What a batch tells. ``counts`` are of the events in ``pending``.

    ``named_again`` are studies of which an event that their own shard covers, and another does not, says whose they
    are: if that is the patient's shard, it has lost their index entry.
    """

    pending: Pending = field(default_factory=Pending)
    of_patients: list[PatientEvent] = field(default_factory=list)
    named_again: set[str] = field(default_factory=set)
    counts: Counter[CountName] = field(default_factory=Counter)


def group(batch: Sequence[Decoded], applied: Mapping[str, Sequence[int]], shard_of: Callable[[str], int]) -> Grouped:
    """Group a batch, each study's events in their order.

    ``applied`` is by partition the last offset that each shard covers. Whether the batch before is among that makes no
    difference: its offsets are lower.
    """
    found = Grouped()
    pending = found.pending
    stores, others = 0, dict.fromkeys(Action, 0)
    groups: dict[str, tuple[int, list[Mixed]]] = {}
    everywhere = {partition: min(offsets) for partition, offsets in applied.items()}
    for record in batch:
        partition, offset = record.partition, record.offset
        offsets = applied[partition]
        for told in record.told:
            counted: Action | None = None
            if isinstance(told, Event):
                uid, owing = told.study_instance_uid, told.lacking
                if told.answers:
                    owing = True
                else:
                    counted = told.action
            elif isinstance(told, PatientEvent):
                if offset > everywhere[partition]:
                    found.of_patients.append(told)
                continue
            elif isinstance(told, Heartbeat):
                continue
            else:
                uid, owing = told.owed, True
            of_study = groups.get(uid)
            if of_study is None:
                of_study = groups[uid] = (shard_of(uid), [])
            if offset > offsets[of_study[0]]:
                if owing:
                    pending.owing = True
                if counted is _STORE:
                    stores += 1
                elif counted is not None:
                    others[counted] += 1
                of_study[1].append((told, partition, offset))
            elif offset > everywhere[partition] and isinstance(told, Event) and _names_patient(told):
                found.named_again.add(uid)
    for uid, (shard, mixed) in groups.items():
        if mixed:
            pending.by_shard.setdefault(shard, {})[uid] = mixed
    for action, count in (others | {_STORE: stores}).items():
        found.counts[_COUNT_OF[action]] += count
    return found


def _names_patient(event: Event) -> bool:
    return any(PATIENT_ID in one.study or ISSUER_OF_PATIENT_ID in one.study for one in event.entities)
