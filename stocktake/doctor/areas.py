"""The areas that are looked at, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stocktake.doctor import brokers, certificates, clocks, doors, folders, origins, outside, servers, states, versions
from stocktake.doctor.running import Area

AREAS: Final[dict[str, Area]] = {
    "settings": origins.check,
    "versions": versions.check,
    "clock": clocks.check,
    "kafka": brokers.check,
    "redis": servers.check,
    "state": states.check,
    "folder": folders.check,
    "http": doors.check,
    "tls": certificates.check,
    "archives": outside.check_archives,
    "sinks": outside.check_sinks,
}


def chosen(only: Sequence[str], without: Sequence[str]) -> dict[str, Area]:
    """The areas to look at: ``only`` these (empty: all), ``without`` those.

    Raises:
        ValueError: there is no area of a name.
    """
    unknown = [name for name in (*only, *without) if name not in AREAS]
    if unknown:
        raise ValueError(f"no area is called {unknown[0]}; there are {', '.join(AREAS)}")
    return {name: area for name, area in AREAS.items() if (not only or name in only) and name not in without}
