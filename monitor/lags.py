"""Percentiles of how long studies were open before they were settled, from counts in buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from state.pair import milliseconds


@dataclass(frozen=True, slots=True)
class Lags:
    """Seconds, each the end of its bucket: at most a tenth too high. None if nothing was settled."""

    settled: int
    p50: float | None
    p95: float | None
    p99: float | None


def lags_of(lags: Counter[tuple[int, int]], hours: Iterable[int]) -> Lags:
    """Of what was settled in these hours since the epoch; ``lags`` counts by hour and bucket."""
    wanted = set(hours)
    buckets: Counter[int] = Counter()
    for (hour, bucket), count in lags.items():
        if hour in wanted:
            buckets[bucket] += count
    total = buckets.total()
    return Lags(total, *(_percentile(buckets, total, share) for share in (0.5, 0.95, 0.99)))


def _percentile(buckets: Counter[int], total: int, share: float) -> float | None:
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= total * share and seen:
            return milliseconds(bucket) / 1000
    return None
