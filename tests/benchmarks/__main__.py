"""``make bench``: measures the event path and the growth of the state, on real servers that it starts itself.

Prints tables and writes ``build/bench.json``, a flat object of name to number. docs/performance.md tells what the
numbers are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stocktake.embedded import ServerProcess
from stocktake.settings import Settings, load
from tests.benchmarks import report
from tests.benchmarks.comparison import REPETITIONS, Comparison
from tests.benchmarks.growth import grow_series, grow_studies, sizes
from tests.benchmarks.measuring import in_own_process
from tests.benchmarks.paths import Servers
from tests.servers.kafka_broker import run_kafka
from tests.servers.processes import RealServer
from tests.servers.redis_server import run_redis

_OUTPUT: Final = Path("build/bench.json")
_PARTS: Final = {"events", "growth"}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: events of each kind; instances of one series; studies; studies of each kind of UID."""

    events: int
    series: int
    studies: int
    sizes: int


_FULL: Final = Size(events=300_000, series=20_000, studies=1_000_000, sizes=500)
_QUICK: Final = Size(events=30_000, series=2_000, studies=100_000, sizes=50)


def main(words: Sequence[str]) -> None:
    size = _QUICK if "quick" in words else _FULL
    parts = _PARTS & set(words) or _PARTS
    found: report.Figures = {}
    print(report.machine())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "redis").mkdir()
        redis = stack.enter_context(run_redis(folder / "redis"))
        print(redis.description)
        settings = load(None, {})
        settings = replace(settings, redis=replace(settings.redis, url=redis.url))
        redis_pid = _pid(redis)  # also refuses a server that is not to be emptied
        if "events" in parts:
            found |= _compare(settings, redis_pid, folder, size.events)
            print(report.table(found))
        if "growth" in parts:
            grown: report.Figures = {}
            for measure, count in ((grow_series, size.series), (grow_studies, size.studies), (sizes, size.sizes)):
                grown |= in_own_process(measure, settings, count)
            print(report.listing(grown))
            found |= grown
    report.write(found, _OUTPUT)
    print(f"written to {_OUTPUT}")


def _compare(settings: Settings, redis_pid: int, folder: Path, count: int) -> report.Figures:
    (folder / "kafka").mkdir()
    with run_kafka(folder / "kafka") as broker:
        print(f"{broker.description}; {count:,} events of each kind, medians of {REPETITIONS} repetitions")
        if not broker.description.startswith("Apache Kafka"):
            raise SystemExit("the benchmark is for Apache Kafka; Java 17 and Maven start one")
        kafka = replace(settings.kafka, bootstrap_servers=tuple(broker.bootstrap_servers.split(",")))
        servers = Servers(replace(settings, kafka=kafka), {"broker": _pid(broker), "redis": redis_pid})
        return report.figures(Comparison(servers, broker, folder, count).run())


def _pid(server: RealServer) -> int:
    """The process whose processor time is told; only a server that this run started has one."""
    if not isinstance(server.process, ServerProcess) or server.process.pid is None:
        raise SystemExit(
            f"the benchmark starts its servers itself, as processes; this one it did not: {server.description}"
        )
    return server.process.pid


def _words() -> list[str]:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure; all of it by default.")
    choices = ("full", "quick", *sorted(_PARTS))
    parser.add_argument("words", nargs="*", choices=[*choices, []], metavar="|".join(choices))
    return list(parser.parse_args().words)


if __name__ == "__main__":
    main(_words())
