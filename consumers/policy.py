"""How events are consumed: what an operator may decide, as frozen values. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KafkaPolicy:
    """Where the broker is and how this process joins its consumer group."""

    bootstrap_servers: tuple[str, ...]
    group_id: str
    session_timeout: float
    max_poll_records: int
    timeout: float


@dataclass(frozen=True, slots=True)
class ConsumerPolicy:
    """What is believed of an event's time, how many bad messages are too many, how often progress is published."""

    max_clock_skew: float
    max_out_of_order: float
    dlq_limit: float
    dlq_window: int
    watermark_interval: float
    shutdown_timeout: float


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """One archive that is followed. ``timezone`` is an IANA name, for its times that carry no offset."""

    name: str
    topics: tuple[str, ...]
    format: str
    timezone: str
