"""What the walks have around them: a broker, a Valkey of their own, and repositories that hold something already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from redis import Redis

from consumers.simulate import simulate
from state.times import parse_time
from stocktake.embedded import HOST, free_ports
from tests.docs.walk import Forks, Walk, forking
from tests.harness import Deployment
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.processes import running
from tests.servers.redis_server import node_process

STUDIES: Final = 12
_MINUTE: Final = 60_000_000


@dataclass(frozen=True)
class World:
    """The servers of the walks; state is emptied before each, topics have names of their own."""

    kafka: KafkaBroker
    redis_url: str
    forks: Forks

    def walk(self, page: str, folder: Path) -> Walk:
        """A walk whose program knows the servers, and keeps its inventories where pages have them."""
        with Redis.from_url(self.redis_url) as client:
            client.flushall()
        walk = Walk(page, folder, self.forks)
        walk.environ |= {
            "STOCKTAKE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "STOCKTAKE_REDIS__URL": self.redis_url,
            "STOCKTAKE_STATE__SHARDS": "8",
            "STOCKTAKE_CONSUMER__WATERMARK_INTERVAL": "50ms",
        }
        return walk

    def topic(self, partitions: int = 2) -> str:
        """A new topic."""
        name = f"docs-{uuid4().hex[:12]}"
        self.kafka.create_topic(name, partitions, {})
        return name

    @contextmanager
    def filled(self, walk: Walk, *names: str, seeds: Sequence[int] = (1,)) -> Iterator[list[Deployment]]:
        """Repositories that hold a simulated archive's studies, without a topic; seeds by their order."""
        made = []
        for number, name in enumerate(names):
            one = Deployment(walk.folder, self.redis_url, name)
            made.append(one)
            tell(one, list(simulate(STUDIES, seeds[number % len(seeds)], max_instances=20)))
        try:
            yield made
        finally:
            for one in made:
                one.close()


def tell(deployment: Deployment, events: Sequence[dict[str, Any]], first: int = 0) -> int:
    """Apply events as of a minute after the last one; the next offset."""
    times: list[int] = []
    for event in events:  # one without a time happens when the one before it did
        times.append(parse_time(event["time"]) if "time" in event else times[-1])
    deployment.clock.now = max(times) + _MINUTE
    return deployment.apply([(event, time) for event, time in zip(events, times, strict=True)], first)


@contextmanager
def own_world(kafka: KafkaBroker, folder: Path) -> Iterator[World]:
    """A world on this broker, with a Valkey and the program's process of its own below ``folder``."""
    [port] = free_ports(1)
    with running(node_process(folder / "valkey", port)), forking(folder) as forks:
        yield World(kafka, f"redis://{HOST}:{port}/0", forks)
