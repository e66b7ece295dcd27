"""Messages that Stocktake itself writes to a topic, in the native form (docs/events.md): for bridges, crawls, looks.

All but heartbeats are keyed by the study, so that they keep their order with what the archive tells of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import orjson

from consumers.archives.archive import DicomJson
from consumers.events import Action
from state.attributes import STUDY_INSTANCE_UID, Level
from state.debts import is_reference
from state.times import to_iso

_LARGEST: Final = 500_000  # bytes of data sets in one message; brokers take a million by default


class Message(NamedTuple):
    """What is sent: the key decides the partition."""

    key: bytes
    value: bytes


def study_key(study_instance_uid: str) -> bytes:
    """The key of all messages of a study."""
    return study_instance_uid.encode("ascii")


def uid_element(uid: str) -> DicomJson:
    """A UID as an element of the DICOM JSON Model."""
    return {"vr": "UI", "Value": [uid]}


def events(
    action: Action,
    level: Level,
    study_instance_uid: str,
    time: int,
    datasets: Sequence[DicomJson],
    *,
    answers: str = "",
) -> Iterator[Message]:
    """Events of one study, each with as many data sets as go into a message. ``time`` is UTC microseconds."""
    head = {"action": str(action), "level": str(level), "time": to_iso(time)}
    if answers:
        head["answers"] = answers
    key = study_key(study_instance_uid)
    page: list[orjson.Fragment] = []
    size = 0
    for dataset in datasets:
        text = orjson.dumps(dataset)
        if page and size + len(text) > _LARGEST:
            yield Message(key, _with_datasets(head, page))
            page, size = [], 0
        page.append(orjson.Fragment(text))
        size += len(text)
    if page:
        yield Message(key, _with_datasets(head, page))


def _with_datasets(head: dict[str, str], page: Sequence[orjson.Fragment]) -> bytes:
    # One data set has the form that is read fastest.
    return orjson.dumps(head | ({"dataset": page[0]} if len(page) == 1 else {"datasets": page}))


def look(owed: str, time: int) -> Message:
    """The study is to be looked up in the archive, or what it calls so (:mod:`state.debts`)."""
    value: DicomJson = {"action": "look", "time": to_iso(time)}
    if is_reference(owed):
        value["owed"] = owed
    else:
        value["dataset"] = {STUDY_INSTANCE_UID: uid_element(owed)}
    return Message(owed.encode("ascii"), orjson.dumps(value))


def settle(owed: str, answers: str, time: int, key: bytes) -> Message:
    """What was owed under that name is paid. ``key`` is that of the message that made the debt."""
    return Message(key, orjson.dumps({"action": "settle", "owed": owed, "answers": answers, "time": to_iso(time)}))


def heartbeat(sender: str, time: int) -> bytes:
    """For every partition: whoever sends it has told all that it knew at ``time``."""
    return orjson.dumps({"action": "heartbeat", "sender": sender, "time": to_iso(time)})
