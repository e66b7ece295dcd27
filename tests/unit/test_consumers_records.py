"""Record batches are read as kafka-python reads them, whatever is in them; what is damaged is told of as such."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import IsolationLevel, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, UnsupportedCodecError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.util import calc_crc32c, encode_varint

from consumers.records import PartitionRecords, Record, read_batch

Headers = list[tuple[str, bytes | None]]

_HEADER: Final = 61  # bytes before the first record
_BASE_OFFSET: Final = 0
_LEADER_EPOCH: Final = 12
_CRC: Final = 17
_ATTRIBUTES: Final = 21
_LAST_DELTA: Final = 23
_MAX_TIMESTAMP: Final = 35
_COUNT: Final = 57
_LOG_APPEND_TIME: Final = 0x08
_CONTROL: Final = 0x20
_NONE, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)
_CODECS: Final = (_NONE, _GZIP, _SNAPPY, _LZ4, _ZSTD)
PARTITION: Final = TopicPartition("events", 0)


class Message(NamedTuple):
    """A record to be written, at so many offsets after the batch's first."""

    delta: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def patched(batch: bytearray, at: int, form: str, number: int) -> bytearray:
    """The batch with another number in its header, and the checksum of what it is then."""
    struct.pack_into(form, batch, at, number)
    struct.pack_into(">I", batch, _CRC, calc_crc32c(memoryview(batch)[_ATTRIBUTES:]))
    return batch


def built(
    messages: Iterable[Message],
    base: int = 0,
    compression: int = _NONE,
    attributes: int = 0,
    producer: int = -1,
    transactional: bool = False,
) -> bytearray:
    """A batch of message format 2 as a broker would hold it."""
    builder = DefaultRecordBatchBuilder(2, compression, transactional, producer, 0 if producer >= 0 else -1, 0, 1 << 26)
    for message in messages:
        assert builder.append(*message) is not None
    batch: bytearray = builder.build()
    struct.pack_into(">q", batch, _BASE_OFFSET, base)
    [found] = struct.unpack_from(">h", batch, _ATTRIBUTES)
    return patched(batch, _ATTRIBUTES, ">h", found | attributes)


def by_hand(body: bytes, count: int = 1) -> Any:
    """A batch with these bytes for its records; its checksum is right."""
    batch = built([Message(0, 0, None, None, [])])[:_HEADER] + body
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    return DefaultRecordBatch(patched(batch, _COUNT, ">i", count))


def numbers(*found: int) -> bytes:
    written = bytearray()
    for number in found:
        encode_varint(number, written.append)
    return bytes(written)


def record(content: bytes) -> bytes:
    """A record of that content, with its length before it."""
    return numbers(len(content)) + content


def plain(records: Iterable[Any]) -> list[Record]:
    """What kafka-python reads, in our form; it has None where a record of format 0 has no timestamp."""
    return [
        Record(one.offset, -1 if one.timestamp is None else one.timestamp, one.key, one.value, list(one.headers))
        for one in records
    ]


def read(batch: Any) -> list[Record]:
    return plain(read_batch(batch))


_bytes = st.one_of(st.none(), st.just(b""), st.binary(max_size=40), st.integers(1, 3000).map(lambda n: b"\xff\x00" * n))
_names = st.one_of(st.text(max_size=8), st.sampled_from(["reason", "Größe", "山田", "🩻"]))
_headers = st.lists(st.tuples(_names, st.one_of(st.none(), st.binary(max_size=10))), max_size=3)
_timestamps = st.one_of(st.integers(1_790_000_000_000, 1_790_000_100_000), st.integers(-1, 2**45))


@st.composite
def messages(draw: st.DrawFn, least: int = 1) -> list[Message]:
    """Records at rising offsets; compaction may have taken some from between."""
    found = []
    delta = -1
    for _ in range(draw(st.integers(least, 6))):
        delta += draw(st.sampled_from([1, 1, 1, 2, 100, 70_000]))
        found.append(Message(delta, draw(_timestamps), draw(_bytes), draw(_bytes), draw(_headers)))
    return found


# --- a batch -------------------------------------------------------------------------------------------------------


@given(messages(), st.integers(0, 2**60), st.sampled_from(_CODECS), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_batch_is_read_as_kafka_python_reads_it(
    written: list[Message], base: int, compression: int, appended: bool
) -> None:
    batch = built(written, base, compression, _LOG_APPEND_TIME if appended else 0)
    found = read(DefaultRecordBatch(batch))
    assert found == plain(DefaultRecordBatch(batch))
    assert [(one.offset - base, one.key, one.value, one.headers) for one in found] == [
        (one.delta, one.key, one.value, one.headers) for one in written
    ]


def test_records_of_a_megabyte_and_of_nothing_stand_side_by_side() -> None:
    large = bytes(range(256)) * 4096
    written = [Message(0, 5, large, large, [("h" * 70_000, large)]), Message(1, 4, None, None, [("", None)])]
    batch = built(written)
    assert read(DefaultRecordBatch(batch)) == plain(DefaultRecordBatch(batch))


def test_a_batch_that_the_broker_stamped_gives_all_records_its_own_time() -> None:
    written = [Message(number, 1000 + number, None, b"v", []) for number in range(3)]
    batch = patched(built(written, attributes=_LOG_APPEND_TIME), _MAX_TIMESTAMP, ">q", 7777)
    assert [one.timestamp for one in read_batch(DefaultRecordBatch(batch))] == [7777] * 3


def test_a_batch_whose_codec_is_not_known_says_so() -> None:
    batch = patched(built([Message(0, 1, None, b"v", [])]), _ATTRIBUTES, ">h", 7)
    with pytest.raises(UnsupportedCodecError):
        list(read_batch(DefaultRecordBatch(batch)))


# --- damage --------------------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytearray, list[int]]:
    """A batch, and the places among its records where bytes are other than they were written."""
    batch = built(draw(messages()), compression=draw(st.sampled_from([_NONE, *_CODECS])))
    places = draw(st.lists(st.integers(_HEADER, len(batch) - 1), min_size=1, max_size=4, unique=True))
    for place in places:
        batch[place] ^= draw(st.integers(1, 255))
    return batch, places


@given(damaged(), st.integers(-3, 8))
@settings(max_examples=120, deadline=None)
def test_damaged_records_are_read_or_told_of_as_corrupt_and_nothing_else(
    damage: tuple[bytearray, list[int]], count: int
) -> None:
    batch, _ = damage
    struct.pack_into(">i", batch, _COUNT, count)
    try:
        found = list(read_batch(DefaultRecordBatch(batch)))
    except CorruptRecordError:
        return
    assert len(found) == max(count, 0)


@given(damaged())
@settings(max_examples=60, deadline=None)
def test_what_was_damaged_on_its_way_never_gets_past_the_checksum(damage: tuple[bytearray, list[int]]) -> None:
    batch, _ = damage
    with pytest.raises(CorruptRecordError, match="checksum"):
        PartitionRecords(0, PARTITION, MemoryRecords(batch)).take()


@given(messages(), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_batch_that_is_cut_off_is_corrupt(written: list[Message], cut: int) -> None:
    batch = built(written)
    shorter = batch[: max(_HEADER, len(batch) - 1 - cut)]
    with pytest.raises(CorruptRecordError):
        list(read_batch(DefaultRecordBatch(shorter)))


_EMPTY: Final = b"\x00" + numbers(0, 0, -1, -1)  # attributes, time, offset, no key, no value

BROKEN: Final[dict[str, bytes]] = {
    "a length that is too small": numbers(3) + _EMPTY + numbers(0),
    "a length that is too large": numbers(99) + _EMPTY + numbers(0),
    "a length below nothing": numbers(-5) + _EMPTY + numbers(0),
    "a number that never ends": b"\xff" * 2_000_000,
    "a number of more than 64 bits": b"\x80" * 9 + b"\x80\x01" + _EMPTY + numbers(0),
    "a key longer than the batch": record(b"\x00" + numbers(0, 0, 500, -1, 0)),
    "a value longer than anything": record(b"\x00" + numbers(0, 0, -1, 2**62, 0)),
    "less than no headers": record(_EMPTY + numbers(-1)),
    "more headers than there can be": record(_EMPTY + numbers(2**62)),
    "headers whose names go backwards": record(_EMPTY + numbers(2**62, -3, -1)),
    "a header's name that is no text": record(_EMPTY + numbers(1, 2) + b"\xff\xfe" + numbers(-1)),
    "a header's value longer than the batch": record(_EMPTY + numbers(1, 1) + b"n" + numbers(100)),
    "bytes after the last record": record(_EMPTY + numbers(0)) + b"x",
    "no records": b"",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_record_that_cannot_be_is_corrupt_and_is_noticed_soon(kind: str) -> None:
    with pytest.raises(CorruptRecordError):
        list(read_batch(by_hand(BROKEN[kind])))
    with pytest.raises((CorruptRecordError, IndexError)):
        list(by_hand(BROKEN[kind]))


def test_more_or_fewer_records_than_announced_are_corrupt() -> None:
    body = record(_EMPTY + numbers(0))
    assert len(list(read_batch(by_hand(body * 2, 2)))) == 2
    for count in (1, 3, -1):
        with pytest.raises(CorruptRecordError):
            list(read_batch(by_hand(body * 2, count)))


@pytest.mark.parametrize("compression", _CODECS[1:])
def test_bytes_that_no_codec_made_are_corrupt(compression: int) -> None:
    batch = patched(built([Message(0, 1, None, b"v" * 50, [])]), _ATTRIBUTES, ">h", compression)
    with pytest.raises(CorruptRecordError):
        list(read_batch(DefaultRecordBatch(batch)))


# --- what was fetched of a partition -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Aborted:
    """As a broker names aborted transactions."""

    producer_id: int
    first_offset: int


@dataclass(frozen=True)
class Log:
    """What a fetch brought, and how it is taken."""

    data: bytes
    aborted: Sequence[Aborted]
    fetch_offset: int
    isolation: IsolationLevel
    takes: Sequence[int]


def marker(producer: int, *, abort: bool) -> Message:
    return Message(0, 1, struct.pack(">hh", 0, 0 if abort else 1), struct.pack(">hi", 0, 0), [])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Batches of three producers and of nobody's, with and without transactions, that are committed and aborted."""
    data, offset, aborted = bytearray(), draw(st.integers(0, 10**6)), []
    first = offset
    open_since: dict[int, int] = {}
    for _ in range(draw(st.integers(1, 8))):
        producer = draw(st.sampled_from([-1, 1, 2, 3]))
        if producer in open_since and draw(st.booleans()):
            abort = draw(st.booleans())
            batch = built([marker(producer, abort=abort)], offset, _NONE, _CONTROL, producer, True)
            started = open_since.pop(producer)
            if abort:
                aborted.append(Aborted(producer, started))
        else:
            transactional = producer == 3 or (producer > 0 and draw(st.booleans()))
            compression = draw(st.sampled_from([_NONE, _GZIP]))
            batch = built(draw(messages()), offset, compression, 0, producer, transactional)
            if transactional:
                open_since.setdefault(producer, offset)
        [last] = struct.unpack_from(">i", batch, _LAST_DELTA)
        compacted = draw(st.sampled_from([0, 0, 3]))  # records that were the last of their batch
        struct.pack_into(">i", batch, _LEADER_EPOCH, draw(st.integers(0, 5)))
        data += patched(batch, _LAST_DELTA, ">i", last + compacted)
        offset += last + compacted + 1
    for producer, started in open_since.items():
        if draw(st.booleans()):
            aborted.append(Aborted(producer, started))
    if draw(st.booleans()):
        data += data[:50]  # the broker cuts off where the answer would be too long
    isolation = draw(st.sampled_from([IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED]))
    takes = draw(st.lists(st.integers(1, 5), max_size=5))
    return Log(bytes(data), aborted, draw(st.integers(first, offset)), isolation, takes)


def taken(kind: Any, log: Log, convert: Callable[[Any], list[Record]] = plain) -> list[object]:
    """All that the client's fetcher sees of a fetch."""
    drained: list[object] = []
    parts = kind(
        log.fetch_offset,
        PARTITION,
        MemoryRecords(bytearray(log.data)),
        isolation_level=log.isolation,
        aborted_transactions=log.aborted,
        on_drain=drained.append,
    )
    seen: list[object] = []
    for count in [*log.takes, None]:
        if parts:
            seen.append((convert(parts.take(count)), parts.next_fetch_offset, parts.leader_epoch, bool(parts)))
    assert drained == ([] if parts else [parts])
    return [*seen, parts.bytes_read > 0]


@given(logs())
@settings(max_examples=80, deadline=None)
def test_a_fetch_gives_what_kafka_python_makes_of_it(log: Log) -> None:
    ours, theirs = taken(PartitionRecords, log), taken(Fetcher.PartitionRecords, log)
    assert ours[:-1] == theirs[:-1]
    assert ours[-1] or not theirs[-1]  # a partition that was read has had its turn


@given(logs())
@settings(max_examples=50, deadline=None)
def test_what_committed_readers_see_is_part_of_what_others_see_and_all_of_it_if_nothing_was_aborted(log: Log) -> None:
    committed, others = (
        taken(PartitionRecords, replace(log, isolation=isolation, takes=[]))
        for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    )
    seen, all_seen = committed[0][0], others[0][0]  # type: ignore[index]
    assert all(one in all_seen for one in seen)
    assert log.aborted or seen == all_seen


def test_after_the_last_record_the_next_fetch_begins_after_the_batch_although_its_end_was_compacted_away() -> None:
    batch = patched(built([Message(0, 1, None, b"v", [])], base=10), _LAST_DELTA, ">i", 6)
    parts = PartitionRecords(10, PARTITION, MemoryRecords(batch))
    assert [one.offset for one in parts.take()] == [10]
    assert parts.next_fetch_offset == 17


def test_records_before_damage_are_given_out_and_then_the_damage_is_told() -> None:
    good, bad = built([Message(0, 1, None, b"v", [])]), built([Message(0, 1, None, b"w", [])], base=1)
    bad[-1] ^= 1
    parts = PartitionRecords(0, PARTITION, MemoryRecords(good + bad))
    assert [one.value for one in parts.take()] == [b"v"]
    with pytest.raises(CorruptRecordError):
        parts.take()


# --- message formats 0 and 1 ---------------------------------------------------------------------------------------


@given(messages(), st.sampled_from([0, 1]), st.sampled_from([_NONE, _GZIP]), st.data())
@settings(max_examples=60, deadline=None)
def test_older_message_formats_are_read_as_kafka_python_reads_them(
    written: list[Message], magic: int, compression: int, data: st.DataObject
) -> None:
    builder = LegacyRecordBatchBuilder(magic, compression, 1 << 26)
    for number, message in enumerate(written):
        builder.append(number, max(message.timestamp, 0), message.key, message.value)
    log = Log(bytes(builder.build()), [], 0, IsolationLevel.READ_COMMITTED, data.draw(st.lists(st.integers(1, 3))))
    ours = taken(PartitionRecords, log)
    assert ours[:-1] == taken(Fetcher.PartitionRecords, log)[:-1]
    assert magic or [one.timestamp for one in ours[0][0]] == [-1] * len(ours[0][0])  # type: ignore[index]


@pytest.mark.parametrize("magic", [0, 1])
def test_damage_in_older_message_formats_is_noticed(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, _NONE, 1 << 26)
    builder.append(0, 1, b"key", b"value")
    data = bytearray(builder.build())
    data[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="checksum"):
        PartitionRecords(0, PARTITION, MemoryRecords(data)).take()
