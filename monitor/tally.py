"""Studies counted by place, modality and year, with what is live on either side: of the state or of two inventories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.figures import name_of
from state.comparison import OPEN, Place

_LIVE_AT_BOTH: Final = (Place.IN_SYNC, Place.INCOMPLETE, Place.DIFFERENT)
_LIVE_AT_SOURCE: Final = (*_LIVE_AT_BOTH, Place.MISSING)
_LIVE_AT_TARGET: Final = (*_LIVE_AT_BOTH, Place.EXTRA, Place.REMOVED_AT_SOURCE_ONLY)


@dataclass(frozen=True, slots=True)
class Line:
    """The studies of one modality, of one year, or all; what is to be compared anew is on neither side."""

    value: str
    places: Mapping[Place, int]

    @property
    def source(self) -> int:
        """Live in scope at the source."""
        return self._sum(_LIVE_AT_SOURCE)

    @property
    def target(self) -> int:
        """Live in scope at the target."""
        return self._sum(_LIVE_AT_TARGET)

    @property
    def open(self) -> int:
        """Not settled."""
        return self._sum(OPEN)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every place."""
        places = {name_of(place): self.places.get(place, 0) for place in Place}
        return {"source_live": self.source, "target_live": self.target, "open": self.open, "places": places}

    def _sum(self, places: tuple[Place, ...]) -> int:
        return sum(self.places.get(place, 0) for place in places)


@dataclass(frozen=True, slots=True)
class Tally:
    """All counts; ``modalities`` and ``years`` in the order of their values."""

    all: Line
    modalities: tuple[Line, ...]
    years: tuple[Line, ...]

    @classmethod
    def of(cls, groups: Mapping[tuple[Place, str, str], int]) -> Tally:
        """From the number of studies by place, modality and year."""
        places: Counter[Place] = Counter()
        for (place, _, _), count in groups.items():
            places[place] += count
        return cls(Line("all", +places), tuple(_lines(groups, 1)), tuple(_lines(groups, 2)))

    def to_json(self) -> dict[str, Any]:
        """A JSON object: equal for equal counts."""
        return self.all.to_json() | {
            "modalities": [{"modality": line.value} | line.to_json() for line in self.modalities],
            "years": [{"year": line.value} | line.to_json() for line in self.years],
        }


def _lines(groups: Mapping[tuple[Place, str, str], int], by: int) -> Iterator[Line]:
    found: dict[str, Counter[Place]] = {}
    for group, count in groups.items():
        found.setdefault(str(group[by]), Counter())[group[0]] += count
    for value in sorted(found):
        if places := +found[value]:
            yield Line(value, places)
