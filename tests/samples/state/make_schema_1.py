"""Makes schema-1.ndjson: ``python make_schema_1.py`` in a checkout of the last commit of schema 1, that before b1010c6.

The first lines are events; the first 160 of them are applied, with a baseline after 80 and a delta after 120. The
others are keys of Redis with what they hold, as text of base 85.
"""

from __future__ import annotations

import sys
from base64 import b85encode
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import orjson

import state.record as state_record
import state.studies as state_studies
from state.times import MICROSECONDS
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, Universe, random_events
from tests.servers.redis_server import run_redis

for module in (state_record, state_studies):
    vars(module)["CHUNK_TARGET"] = 4
UNIVERSE = Universe(studies=9, series=3, instances=12, patients=5)
EVENTS, APPLIED, BATCH = 240, 160, 20


def text(value: object) -> str:
    return b85encode(value if isinstance(value, bytes) else str(value).encode()).decode()


def main(output: Path) -> None:
    lines: list[dict[str, Any]] = [{"event": event} for event in islice(random_events(Random(7), UNIVERSE), EVENTS)]
    with TemporaryDirectory() as folder, run_redis(Path(folder)) as server:
        deployment = Deployment(Path(folder), server.url, "main", STATE__SHARDS="4")
        deployment.clock.now = BEGIN + 1000 * MICROSECONDS
        events = [(line["event"], deployment.clock.now) for line in lines]
        for first in range(0, APPLIED, BATCH):
            deployment.apply(events[first : first + BATCH], first)
            if first + BATCH in (80, 120):
                deployment.produce()
        client: Any = deployment.redis
        for key in sorted(client.keys("st:*")):
            kind = client.type(key).decode()
            if kind == "hash":
                found = [[text(name), text(value)] for name, value in sorted(client.hgetall(key).items())]
            elif kind == "zset":
                found = [[text(name), score] for name, score in client.zrange(key, 0, -1, withscores=True)]
            else:
                found = [[text(client.get(key)), ""]]
            lines.append({"key": key.decode(), "type": kind, "holds": found})
        deployment.close()
    output.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "schema-1.ndjson"))
