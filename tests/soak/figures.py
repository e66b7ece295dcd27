"""What a soak found, as JSON and for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.soak.conductor import Recovery


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum, in seconds."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    places = {"median": last // 2, "p95": round(last * 0.95), "max": last}
    return {name: round(ordered[place], 2) for name, place in places.items()}


def by_kind(recoveries: Sequence[Recovery]) -> dict[str, Any]:
    """Faults by kind: how many, and how long recovery took, for all and for those that were alone."""
    found: dict[str, Any] = {}
    for kind in sorted({one.kind for one in recoveries}):
        all_of_kind = [one.seconds for one in recoveries if one.kind == kind]
        alone = [one.seconds for one in recoveries if one.kind == kind and one.alone]
        found[kind] = {
            "count": len(all_of_kind),
            "recovery_seconds": spread(all_of_kind),
            "alone": {"count": len(alone), "recovery_seconds": spread(alone)},
        }
    return found
