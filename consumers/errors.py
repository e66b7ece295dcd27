"""What can end the consumer, one class for each cause; the text says what to do.

ConsumerError
    BrokerUnreachable    the broker does not answer
    TopicUnusable        a topic is missing, or is compacted and carries events below study level
    OffsetsLost          Kafka no longer holds the offset that the state wants next
    DeadLetterLimit      too many of the latest messages were bad; sticky until `stocktake resume`
"""

from __future__ import annotations


class ConsumerError(Exception):
    """Base of the errors that end the consumer."""


class BrokerUnreachable(ConsumerError):
    """The Kafka broker cannot be reached."""


class TopicUnusable(ConsumerError):
    """A topic is missing or set up so that events would be lost."""


class OffsetsLost(ConsumerError):
    """Kafka no longer holds the offset that comes after what the state has applied: events are lost for good."""


class DeadLetterLimit(ConsumerError):
    """Too many of the latest messages were no events."""
