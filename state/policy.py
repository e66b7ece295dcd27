"""Where the state lives and the numbers that are fixed when it is created. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedisPolicy:
    """How to reach Redis or Valkey. ``username`` and ``password`` win over those in ``url``; empty means none."""

    url: str
    username: str
    password: str
    timeout: float


@dataclass(frozen=True, slots=True)
class StatePolicy:
    """``shards`` is fixed when a repository's state is created and checked at every start."""

    shards: int
