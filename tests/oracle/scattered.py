"""Events whose order does not matter, for studies whose events come without a key, over all partitions.

Only instances are stored and removed, each instance says the same of itself and its series each time, and once it was
removed it is not stored at a later time. Then every order of the same events ends in the same study.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from state.times import MICROSECONDS, to_iso
from tests.oracle.adversary import BEGIN, CT, element
from tests.oracle.events import Json

ROOT: Final = "1.2.826.0.2"
_SERIES: Final = 2


@dataclass
class Scattered:
    """Draws such events; it remembers what was removed."""

    studies: int = 1
    instances: int = 8
    _removed: dict[str, Json] = field(default_factory=dict)

    def uids(self) -> set[str]:
        return {f"{ROOT}.{study}" for study in range(self.studies)}

    def draw(self, rng: Random, number: int) -> Json:
        """The event with that number; like the adversary's, no two have the same time."""
        study, instance = rng.randrange(self.studies), rng.randrange(self.instances)
        uid = f"{ROOT}.{study}.{instance % _SERIES}.{instance}"
        if uid in self._removed:
            return self._removed[uid]
        removing = instance % 3 == 0 and rng.random() < 0.4
        event: Json = {
            "action": "delete" if removing else "store",
            "time": to_iso(BEGIN + number * MICROSECONDS + number),
            "dataset": {
                "0020000D": element("UI", f"{ROOT}.{study}"),
                "0020000E": element("UI", f"{ROOT}.{study}.{instance % _SERIES}"),
                "00080018": element("UI", uid),
            },
        }
        if removing:
            self._removed[uid] = event
        else:
            event["dataset"] |= {
                "00080016": element("UI", CT),
                "00080060": element("CS", ("CT", "MR")[instance % _SERIES]),
                "00200013": element("IS", instance),
            }
        return event
