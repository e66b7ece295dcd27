"""The repository that a soak follows: its topic and its settings."""

from __future__ import annotations

from pathlib import Path

from tests.harness import Deployment
from tests.servers.kafka_broker import KafkaBroker
from tests.soak.profiles import Profile


def open_deployment(
    folder: Path, redis_url: str, broker: KafkaBroker, repository: str, profile: Profile, **given: str
) -> Deployment:
    """A repository with a topic of its own, whose records bear the broker's time.

    So an event is late exactly if the broker took it later than a cut need wait for, however long the archive had to
    try. The consumers' idea of late is a second wider than the oracle's, for rounding.
    """
    topic = f"stocktake.{repository}.events"
    broker.create_topic(topic, profile.partitions, {"message.timestamp.type": "LogAppendTime"})
    settings = {
        "STATE__SHARDS": str(profile.shards),
        "KAFKA__SESSION_TIMEOUT": f"{profile.session:g}s",
        "KAFKA__TIMEOUT": "10s",
        "CONSUMER__MAX_OUT_OF_ORDER": "6s",
        "CONSUMER__WATERMARK_INTERVAL": "500ms",
        "INVENTORY__INTERVAL": "3s",
        "INVENTORY__LEASE": "5s",
        "CHAIN__ROLLUP_FANOUT": "4",
    }
    return Deployment(folder, redis_url, repository, broker.bootstrap_servers, topic, **settings | given)
