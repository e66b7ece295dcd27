"""What an archive tells: events of one study, and of one patient, their values checked and in the state's flat form.

Beside them stands what Stocktake itself writes to a topic: that something is to be looked up, that it was, and that a
bridge is alive.

They are made once for each message, so they are msgspec structures: a fifth of the cost of a frozen dataclass.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from state.attributes import Level
from state.patient_news import Patient
from state.values import Item


class Action(StrEnum):
    """What happened to the entities of an event."""

    STORE = "store"
    UPDATE = "update"
    DELETE = "delete"


class BadEvent(ValueError):
    """A message that is no event; the text says why, without any value of it. It goes to the dead-letter topic."""


class Rejection(Struct, frozen=True, gc=False):
    """What a rejection note rejects: instances of its own study (Series and SOP Instance UID), for ``reason``, a code
    Item; and the other studies that it names.
    """

    reason: Item
    instances: tuple[tuple[str, str], ...]
    elsewhere: tuple[str, ...]


class Entity(Struct, frozen=True, gc=False):
    """One study, series or instance that an event names, and what it says of it and of what lies above.

    ``rejects``: it is a rejection note. The counts are what the event announced (0020,1206 and 0020,1208); None where
    it did not. Items may be shared with other events of the same series and are never changed.
    """

    series_instance_uid: str | None
    sop_instance_uid: str | None
    study: Item
    series: Item = field(default_factory=dict)
    instance: Item = field(default_factory=dict)
    expected_series: int | None = None
    expected_instances: int | None = None
    rejects: Rejection | None = None


class Event(Struct, frozen=True, gc=False):
    """One event of one study. ``time`` is UTC microseconds; ``reason`` is a code Item, empty if not stated.

    ``lacking``: its archive says less than a record needs; what it does say is laid over what is known, and the study
    is owed a look at the archive. ``answers``: it says what was found there, on account of the debt of that name, and
    counts only while that is the study's debt (docs/decisions/0019); empty for what an archive tells by itself.
    """

    action: Action
    level: Level
    study_instance_uid: str
    time: int
    entities: tuple[Entity, ...]
    reason: Item = field(default_factory=dict)
    lacking: bool = False
    answers: str = ""


class PatientEvent(Struct, frozen=True, gc=False):
    """What is true of a patient from ``time`` on (UTC microseconds); ``prior`` is who that was before, if another.

    ``attributes`` hold the identifiers of ``patient`` (docs/decisions/0010).
    """

    patient: Patient
    prior: Patient | None
    time: int
    attributes: Item


class Look(Struct, frozen=True, gc=False):
    """Something is to be looked up in the archive: a study by its UID, or a reference (:mod:`state.debts`)."""

    owed: str
    time: int


class Settle(Struct, frozen=True, gc=False):
    """The debt of that name is paid, if ``answers`` is still what is owed."""

    owed: str
    answers: str
    time: int


class Heartbeat(Struct, frozen=True, gc=False):
    """Whoever writes to this partition has told all that it knew at ``time`` (UTC microseconds)."""

    time: int


Told: TypeAlias = "Event | PatientEvent | Look | Settle | Heartbeat"
