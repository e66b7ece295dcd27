"""A deployment as the series that Prometheus has of it: one that is well, and how others differ from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.alerting import Series, Spans

Value: TypeAlias = "float | None"
Course: TypeAlias = Callable[[float], Value]  # minute -> value; None: no sample

TARGET: Final = 'job="stocktake",instance="10.0.0.1:8080"'
END: Final = -1  # to the end of the scenario

MAIN: Final = 'repository="main"'
_PARTITION: Final = f'{MAIN},topic="pacs.events",partition="0"'
_SINK: Final = f'{MAIN},sink="vna"'


@dataclass(frozen=True)
class Scenario:
    """A deployment that is well but for ``changes``: by metric, or by metric and labels, the course of its value.

    ``fires``: by alert the spans in which it fires, in minutes; no other alert does. ``near``: the alerts that a little
    more would let fire. ``minutes``: how long it is looked at, at least; ``step``: minutes between two scrapes.
    ``alone``: without other deployments in the same Prometheus.
    """

    name: str
    changes: Mapping[str, Course] = field(default_factory=dict)
    fires: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    near: tuple[str, ...] = ()
    minutes: int = 45
    step: int = 1
    alone: bool = False

    def series(self, minutes: int) -> Series:
        """The value of every series at every scrape."""
        courses = {self._key(name): course for name, course in HEALTHY.items()}
        courses |= {self._key(name): course for name, course in self.changes.items()}
        return {
            name: [course(minute) for minute in range(0, minutes + 1, self.step)] for name, course in courses.items()
        }

    def spans(self, minutes: int) -> Spans:
        """What is expected, in seconds."""
        last = minutes // self.step * self.step
        return {
            alert: [(begin * 60, (last if end == END else end) * 60)]
            for alert, (begin, end) in sorted(self.fires.items())
        }

    @staticmethod
    def _key(name: str) -> str:
        if name.endswith("}"):
            return name
        return f"{name}{{{LABELS.get(name, MAIN)},{TARGET}}}" if name != "up" else f"up{{{TARGET}}}"


def always(value: Value) -> Course:
    return lambda minute: value


def since(at: float, value: Value, before: Value, until: float = 10**9) -> Course:
    """``value`` from minute ``at`` to before ``until``, else ``before``."""
    return lambda minute: value if at <= minute < until else before


def grows(at: float, before: float, per_minute: float = 60.0, until: float = 10**9) -> Course:
    """As it was ``before``, but growing from minute ``at`` to before ``until``."""
    return lambda minute: before + per_minute * (minute - at) if at <= minute < until else before


def vanish(at: float, until: float = 10**9) -> dict[str, Course]:
    """No sample of anything but ``up`` from minute ``at`` to before ``until``: what a failed scrape leaves."""
    return {name: hidden(course, at, until) for name, course in HEALTHY.items() if name != "up"}


def hidden(course: Course, at: float, until: float) -> Course:
    """No sample from minute ``at`` to before ``until``."""
    return lambda minute: None if at <= minute < until else course(minute)


LABELS: Final = {
    "stocktake_build_info": 'version="0.1.0"',
    "stocktake_lag_messages": _PARTITION,
    "stocktake_partition_silent_seconds": _PARTITION,
    "stocktake_events_total": f'{MAIN},action="store"',
    "stocktake_times_changed_total": f'{MAIN},reason="ahead"',
    "stocktake_values_changed_total": f'{MAIN},outcome="emptied"',
    "stocktake_looks_total": f'{MAIN},outcome="found"',
    "stocktake_sink_trouble_seconds": _SINK,
}

# An archive of 1,000 events a minute that is inventoried every five minutes.
HEALTHY: Final[dict[str, Course]] = {
    "up": always(1),
    "stocktake_build_info": always(1),
    "stocktake_state_up": always(1),
    "stocktake_stopped": always(0),
    "stocktake_studies": lambda minute: 10**6 + 200 * minute,
    "stocktake_events_total": lambda minute: 10**6 + 1000 * minute,
    "stocktake_lag_messages": lambda minute: 40 + 30 * (minute % 3),
    "stocktake_partition_silent_seconds": lambda minute: minute % 2,
    "stocktake_watermark_age_seconds": lambda minute: 5 + minute % 2,
    "stocktake_max_out_of_order_seconds": always(5),
    "stocktake_heartbeat_age_seconds": lambda minute: 3 * (minute % 4),
    "stocktake_messages_lost_total": always(7),
    "stocktake_topics_anew_total": always(1),
    "stocktake_dead_letters_total": always(12),
    "stocktake_times_changed_total": always(3),
    "stocktake_values_changed_total": lambda minute: 100 + minute // 10,
    "stocktake_writer_leads": always(1),
    "stocktake_head_sequence": lambda minute: 17 + minute // 5,
    "stocktake_head_age_seconds": lambda minute: 12 + 60 * (minute % 5),
    "stocktake_inventory_interval_seconds": always(300),
    "stocktake_inventory_write_empty": always(1),
    "stocktake_backlog_studies": lambda minute: 10 + 40 * (minute % 5),
    "stocktake_cut_age_seconds": lambda minute: 8 if minute % 5 == 0 else None,
    "stocktake_oldest_debt_cuts": lambda minute: minute % 2,
    "stocktake_sink_trouble_seconds": always(0),
    "stocktake_verified_findings": always(0),
    "stocktake_verified_age_seconds": lambda minute: (60 * minute) % 86_400,
    "stocktake_owed_looks": lambda minute: 5 + minute % 3,
    "stocktake_looks_total": lambda minute: 2 * minute,
    "stocktake_given_up_looks": always(0),
    "stocktake_redis_memory_used_bytes": lambda minute: 4e9 + 1e5 * minute,
    "stocktake_redis_memory_limit_bytes": always(8e9),
}
