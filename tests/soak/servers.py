"""The servers of a soak, started once for all its parts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.soak.forgetful import ForgetfulRedis


@dataclass(frozen=True, slots=True)
class Servers:
    """``starter`` starts the broker again. It has one thread: a server dies with the thread that started it."""

    broker: KafkaBroker
    redis: ForgetfulRedis
    starter: Executor

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """Start them; gone when the block ends. Data and logs are below ``folder``."""
        kafka = folder / "kafka"
        kafka.mkdir(parents=True)
        redis = ForgetfulRedis(folder / "redis")
        with ThreadPoolExecutor(1) as starter, run_kafka(kafka) as broker, redis.running():
            yield cls(broker, redis, starter)
