"""What was measured, for people and for programs: a table on stdout, and numbers by name for build/bench.json."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import orjson

from tests.benchmarks.measuring import Measured

Figures = dict[str, float]

# By key: what it is, and the path that it is compared with.
PATHS: Final = {
    "poll": ("kafka-python alone, instance events", "poll"),
    "tuned_poll": ("with the program's options, instances", "poll"),
    "decode": ("kafka-python alone, decoded by orjson", "poll"),
    "apply": ("the whole path, instance events", "poll"),
    "naive": ("one event, one transaction at a time", "poll"),
    "poll_study_events": ("kafka-python alone, study events", "poll_study_events"),
    "tuned_poll_study_events": ("with the program's options, studies", "poll_study_events"),
    "study_events": ("the whole path, study events", "poll_study_events"),
    "workers_1": ("stocktake consume, 1 worker", "poll"),
    "workers_2": ("stocktake consume, 2 workers", "poll"),
}

# Ratios of two paths' rates.
RATIOS: Final = {
    "decode_vs_poll": ("decode", "poll"),
    "apply_vs_poll": ("apply", "poll"),
    "study_events_vs_poll": ("study_events", "poll_study_events"),
    "apply_vs_tuned_poll": ("apply", "tuned_poll"),
    "study_events_vs_tuned_poll": ("study_events", "tuned_poll_study_events"),
    "apply_vs_naive": ("apply", "naive"),
    "workers_2_vs_1": ("workers_2", "workers_1"),
}

# Ratios of what two paths' own processes ask of a processor: the same where it is free, less disturbed where it is not.
CPU_RATIOS: Final = {f"{name}_by_cpu": RATIOS[name] for name in ("apply_vs_poll", "study_events_vs_poll")}

ROLES: Final = ("own", "broker", "redis")

_ALL_RATIOS: Final = (*RATIOS, *CPU_RATIOS)


def figures(measured: Mapping[str, Sequence[Measured]]) -> Figures:
    """The numbers of all :data:`PATHS`: medians of the repetitions, of memory the most, and the ratios of medians."""
    found: Figures = {}
    for key, runs in measured.items():
        found[f"{key}_per_second"] = median(one.per_second for one in runs)
        found[f"{key}_peak_mb"] = max(one.peak_bytes for one in runs) / 1e6
        for role in ROLES:
            found[f"{key}_{role}_cpu_per_100k"] = median(one.cpu_per_100k(role) for one in runs)
    for name, (path, base) in RATIOS.items():
        found[name] = found[f"{path}_per_second"] / found[f"{base}_per_second"]
    for name, (path, base) in CPU_RATIOS.items():
        found[name] = found[f"{base}_own_cpu_per_100k"] / found[f"{path}_own_cpu_per_100k"]
    return found


def table(found: Figures) -> str:
    """The paths and their ratios as tables in Markdown, for docs/performance.md.

    CPU is the seconds of processor time that 100,000 events cost.
    """
    lines = _header("path", "events/s", "to poll", "peak MB", "own CPU", "broker's", "Redis's")
    for key, (name, base) in PATHS.items():
        rate = found[f"{key}_per_second"]
        cpu = [f"{found[f'{key}_{role}_cpu_per_100k']:.2f}" for role in ROLES]
        peak = found[f"{key}_peak_mb"]
        lines.append(_row(name, f"{rate:,.0f}", f"{rate / found[f'{base}_per_second']:.2f}", f"{peak:.0f}", *cpu))
    return "\n".join([*lines, *_header("ratio", ""), *_numbers({name: found[name] for name in _ALL_RATIOS})])


def listing(found: Figures) -> str:
    """Numbers by name as a table in Markdown."""
    return "\n".join([*_header("name", ""), *_numbers(found)])


def _numbers(found: Figures) -> list[str]:
    return [_row(f"`{name}`", f"{value:,.0f}" if value >= 1000 else f"{value:.2f}") for name, value in found.items()]


def _header(first: str, *others: str) -> list[str]:
    return ["", _row(first, *others), "|---" + "|--:" * len(others) + "|"]


def _row(first: str, *others: str) -> str:
    return " | ".join((f"| {first:<40}", *(f"{cell:>9}" for cell in others))) + " |"


def machine() -> str:
    """What this was measured on, in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("kafka-python", "redis", "hiredis", "orjson"))
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores of {_processor()}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def write(found: Figures, path: Path) -> None:
    """A flat JSON object of name to number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = {name: round(value, 3) for name, value in found.items()}
    path.write_bytes(orjson.dumps(rounded, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
