"""The servers of the tests themselves: that they keep what they are trusted to keep, also when they are killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from redis import Redis

from tests.servers.kafka_broker import VARIABLE, KafkaBroker, NoApacheKafkaError, run_kafka
from tests.servers.redis_server import RedisServer

TIME = 1_600_000_000_123  # milliseconds since 1970, in 2020: an event that is replayed carries its old time


def send(broker: KafkaBroker, topic: str, value: bytes, partition: int = 0) -> None:
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap_servers.split(","), acks="all")) as producer:
        headers = [("content-type", b"application/json"), ("reason", "größer".encode())]
        sent = producer.send(topic, value, b"1.2.3", headers, partition=partition, timestamp_ms=TIME)
        sent.get(timeout=30)


def read_all(broker: KafkaBroker, topic: str, count: int) -> list[tuple[object, ...]]:
    """The first ``count`` records of partition 0: offset, key, value, timestamp, headers."""
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap_servers.split(","))) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        records: list[tuple[object, ...]] = []
        for _ in range(30):
            for record in consumer.poll(1000).get(partition, []):
                records.append((record.offset, record.key, record.value, record.timestamp, record.headers))
            if len(records) >= count:
                break
        return records


def topic_id(broker: KafkaBroker, topic: str) -> str:
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers.split(","))) as admin:
        [described] = admin.describe_topics([topic])
        return str(described["topic_id"])


def test_a_record_comes_back_with_its_key_bytes_time_and_headers(kafka_broker: KafkaBroker, topic: str) -> None:
    send(kafka_broker, topic, b"\x00\xff{")
    headers = [("content-type", b"application/json"), ("reason", "größer".encode())]
    assert read_all(kafka_broker, topic, 1) == [(0, b"1.2.3", b"\x00\xff{", TIME, headers)]


def test_each_topic_has_the_partitions_asked_for_and_an_id_of_its_own(
    kafka_broker: KafkaBroker, topic: str, make_topic: Callable[..., str]
) -> None:
    other = make_topic(partitions=2)
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers.split(","))) as admin:
        described = {entry["name"]: entry for entry in admin.describe_topics([topic, other])}
    assert {name: len(entry["partitions"]) for name, entry in described.items()} == {topic: 4, other: 2}
    assert described[topic]["topic_id"] != described[other]["topic_id"]


def test_a_killed_broker_comes_back_with_its_address_topics_and_events(kafka_broker: KafkaBroker, topic: str) -> None:
    if not kafka_broker.durable:
        pytest.skip("this broker keeps events in memory only")
    send(kafka_broker, topic, b"before")
    identity = topic_id(kafka_broker, topic)
    kafka_broker.kill()
    kafka_broker.start()
    send(kafka_broker, topic, b"after")
    assert [record[2] for record in read_all(kafka_broker, topic, 2)] == [b"before", b"after"]
    assert topic_id(kafka_broker, topic) == identity


def test_redis_keeps_every_acknowledged_write_when_its_process_is_killed(
    redis_server: RedisServer, redis_url: str
) -> None:
    if not redis_server.ours:
        pytest.skip("this server is not ours to kill")
    with Redis.from_url(redis_url) as client:
        for number in range(1000):
            client.rpush("written", number)
        redis_server.kill()
    redis_server.start()
    with Redis.from_url(redis_url) as client:
        assert client.lrange("written", 0, -1) == [str(number).encode() for number in range(1000)]


def test_redis_does_not_evict(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.fixture
def machine_without_kafka(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No Java, no Maven, no Docker and no broker given."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("CI", raising=False)
    return monkeypatch


def test_without_apache_kafka_the_run_uses_tansu_and_says_why(
    machine_without_kafka: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with run_kafka(tmp_path) as broker:
        assert broker.description.startswith("Tansu")
        assert broker.description.endswith("java is not on PATH")


def test_without_apache_kafka_a_run_in_ci_fails(machine_without_kafka: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine_without_kafka.setenv("CI", "true")
    with pytest.raises(NoApacheKafkaError, match="java is not on PATH"), run_kafka(tmp_path):
        pytest.fail("a broker that is not Apache Kafka")


def test_a_run_in_ci_does_not_accept_another_broker_that_is_given(
    machine_without_kafka: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with run_kafka(tmp_path) as tansu:
        machine_without_kafka.setenv(VARIABLE, tansu.bootstrap_servers)
        machine_without_kafka.setenv("CI", "true")
        with pytest.raises(NoApacheKafkaError, match="is not Apache Kafka"), run_kafka(tmp_path):
            pytest.fail("a broker that is not Apache Kafka")


def test_a_broker_that_is_given_is_used_and_never_stopped(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, kafka_broker.bootstrap_servers)
    with run_kafka(tmp_path) as given:
        assert given.bootstrap_servers == kafka_broker.bootstrap_servers
        assert VARIABLE in given.description
        for end in (given.stop, given.kill):
            with pytest.raises(pytest.skip.Exception):
                end()
