"""What a cutover waits for, as frozen values. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from state.policy import ComparisonPolicy


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
