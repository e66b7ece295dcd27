"""What a repository is expected to keep to, and what a cutover waits for, as frozen values. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from state.policy import ComparisonPolicy


@dataclass(frozen=True, slots=True)
class Pace:
    """What the settings let expect: an inventory each ``interval``, with ``write_empty`` also when nothing changed.

    The watermark is never younger than ``max_out_of_order``.
    """

    interval: float
    write_empty: bool
    max_out_of_order: float


@dataclass(frozen=True, slots=True)
class CutoverPolicy:
    """The two repositories and their rules, and what the readiness gate wants.

    A study that differs for less than ``grace`` is on its way. The gate wants nothing to have been open for ``quiet``,
    both watermarks younger than ``max_lag``, and an event from both sides within ``max_silence``.
    """

    rules: ComparisonPolicy
    grace: float
    quiet: float
    max_lag: float
    max_silence: float
