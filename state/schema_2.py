"""From schema 1 to 2: patients are told apart by CRC-32 in place of BLAKE2, instances summed by XXH3 in its place.

In schema 1 the members of ``patients`` and ``news`` began with eleven letters of a BLAKE2 digest, and lay in the shard
that followed from them; a series' fingerprint, and the study's, was the sum of BLAKE2 hashes. Nothing else differs. A
study's ``rev`` stays, since what inventories show of it stays.

The index of patients is made anew from what each study says of its patient: the entries for whose it was before, which
it also had, lead to nothing (:func:`state.patient_news.lay_over` begins with whose it is now). News is kept as it is.
Both are built beside the old ones, whose places they take at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from zlib import crc32

import orjson

from state.connection import Arg, Command, Connection
from state.keys import ShardKeys
from state.packing import Packer
from state.patient_news import Patient, patient_of
from state.record import StudyRecord, instance_hash

_PAGE: Final = 200  # studies, or news, in one round trip
_DIGEST_1: Final = 11  # bytes before a member's kind in schema 1
_DIGEST_2: Final = 8
_MASK: Final = (1 << 64) - 1
_PLACEHOLDER: Final = b""  # a member that no other can be: keeps a set in being that gets none
_FINGERPRINT: Final = 8  # its place in a series' row

Tell = Callable[[int], None]


def prepare(connection: Connection, keys: Sequence[ShardKeys], shard: int, tell: Tell) -> None:
    """Begin the new sets of one shard. Both are there from now on until they take the places of the old ones."""
    for key in (keys[shard].patients_anew, keys[shard].news_anew):
        connection.send([("DEL", key), ("ZADD", key, 0, _PLACEHOLDER)])


def convert_studies(connection: Connection, keys: Sequence[ShardKeys], shard: int, tell: Tell) -> None:
    """Work out the fingerprints of one shard's studies anew, and enter the studies into the new index of patients."""
    packer = Packer()
    stem = keys[shard].study("")
    for page in _pages(connection, keys[shard].updated):
        uids = [uid.decode("ascii") for uid in page]
        found = connection.send([("HGETALL", stem + uid) for uid in uids])
        commands: list[Command] = []
        members: defaultdict[str, list[Arg]] = defaultdict(list)
        for uid, fields in zip(uids, found, strict=True):
            if b"study" not in fields:
                continue
            words = fingerprints(packer.unpack(uid, fields), fields)
            if words:
                commands.append(("HSET", stem + uid, *words))
            patient = patient_of(orjson.loads(fields[b"study"])["a"])
            if patient is not None:
                digest = _digest(patient)
                members[keys[_shard(digest, len(keys))].patients_anew] += (0, digest + uid.encode("ascii"))
        connection.send([*commands, *(("ZADD", key, *words) for key, words in members.items())])
        tell(len(uids))


def fingerprints(record: StudyRecord, fields: Mapping[bytes, bytes]) -> list[Arg]:
    """The fields of a study's hash, with their new values, that hold another fingerprint than schema 2 has there."""
    sums: defaultdict[str, int] = defaultdict(int)
    for uid, instance in record.instances():
        if instance.is_inventoried and instance.tombstone is None:
            sums[instance.series_instance_uid] += instance_hash(uid)
    for uid, series in record.series.items():
        series.fingerprint = sums[uid] & _MASK
    words: list[Arg] = []
    rows: list[list[Any]] = orjson.loads(fields[b"series"]) if fields.get(b"series") else []
    for row in rows:
        row[_FINGERPRINT] = f"{record.series[row[0]].fingerprint:016x}"
    if rows and (series_words := orjson.dumps(rows)) != fields[b"series"]:
        words += (b"series", series_words)
    study = orjson.loads(fields[b"study"])
    study["f"] = f"{record.fingerprint:016x}"
    if (study_words := orjson.dumps(study)) != fields[b"study"]:
        words += (b"study", study_words)
    return words


def convert_news(connection: Connection, keys: Sequence[ShardKeys], shard: int, tell: Tell) -> None:
    """Put the news of one shard where schema 2 has it."""
    for page in _pages(connection, keys[shard].news):
        members: defaultdict[str, list[Arg]] = defaultdict(list)
        for member in page:
            digest, kept = news_member(member)
            members[keys[_shard(digest, len(keys))].news_anew] += (0, digest + kept)
        connection.send([("ZADD", key, *words) for key, words in members.items()])
        tell(0)


def news_member(member: bytes) -> tuple[bytes, bytes]:
    """The digest that a member of ``news`` has in schema 2, and what follows it.

    Raises:
        ValueError: it is no member of schema 1, nor of 2.
    """
    for length in (_DIGEST_1, _DIGEST_2):  # some states that say 1 were made by programs between the two
        kept = member[length:]
        if kept[:1] not in (b"n", b"m"):
            continue
        try:
            patient_id, issuer, *_ = orjson.loads(kept[1:].partition(b"\n")[0])
        except ValueError:
            continue
        digest = _digest(Patient(patient_id, issuer))
        if length == _DIGEST_1 or member[:length] == digest:
            return digest, kept
    raise ValueError("a member of the news of patients is in no known form")


def swap(connection: Connection, keys: Sequence[ShardKeys], shard: int, tell: Tell) -> None:
    """Let the new sets of one shard take the places of the old ones."""
    one = keys[shard]
    for anew, key in ((one.patients_anew, one.patients), (one.news_anew, one.news)):
        # It is not there any more if this was done before: since it was begun it was never empty.
        if connection.send([("EXISTS", anew)])[0]:
            connection.send([("RENAME", anew, key)])
        connection.send([("ZREM", key, _PLACEHOLDER)])


def _pages(connection: Connection, key: str) -> Iterator[list[bytes]]:
    first = 0
    while page := connection.send([("ZRANGE", key, first, first + _PAGE - 1)])[0]:
        yield page
        first += _PAGE


# As schema 2 has them, whatever those that come after do.


def _digest(patient: Patient) -> bytes:
    return b"%08x" % crc32(f"{patient.patient_id}\0{patient.issuer}".encode())


def _shard(digest: bytes, shards: int) -> int:
    return crc32(digest) % shards
