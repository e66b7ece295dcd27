"""Events of patients among simulated events: a rename, or a merge of a patient who was seen lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Final

from state.times import to_iso
from tests.oracle.events import Json, moment

_EACH: Final = 150  # one event in so many, on average
_REMEMBERED: Final = 40  # patients who were seen lately
_AGAIN: Final = 0.2  # of the events of patients: come twice
_IDENTITY: Final = ("00100020", "00100021")  # Patient ID and its issuer


def with_news(events: Iterator[Json], rng: Random) -> Iterator[Json]:
    """The events, and what is told of their patients in between, at the time of the archive's clock."""
    seen: deque[Json] = deque(maxlen=_REMEMBERED)
    clock, number = 0, 0
    for event in events:
        yield event
        clock = max(clock, moment(event["time"]) if "time" in event else 0)
        dataset = event["datasets"][0] if "datasets" in event else event["dataset"]
        identity = {tag: dataset[tag] for tag in _IDENTITY if tag in dataset}
        if identity.get("00100020", {}).get("Value") and identity not in seen:
            seen.append(identity)
        if seen and rng.randrange(_EACH) == 0:
            number += 1
            news = _news(rng, seen) | {"id": f"patient-{number}", "time": to_iso(clock)}
            yield news
            if rng.random() < _AGAIN:
                yield news


def _news(rng: Random, seen: deque[Json]) -> Json:
    patient, other = rng.choice(seen), rng.choice(seen)
    name = {"vr": "PN", "Value": [{"Alphabetic": f"Told^Later {rng.randrange(1000)}"}]}
    event: Json = {"action": "update", "level": "PATIENT", "dataset": patient | {"00100010": name}}
    return event if rng.random() < 0.5 or patient == other else event | {"prior": other}
