"""The metrics, in the Prometheus text format: one typed list of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

GAUGES: Final = {
    "stocktake_studies": "Studies known, removed ones included",
    "stocktake_backlog_studies": "Studies changed since they were last inventoried",
    "stocktake_watermark_age_seconds": "Age of the watermark; absent while there is none",
    "stocktake_head_sequence": "Sequence of the head inventory; 0 before the first",
    "stocktake_stopped": "1 while too many dead letters keep the consumers stopped",
}
COUNTER: Final = "stocktake_consumed_total"
COUNTER_HELP: Final = "What consumers counted, by name (see the README)"


def to_prometheus(standings: Sequence[Mapping[str, Any]]) -> str:
    """The metrics of repositories, each given as :meth:`monitor.status.Status.to_json` has it."""
    lines = []
    for name, text in GAUGES.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for standing in standings:
            value = _gauge(name, standing)
            if value is not None:
                lines.append(f'{name}{{repository="{standing["repository"]}"}} {value}')
    lines += [f"# HELP {COUNTER} {COUNTER_HELP}", f"# TYPE {COUNTER} counter"]
    lines += [
        f'{COUNTER}{{repository="{standing["repository"]}",name="{name}"}} {count}'
        for standing in standings
        for name, count in standing["counters"].items()
    ]
    return "\n".join(lines) + "\n"


def _gauge(name: str, standing: Mapping[str, Any]) -> float | None:
    values: dict[str, float | None] = {
        "stocktake_studies": standing["studies"],
        "stocktake_backlog_studies": standing["backlog"],
        "stocktake_watermark_age_seconds": standing["watermark_age"],
        "stocktake_head_sequence": 0 if standing["head"] is None else standing["head"]["sequence"],
        "stocktake_stopped": int(standing["stopped"] is not None),
    }
    return values[name]
