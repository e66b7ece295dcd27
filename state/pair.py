"""A pair of repositories as the state has it: where its studies stand, which are not settled, who has seen them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import orjson

from state.comparison import OPEN, SOURCE, TARGET, Comparison, Place, Summary
from state.connection import Connection, ScriptCall
from state.keys import LISTED_PLACES, PairKeys, ShardKeys, shard_of
from state.policy import ComparisonPolicy
from state.studies import PartsWanted, Studies, batches

BUCKETS: Final = 8  # of a lag, for each doubling, as state/lua/place.lua has them
_PAGE: Final = 500
_FLOW: Final = 2  # places of keys among those of a pair
_UNCOMPARED: Final = 12
_SOME: Final = 100


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody has seen that a study is not settled: who, when (UTC microseconds), and what they note."""

    name: str
    time: int
    note: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One study of a pair.

    ``since``: from when on it is not settled, whatever its place was meanwhile, or from when on it has its place; UTC
    microseconds, None where that is not kept.
    """

    study_instance_uid: str
    place: Place
    since: int | None
    source: Summary | None
    target: Summary | None
    acknowledged: Acknowledgement | None


@dataclass(slots=True)
class Standing:
    """Where all studies stand, added up over the shards.

    ``groups`` and ``days`` count by place, and by modality and year, or by day of the last update. ``arrived`` and
    ``settled`` count since the comparison began; ``lags`` by hour since the epoch, and by bucket (see
    :func:`milliseconds`). ``oldest`` is the moment since when the oldest study is open, None if none is.
    """

    places: Counter[Place] = field(default_factory=Counter)
    groups: Counter[tuple[Place, str, str]] = field(default_factory=Counter)
    days: Counter[tuple[Place, str]] = field(default_factory=Counter)
    arrived: int = 0
    settled: int = 0
    lags: Counter[tuple[int, int]] = field(default_factory=Counter)
    oldest: int | None = None
    acknowledged: int = 0

    @property
    def open(self) -> int:
        """Studies that are not settled."""
        return sum(self.places[place] for place in OPEN)


def milliseconds(bucket: int) -> float:
    """The end of a lag's bucket."""
    return float(2 ** ((bucket + 1) / BUCKETS))


class Pair:
    """Reads and marks what the scripts keep of a pair."""

    def __init__(self, connection: Connection, policy: ComparisonPolicy, shards: int) -> None:
        self._connection = connection
        self.policy = policy
        self._shards = shards
        self._keys = [PairKeys(policy.source, policy.target, shard) for shard in range(shards)]

    # --- figures -----------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """Where all studies stand now."""
        replies = self._connection.send(
            [
                command
                for keys in self._keys
                for command in (
                    ("HGETALL", keys.counts),
                    ("HGETALL", keys.flow),
                    ("HLEN", keys.acknowledged),
                    *(("ZRANGE", keys.place(place), 0, 0, "WITHSCORES") for place in OPEN),
                )
            ]
        )
        found = Standing()
        for counts, flow, acknowledged, *firsts in batches(replies, 3 + len(OPEN)):
            _add_counts(found, counts)
            _add_flow(found, flow)
            found.acknowledged += acknowledged
            for first in firsts:
                if first:
                    since = int(first[0][1])
                    found.oldest = since if found.oldest is None else min(found.oldest, since)
        return found

    def open_since(self, moment: int) -> int:
        """How many studies have been open since ``moment`` (UTC microseconds) or longer."""
        places = [keys.place(place) for keys in self._keys for place in OPEN]
        return sum(self._connection.send([("ZCOUNT", place, "-inf", moment) for place in places]))

    def acknowledged_since(self, moment: int) -> int:
        """How many of the studies open since ``moment`` or longer somebody has acknowledged."""
        names = self._connection.send([("HKEYS", keys.acknowledged) for keys in self._keys])
        seen = ((uid.decode(), None) for uids in names for uid in uids)
        found = (one for some in batches(seen, _PAGE) for one in self._studies(some))
        return sum(one.since is not None and one.since <= moment for one in found)

    def recompared(self, side: str, *, swept: bool = True) -> list[str]:
        """By shard the rules by which all studies of a side were compared; empty where they never were.

        ``swept``: and by which nothing is left that was told by others.
        """
        found = self._connection.send([("HGET", keys.flow, _mark(side, swept=swept)) for keys in self._keys])
        return [(rules or b"").decode() for rules in found]

    def forget_lags(self, before_hour: int) -> None:
        """Drop lags of hours before this one (hours since the epoch)."""
        replies = self._connection.send([("HKEYS", keys.flow) for keys in self._keys])
        for keys, fields in zip(self._keys, replies, strict=True):
            old = [one for one in fields if b":" in one and int(one.partition(b":")[0]) < before_hour]
            for some in batches(old, _PAGE):
                self._connection.send([("HDEL", keys.flow, *some)])

    # --- studies -----------------------------------------------------------------------------------------------

    def study(self, study_instance_uid: str) -> Compared | None:
        """One study; None if neither repository has it."""
        return next(self._studies([(study_instance_uid, None)]), None)

    def page(self, places: Sequence[Place], after: tuple[int, str] | None, limit: int) -> list[Compared]:
        """Studies of these places (of :data:`state.keys.LISTED_PLACES`), the longest there first; ``after`` is the last
        of the page before: its ``since``, and its Study Instance UID.
        """
        keys = [keys.place(place) for keys in self._keys for place in places if place in LISTED_PLACES]
        found = heapq.merge(*self._listed(keys, after, limit))
        page = list(islice(found, limit))
        return list(self._studies([(uid, since) for since, uid in page]))

    def _listed(self, keys: list[str], after: tuple[int, str] | None, limit: int) -> list[list[tuple[int, str]]]:
        """By key the first ``limit`` studies after ``after``, or all that there are.

        Studies of one moment come by UID, which is how a sorted set has them. One script gives many the same moment, so
        those up to ``after`` may fill what is read: then it is read on.
        """
        low = "-inf" if after is None else after[0]
        count = limit if after is None else limit + _PAGE
        found: dict[str, list[tuple[int, str]]] = {key: [] for key in keys}
        unread, offset = keys, 0
        while unread:
            replies = self._connection.send(
                [("ZRANGEBYSCORE", key, low, "+inf", "WITHSCORES", "LIMIT", offset, count) for key in unread]
            )
            more = []
            for key, reply in zip(unread, replies, strict=True):
                read = ((int(since), uid.decode()) for uid, since in reply)
                found[key] += [one for one in read if after is None or one > after]
                if len(reply) == count and len(found[key]) < limit:
                    more.append(key)
            unread, offset = more, offset + count
        return list(found.values())

    def _studies(self, listed: Sequence[tuple[str, int | None]]) -> Iterator[Compared]:
        """Studies, each with the moment that the set of its place has it by; None: that is looked up, for all."""
        sets = LISTED_PLACES if any(since is None for _, since in listed) else ""
        commands = []
        for uid, _ in listed:
            keys = self._keys[shard_of(uid, self._shards)]
            places = [("ZSCORE", keys.place(place), uid) for place in sets]
            commands += [("HGET", keys.compared, uid), ("HGET", keys.acknowledged, uid), *places]
        replies = self._connection.send(commands)
        for (uid, since), (text, acknowledged, *moments) in zip(listed, batches(replies, 2 + len(sets)), strict=True):
            if text is None:
                continue
            place, source, target = text.decode().split("\n")
            if since is None and place[0] in sets:
                moment = moments[sets.index(place[0])]
                since = None if moment is None else int(moment)
            seen = None if acknowledged is None else Acknowledgement(**orjson.loads(acknowledged))
            yield Compared(uid, Place(place[0]), since, Summary.parse(source), Summary.parse(target), seen)

    # --- marks -------------------------------------------------------------------------------------------------

    def acknowledge(self, study_instance_uid: str, seen: Acknowledgement | None) -> bool:
        """Note that somebody has seen it, or take that back (None); false if the study is not open.

        It holds until either repository says something else of the study.
        """
        keys = self._keys[shard_of(study_instance_uid, self._shards)]
        text = b"" if seen is None else orjson.dumps(asdict(seen))
        call = ScriptCall("acknowledge", keys.all, [study_instance_uid, text])
        return bool(self._connection.call([call])[0])


class Recomparison:
    """Compares studies of one repository anew; what consumers write meanwhile is not undone."""

    def __init__(self, connection: Connection, studies: Studies, comparison: Comparison) -> None:
        self._connection = connection
        self._studies = studies
        self._comparison = comparison

    def shard(self, shard: int, step: Callable[[int], None] = lambda count: None) -> None:
        """Compare all studies of a shard, and then note there by which rules: a shard that loses its latest writes
        loses that first. ``step`` is told how many studies more are done.
        """
        for page in batches(self._studies.updated(shard, None, None), _PAGE):
            self.some(page)
            step(len(page))
        self._set_mark(shard, swept=False)

    def sweep(self, shard: int) -> None:
        """Once all shards were compared: compare again what the pair has of this side by other rules, and note it.

        Those are studies that the pair knew by a UID that the mapping does not lead to any more.
        """
        comparison = self._comparison
        place = 1 if comparison.side == SOURCE else 2
        cursor: int = -1
        while cursor:
            command = ("HSCAN", comparison.keys(shard)[0], max(cursor, 0), "COUNT", _PAGE)
            [[found, fields]] = self._connection.send([command])
            cursor = int(found)
            for uid, text in batches(fields, 2):
                summary = Summary.parse(text.decode().split("\n")[place])
                if summary is not None and summary.rules != comparison.rules:
                    self.again(uid.decode())
        self._set_mark(shard, swept=True)

    def _set_mark(self, shard: int, *, swept: bool) -> None:
        comparison = self._comparison
        field = _mark(comparison.side, swept=swept)
        self._connection.send([("HSET", comparison.keys(shard)[_FLOW], field, comparison.rules)])

    def some(self, study_instance_uids: Sequence[str]) -> None:
        """Compare these studies of one shard."""
        records = self._studies.read_parts({uid: PartsWanted() for uid in study_instance_uids})
        known = [record for record in records.values() if record.in_state.time]
        if not known:
            return
        shard = self._studies.shard_of(known[0].study_instance_uid)
        keys = ShardKeys(self._studies.repository, shard)
        here = [one for one in known if not self._comparison.is_elsewhere(one.study_instance_uid)]
        elsewhere = [one.study_instance_uid for one in known if self._comparison.is_elsewhere(one.study_instance_uid)]
        if elsewhere:
            self._connection.send([("SADD", self._comparison.keys(shard)[_UNCOMPARED], *elsewhere)])
        args: list[Any] = [self._comparison.side]
        for record in here:
            args += (record.study_instance_uid, record.in_state.rev, self._comparison.summary(record))
        wanted = [*self._comparison.keys(shard), *(keys.study(record.study_instance_uid) for record in here)]
        self._connection.call([ScriptCall("compare", wanted, args)])

    def owed(self) -> list[str]:
        """Some of the studies that the pair knows by another UID and that are not compared yet."""
        shards = range(self._studies.shards)
        found = self._connection.send(
            [("SRANDMEMBER", self._comparison.keys(shard)[_UNCOMPARED], _SOME) for shard in shards]
        )
        return [uid.decode() for uids in found for uid in uids]

    def settle(self, study_instance_uid: str) -> bool:
        """Compare a study that the pair knows by another UID; false if it has changed meanwhile and is still owed.

        1. read what is held of it where the pair has it
        2. read its record, and make a summary that no other write has
        3. place it, if what was read in 1 is still held
        4. strike it off, if the record is still what was read in 2; else it is owed again

        Whoever was overtaken between 1 and 3 changes nothing; whoever was so between 2 and 4 leaves the debt.
        """
        known_as = self._comparison.known_as(study_instance_uid)
        there = self._comparison.keys(self._studies.shard_of(known_as))
        [held] = self._connection.send([("HGET", there[0], known_as)])
        record = self._studies.read_parts({study_instance_uid: PartsWanted()})[study_instance_uid]
        rev = record.in_state.rev
        summary = f"{self._comparison.summary(record)}\t{rev.hex()}" if record.in_state.time else ""
        call = ScriptCall("place_one", there, [self._comparison.side, known_as, held or b"", summary])
        if not self._connection.call([call])[0]:
            return False
        shard = self._studies.shard_of(study_instance_uid)
        study = ShardKeys(self._studies.repository, shard).study(study_instance_uid)
        keys = [self._comparison.keys(shard)[_UNCOMPARED], study]
        return bool(self._connection.call([ScriptCall("settle_comparison", keys, [study_instance_uid, rev])])[0])

    def again(self, known_as: str) -> None:
        """Compare a study of the pair again, whatever UID this side knows it by; one it does not know is forgotten."""
        uid = self._comparison.named(known_as)
        record = self._studies.read_parts({uid: PartsWanted()})[uid]
        if record.in_state.time and self._comparison.known_as(uid) == known_as:
            self.some([uid])
        else:
            self._forget(known_as)

    def _forget(self, known_as: str) -> None:
        there = self._comparison.keys(self._studies.shard_of(known_as))
        [held] = self._connection.send([("HGET", there[0], known_as)])
        if held is not None:
            call = ScriptCall("place_one", there, [self._comparison.side, known_as, held, ""])
            self._connection.call([call])


def _mark(side: str, *, swept: bool) -> str:
    return f"{'rules' if swept else 'compared'}-{side}"


def _add_counts(found: Standing, counts: dict[bytes, bytes]) -> None:
    for name, value in counts.items():
        place, day, modality, year = _counted(name)
        if day:
            found.days[place, day] += int(value)
        elif modality:
            found.groups[place, modality, year] += int(value)
        else:
            found.places[place] += int(value)


@lru_cache(maxsize=1 << 14)
def _counted(name: bytes) -> tuple[Place, str, str, str]:
    """What a count is of: place, then day, or modality and year. Every shard has the same names."""
    text = name.decode()
    place, mark, rest = Place(text[0]), text[1:2], text[2:]
    if mark == "@":
        return place, rest, "", ""
    modality, _, year = rest.rpartition(",")
    return place, "", modality, year


def _add_flow(found: Standing, flow: dict[bytes, bytes]) -> None:
    for name, value in flow.items():
        hour, colon, bucket = name.partition(b":")
        if colon:
            found.lags[int(hour), int(bucket)] += int(value)
        elif name == b"arrived":
            found.arrived += int(value)
        elif name == b"settled":
            found.settled += int(value)


def is_recompared(pair: Pair, rules: str) -> bool:
    """Whether every shard of both sides has been compared as a whole by these rules."""
    return all(found == rules for side in (SOURCE, TARGET) for found in pair.recompared(side))
