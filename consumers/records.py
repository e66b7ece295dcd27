"""Kafka record batches taken apart in one loop, in place of kafka-python's own.

kafka-python 3.0 makes two objects of every record and calls a function for each of its numbers: more than all that
Stocktake does with an event. The batch is the same (KIP-98, message format 2); checksums, aborted transactions and
control batches are handled as kafka-python handles them, by its own functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from kafka import IsolationLevel, KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError
from msgspec import Struct

_LOG_APPEND_TIME: Final = 1
_LONGEST_NUMBER: Final = 64  # bits
_NO_TIMESTAMP: Final = -1  # as Kafka has it


class Record(Struct, frozen=True, gc=False):
    """One message. ``timestamp`` is in milliseconds since the epoch, UTC."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def use_for(consumer: KafkaConsumer) -> None:
    """Let a consumer's polls return :class:`Record` s."""
    consumer._fetcher.PartitionRecords = PartitionRecords


class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python has no types
    """What was fetched of one partition."""

    def take(self, n: int | None = None) -> list[Record]:
        """At most so many of the next records."""
        records: list[Record] = super().take(n)
        if records and self.record_iterator is not None:  # else it is the end of the last batch
            self.next_fetch_offset = records[-1].offset + 1
        return records

    def _unpack_records(self, tp: Any, records: Any, *_: Any) -> Iterator[Record]:
        return chain.from_iterable(self._batches(tp, records))

    def _batches(self, tp: Any, records: Any) -> Iterator[Sequence[Record]]:
        last: Any = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"{tp}: the record batch at offset {batch.base_offset} fails its checksum")
            self.bytes_read += batch.size_in_bytes  # tells the client that this partition has had its turn
            if batch.magic != 2:
                for record in _read_old(batch, self.check_crcs):
                    self.next_fetch_offset = record.offset + 1
                    yield (record,)
                continue
            self.leader_epoch = batch.leader_epoch
            if self._is_skipped(batch):
                self.next_fetch_offset = batch.next_offset
            else:
                yield read_batch(batch)
        if last is not None and last.magic == 2:
            # The last records of a batch may have been compacted away.
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _is_skipped(self, batch: Any) -> bool:
        """Whether the batch is of an aborted transaction, or only says how one ended."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def read_batch(batch: Any) -> list[Record]:
    """The records of a batch of message format 2.

    Raises:
        CorruptRecordError: it is not as it should be.
        UnsupportedCodecError: no library for its compression is installed.
    """
    _uncompress(batch)
    data, at, end = bytes(batch._buffer), batch._pos, len(batch._buffer)
    first_offset, first_timestamp = batch.base_offset, batch.first_timestamp
    appended = batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else None
    records: list[Record] = []
    add = records.append
    try:
        for _ in range(batch.records_count):
            # Most of these numbers are one byte long, lengths of messages two: a call for each would cost more than all
            # the rest.
            if (byte := data[at]) >= 0x80 and not byte & 1 and (second := data[at + 1]) < 0x80:
                length, at = (byte & 0x7F | second << 7) >> 1, at + 2
            else:
                length, at = _number(data, at)
            stop = at + length
            at += 1  # attributes: none are defined
            if (byte := data[at]) < 0x80:
                delta, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                delta, at = _number(data, at)
            timestamp = first_timestamp + delta if appended is None else appended
            if (byte := data[at]) < 0x80:
                delta, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                delta, at = _number(data, at)
            if (byte := data[at]) < 0x80:
                size, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                size, at = _number(data, at)
            key = None
            if size >= 0:
                key = data[at : at + size]
                at += size
            if (byte := data[at]) >= 0x80 and not byte & 1 and (second := data[at + 1]) < 0x80:
                size, at = (byte & 0x7F | second << 7) >> 1, at + 2
            else:
                size, at = _number(data, at)
            value = None
            if size >= 0:
                value = data[at : at + size]
                at += size
            headers: Sequence[tuple[str, bytes | None]] = ()
            if data[at]:
                headers, at = _headers(data, at)
            else:
                at += 1
            if at != stop or at > end:
                raise CorruptRecordError(f"a record at offset {first_offset + delta} is not as long as it says")
            add(Record(first_offset + delta, timestamp, key, value, headers))
    except (IndexError, UnicodeDecodeError) as error:
        raise CorruptRecordError(f"a record after offset {first_offset} is cut off: {error}") from error
    if at != end:
        raise CorruptRecordError(f"{end - at} bytes follow the records of the batch at offset {first_offset}")
    return records


def _uncompress(batch: Any) -> None:
    try:
        batch._maybe_uncompress()
    except KafkaError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise CorruptRecordError(f"the batch at offset {batch.base_offset} cannot be uncompressed: {error}") from error


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while shift < _LONGEST_NUMBER:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
    raise CorruptRecordError("a number of a record has no end")


def _headers(data: bytes, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = _number(data, at)
    if count < 0:
        raise CorruptRecordError("a record has less than no headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, at = _number(data, at)
        if size < 0:
            raise CorruptRecordError("a record has a header without a name")
        name = data[at : at + size].decode("utf-8")
        at += size
        size, at = _number(data, at)
        headers.append((name, None if size < 0 else data[at : at + size]))
        at += max(size, 0)
    return headers, at


def _read_old(batch: Any, check_crcs: bool) -> Iterator[Record]:
    """The same for message formats 0 and 1, which brokers before Kafka 4 may still hold."""
    for record in batch:
        if check_crcs and not record.validate_crc():
            raise CorruptRecordError(f"the record at offset {record.offset} fails its checksum")
        timestamp = _NO_TIMESTAMP if record.timestamp is None else record.timestamp  # format 0 has none
        yield Record(record.offset, timestamp, record.key, record.value, record.headers)
