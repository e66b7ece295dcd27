"""The figures of a cutover at one moment: where all studies stand, how fast it goes, when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitor.forecast import WINDOW, Forecast, forecast
from monitor.lags import Lags, lags_of
from monitor.policy import CutoverPolicy
from state.comparison import OPEN, Place
from state.history import HOUR, MINUTE, History, Row
from state.pair import Pair, Standing
from state.times import MICROSECONDS, to_iso

# Of what is in the breakdowns: a place that says nothing of the migration's progress would only blur them.
_SHOWN: Final = tuple(place for place in Place if place is not Place.OPEN_COMPARED_ANEW)


def name_of(place: Place) -> str:
    """The name of a place in JSON."""
    return place.name.lower()


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it. ``now`` is UTC microseconds.

    ``exceptions`` are open for longer than ``grace``: they are not on their way any more. ``unseen`` are those of them
    that nobody has acknowledged. ``recompared``: every study was compared by the present rules.
    """

    now: int
    policy: CutoverPolicy
    standing: Standing
    exceptions: int
    unseen: int
    lags: Lags
    forecast: Forecast
    recompared: bool

    @property
    def oldest_seconds(self) -> float | None:
        """For how long the oldest study is open."""
        since = self.standing.oldest
        return None if since is None else max(0, self.now - since) / MICROSECONDS

    def to_json(self) -> dict[str, Any]:
        """A JSON object; times are ISO 8601 in UTC, durations seconds."""
        standing, ahead = self.standing, self.forecast
        return {
            "time": to_iso(self.now),
            "source": self.policy.rules.source,
            "target": self.policy.rules.target,
            "recompared": self.recompared,
            "places": {name_of(place): _sum(standing.places, place) for place in _SHOWN},
            "open": standing.open,
            "exceptions": self.exceptions,
            "unacknowledged": self.unseen,
            "oldest": None if standing.oldest is None else to_iso(standing.oldest),
            "oldest_seconds": self.oldest_seconds,
            "rates": {
                "window_seconds": ahead.window,
                "arrived_per_hour": ahead.arrived_per_hour,
                "settled_per_hour": ahead.settled_per_hour,
                "net_per_hour": ahead.net_per_hour,
            },
            "forecast": {
                "outlook": str(ahead.outlook),
                "seconds": ahead.seconds,
                "at": None if ahead.seconds is None else to_iso(self.now + round(ahead.seconds * MICROSECONDS)),
            },
            "lag": {
                "settled": self.lags.settled,
                "p50_seconds": self.lags.p50,
                "p95_seconds": self.lags.p95,
                "p99_seconds": self.lags.p99,
            },
            "modalities": list(_breakdown("modality", _by_modality(standing))),
            "years": list(_breakdown("year", _by_year(standing))),
            "days": list(_breakdown("day", standing.days)),
        }


def row_of(standing: Standing, lags: Lags, now: int) -> Row:
    """The row of history of this moment (UTC microseconds)."""
    oldest = None if standing.oldest is None else max(0, now - standing.oldest) / MICROSECONDS
    return Row(
        time=now // MICROSECONDS // MINUTE * MINUTE,
        arrived=standing.arrived,
        settled=standing.settled,
        in_sync=standing.places[Place.IN_SYNC],
        missing=standing.places[Place.MISSING],
        incomplete=standing.places[Place.INCOMPLETE],
        different=standing.places[Place.DIFFERENT],
        extra=standing.places[Place.EXTRA],
        removed_at_source_only=standing.places[Place.REMOVED_AT_SOURCE_ONLY],
        lag_p50=lags.p50,
        lag_p95=lags.p95,
        lag_p99=lags.p99,
        oldest=oldest,
    )


def take_figures(pair: Pair, history: History, policy: CutoverPolicy, now: int, *, recompared: bool) -> Figures:
    """Read where all studies stand, and what follows; ``now`` is UTC microseconds of the state's clock."""
    standing = pair.standing()
    hour = now // MICROSECONDS // HOUR
    lags = lags_of(standing.lags, (hour - 1, hour))
    row = row_of(standing, lags, now)
    rows = history.rows(MINUTE, row.time - WINDOW, row.time)
    exceptions = pair.open_since(now - round(policy.grace * MICROSECONDS))
    seen = pair.acknowledged_since(now - round(policy.grace * MICROSECONDS)) if standing.acknowledged else 0
    return Figures(now, policy, standing, exceptions, exceptions - seen, lags, forecast(rows, row), recompared)


def _by_modality(standing: Standing) -> Counter[tuple[Place, str]]:
    found: Counter[tuple[Place, str]] = Counter()
    for (place, modality, _), count in standing.groups.items():
        found[place, modality] += count
    return found


def _by_year(standing: Standing) -> Counter[tuple[Place, str]]:
    found: Counter[tuple[Place, str]] = Counter()
    for (place, _, year), count in standing.groups.items():
        found[place, year] += count
    return found


def _breakdown(what: str, counts: Counter[tuple[Place, str]]) -> Iterator[dict[str, Any]]:
    """An object for each value that is counted at all, in their order."""
    values: Sequence[str] = sorted({value for (_, value), count in counts.items() if count})
    for value in values:
        of_value = Counter({place: count for (place, one), count in counts.items() if one == value})
        places = {name_of(place): found for place in _SHOWN if (found := _sum(of_value, place))}
        yield {what: value, "places": places, "open": sum(counts[place, value] for place in OPEN)}


def _sum(counts: Counter[Place], place: Place) -> int:
    """Of a place; what is to be compared anew is that whether it was open or not."""
    return counts[place] + (counts[Place.OPEN_COMPARED_ANEW] if place is Place.COMPARED_ANEW else 0)
