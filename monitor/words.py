"""Figures as people read them."""

from __future__ import annotations

from typing import Final

from state.comparison import Place

PLACES: Final = {
    Place.IN_SYNC: "in sync",
    Place.MISSING: "missing at the target",
    Place.INCOMPLETE: "incomplete at the target",
    Place.DIFFERENT: "different",
    Place.EXTRA: "at the target only",
    Place.REMOVED_AT_SOURCE_ONLY: "removed at the source only",
    Place.REMOVED_ON_BOTH: "removed on both",
    Place.OUT_OF_SCOPE: "out of scope",
    Place.COMPARED_ANEW: "to be compared anew",
    Place.OPEN_COMPARED_ANEW: "to be compared anew",
}


def duration(seconds: float) -> str:
    """The two largest parts of a duration: ``3 d 4 h``, ``2 h 5 min``, ``1 min 30 s``, ``12 s``."""
    whole = max(0, round(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count:,} {unit}" for count, unit in parts[:2] if count) or "0 s"
