"""An archive's events that go round: after every whole round the archive holds what it held after the one before.

Whatever a round tells of (an instance, an attribute), its last word on it is the same each time, so what is known after
a round does not depend on what was known before. So state and inventories must stop growing, and what they should be in
the end follows from the events of a round, however many rounds there were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

import orjson

from state.attributes import Level
from state.times import MICROSECONDS, parse_time, to_iso
from tests.benchmarks.events import INTERLEAVED, instance_events
from tests.benchmarks.uids import vendor
from tests.oracle.events import Json, Told, read_all
from tests.oracle.study import State, Study

INSTANCES: Final = 20  # of a study
_SERIES_LENGTH: Final = 10
_UPDATED: Final = 0.3  # of the studies
_THINNED: Final = 0.2  # of the studies lose an instance
_DELETED: Final = 0.1  # of the studies; half of these are stored again
_ROUNDS: Final = 2  # after which nothing new can come

_TIME: Final = b'"@time@"'
_BEGIN: Final = parse_time("2026-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Message:
    """A record's key, and its value on either side of the event's time."""

    key: bytes
    head: bytes
    tail: bytes

    def at(self, time: int) -> bytes:
        """The value of an event that happens at ``time``, UTC microseconds."""
        second, fraction = divmod(time, MICROSECONDS)
        return b'%s"%s.%06d+00:00"%s' % (self.head, _text(second), fraction, self.tail)


@lru_cache(maxsize=2)
def _text(second: int) -> bytes:
    """A second since 1970 as ISO 8601 without offset. Events of one second share it."""
    return to_iso(second * MICROSECONDS)[:19].encode("ascii")


def round_of(studies: int, seed: int) -> list[Message]:
    """A round in the order in which it is sent. Each event has to be later than the one before."""
    found = []
    for event in _events(studies, seed):
        head, tail = orjson.dumps(event | {"time": "@time@"}).split(_TIME)
        found.append(Message(_uid(event).encode("ascii"), head, tail))
    return found


def outcome(studies: int, seed: int) -> dict[str, State]:
    """What each study comes to, without its Study Update DateTime, by the oracle."""
    found: dict[str, Study] = {}
    now = _BEGIN
    for _ in range(_ROUNDS):
        for event in _events(studies, seed):
            now += MICROSECONDS
            for told in read_all(event | {"time": to_iso(now)}, now):
                assert isinstance(told, Told)
                found.setdefault(told.study_uid, Study()).apply(told)
    return {uid: without_time(study.effective(Level.INSTANCE, None)) for uid, study in found.items()}


def without_time(state: State) -> State:
    return {name: value for name, value in state.items() if name != "time"}


def _events(studies: int, seed: int) -> Iterator[Json]:
    """Events without a time. Studies arrive some at a time, and each is changed, or not, once it is there."""
    rng = Random(seed)
    for first in range(0, studies, INTERLEAVED):
        count = min(INTERLEAVED, studies - first)
        for _, value in instance_events(count, INSTANCES, first=first, series_length=_SERIES_LENGTH):
            event = orjson.loads(value)
            del event["time"]
            yield event
        for study in range(first, first + count):
            yield from _changes(study, rng)


def _changes(study: int, rng: Random) -> Iterator[Json]:
    if rng.random() < _UPDATED:
        yield _event(study, "update", {"00081030": {"vr": "LO", "Value": [f"corrected {rng.randrange(1000)}"]}})
    if rng.random() < _THINNED:
        series = 1 + rng.randrange(INSTANCES // _SERIES_LENGTH)
        instance = vendor(study, series, 1 + rng.randrange(_SERIES_LENGTH))
        of = {"0020000E": _ui(vendor(study, series, 0)), "00080018": _ui(instance)}
        yield _event(study, "delete", of, "INSTANCE")
    if rng.random() < _DELETED:
        yield _event(study, "delete", {})
        if rng.random() < 0.5:
            for _, value in instance_events(1, INSTANCES // 2, first=study, series_length=_SERIES_LENGTH):
                event = orjson.loads(value)
                del event["time"]
                yield event


def _event(study: int, action: str, dataset: Json, level: str = "STUDY") -> Json:
    name = f"{study}-{action}-{level}"
    return {"id": name, "action": action, "level": level, "dataset": {"0020000D": _ui(vendor(study, 0, 0))} | dataset}


def _ui(uid: str) -> Json:
    return {"vr": "UI", "Value": [uid]}


def _uid(event: Json) -> str:
    return str(event["dataset"]["0020000D"]["Value"][0])
