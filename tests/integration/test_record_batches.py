"""What a real broker holds is read by our reading of record batches as by kafka-python's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consumers.records import Record, use_for
from tests.harness import PATIENCE, wait_for
from tests.servers.kafka_broker import KafkaBroker

Found = list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]
MakeTopic = Callable[..., str]
CODECS: Final = ("gzip", "snappy", "lz4", "zstd")


@contextmanager
def producing(broker: KafkaBroker, **given: Any) -> Iterator[KafkaProducer]:
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap_servers, linger_ms=20, **given)) as producer:
        yield producer


@contextmanager
def consuming(broker: KafkaBroker, topic: str, **given: Any) -> Iterator[KafkaConsumer]:
    """A consumer of the topic's one partition, from its beginning."""
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, **given)) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        yield consumer


def read(consumer: KafkaConsumer, topic: str, **poll: Any) -> Found:
    """All records up to the partition's end, and the position after them."""
    partition = TopicPartition(topic, 0)
    [end] = consumer.end_offsets([partition]).values()
    found: Found = []

    def at_end() -> bool:
        for records in consumer.poll(timeout_ms=100, **poll).values():
            found.extend((one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in records)
        return bool(consumer.position(partition) >= end)

    wait_for(at_end, f"everything up to offset {end}")
    assert consumer.position(partition) == end
    return found


def read_both(broker: KafkaBroker, topic: str, **given: Any) -> Found:
    """What both readings give, which must be the same, taken in large and in small polls."""
    with consuming(broker, topic, **given) as theirs:
        expected = read(theirs, topic)
    for poll in ({}, {"max_records": 3}):
        with consuming(broker, topic, **given) as ours:
            use_for(ours)
            assert read(ours, topic, **poll) == expected
    return expected


def test_a_consumer_s_polls_return_our_records(kafka_broker: KafkaBroker, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1)
    with producing(kafka_broker) as producer:
        producer.send(topic, b"v").get(timeout=PATIENCE)
    with consuming(kafka_broker, topic) as consumer:
        use_for(consumer)
        [records] = consumer.poll(timeout_ms=round(PATIENCE * 1000)).values()
    assert [type(one) for one in records] == [Record]


@pytest.mark.parametrize("compression", [None, *CODECS])
def test_records_of_every_shape_and_codec_are_read_alike(
    kafka_broker: KafkaBroker, make_topic: MakeTopic, compression: str | None
) -> None:
    topic = make_topic(partitions=1)
    sent: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"1.2.3", b'{"action": "store"}' * 50, []),
        (None, b"", [("Größe", b"\xff"), ("empty", b"")]),
        (b"", None, []),
        (b"k" * 300, b"v" * 300_000, [("h", b"x" * 200)]),
        *((str(number).encode(), b"many", []) for number in range(500)),
    ]
    with producing(kafka_broker, compression_type=compression, batch_size=65_536) as producer:
        for number, (key, value, headers) in enumerate(sent):
            producer.send(topic, value, key, headers, timestamp_ms=1_790_000_000_000 - number)
        producer.flush(timeout=PATIENCE)
    found = read_both(kafka_broker, topic)
    assert [(key, value, headers) for _, _, key, value, headers in found] == sent
    assert [timestamp for _, timestamp, *_ in found] == [1_790_000_000_000 - number for number in range(len(sent))]


def test_records_that_the_broker_stamps_have_its_time(kafka_broker: KafkaBroker, make_topic: MakeTopic) -> None:
    if not kafka_broker.durable:
        pytest.skip("the embedded broker does not stamp records")
    topic = make_topic(partitions=1, **{"message.timestamp.type": "LogAppendTime"})
    with producing(kafka_broker) as producer:
        for number in range(20):
            producer.send(topic, b"v", timestamp_ms=1000 + number)
        producer.flush(timeout=PATIENCE)
    assert all(timestamp > 1_600_000_000_000 for _, timestamp, *_ in read_both(kafka_broker, topic))


def test_of_transactions_those_that_were_committed_are_read_and_no_others(
    kafka_broker: KafkaBroker, make_topic: MakeTopic
) -> None:
    if not kafka_broker.durable:
        pytest.skip("the embedded broker has no transactions")
    topic = make_topic(partitions=1)
    with (
        producing(kafka_broker, transactional_id=f"one-{uuid4().hex}") as one,
        producing(kafka_broker, transactional_id=f"two-{uuid4().hex}") as two,
        producing(kafka_broker) as plain,
    ):
        for producer in (one, two):
            producer.init_transactions()
        expected = []
        for turn in range(6):
            # Two open transactions, their messages and others side by side; each ends in its own way.
            for name, producer in (("one", one), ("two", two)):
                producer.begin_transaction()
                for number in range(turn + 1):
                    producer.send(topic, f"{name} {turn} {number}".encode()).get(timeout=PATIENCE)
                plain.send(topic, f"plain {name} {turn}".encode()).get(timeout=PATIENCE)
                expected.append(f"plain {name} {turn}".encode())
            for name, producer, commits in (("two", two, turn % 3 == 0), ("one", one, turn % 2 == 0)):
                if commits:
                    producer.commit_transaction()
                    expected += [f"{name} {turn} {number}".encode() for number in range(turn + 1)]
                else:
                    producer.abort_transaction()
    found = read_both(kafka_broker, topic, isolation_level="read_committed")
    assert sorted(value or b"" for *_, value, _ in found) == sorted(expected)
    everything = read_both(kafka_broker, topic, isolation_level="read_uncommitted")
    assert len(everything) == 12 + 2 * sum(range(1, 7))


def test_gaps_that_compaction_left_are_passed_over(kafka_broker: KafkaBroker, make_topic: MakeTopic) -> None:
    if not kafka_broker.durable:
        pytest.skip("the embedded broker does not compact")
    topic = make_topic(
        partitions=1,
        **{
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "200",
            "delete.retention.ms": "0",
        },
    )

    def send_some() -> None:
        with producing(kafka_broker) as producer:
            for number in range(30):
                producer.send(topic, b"v%d" % number, b"key %d" % (number % 3))
            producer.flush(timeout=PATIENCE)

    def read_by(kind: Callable[[KafkaConsumer], None]) -> Found:
        with consuming(kafka_broker, topic) as consumer:
            kind(consumer)
            return read(consumer, topic)

    def is_compacted_and_rests() -> bool:
        """Compaction goes on as long as there is something to do."""
        before, ours, after = (read_by(kind) for kind in (lambda consumer: None, use_for, lambda consumer: None))
        if len(before) == before[-1][0] + 1:
            send_some()
        if before == after:
            assert ours == before
        return len(before) < before[-1][0] + 1 and before == after

    send_some()
    wait_for(is_compacted_and_rests, "compaction")
