"""What the broker says of topics: their ids, partitions, ends and whether they are compacted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from consumers.errors import BrokerUnreachable, TopicUnusable
from consumers.policy import KafkaPolicy
from state.repository import partition_field


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it. ``id`` changes when it is deleted and made anew."""

    name: str
    id: str
    partitions: int
    compacted: bool

    def field(self, partition: int) -> str:
        """How the state names one of its partitions."""
        return partition_field(self.id, partition)


@contextmanager
def broker_errors(policy: KafkaPolicy) -> Iterator[None]:
    """Turn the client's errors into one that names the broker."""
    try:
        yield
    except KafkaError as error:
        where = ",".join(policy.bootstrap_servers)
        raise BrokerUnreachable(f"Kafka at {where} cannot be reached: {error}") from error


def describe_topics(policy: KafkaPolicy, names: Sequence[str]) -> list[Topic]:
    """Ask the broker about topics.

    Raises:
        TopicUnusable: one is missing.
        BrokerUnreachable: no answer within ``policy.timeout``.
    """
    with broker_errors(policy):
        admin = KafkaAdminClient(
            bootstrap_servers=list(policy.bootstrap_servers), bootstrap_timeout_ms=round(policy.timeout * 1000)
        )
        try:
            present = [topic for topic in admin.describe_topics(list(names)) if topic["error_code"] == 0]
            missing = sorted(set(names) - {topic["name"] for topic in present})
            if missing:
                raise TopicUnusable(
                    f"no topic {', '.join(missing)} at {','.join(policy.bootstrap_servers)}; "
                    "create it, or publish to it first"
                )
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            configs = admin.describe_configs(resources, config_filter="all")["topic"]
        finally:
            admin.close()
    return [
        Topic(
            topic["name"],
            str(topic["topic_id"]),
            len(topic["partitions"]),
            "compact" in _config(configs, topic["name"], "cleanup.policy"),
        )
        for topic in present
    ]


def last_offsets(policy: KafkaPolicy, names: Sequence[str]) -> dict[str, int]:
    """The last offset of every partition of the topics, -1 for an empty one, by the state's name of the partition.

    Raises:
        TopicUnusable, BrokerUnreachable: as :func:`describe_topics`.
    """
    topics = describe_topics(policy, names)
    with broker_errors(policy):
        consumer = KafkaConsumer(
            bootstrap_servers=list(policy.bootstrap_servers),
            bootstrap_timeout_ms=round(policy.timeout * 1000),
            metrics_enabled=False,
        )
        try:
            fields = {
                TopicPartition(topic.name, partition): topic.field(partition)
                for topic in topics
                for partition in range(topic.partitions)
            }
            ends = consumer.end_offsets(list(fields), timeout_ms=round(policy.timeout * 1000))
        finally:
            consumer.close(autocommit=False)
    return {field: ends[partition] - 1 for partition, field in fields.items()}


def _config(configs: Mapping[str, Any], topic: str, name: str) -> str:
    """A topic's setting; empty if the broker does not tell (the embedded one does not)."""
    return str(configs.get(topic, {}).get(name, {}).get("value", ""))
