"""Bad messages kept beside the stream: ``<topic>.dlq`` gets their bytes unchanged and headers that say why.

A few bad messages must not stop a stream. But when most are bad, the sender is (a new version, a wrong topic), and
going on would empty the topic into the dead letters: past a limit the consumer stops, until it is told
to go on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from consumers.errors import BrokerUnreachable
from consumers.kafka_client import client_options
from consumers.policy import KafkaPolicy
from consumers.publish import PublishError, ensure_topic

SUFFIX: Final = ".dlq"
_LARGEST: Final = 64 * 1024 * 1024  # bytes; the broker's own limit is the one that counts
_LONGEST_WAIT: Final = 10.0  # seconds


class DeadLetterWindow:
    """Which of the latest ``size`` messages were bad; ``exceeded`` once more than ``limit`` of ``size`` were."""

    def __init__(self, limit: float, size: int) -> None:
        self._most = limit * size
        self._size = size
        self._count = 0  # messages so far
        self._bad: deque[int] = deque()  # which of them were bad, as far as they are among the latest

    def add_good(self, count: int) -> None:
        """Take note of good messages: most come many at a time."""
        self._count += count

    def add_bad(self) -> None:
        """Take note of a bad one."""
        self._count += 1
        self._bad.append(self._count)

    @property
    def bad(self) -> int:
        """How many of the latest were bad."""
        while self._bad and self._bad[0] <= self._count - self._size:
            self._bad.popleft()
        return len(self._bad)

    @property
    def exceeded(self) -> bool:
        return self.bad > self._most


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A bad message: the Kafka record's own key and value, where it stood, and why it is no event."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    reason: str

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        return [
            ("reason", self.reason.encode()),
            ("topic", self.topic.encode()),
            ("partition", str(self.partition).encode()),
            ("offset", str(self.offset).encode()),
        ]


class DeadLetterTopic:
    """Writes dead letters; the connection is made, and a missing topic created, with the first one."""

    def __init__(self, policy: KafkaPolicy) -> None:
        self._policy = replace(policy, timeout=min(policy.timeout, _LONGEST_WAIT))
        self._producer: KafkaProducer | None = None
        self._topics: set[str] = set()

    def write(self, letters: list[DeadLetter]) -> None:
        """Write them all and wait until the broker has them, but not for longer than an end of the program may take.

        Raises:
            BrokerUnreachable: it does not have them; none may be passed over, so write them again.
        """
        try:
            if self._producer is None:
                self._producer = KafkaProducer(**client_options(self._policy), acks="all", max_request_size=_LARGEST)
            futures = []
            for letter in letters:
                topic = letter.topic + SUFFIX
                if topic not in self._topics:
                    ensure_topic(self._policy, topic, partitions=1)
                    self._topics.add(topic)
                futures.append(self._producer.send(topic, value=letter.value, key=letter.key, headers=letter.headers))
            self._producer.flush(timeout=self._policy.timeout)
            for future in futures:
                future.get(timeout=0)
        except (KafkaError, PublishError) as error:
            raise BrokerUnreachable(f"the dead-letter topic cannot be written: {error}") from error

    def close(self, timeout: float | None = None) -> None:
        """Close the connection within ``timeout`` seconds."""
        if self._producer is not None:
            self._producer.close(timeout=self._policy.timeout if timeout is None else timeout)
