"""What the integration tests of the consumer share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.feed import PARTITIONS
from tests.harness import Deployment
from tests.servers.kafka_broker import KafkaBroker


@pytest.fixture
def deploy(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> Iterator[Callable[..., Deployment]]:
    """Makes the test's deployment, with more settings if need be."""
    made: list[Deployment] = []

    def make(partitions: int = PARTITIONS, **given: str) -> Deployment:
        topic = make_topic(partitions=partitions)
        made.append(Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, topic, **given))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()
