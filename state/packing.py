"""A study record as fields of a Redis hash, and back.

=========  =========================================================================================================
field      holds
=========  =========================================================================================================
``rev``    another at each write, never one that was before
``time``   Study Update DateTime, UTC microseconds in decimals (the script moves it up to the chain's start)
``study``  orjson: what is known of the study itself, its counts and fingerprint (enough for level STUDY)
``series`` orjson: one row for each series; absent or empty if none is known
``c<i>``   chunk i of the instances: columns of orjson, compressed with zstd (level 1)
``import`` of a record that was imported, and not written since: :class:`state.imports.Note`
``seq``    the sequence of the inventory that holds it last, and the ``rev`` written there: ``<sequence>:<rev>``
=========  =========================================================================================================

A chunk's columns are the UIDs, the series as indexes into the ``series`` rows, the attributes and the tombstones.
Columns side by side compress to a third of what the same rows one by one do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import orjson
import zstandard

from state.attributes import patient_tags
from state.imports import FIELD, Covered, Note
from state.patient_news import LaidOver, Patient, patient_of
from state.record import InstanceRecord, InState, LifeEnd, Rejected, SeriesRecord, StudyRecord, Tombstone

HEAD: Final = (b"rev", b"time", b"study", b"series")
FIRST_CHUNK: Final = b"c0"
GLIMPSE: Final = (b"rev", b"time", b"study", FIELD)

_LEVEL: Final = 1
_NO_FINGERPRINT: Final = "0" * 16


class Glimpse(NamedTuple):
    """What an import looks at first: Study Update DateTime, the Item that the record is made of, whose study it is."""

    time: int
    note: Note | None
    patient: Patient | None


class Packer:
    """Packs and unpacks records. It holds compression contexts, so each thread needs its own."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def pack_head(self, record: StudyRecord) -> tuple[bytes, bytes]:
        """The fields ``study`` and ``series``."""
        study: dict[str, Any] = {
            "a": record.attributes,
            "t": None if record.tombstone is None else _tombstone(record.tombstone),
            "l": None if record.ended is None else _life_end(record.ended),
            "e": [record.expected_series, record.expected_instances],
            "c": len(record.chunks),
            "n": [record.number_of_series, record.number_of_instances],
            "f": f"{record.fingerprint:016x}" if record.series else _NO_FINGERPRINT,
            "u": record.own_time,
        }
        if record.said_at != {}:
            study["p"] = _said_at(record)
        if record.laid_over.time:
            study["o"] = [*record.laid_over]
        if record.dropped_at:
            study["d"] = record.dropped_at
        if record.covered is not None:
            study["i"] = [*record.covered]
        if record.rejected:
            study["r"] = {uid: [*one] for uid, one in record.rejected.items()}
        if not record.series:
            return orjson.dumps(study), b""
        series = [
            [
                uid,
                one.attributes,
                _tombstone(one.tombstone),
                _life_end(one.ended),
                one.updated,
                one.stored,
                one.instances,
                one.removed,
                f"{one.fingerprint:016x}",
            ]
            for uid, one in record.series.items()
        ]
        return orjson.dumps(study), orjson.dumps(series)

    def pack_chunk(self, record: StudyRecord, index: int) -> bytes:
        """The field ``c<index>``; the chunk must be held."""
        chunk = record.chunks[index] or {}
        row_of = {uid: row for row, uid in enumerate(record.series)}
        found = chunk.values()
        columns = [
            list(chunk),
            [row_of[one.series_instance_uid] for one in found],
            _transposed([one.attributes for one in found]),
            {str(row): _tombstone(one.tombstone) for row, one in enumerate(found) if one.tombstone is not None},
        ]
        return self._compressor.compress(orjson.dumps(columns))

    def unpack_head(self, study_instance_uid: str, head: Sequence[bytes | None]) -> StudyRecord:
        """The record without its instances, from the fields :data:`HEAD`; a new one if there is none."""
        rev, time, study, series = head[: len(HEAD)]
        if rev is None or time is None or study is None:
            # A bare rev stands where a patient's news found a study that is not stored yet.
            return StudyRecord(study_instance_uid, in_state=InState(rev or b""))
        known = orjson.loads(study)
        in_state = InState(rev, int(time), study, series or b"", known["c"], patient_of(known["a"]))
        record = self._unpack(study_instance_uid, known, in_state)
        if "p" in known:
            record.said_at = known["p"]
        if "i" in known:
            record.covered = Covered(*known["i"])
        return record

    def _unpack(self, study_instance_uid: str, known: dict[str, Any], in_state: InState) -> StudyRecord:
        """The record without its instances, and without what only those who merge need to know."""
        series = in_state.series
        records = {row[0]: _as_series(row) for row in orjson.loads(series)} if series else {}
        record = StudyRecord(
            study_instance_uid,
            own_time=known["u"],
            attributes=known["a"],
            dropped_at=known.get("d", {}),
            tombstone=_as_tombstone(known["t"]),
            ended=_as_life_end(known["l"]),
            expected_series=known["e"][0],
            expected_instances=known["e"][1],
            series=records,
            chunks=[None] * known["c"],
            known_instances=sum([one.instances for one in records.values()]),
            in_state=in_state,
        )
        if "o" in known:
            record.laid_over = LaidOver(*known["o"])
        if "r" in known:
            record.rejected = {uid: Rejected(*one) for uid, one in known["r"].items()}
        return record

    def unpack_glimpse(self, fields: Sequence[bytes | None]) -> Glimpse:
        """What the fields :data:`GLIMPSE` tell; for a bare rev the time is 0."""
        rev, time, study, note = fields
        if rev is None or time is None or study is None:
            return Glimpse(0, None, None)
        return Glimpse(int(time), Note.unpack(rev, note), patient_of(orjson.loads(study)["a"]))

    def unpack_chunk(self, record: StudyRecord, index: int, packed: bytes | None) -> None:
        """Hold chunk ``index`` of a record whose head was unpacked."""
        if packed is None:
            record.chunks[index] = {}
            return
        uids, rows, attributes, gone = orjson.loads(self._decompressor.decompress(packed))
        series = list(record.series)
        chunk = {
            uid: InstanceRecord(series[row], found)
            for uid, row, found in zip(uids, rows, _rows(attributes, len(uids)), strict=True)
        }
        for row, tombstone in gone.items():
            chunk[uids[int(row)]].tombstone = _as_tombstone(tombstone)
        record.chunks[index] = chunk

    def unpack(self, study_instance_uid: str, fields: Mapping[bytes, bytes]) -> StudyRecord:
        """The whole record from all fields of its hash (HGETALL), to be shown and not to be written again.

        When and by whom its patient was named is left out.
        """
        study = fields.get(b"study")
        if study is None:
            return self.unpack_head(study_instance_uid, [fields.get(name) for name in HEAD])
        known = orjson.loads(study)
        in_state = InState(fields[b"rev"], int(fields[b"time"]), study, fields.get(b"series", b""), known["c"])
        record = self._unpack(study_instance_uid, known, in_state)
        if not record.series:
            record.chunks = [{}]
            return record
        for index in range(record.in_state.chunks):
            self.unpack_chunk(record, index, fields.get(chunk_field(index)))
        return record


def chunk_field(index: int) -> bytes:
    """The hash field of a chunk."""
    return b"c%d" % index


def _said_at(record: StudyRecord) -> int | dict[str, int]:
    """One time if all that the record holds of its patient was said then, as it most often was."""
    if isinstance(record.said_at, int):
        return record.said_at
    times = set(record.said_at.values())
    if len(times) == 1 and len(record.said_at) == len(patient_tags(tuple(record.attributes))):
        return times.pop()
    return record.said_at


def _as_series(row: list[Any]) -> SeriesRecord:
    _, attributes, gone, ended, updated, stored, instances, removed, fingerprint = row
    return SeriesRecord(
        attributes,
        _as_tombstone(gone),
        _as_life_end(ended),
        updated,
        stored,
        instances,
        removed,
        int(fingerprint, 16),
    )


def _tombstone(tombstone: Tombstone | None) -> list[Any] | None:
    return None if tombstone is None else [tombstone.time, tombstone.reason]


def _as_tombstone(packed: list[Any] | None) -> Tombstone | None:
    return None if packed is None else Tombstone(packed[0], packed[1])


def _life_end(ended: LifeEnd | None) -> list[int] | None:
    return None if ended is None else [ended.at, ended.until]


def _as_life_end(packed: list[int] | None) -> LifeEnd | None:
    return None if packed is None else LifeEnd(*packed)


def _transposed(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows of attributes as one column for each tag; null where a row lacks it, short where the last ones do."""
    tags = [row.keys() for row in rows]
    if rows and tags.count(tags[0]) == len(tags):
        return {tag: [row[tag] for row in rows] for tag in rows[0]}
    columns: dict[str, list[Any]] = {}
    for index, row in enumerate(rows):
        for tag, value in row.items():
            column = columns.get(tag)
            if column is None:
                column = columns[tag] = [None] * index
            elif len(column) < index:
                column.extend([None] * (index - len(column)))
            column.append(value)
    return columns


def _rows(columns: dict[str, list[Any]], count: int) -> list[dict[str, Any]]:
    if not columns:
        return [{} for _ in range(count)]
    tags = list(columns)
    rows = [
        {tag: value for tag, value in zip(tags, values, strict=True) if value is not None}
        for values in zip_longest(*columns.values())
    ]
    return rows + [{} for _ in range(count - len(rows))]
