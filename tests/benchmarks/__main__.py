"""``make bench``: measures the hot paths in one run, as ratios, on real servers that it starts itself.

Prints a table and writes ``build/bench.json``, a flat object of name to number.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import orjson

from stocktake.settings import load, with_servers
from tests.benchmarks.events import Rate, fill, poll_only, whole_path
from tests.servers.kafka_broker import run_kafka
from tests.servers.redis_server import run_redis

_EVENTS = {"full": 200_000, "quick": 20_000}
_OUTPUT = Path("build/bench.json")


def main(size: str) -> None:
    count = _EVENTS[size]
    with tempfile.TemporaryDirectory() as folder:
        kafka_folder, redis_folder = Path(folder) / "kafka", Path(folder) / "redis"
        kafka_folder.mkdir()
        redis_folder.mkdir()
        with run_kafka(kafka_folder) as broker, run_redis(redis_folder) as redis:
            print(f"{broker.description}; {redis.description}; {count:,} events")
            settings = with_servers(load(None, {}), broker.bootstrap_servers, redis.url, Path(folder))
            settings = replace(settings, kafka=replace(settings.kafka, session_timeout=10.0))
            topic = "stocktake.bench.events"
            broker.create_topic(topic, 4, {})
            fill(settings, topic, count)
            polled = poll_only(settings, topic, count)
            decoded = poll_only(settings, topic, count, orjson.loads)
            applied = whole_path(settings, topic, count)
    for rate in (polled, decoded, applied):
        _show(rate, polled)
    figures = {
        "decode_vs_poll": decoded.per_second / polled.per_second,
        "apply_vs_poll": applied.per_second / polled.per_second,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    _OUTPUT.parent.mkdir(exist_ok=True)
    _OUTPUT.write_bytes(
        orjson.dumps({name: round(value, 3) for name, value in figures.items()}, option=orjson.OPT_INDENT_2)
    )
    print(f"peak memory {figures['peak_rss_mb']:.0f} MB; written to {_OUTPUT}")


def _show(rate: Rate, base: Rate) -> None:
    print(f"{rate.name:<20} {rate.per_second:>10,.0f} events/s   {rate.per_second / base.per_second:.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "full")
