"""Bad messages kept beside the stream: ``<topic>.dlq`` gets their bytes unchanged and headers that say why.

A few bad messages must not stop a stream. But when most are bad, the sender is (a new version, a wrong topic), and
going on would empty the topic into the dead letters: past a limit the consumer stops, until it is told
to go on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from consumers.errors import BrokerUnreachable
from consumers.policy import KafkaPolicy
from consumers.publish import PublishError, ensure_topic

SUFFIX: Final = ".dlq"
_LARGEST: Final = 64 * 1024 * 1024  # bytes; the broker's own limit is the one that counts


class DeadLetterWindow:
    """Which of the latest ``size`` messages were bad; ``exceeded`` once more than ``limit`` of ``size`` were."""

    def __init__(self, limit: float, size: int) -> None:
        self._most = limit * size
        self._latest: deque[bool] = deque(maxlen=size)
        self.bad = 0

    def add(self, *, bad: bool) -> None:
        if len(self._latest) == self._latest.maxlen:
            self.bad -= self._latest[0]
        self._latest.append(bad)
        self.bad += bad

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
        self._policy = policy
        self._producer: KafkaProducer | None = None
        self._topics: set[str] = set()

    def write(self, letters: list[DeadLetter]) -> None:
        """Write them all and wait until the broker has them.

        Raises:
            BrokerUnreachable: it does not; none of them may be passed over.
        """
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=list(self._policy.bootstrap_servers),
                    acks="all",
                    max_request_size=_LARGEST,
                    bootstrap_timeout_ms=round(self._policy.timeout * 1000),
                )
            futures = []
            for letter in letters:
                topic = letter.topic + SUFFIX
                if topic not in self._topics:
                    ensure_topic(self._policy, topic, partitions=1)
                    self._topics.add(topic)
                futures.append(self._producer.send(topic, value=letter.value, key=letter.key, headers=letter.headers))
            self._producer.flush(timeout=self._policy.timeout)
            for future in futures:
                future.get(timeout=self._policy.timeout)
        except (KafkaError, PublishError) as error:
            raise BrokerUnreachable(f"the dead-letter topic cannot be written: {error}") from error

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close(timeout=self._policy.timeout)
