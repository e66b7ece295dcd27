"""What is written and how the chain is kept, as frozen values. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from state.attributes import Level


@dataclass(frozen=True, slots=True)
class InventoryPolicy:
    """The Inventory SOP Instances themselves.

    More than the most records or bytes are split into parts. ``processes`` encode large slices. What
    the head does not reach any more is kept for ``retention``, for ever if that is 0.
    """

    dir: Path
    level: Level
    interval: float
    transfer_syntax: str
    write_empty: bool
    write_timezone: bool
    purpose: str
    manufacturer: str
    institution_name: str
    station_name: str
    uid_root: str
    lease: float
    max_records_per_instance: int
    max_bytes_per_instance: int
    processes: int
    retention: float


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """Where the chain begins and how it is kept shallow.

    ``start``: UTC microseconds, or None for the oldest update time in the state at the first cut.
    ``origin``: ``empty`` when the archive is followed from its first day, so that the beginning is open.
    """

    start: int | None
    origin: str
    rollup_fanout: int
