"""How each sink of a repository is with its inventories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.partitions import seconds_since
from state.deliveries import Delivered
from state.times import to_iso


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """One sink now.

    ``sequence`` is the last inventory that it has whole (0: none), ``behind`` how many it does not have yet.
    ``inventories``, ``files``, ``bytes`` and ``failures`` count since the sink came. ``trouble`` is why nothing can be
    delivered now, None if nothing is wrong; ``trouble_since`` (ISO 8601) and ``trouble_age`` (seconds) say how long.
    """

    name: str
    sequence: int
    behind: int
    inventories: int
    files: int
    bytes: int
    failures: int
    trouble: str | None
    trouble_since: str | None
    trouble_age: float | None


def sink_statuses(
    names: Sequence[str], delivered: Mapping[str, Delivered], head: Mapping[str, Any] | None, now: int
) -> Iterator[SinkStatus]:
    """The status of each of these sinks; ``head`` is the head's manifest, ``now`` UTC microseconds."""
    for name in names:
        found = delivered.get(name)
        if found is None:
            yield SinkStatus(name, 0, 0 if head is None else len(head["members"]), 0, 0, 0, 0, None, None, None)
            continue
        since = found.since
        yield SinkStatus(
            name=name,
            sequence=found.sequence,
            behind=_behind(found, head),
            inventories=found.inventories,
            files=found.files,
            bytes=found.bytes,
            failures=found.failures,
            trouble=found.trouble or None,
            trouble_since=None if since is None else to_iso(since),
            trouble_age=None if since is None else seconds_since(since, now),
        )


def _behind(found: Delivered, head: Mapping[str, Any] | None) -> int:
    """Of what was there when the sink came it gets only what is reached; of the rest all."""
    if head is None:
        return 0
    first = [one for one in head["members"] if found.sequence < one["sequence"] <= found.start_sequence]
    later = int(head["sequence"]) - max(found.sequence, found.start_sequence)
    return len(first) + max(0, later)
