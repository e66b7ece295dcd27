"""The study record: all that is known of one study, and what follows from it.

A record is built from events in the order in which Kafka gives them. Whether a series or study is removed, its counts
and its modalities follow from what lies below wherever something is known there (design, section 3).

Instances are kept in *chunks*, by a hash of their SOP Instance UID (linear hashing, W. Litwin, VLDB 1980), so that one
new instance touches one small chunk however large the study is. A record may be held in part: only the chunks that a
batch needs. What is said of the whole study (counts, removal, fingerprint) is kept in its head and never needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from msgspec import Struct, field
from xxhash import xxh3_64_intdigest

from state.attributes import MODALITIES_IN_STUDY, MODALITY, SOP_CLASS_UID, patient_tags
from state.imports import Covered, Note
from state.patient_news import NOTHING, LaidOver, Patient
from state.values import Item

CHUNK_TARGET: Final = 192  # instances a chunk holds on average before one is split; the fullest holds about twice that
UNKNOWN_MODALITY: Final = "OT"  # Modality is Type 1 (PS3.3 C.38.1): "OT" stands for what no event stated
_FINGERPRINT_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Removed from operational use at ``time`` (UTC microseconds); ``reason`` is a code Item, empty if not stated."""

    time: int
    reason: Item


@dataclass(frozen=True, slots=True)
class LifeEnd:
    """The latest removal of a study or series as such: it ends a life, also when another begins later.

    ``at`` is the removal's own time. What is older than ``until`` belongs to the life that ended and changes nothing
    any more. ``until`` is later than ``at`` where the removal was told after something newer: it counts as made just
    after that. UTC microseconds.
    """

    at: int
    until: int


class InstanceRecord(Struct, gc=False):
    """A SOP Instance. One whose SOP Class nobody has said (a removal or update is all that came) is not inventoried."""

    series_instance_uid: str
    attributes: Item
    tombstone: Tombstone | None = None

    @property
    def is_inventoried(self) -> bool:
        return bool(self.attributes.get(SOP_CLASS_UID))


class SeriesRecord(Struct, gc=False):
    """A series. ``stored`` is false while it is known by a removal alone; ``updated`` is its newest event's time.

    ``instances`` counts those inventoried, removed ones included; ``removed`` counts the removed among them;
    ``fingerprint`` sums the hashes of those that are live.
    """

    attributes: Item = field(default_factory=dict)
    tombstone: Tombstone | None = None
    ended: LifeEnd | None = None
    updated: int = 0
    stored: bool = False
    instances: int = 0
    removed: int = 0
    fingerprint: int = 0

    @property
    def is_inventoried(self) -> bool:
        return self.stored or self.tombstone is not None

    @property
    def is_removed(self) -> bool:
        """Removed as such, or because its last instance was."""
        return self.tombstone is not None or (self.instances > 0 and self.removed == self.instances)

    @property
    def live_instances(self) -> int:
        return self.instances - self.removed

    @property
    def modality(self) -> str:
        modality = self.attributes.get(MODALITY)
        return modality if isinstance(modality, str) and modality else UNKNOWN_MODALITY


def chunk_of(sop_instance_uid: str, chunks: int) -> int:
    """Which of ``chunks`` chunks holds an instance: linear hashing on CRC-32."""
    digest = crc32(sop_instance_uid.encode("ascii"))
    mask = (1 << chunks.bit_length()) - 1
    index = digest & mask
    return index if index < chunks else digest & (mask >> 1)


def split_source(chunks: int) -> int:
    """The chunk that gives half of its instances to a new one when ``chunks`` become ``chunks + 1``."""
    return chunks - (1 << (chunks.bit_length() - 1))


def instance_hash(sop_instance_uid: str) -> int:
    """A 64-bit hash; the sum over a set of UIDs, modulo 2**64, does not depend on their order."""
    return xxh3_64_intdigest(sop_instance_uid.encode("ascii"))


class Rejected(NamedTuple):
    """What a rejection note in that series removes since it came (UTC microseconds), for which reason (a code Item)."""

    series_instance_uid: str
    time: int
    reason: Item
    sop_instance_uids: list[str]


class InState(Struct, frozen=True, gc=False):
    """What the state held when a record was read: what a write must find unchanged, and can leave alone."""

    rev: bytes = b""
    time: int = 0
    study: bytes = b""
    series: bytes = b""
    chunks: int = 0
    patient: Patient | None = None


class StudyRecord(Struct, gc=False):
    """One study. ``own_time`` is that of its newest own event (UTC microseconds), 0 while nothing was applied.

    ``attributes`` are as its own events said them, ``said_at`` when they said those of the patient: by tag, or one time
    for all of them; what news of the patient lays over them stands apart. ``dropped_at`` is by partition the Kafka
    offset of the latest store that dropped what the record held: earlier events of that partition are in the record
    already, whatever is read again. ``renewed``: its rev changes with the next write even if nothing else does.
    ``covered`` are the events that the Inventory had in it which the record came from; ``note`` is written with a
    record that is imported. ``rejected`` is by the SOP Instance UID of each rejection note what it removed.

    ``chunks[i]`` is None while that chunk is not held; ``known_instances`` counts the inventoried instances of all
    series, removed ones included.
    """

    study_instance_uid: str
    own_time: int = 0
    attributes: Item = field(default_factory=dict)
    said_at: dict[str, int] | int = field(default_factory=dict)
    laid_over: LaidOver = NOTHING
    dropped_at: dict[str, int] = field(default_factory=dict)
    covered: Covered | None = None
    tombstone: Tombstone | None = None
    ended: LifeEnd | None = None
    expected_series: int | None = None
    expected_instances: int | None = None
    series: dict[str, SeriesRecord] = field(default_factory=dict)
    chunks: list[dict[str, InstanceRecord] | None] = field(default_factory=lambda: [{}])
    known_instances: int = 0
    in_state: InState = InState()
    renewed: bool = False
    note: Note | None = None
    rejected: dict[str, Rejected] = field(default_factory=dict)
    changed_chunks: set[int] = field(default_factory=set)

    @property
    def said_by_tag(self) -> dict[str, int]:
        """When its own events said what they said of the patient, by tag."""
        if isinstance(self.said_at, dict):
            return self.said_at
        return dict.fromkeys(patient_tags(tuple(self.attributes)), self.said_at)

    # --- what is held below ------------------------------------------------------------------------------------

    def instance(self, sop_instance_uid: str) -> InstanceRecord | None:
        """The instance, or None. Its chunk must be held."""
        chunks = self.chunks
        index = chunk_of(sop_instance_uid, len(chunks)) if len(chunks) > 1 else 0
        return (chunks[index] or self._chunk(index)).get(sop_instance_uid)

    def instances(self) -> Iterator[tuple[str, InstanceRecord]]:
        """All instances; every chunk must be held."""
        for index in range(len(self.chunks)):
            yield from self._chunk(index).items()

    def _chunk(self, index: int) -> dict[str, InstanceRecord]:
        chunk = self.chunks[index]
        if chunk is None:
            raise LookupError(f"chunk {index} of study {self.study_instance_uid} was not read")
        return chunk

    def add_instance(self, sop_instance_uid: str, instance: InstanceRecord) -> bool:
        """Add an instance that is not there yet; false, and nothing is done, if it is."""
        chunks = self.chunks
        index = chunk_of(sop_instance_uid, len(chunks)) if len(chunks) > 1 else 0
        chunk = chunks[index]
        if chunk is None:
            chunk = self._chunk(index)
        if sop_instance_uid in chunk:
            return False
        chunk[sop_instance_uid] = instance
        self.changed_chunks.add(index)
        if instance.tombstone is None and instance.attributes.get(SOP_CLASS_UID):
            # As _count does it: most instances come this way.
            series = self.series[instance.series_instance_uid]
            series.instances += 1
            series.fingerprint = (series.fingerprint + instance_hash(sop_instance_uid)) & _FINGERPRINT_MASK
            self.known_instances += 1
        else:
            self._count(sop_instance_uid, instance, +1)
        if self.known_instances > CHUNK_TARGET * len(chunks):
            self._grow()
        return True

    def put_instance(self, sop_instance_uid: str, instance: InstanceRecord) -> None:
        """Add or replace an instance and keep its series' counts."""
        if self.add_instance(sop_instance_uid, instance):
            return
        index = chunk_of(sop_instance_uid, len(self.chunks))
        chunk = self._chunk(index)
        before = chunk[sop_instance_uid]
        if before != instance:
            self._count(sop_instance_uid, before, -1)
            chunk[sop_instance_uid] = instance
            self._count(sop_instance_uid, instance, +1)
            self.changed_chunks.add(index)
            if self.known_instances > CHUNK_TARGET * len(self.chunks):
                self._grow()

    def drop_other_series(self, keep: str) -> None:
        """Forget every series but ``keep``, and their instances; every chunk must be held.

        That a series was removed as such stays known: a removal told again must not end a life that began later.
        """
        self._drop_instances({uid for uid in self.series if uid != keep})
        self.series = {
            uid: series if uid == keep else SeriesRecord(ended=series.ended, updated=series.updated)
            for uid, series in self.series.items()
            if uid == keep or series.ended is not None
        }

    def drop_instances(self, series_instance_uid: str) -> None:
        """Forget a series' instances; every chunk must be held."""
        if series_instance_uid in self.series:
            self._drop_instances({series_instance_uid})

    def _drop_instances(self, series_instance_uids: set[str]) -> None:
        for index in range(len(self.chunks)):
            chunk = self._chunk(index)
            gone = [uid for uid, found in chunk.items() if found.series_instance_uid in series_instance_uids]
            for uid in gone:
                del chunk[uid]
            # Chunks name series by their place, and the places change: every chunk is written anew.
            self.changed_chunks.add(index)
        for uid in series_instance_uids:
            series = self.series[uid]
            self.known_instances -= series.instances
            series.instances = series.removed = series.fingerprint = 0

    def _count(self, sop_instance_uid: str, instance: InstanceRecord, sign: int) -> None:
        if not instance.attributes.get(SOP_CLASS_UID):
            return
        series = self.series[instance.series_instance_uid]
        series.instances += sign
        self.known_instances += sign
        if instance.tombstone is None:
            series.fingerprint = (series.fingerprint + sign * instance_hash(sop_instance_uid)) & _FINGERPRINT_MASK
        else:
            series.removed += sign

    def _grow(self) -> None:
        """Split chunks while they hold more than their target on average."""
        while self.known_instances > CHUNK_TARGET * len(self.chunks):
            source = split_source(len(self.chunks))
            old = self._chunk(source)
            count = len(self.chunks) + 1
            moved = {uid for uid in old if chunk_of(uid, count) != source}
            self.chunks.append({uid: found for uid, found in old.items() if uid in moved})
            self.chunks[source] = {uid: found for uid, found in old.items() if uid not in moved}
            self.changed_chunks |= {source, count - 1}

    # --- what follows from it ----------------------------------------------------------------------------------

    @property
    def update_time(self) -> int:
        """Study Update DateTime (0008,041F), UTC microseconds: it never goes back, and is not before the chain's start.

        What follows from the order of the study's own events goes by ``own_time``.
        """
        return max(self.own_time, self.laid_over.time, self.in_state.time)

    @property
    def shown_attributes(self) -> Item:
        """The study's attributes with what news of its patient lays over them."""
        return self.attributes | self.laid_over.attributes

    def inventoried_series(self) -> list[SeriesRecord]:
        return [series for series in self.series.values() if series.is_inventoried]

    @property
    def is_removed(self) -> bool:
        """Removed as such, or because its last series was; not while more was announced than has been seen."""
        if self.tombstone is not None:
            return True
        series = self.inventoried_series()
        if not any(one.stored for one in series) or not all(one.is_removed for one in series):
            return False
        if len(series) < (self.expected_series or 0):
            return False
        # A series removed as such may have held instances that no event ever named.
        removed_as_such = all(one.tombstone is not None for one in series)
        return removed_as_such or self.known_instances >= (self.expected_instances or 0)

    @property
    def is_incomplete(self) -> bool:
        """Whether an event announced more series or instances than have been seen."""
        series = self.inventoried_series()
        if series and len(series) < (self.expected_series or 0):
            return True
        return 0 < self.known_instances < (self.expected_instances or 0)

    def removal(self) -> Tombstone | None:
        """The study's tombstone; for one that went with its last series, the latest of those below."""
        if self.tombstone is not None or not self.is_removed:
            return self.tombstone
        return max(
            (found for uid in self.series if (found := self.series_removal(uid)) is not None),
            key=lambda tombstone: tombstone.time,
        )

    def series_removal(self, series_instance_uid: str) -> Tombstone | None:
        """The same for a series; looks at its instances (every chunk must be held) only if it went with them."""
        series = self.series[series_instance_uid]
        if series.tombstone is not None or not series.is_removed:
            return series.tombstone
        return max(
            (
                found.tombstone
                for _, found in self.instances()
                if found.series_instance_uid == series_instance_uid and found.tombstone is not None
            ),
            key=lambda tombstone: tombstone.time,
        )

    @property
    def number_of_series(self) -> int | None:
        """Live series; what an event announced if no series is known; None if nothing is."""
        if not self.series:
            return self.expected_series
        series = self.inventoried_series()
        return sum(not one.is_removed for one in series) if series else self.expected_series

    @property
    def number_of_instances(self) -> int | None:
        """Live instances in live series; what an event announced if no instance is known; None if nothing is."""
        if not self.known_instances:
            return self.expected_instances
        return sum(one.live_instances for one in self.series.values() if one.tombstone is None)

    @property
    def modalities(self) -> str:
        """Modalities in Study (0008,0061): of the live series, of all if none is live, as stated if none is known."""
        series = self.inventoried_series() if self.series else []
        if not series:
            stated = self.attributes.get(MODALITIES_IN_STUDY, "")
            return stated if isinstance(stated, str) else ""
        live = [one for one in series if not one.is_removed] or series
        return "\\".join(sorted({one.modality for one in live}))

    @property
    def fingerprint(self) -> int:
        """Order-independent hash over the live SOP Instance UIDs: their :func:`instance_hash` summed modulo 2**64."""
        if not self.series:
            return 0
        live = (one.fingerprint for one in self.series.values() if one.tombstone is None)
        return 0 if self.tombstone is not None else sum(live) & _FINGERPRINT_MASK
