"""What an archive tells: one event of one study, its values checked and in the flat form of the state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from state.attributes import Level
from state.values import Item


class Action(StrEnum):
    """What happened to the entities of an event."""

    STORE = "store"
    UPDATE = "update"
    DELETE = "delete"


class BadEvent(ValueError):
    """A message that is no event; the text says why, without any value of it. It goes to the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One study, series or instance that an event names, and what it says of it and of what lies above.

    The counts are what the event announced (0020,1206 and 0020,1208); None where it did not.
    """

    series_instance_uid: str | None
    sop_instance_uid: str | None
    study: Item
    series: Item = field(default_factory=dict)
    instance: Item = field(default_factory=dict)
    expected_series: int | None = None
    expected_instances: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one study. ``time`` is UTC microseconds; ``reason`` is a code Item, empty if not stated."""

    action: Action
    level: Level
    study_instance_uid: str
    time: int
    entities: tuple[Entity, ...]
    reason: Item = field(default_factory=dict)
