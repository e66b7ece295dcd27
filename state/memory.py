"""How much of its memory a Redis server uses, from what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that ``maxmemory`` counts, and ``maxmemory`` itself; None where there is no limit."""

    used: int
    limit: int | None

    @classmethod
    def of(cls, facts: Mapping[bytes, bytes]) -> Memory:
        """From the answer to ``INFO memory``. Buffers of replicas and of the append-only file do not count."""
        used = int(facts[b"used_memory"]) - int(facts.get(b"mem_not_counted_for_evict", b"0"))
        return cls(max(0, used), int(facts.get(b"maxmemory", b"0")) or None)

    @property
    def share(self) -> float:
        """Of the limit; 0 without one."""
        return 0.0 if self.limit is None else self.used / self.limit


def fullest(servers: Iterable[Memory]) -> Memory:
    """The server that refuses writes first: nearest to its limit, or the largest where none has one."""
    return max(servers, key=lambda one: (one.share, one.used))
