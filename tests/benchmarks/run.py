"""``make bench``: measures the event path, the growth of the state and the inventories, on servers that it starts.

Prints tables and writes ``build/bench.json``, a flat object of name to number. docs/performance.md tells what the
numbers are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stocktake.settings import Settings, load
from tests.benchmarks import report
from tests.benchmarks.comparison import REPETITIONS, Comparison
from tests.benchmarks.cutover import POLICY, measure_cutover
from tests.benchmarks.figures_page import measure_page
from tests.benchmarks.growth import grow_series, grow_studies, sizes
from tests.benchmarks.measuring import in_own_process
from tests.benchmarks.servers import own_redis, process_id
from tests.benchmarks.writing import measure as measure_inventories
from tests.servers.kafka_broker import run_kafka

_OUTPUT: Final = Path("build/bench.json")
_PARTS: Final = {"cutover", "events", "growth", "inventories"}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: events of each kind; instances of one series; studies; studies of each kind of UID; studies
    written at study level, and with their instances; states of so many studies whose baselines' memory is compared.
    """

    events: int
    series: int
    studies: int
    sizes: int
    written: int
    with_instances: int
    memory: tuple[int, ...]


_FULL: Final = Size(300_000, 20_000, 1_000_000, 500, 100_000, 2_000, (10_000, 100_000, 1_000_000))
_QUICK: Final = Size(30_000, 2_000, 100_000, 50, 10_000, 200, (10_000, 100_000))


def main(words: Sequence[str]) -> None:
    size = _QUICK if "quick" in words else _FULL
    parts = _PARTS & set(words) or _PARTS
    found: report.Figures = {}
    print(report.machine())
    settings = load(None, {})
    with own_redis(settings) as redis:
        print(redis.description)
    if "events" in parts:
        found |= _compare(settings, size.events)
        print(report.table(found))
    if "growth" in parts:
        grown: report.Figures = {}
        for measure, count in ((grow_series, size.series), (grow_studies, size.studies), (sizes, size.sizes)):
            with own_redis(settings) as redis:
                grown |= in_own_process(measure, redis.settings, count)
        print(report.listing(grown))
        found |= grown
    if "inventories" in parts:
        written = measure_inventories(settings, size.written, size.with_instances, size.memory)
        print(report.listing(written))
        found |= written
    if "cutover" in parts:
        compared = measure_cutover(settings, size.events)
        compared |= measure_page(settings, POLICY, size.studies)
        print(report.listing(compared))
        found |= compared
    report.write(found, _OUTPUT)
    print(f"written to {_OUTPUT}")


def _compare(settings: Settings, count: int) -> report.Figures:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kafka").mkdir()
        with run_kafka(folder / "kafka") as broker:
            print(f"{broker.description}; {count:,} events of each kind, medians of {REPETITIONS} repetitions")
            if not broker.description.startswith("Apache Kafka"):
                raise SystemExit("the benchmark is for Apache Kafka; Java 17 and Maven start one")
            kafka = replace(settings.kafka, bootstrap_servers=tuple(broker.bootstrap_servers.split(",")))
            with_broker = replace(settings, kafka=kafka)
            return report.figures(Comparison(with_broker, broker, process_id(broker), folder, count).run())


def words(given: Sequence[str] | None = None) -> list[str]:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure; all of it by default.")
    choices = ("full", "quick", *sorted(_PARTS))
    parser.add_argument("words", nargs="*", choices=[*choices, []], metavar="|".join(choices))
    return list(parser.parse_args(given).words)
