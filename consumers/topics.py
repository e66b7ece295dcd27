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
        raise BrokerUnreachable(
            f"Kafka at {where} cannot be reached: {error}; is it running, and is kafka.bootstrap_servers right?"
        ) from error


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
    milliseconds = round(policy.timeout * 1000)
    with _asking(policy, names) as (consumer, fields):
        ends = consumer.end_offsets(list(fields), timeout_ms=milliseconds)
    return {field: ends[partition] - 1 for partition, field in fields.items()}


def offsets_before(policy: KafkaPolicy, names: Sequence[str], time: int | None) -> dict[str, int]:
    """The last offset before the first record with a timestamp at or after ``time`` (UTC microseconds), by partition.

    None: before the earliest record that the broker still holds.

    Raises:
        TopicUnusable, BrokerUnreachable: as :func:`describe_topics`.
    """
    milliseconds = round(policy.timeout * 1000)
    with _asking(policy, names) as (consumer, fields):
        if time is None:
            firsts = consumer.beginning_offsets(list(fields), timeout_ms=milliseconds)
        else:
            wanted = dict.fromkeys(fields, max(0, time // 1000))
            found = consumer.offsets_for_times(wanted, timeout_ms=milliseconds)
            ends = consumer.end_offsets(list(fields), timeout_ms=milliseconds)
            firsts = {one: ends[one] if found[one] is None else found[one].offset for one in fields}
    return {field: firsts[partition] - 1 for partition, field in fields.items()}


@contextmanager
def _asking(policy: KafkaPolicy, names: Sequence[str]) -> Iterator[tuple[KafkaConsumer, dict[TopicPartition, str]]]:
    """A consumer outside every group, and the topics' partitions with the state's names for them."""
    fields = {
        TopicPartition(topic.name, partition): topic.field(partition)
        for topic in describe_topics(policy, names)
        for partition in range(topic.partitions)
    }
    with broker_errors(policy):
        consumer = KafkaConsumer(
            bootstrap_servers=list(policy.bootstrap_servers),
            bootstrap_timeout_ms=round(policy.timeout * 1000),
            metrics_enabled=False,
        )
        try:
            yield consumer, fields
        finally:
            consumer.close(autocommit=False)


def _config(configs: Mapping[str, Any], topic: str, name: str) -> str:
    """A topic's setting; empty if the broker does not tell (the embedded one does not)."""
    return str(configs.get(topic, {}).get(name, {}).get("value", ""))
