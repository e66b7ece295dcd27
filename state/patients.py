"""The patients of a repository in Redis: whose each study is, and the news of each (docs/decisions/0010).

Index and news are kept in the shard of the *patient*. Members of both sets begin with a digest of the patient, so one
patient's members stand together and are found by range. A study enters the index before the news is read, news is kept
before the index is read: whichever comes second sees the other. What a consumer keeps is anchored
(:mod:`state.anchors`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from secrets import token_bytes
from typing import Final
from zlib import crc32

import orjson

from state.anchors import Anchors
from state.connection import Arg, Command, Connection, Meanwhile, ScriptCall
from state.errors import AnchorGone
from state.keys import ShardKeys
from state.patient_news import NOTHING, News, Patient, lay_over, patient_of
from state.record import StudyRecord

_DIGEST: Final = 8  # bytes
_NEWS: Final = b"n"
_MERGED: Final = b"m"  # another patient, whose studies are this one's now


class Patients:
    """The patients of one repository in Redis."""

    def __init__(self, connection: Connection, repository: str, shards: int) -> None:
        self._connection = connection
        self._keys = [ShardKeys(repository, shard) for shard in range(shards)]

    def shard_of(self, patient: Patient) -> int:
        """The shard that keeps a patient's index and news."""
        return self._shard(_digest(patient))

    def _shard(self, digest: bytes) -> int:
        return crc32(digest) % len(self._keys)

    def enter(self, studies: Mapping[str, Patient], anchors: Anchors, meanwhile: Meanwhile = None) -> None:
        """Note whose studies these are, by Study Instance UID.

        Raises AnchorGone: what ``anchors`` say was kept before is not there any more.
        """
        members: dict[int, list[bytes]] = {}
        for uid, patient in studies.items():
            digest = _digest(patient)
            members.setdefault(self._shard(digest), []).append(digest + uid.encode("ascii"))
        self._add({shard: (self._keys[shard].patients, some) for shard, some in members.items()}, anchors, meanwhile)

    def lay_news(
        self,
        records: Collection[StudyRecord],
        anchors: Anchors,
        unsure: Set[str] = frozenset(),
        meanwhile: Meanwhile = None,
    ) -> None:
        """Work out anew what news lays over studies that are about to be written.

        A study that the state holds is in the index already; of those that are ``unsure`` the entry may be lost.
        Raises AnchorGone as :meth:`enter`.
        """
        patients: set[Patient] = set()
        entering: dict[str, Patient] = {}
        for record in records:
            patient = patient_of(record.attributes)
            if patient is not None:
                patients.add(patient)
                if patient != record.in_state.patient or record.study_instance_uid in unsure:
                    entering[record.study_instance_uid] = patient
        self.enter(entering, anchors, meanwhile)
        news = self.news(patients)
        for record in records:
            record.laid_over = lay_over(record.attributes, record.said_by_tag, news) if news else NOTHING

    def keep(
        self,
        news: Iterable[tuple[Patient, News]],
        merged: Iterable[tuple[Patient, Patient]],
        anchors: Anchors,
    ) -> None:
        """Keep news, and who (first) became whom; what is kept already changes nothing.

        Raises AnchorGone as :meth:`enter`.
        """
        members: dict[int, list[bytes]] = {}
        for patient, (time, text) in news:
            head = orjson.dumps([*patient, time], option=orjson.OPT_APPEND_NEWLINE)
            members.setdefault(self.shard_of(patient), []).append(_digest(patient) + _NEWS + head + text)
        for patient, other in merged:
            became = orjson.dumps([*other, *patient])
            members.setdefault(self.shard_of(other), []).append(_digest(other) + _MERGED + became)
        self._add({shard: (self._keys[shard].news, some) for shard, some in members.items()}, anchors)

    def studies(self, patients: Iterable[Patient]) -> set[str]:
        """Studies that ever were these patients', or those of others who became them."""
        pending = set(patients)
        known = set(pending)
        while pending:
            pending = {
                Patient(*row[2:])
                for patient, members in self._news_members(pending, _MERGED).items()
                for row in map(orjson.loads, members)
                if Patient(*row[:2]) == patient
            } - known
            known |= pending
        ranges = [_range(self._keys[self.shard_of(patient)].patients, _digest(patient)) for patient in known]
        return {member[_DIGEST:].decode("ascii") for found in self._connection.send(ranges) for member in found}

    def news(self, patients: Iterable[Patient]) -> dict[Patient, list[News]]:
        """The news of patients, and of those that they became."""
        pending = set(patients)
        found: dict[Patient, list[News]] = {}
        if not self._any_news(pending):
            return found
        while pending:
            for patient, members in self._news_members(pending, _NEWS).items():
                found[patient] = [news for member in members if (news := _as_news(patient, member)) is not None]
            became = {patient_of(one.attributes) for patient in pending for one in found[patient]}
            pending = {patient for patient in became if patient is not None} - found.keys()
        return found

    def _any_news(self, patients: Collection[Patient]) -> bool:
        """Most archives never tell any: then no patient has to be looked up."""
        if not patients:
            return False
        return any(self._connection.send([("EXISTS", keys.news) for keys in self._keys]))

    def _news_key(self, patient: Patient) -> str:
        return self._keys[self.shard_of(patient)].news

    def _news_members(self, patients: Iterable[Patient], kind: bytes) -> dict[Patient, list[bytes]]:
        """Members of that kind without what leads to them; another patient's may be among them."""
        ordered = list(patients)
        replies = self._connection.send([_range(self._news_key(one), _digest(one) + kind) for one in ordered])
        return {
            patient: [member[_DIGEST + len(kind) :] for member in members]
            for patient, members in zip(ordered, replies, strict=True)
        }

    def _add(
        self, members: Mapping[int, tuple[str, Sequence[bytes]]], anchors: Anchors, meanwhile: Meanwhile = None
    ) -> None:
        """Add members to one set of each shard (key and members)."""
        word = token_bytes(8)
        calls = (self._keep_call(shard, key, anchors, word, some) for shard, (key, some) in members.items())
        for shard, gone in zip(members, self._connection.call(calls, meanwhile), strict=True):
            if gone >= 0:
                raise AnchorGone(anchors.partitions[gone], shard)
            anchors.leave(shard, word)

    def _keep_call(self, shard: int, key: str, anchors: Anchors, word: bytes, members: Sequence[bytes]) -> ScriptCall:
        args: list[Arg] = [len(anchors.partitions)]
        for partition in anchors.partitions:
            args += (partition, anchors.left(shard, partition))
        return ScriptCall("keep", [self._keys[shard].anchors, key], [*args, word, *members])


def _digest(patient: Patient) -> bytes:
    """Eight letters that stand for a patient; a few may share them, so whatever is found by them is looked at."""
    return b"%08x" % crc32(f"{patient.patient_id}\0{patient.issuer}".encode())


def _range(key: str, prefix: bytes) -> Command:
    """All members that begin with ``prefix``."""
    return ("ZRANGEBYLEX", key, b"[" + prefix, b"(" + prefix + b"\xff")


def _as_news(patient: Patient, member: bytes) -> News | None:
    head, _, text = member.partition(b"\n")
    patient_id, issuer, time = orjson.loads(head)
    return News(time, text) if (patient_id, issuer) == patient else None
