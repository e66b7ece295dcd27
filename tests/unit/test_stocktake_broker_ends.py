"""What the broker said last is there at once, for as long as it is of use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from consumers.errors import BrokerUnreachable, TopicUnusable
from consumers.policy import KafkaPolicy
from monitor.partitions import BrokerPartition
from stocktake import broker_ends
from stocktake.broker_ends import MAX_AGE, EndsWatch
from stocktake.settings import load

SETTINGS: Final = load(
    None, {"STOCKTAKE_REPOSITORIES__A__TOPICS": "first", "STOCKTAKE_REPOSITORIES__B__TOPICS": "second"}
)


class Broker:
    """Answers each repository's question with its topic's last offset, or as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.last = 41
        self.failing: dict[str, Exception] = {}
        self.now = 1000.0
        monkeypatch.setattr(broker_ends, "broker_partitions", self.ask)
        self.watch = EndsWatch(SETTINGS.kafka, SETTINGS.repositories, lambda: self.now)

    def ask(self, kafka: KafkaPolicy, topics: Sequence[str]) -> dict[str, BrokerPartition]:
        assert kafka == SETTINGS.kafka
        [topic] = topics
        if topic in self.failing:
            raise self.failing[topic]
        return {f"{topic}-id:0": BrokerPartition(topic, 0, self.last)}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def test_the_latest_answer_counts_until_it_is_too_old(broker: Broker) -> None:
    assert broker.watch.latest("a") is None
    broker.watch.ask()
    broker.last = 42
    assert broker.watch.latest("a") == {"first-id:0": BrokerPartition("first", 0, 41)}
    broker.now += MAX_AGE
    assert broker.watch.latest("a") is not None
    broker.now += 1
    assert broker.watch.latest("a") is None
    broker.watch.ask()
    assert broker.watch.latest("a") == {"first-id:0": BrokerPartition("first", 0, 42)}


def test_one_repositorys_missing_topic_does_not_hide_another(broker: Broker) -> None:
    broker.failing["first"] = TopicUnusable("no topic first")
    broker.watch.ask()
    assert broker.watch.latest("a") is None
    assert broker.watch.latest("b") is not None


def test_a_broker_that_is_away_is_logged_once_each_time_that_it_goes(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    for failing in (True, True, False, True):
        broker.failing = {"first": BrokerUnreachable("Kafka is away")} if failing else {}
        broker.watch.ask()
    assert [record.getMessage() for record in caplog.records] == ["repository a: lag is not known: Kafka is away"] * 2
