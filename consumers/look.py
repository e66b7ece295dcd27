"""A look at topics: what the brokers that lead their partitions say of them at this moment.

Fetched records name a topic, not its id, so a topic that was deleted and made anew under its old name would pass for
the old one. What tells them apart is a question to the broker that the records came from. A broker shows a topic's new
id before it serves the new topic's messages, and no id is ever used twice. So when it gives the same id before the
first fetch and after the latest, all that it gave in between belongs to that id (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import UnknownBrokerIdError, UnknownTopicOrPartitionError, for_code
from kafka.protocol.metadata import MetadataRequest

from consumers.errors import BrokerUnreachable
from consumers.kafka_client import client_options
from consumers.policy import KafkaPolicy


@dataclass(frozen=True, slots=True)
class Seen:
    """A topic as a broker describes it."""

    id: str
    partitions: int


Leader: TypeAlias = "tuple[int, int]"  # a broker, and the epoch in which it leads the partition
Answer: TypeAlias = "Mapping[str, Seen | None]"  # one broker's, by topic; None: it knows none of that name


def agreed(answers: Sequence[Answer]) -> dict[str, Seen | None]:
    """What all brokers say of each topic; of its partitions the largest number, since one may hear of new ones first.

    Raises:
        BrokerUnreachable: they speak of different topics of one name. It passes when all have heard of the new one.
    """
    found: dict[str, Seen | None] = {}
    for answer in answers:
        for name, seen in answer.items():
            before = found.setdefault(name, seen)
            if (before and before.id) != (seen and seen.id):
                raise BrokerUnreachable(f"the brokers do not agree yet which topic {name} is")
            if before and seen and seen.partitions > before.partitions:
                found[name] = seen
    return found


class Asker(KafkaConsumer):  # type: ignore[misc]  # kafka-python has no types
    """Asks brokers about topics and offsets, on connections of its own: on a consumer's they would wait behind a fetch.

    It is in no consumer group. Not for several threads at once.
    """

    def __init__(self, kafka: KafkaPolicy, client_id: str) -> None:
        super().__init__(
            **client_options(kafka)
            | {
                "client_id": client_id,
                "isolation_level": "read_committed",  # the end of a partition is the end of what can be read
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
            }
        )

    def describe(self, topics: Collection[str], brokers: Collection[int], timeout: float) -> list[Answer]:
        """Ask each of these brokers, any one if there are none, what the topics are; ``timeout`` in seconds.

        Raises:
            KafkaError: one of them does not answer, or does not let us know.
        """
        wanted: Collection[int | None] = brokers or [None]
        replies = self._net.run(self._describe, topics, wanted, timeout * 1000)
        return [_answer(reply) for reply in replies]

    async def _describe(
        self, topics: Collection[str], brokers: Collection[int | None], milliseconds: float
    ) -> list[Any]:
        try:
            futures = [self._manager.send(_request(topics), node_id=broker) for broker in brokers]
        except UnknownBrokerIdError:
            # It joined the cluster after this client's latest look.
            await self._manager.wait_for(self._cluster.request_update(), milliseconds)
            futures = [self._manager.send(_request(topics), node_id=broker) for broker in brokers]
        return [await self._manager.wait_for(future, milliseconds) for future in futures]


def _request(topics: Collection[str]) -> MetadataRequest:
    return MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in topics],
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )


def _answer(reply: Any) -> Answer:
    answer: dict[str, Seen | None] = {}
    for topic in reply.topics:
        error = for_code(topic.error_code)
        if topic.error_code == 0:
            answer[topic.name] = Seen(str(topic.topic_id), len(topic.partitions))
        elif error is UnknownTopicOrPartitionError:
            answer[topic.name] = None
        else:
            raise error(topic.name)
    return answer


class Vouchers:
    """Which partitions' records are known to belong to the topics seen: those whose broker was asked often enough.

    Each look names the broker (and its epoch) from which each partition is fetched then, when that broker has just
    named the known topic. A fetch may have been sent before the look before the latest, but not before the one before
    that; so a broker vouches for what came from it when it was the same at three looks, or at two of which fetching
    began after the first.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._brokers: dict[TopicPartition, tuple[Leader, int]] = {}  # and at which look it was the first time

    def __contains__(self, partition: TopicPartition) -> bool:
        """Whether the latest look found a broker to fetch it from."""
        return partition in self._brokers

    def look(self, leaders: Mapping[TopicPartition, Leader]) -> None:
        """A look that found the known topics."""
        self._looks += 1
        before = self._brokers
        self._brokers = {
            one: (leader, before[one][1] if one in before and before[one][0] == leader else self._looks)
            for one, leader in leaders.items()
        }

    def begin(self, partition: TopicPartition) -> None:
        """Fetching of a partition begins now."""
        leader, since = self._brokers[partition]
        self._brokers[partition] = (leader, min(since, self._looks - 1))

    def vouch_for(self, partition: TopicPartition) -> bool:
        """Whether what was fetched before the latest look is of the topic that it found."""
        return partition in self._brokers and self._looks - self._brokers[partition][1] >= 2
