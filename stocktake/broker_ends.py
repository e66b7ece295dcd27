"""The ends of topics as the broker tells them: now, or in the background for those who must not wait for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Final

from consumers.errors import ConsumerError
from consumers.policy import KafkaPolicy, RepositoryPolicy
from consumers.topics import describe_topics, last_offsets
from monitor.partitions import BrokerPartition, BrokerPartitions

log = logging.getLogger(__name__)

INTERVAL: Final = 15.0  # seconds between two questions
MAX_AGE: Final = 60.0  # seconds after which an answer is none


def broker_partitions(kafka: KafkaPolicy, topics: Sequence[str]) -> dict[str, BrokerPartition]:
    """Every partition of the topics with its last offset, by the state's name of it.

    Raises:
        TopicUnusable, BrokerUnreachable: see :mod:`consumers.errors`.
    """
    names = {
        topic.field(number): (topic.name, number)
        for topic in describe_topics(kafka, topics)
        for number in range(topic.partitions)
    }
    ends = last_offsets(kafka, topics)
    return {field: BrokerPartition(*name, ends[field]) for field, name in names.items() if field in ends}


class EndsWatch:
    """Asks the broker again and again; what it said last is there at once. One thread runs it, any may read."""

    def __init__(
        self,
        kafka: KafkaPolicy,
        repositories: Sequence[RepositoryPolicy],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._repositories = repositories
        self._monotonic = monotonic
        self._answers: dict[str, tuple[float, BrokerPartitions]] = {}
        self._said: dict[str, str] = {}

    def run(self, stop: Flag) -> None:
        """Ask until ``stop`` is set. A broker that does not answer is logged once."""
        while not stop.is_set():
            self.ask()
            stop.wait(INTERVAL)

    def ask(self) -> None:
        """Ask once for the topics of each repository."""
        for policy in self._repositories:
            try:
                found = broker_partitions(self._kafka, policy.topics)
            except ConsumerError as error:
                self._say(policy.name, f"lag is not known: {error}")
            else:
                self._answers[policy.name] = (self._monotonic(), found)
                self._said.pop(policy.name, None)

    def latest(self, repository: str) -> BrokerPartitions | None:
        """What the broker said of a repository's topics last; None if that is too long ago to be of use."""
        asked, found = self._answers.get(repository, (0.0, None))
        return None if found is None or self._monotonic() - asked > MAX_AGE else found

    def _say(self, repository: str, text: str) -> None:
        if self._said.get(repository) != text:
            log.warning("repository %s: %s", repository, text, extra={"repository": repository})
            self._said[repository] = text
