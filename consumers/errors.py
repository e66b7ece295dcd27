"""What can end the consumer, one class for each cause; the text says what to do.

ConsumerError
    BrokerUnreachable    the broker does not answer: a running consumer waits, a starting one ends
    PartitionNotReady    one partition cannot be read now: the others are read on, it is tried again
    TopicUnusable        a topic is missing, or is compacted and carries events below study level
    OffsetsLost          Kafka no longer holds the offset that the state wants next
    StateAhead           Kafka holds less than was applied: it has lost messages
    InstanceIdTaken      another process has joined the group under this one's kafka.instance_id
    DeadLetterLimit      too many of the latest messages were bad; sticky until `stocktake resume`
"""

from __future__ import annotations


class ConsumerError(Exception):
    """Base of the errors that end the consumer."""


class BrokerUnreachable(ConsumerError):
    """The Kafka broker cannot be reached, or the brokers cannot say yet what is asked of them."""


class PartitionNotReady(ConsumerError):
    """One partition cannot be read now: no broker leads it, or its broker has only just started."""


class TopicUnusable(ConsumerError):
    """A topic is missing or set up so that events would be lost."""


class OffsetsLost(ConsumerError):
    """Kafka no longer holds the offset that comes after what the state has applied: events are lost for good.

    ``wanted`` is that offset, ``first`` the lowest that Kafka holds.
    """

    def __init__(self, topic: str, partition: int, wanted: int, first: int) -> None:
        super().__init__(
            f"topic {topic} partition {partition}: the state wants offset {wanted}, Kafka holds {first} and later; the "
            f"{first - wanted} messages between are lost. Make the state anew (another Redis database), follow a new "
            "topic, or go on without them: consumer.lost_offsets = earliest"
        )
        self.wanted = wanted
        self.first = first


class StateAhead(ConsumerError):
    """Kafka has lost messages that are applied; it will give their offsets to others."""

    def __init__(self, topic: str, partition: int, applied: int, end: int) -> None:
        super().__init__(
            f"topic {topic} partition {partition}: the state has applied up to offset {applied}, Kafka holds nothing "
            f"from {end} on. It has lost messages (restored from a backup, or an unclean leader election?), and new "
            "ones would be taken for those and passed over. Delete the topic and make it anew, or follow a new one, "
            "and have the archive tell again what it has told since"
        )


class InstanceIdTaken(ConsumerError):
    """Another process is in the consumer group under the same kafka.instance_id; the one that joined last stays."""


class DeadLetterLimit(ConsumerError):
    """Too many of the latest messages were no events."""
