"""What the broker says of topics: their ids, partitions, ends and whether they are compacted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from consumers.errors import BrokerUnreachable, TopicUnusable
from consumers.kafka_client import client_options, describe_failure
from consumers.policy import KafkaPolicy
from state.repository import partition_field

_CLEANUP: Final = "cleanup.policy"


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
        raise BrokerUnreachable(describe_failure(policy, error)) from error


def describe_topics(policy: KafkaPolicy, names: Sequence[str]) -> list[Topic]:
    """Ask the broker about topics.

    Raises:
        TopicUnusable: one is missing.
        BrokerUnreachable: no answer within ``policy.timeout``.
    """
    with broker_errors(policy):
        admin = KafkaAdminClient(**client_options(policy))
        try:
            found = admin.describe_topics(list(names))
            refused = [topic["name"] for topic in found if topic["error_code"] == TopicAuthorizationFailedError.errno]
            if refused:
                raise TopicAuthorizationFailedError(", ".join(refused))
            present = [topic for topic in found if topic["error_code"] == 0]
            missing = sorted(set(names) - {topic["name"] for topic in present})
            if missing:
                raise TopicUnusable(
                    f"no topic {', '.join(missing)} at {','.join(policy.bootstrap_servers)}; "
                    "create it, or publish to it first"
                )
            compacted = _compacted(admin, names)
        finally:
            admin.close()
    return [
        Topic(topic["name"], str(topic["topic_id"]), len(topic["partitions"]), topic["name"] in compacted)
        for topic in present
    ]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Which topics are compacted, and which partitions the members of a group hold; None while that is not settled."""

    compacted: frozenset[str]
    held: frozenset[TopicPartition] | None


def inspect(policy: KafkaPolicy, names: Sequence[str], group: str, timeout: float) -> Inspection:
    """Ask the broker for what seldom changes, waiting at most ``timeout`` seconds for each answer.

    Raises:
        BrokerUnreachable: no answer.
    """
    milliseconds = round(max(timeout, 1.0) * 1000)  # the client takes no less
    options = {"bootstrap_timeout_ms": milliseconds, "request_timeout_ms": milliseconds}
    with broker_errors(policy):
        admin = KafkaAdminClient(**client_options(policy) | options)
        try:
            return Inspection(_compacted(admin, names), _held(admin, group))
        finally:
            admin.close()


def _compacted(admin: KafkaAdminClient, names: Sequence[str]) -> frozenset[str]:
    # All settings: when it is asked for one by its name, the embedded broker breaks the connection off.
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = admin.describe_configs(resources, config_filter="all").get("topic", {})
    # The embedded broker does not tell.
    return frozenset(name for name in names if "compact" in str(configs.get(name, {}).get(_CLEANUP, {}).get("value")))


def _held(admin: KafkaAdminClient, group: str) -> frozenset[TopicPartition] | None:
    try:
        found = admin.describe_groups([group])[group]
    except (KafkaError, ValueError):
        return None  # no coordinator now, or a broker that does not tell; what the embedded one tells makes no sense
    if found["group_state"] != "Stable" or not all(member["member_assignment"] for member in found["members"]):
        return None
    return frozenset(
        TopicPartition(topic["topic"], number)
        for member in found["members"]
        for topic in member["member_assignment"]["assigned_partitions"]
        for number in topic["partitions"]
    )


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
        consumer = KafkaConsumer(**client_options(policy), metrics_enabled=False)
        try:
            yield consumer, fields
        finally:
            consumer.close(autocommit=False)
