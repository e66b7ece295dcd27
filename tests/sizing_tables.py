"""The tables of docs/sizing.md, worked out from the figures that the page states.

The page names each figure and where it is from; the formulas are here and, in words, in the page.
``python -m tests.sizing_tables`` puts the tables into the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.page_tables import fill

PAGE: Final = Path(__file__).parents[1] / "docs" / "sizing.md"

SIZES: Final = (1_000_000, 100_000_000, 1_000_000_000)  # instances
WORKERS: Final = (1, 2, 8)
YEAR: Final = 365

Figures = dict[str, float]


def figures(page: str) -> Figures:
    """The figures by name: the rows ``| `name` | value | ...``."""
    found = re.findall(r"^\| `([a-z0-9_]+)` \| ([\d,.]+) \|", page, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in found}


# --- formulas --------------------------------------------------------------------------------------------------


def studies(of: Figures, instances: int) -> float:
    return instances / of["instances_per_study"]


def rate(of: Figures, one_worker: float, workers: int) -> float:
    """Events a second: the second worker adds what was measured, each further one is taken to add the same."""
    return one_worker * (1 + (workers - 1) * (of["second_worker"] - 1))


def memory(of: Figures, instances: int, bytes_per_study: str) -> float:
    """What Redis should be given: the data and a reserve."""
    return studies(of, instances) * of[bytes_per_study] * of["reserve"]


def primaries(of: Figures, instances: int, bytes_per_study: str) -> int:
    return max(1, math.ceil(memory(of, instances, bytes_per_study) / (of["node_gb"] * 1e9)))


def disk(of: Figures, instances: int, bytes_per_study: str) -> float:
    """The append-only file at its largest: its base, what it grew by until it is rewritten, and the new base."""
    return 3 * studies(of, instances) * of[bytes_per_study]


def parts(of: Figures, instances: int, bytes_per_study: str) -> int:
    """Files of a baseline beside its root; 1: a single file without parts."""
    by_records = studies(of, instances) / of["max_records_per_instance"]
    by_bytes = studies(of, instances) * of[bytes_per_study] / (of["max_gb_per_instance"] * 1e9)
    return math.ceil(max(by_records, by_bytes, 1))


def listed_a_day(of: Figures, instances: int) -> float:
    """Study records that deltas list in a day: new studies, each as often as it is listed until it rests."""
    return studies(of, instances) * of["growth_a_year"] / YEAR * of["times_listed"]


def deltas_a_day(of: Figures) -> float:
    return 86_400 / of["interval_seconds"]


def record_bytes_a_day(of: Figures, instances: int, bytes_per_study: str) -> float:
    return listed_a_day(of, instances) * of[bytes_per_study]


def delta_bytes_a_day(of: Figures, instances: int, bytes_per_study: str) -> float:
    """Records, and what each inventory has beside them."""
    return record_bytes_a_day(of, instances, bytes_per_study) + deltas_a_day(of) * of["empty_delta_bytes"]


def tiers(of: Figures) -> int:
    """Tiers of a chain of a year without another baseline."""
    return math.ceil(math.log(deltas_a_day(of) * YEAR) / math.log(of["rollup_fanout"]))


def written_a_year(of: Figures, instances: int, bytes_per_study: str) -> float:
    """At most: each record of a delta is listed again once in each tier."""
    again = tiers(of) * record_bytes_a_day(of, instances, bytes_per_study)
    return (delta_bytes_a_day(of, instances, bytes_per_study) + again) * YEAR


def kept(of: Figures, instances: int, bytes_per_study: str) -> float:
    """At most, after a year: a baseline, what the head reaches beside it, and what retention still keeps."""
    baseline = studies(of, instances) * of[bytes_per_study]
    reached = record_bytes_a_day(of, instances, bytes_per_study) * YEAR
    replaced = written_a_year(of, instances, bytes_per_study) * of["retention_days"] / YEAR
    return baseline + reached + replaced


# --- tables ----------------------------------------------------------------------------------------------------


def tables(of: Figures) -> dict[str, list[str]]:
    """By name, as lines."""
    return {
        "redis": list(_table(_head("Redis"), _redis(of))),
        "fill": list(_table(_head("first fill"), _fill(of))),
        "baseline": list(_table(_head("a baseline"), _baseline(of))),
        "year": list(_table(_head("deltas"), _year(of))),
    }


def _redis(of: Figures) -> Iterator[tuple[str, list[str]]]:
    kinds = [("INSTANCE, vendor's UIDs", "instance_vendor"), ("INSTANCE, random UIDs", "instance_uuid")]
    kinds.append(("STUDY, told at study level", "study_told"))
    for what, name in kinds:
        redis, aof = f"redis_{name}", f"aof_{name}"
        yield f"memory, {what}", [_bytes(memory(of, one, redis)) for one in SIZES]
        yield f"primaries, {what}", [str(primaries(of, one, redis)) for one in SIZES]
        yield f"disk of the append-only file, {what}", [_bytes(disk(of, one, aof)) for one in SIZES]


def _fill(of: Figures) -> Iterator[tuple[str, list[str]]]:
    yield "events of instances in Kafka, not compressed", [_bytes(one * of["event_bytes"]) for one in SIZES]
    for workers in WORKERS:
        found = rate(of, of["instance_events"], workers)
        yield f"one event for each instance, {_workers(workers)}", [_time(one / found) for one in SIZES]
    for workers in WORKERS[:2]:
        found = rate(of, of["study_events"], workers)
        yield f"one event for each study, {_workers(workers)}", [_time(studies(of, one) / found) for one in SIZES]
    yield "import of an Inventory", [_time(studies(of, one) / of["imported"]) for one in SIZES]
    crawled = of["requests_a_second"] / of["requests_per_study"]
    yield "crawl", [_time(studies(of, one) / crawled) for one in SIZES]


def _baseline(of: Figures) -> Iterator[tuple[str, list[str]]]:
    yield "duration, STUDY", [_time(studies(of, one) / of["baseline_studies"]) for one in SIZES]
    yield "duration, INSTANCE", [_time(one / of["baseline_instances"]) for one in SIZES]
    for what, name in (
        ("STUDY, plain", "file_study_told"),
        ("STUDY, deflated", "deflated_study_told"),
        ("INSTANCE, plain", "file_instance_vendor"),
        ("INSTANCE, deflated, vendor's UIDs", "deflated_instance_vendor"),
        ("INSTANCE, deflated, random UIDs", "deflated_instance_uuid"),
    ):
        yield f"size, {what}", [_bytes(studies(of, one) * of[name]) for one in SIZES]
    yield "parts, STUDY", [str(parts(of, one, "file_study_told")) for one in SIZES]
    yield "parts, INSTANCE", [str(parts(of, one, "file_instance_vendor")) for one in SIZES]


def _year(of: Figures) -> Iterator[tuple[str, list[str]]]:
    yield "study records listed a day", [f"{listed_a_day(of, one):,.0f}" for one in SIZES]
    for what, name in (
        ("STUDY, plain", "file_study_told"),
        ("INSTANCE, plain", "file_instance_vendor"),
        ("INSTANCE, deflated, random UIDs", "deflated_instance_uuid"),
    ):
        yield f"a day's deltas, {what}", [_bytes(delta_bytes_a_day(of, one, name)) for one in SIZES]
        yield f"written in a year at most, {what}", [_bytes(written_a_year(of, one, name)) for one in SIZES]
        yield f"folder after a year at most, {what}", [_bytes(kept(of, one, name)) for one in SIZES]


def _head(what: str) -> list[str]:
    return [what, *(f"{one:,} instances" for one in SIZES)]


def _table(head: Sequence[str], body: Iterator[tuple[str, list[str]]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---|" + "--:|" * (len(head) - 1)
    for name, cells in body:
        yield f"| {name} | {' | '.join(cells)} |"


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{_three(number / size)} {unit}"
    return f"{_three(number / 1e3)} kB"


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds)} s" if seconds >= 1 else "under 1 s"


def _three(number: float) -> str:
    """Two digits that count, or all before the point: more would be more than is known."""
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.1f}"


def with_tables(page: str) -> str:
    """The page with each table between its marks worked out anew."""
    return fill(page, tables(figures(page)))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
