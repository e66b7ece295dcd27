"""One repository of the model: its topic, its consumers and writers, and everything that can be done to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from threading import Event as Flag
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

import orjson
import pytest

import consumers.intake
import state.record
import state.studies
import writers.files
import writers.moment
import writers.study_items
from consumers.clock import Clock
from state.attributes import Level, item_attributes
from state.chain import Chain, Cuts, Lease
from state.errors import Fenced, StateForgotten, StateUnreachable
from state.times import MICROSECONDS
from stocktake import wiring
from stocktake.wiring import OpenConsumer, OpenRepository
from tests.harness import Deployment
from tests.model.exchanges import Crash, InterruptedConnection, Interruption
from tests.model.topic import ModelLetters, ModelSource, ModelTopic, Paused
from tests.oracle.adversary import BEGIN, Universe, event_key, random_event, random_identity
from tests.oracle.events import Json, News, Told, read_all
from tests.oracle.journal import Journal
from tests.oracle.scattered import ROOT as SCATTERED
from tests.oracle.scattered import Scattered
from tests.oracle.shown import shown
from tests.oracle.study import State
from writers.encoder import ItemEncoder
from writers.manifest import Manifest
from writers.moment import NoWatermark
from writers.produce import LostWrites, Producer
from writers.study_items import StudyItems
from writers.terms import COMPLETE

SHARDS: Final = 4
PARTITIONS: Final = 3
CONSUMERS: Final = 2
EVERYTHING: Final = 10**6  # messages; more than a partition ever has

_ITEM_HEADER: Final = 8  # bytes of an encoded Item: its tag and length
_MOMENTS: Final = 4  # of the past to which a shard can fall back
_TRIES: Final = 10  # to apply what is left when nobody disturbs any more


class Servers:
    """A Redis, a folder, and connections that are kept: opening them takes longer than what an example does.

    ``tally`` counts what happened in all examples.
    """

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.redis_url = redis_url
        self.folder = folder
        self.tally: Counter[str] = Counter()
        self._connections: dict[str, InterruptedConnection] = {}

    def open(self, deployment: Deployment, role: str) -> OpenRepository:
        """A repository's state as that role sees it, over its own connection."""

        def connect(*given: Any) -> InterruptedConnection:
            if role not in self._connections:
                self._connections[role] = InterruptedConnection(*given)
            self._connections[role].interrupt(None)
            return self._connections[role]

        with _wired(Connection=connect):
            return wiring.open_repository(deployment.settings, None)


@contextmanager
def _wired(**parts: Callable[..., Any]) -> Iterator[None]:
    """Let the wiring put the model's parts in the place of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, part in parts.items():
            patch.setattr(wiring, name, part)
        yield


@contextmanager
def model_conditions() -> Iterator[None]:
    """Chunks so small that a study has several, and polls in parts of two studies; whoever met new studies alone takes
    the next for new; nobody waits for what only another step of the model can bring, nor for a disk; encoders are built
    once, not for each inventory.
    """
    levels = (Level.STUDY, Level.SERIES, Level.INSTANCE)
    encoders = {id(item_attributes(level)): ItemEncoder(item_attributes(level)) for level in levels}
    with pytest.MonkeyPatch.context() as patch:
        for module in (state.record, state.studies):
            patch.setattr(module, "CHUNK_TARGET", 3)
        patch.setattr(consumers.intake, "_KEYS", 2)
        patch.setattr(consumers.apply, "_BACKFILL", 1)
        patch.setattr(writers.moment, "WAIT", 0.0)
        patch.setattr(writers.files, "_sync", lambda opened: opened.flush())
        patch.setattr(writers.files, "_sync_folder", lambda path: None)
        patch.setattr(writers.study_items, "ItemEncoder", lambda attributes: encoders[id(attributes)])
        yield


class NeverWaits(Flag):
    """The flag that stops a consumer; whoever waits for it goes on at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def _home(key: bytes) -> int:
    """The partition of a key."""
    return crc32(key) % PARTITIONS


def _is_foreign(told: Told | News, partition: int) -> bool:
    """Whether something is told of a keyed study in a partition that is not its own."""
    if isinstance(told, News) or told.study_uid.startswith(SCATTERED):
        return False
    return partition != _home(told.study_uid.encode())


@dataclass(frozen=True)
class Party:
    """A consumer process."""

    opened: OpenRepository
    source: ModelSource
    parts: OpenConsumer

    @property
    def connection(self) -> InterruptedConnection:
        found = self.opened.connection
        assert isinstance(found, InterruptedConnection)
        return found


@dataclass(frozen=True)
class Demand:
    """What holds when a writer begins: whether it can, the offsets that the watermark stands for and those that every
    shard has reached, studies that are being replayed, and how often shards have fallen back so far.
    """

    ready: bool
    promised: Mapping[str, int]
    everywhere: Mapping[str, int]
    replayed: set[str]
    falls: int


@dataclass(frozen=True)
class Moment:
    """What each shard held at some time, how far it had ever been, and what the repository's own keys held."""

    held: Sequence[Mapping[bytes, bytes]]
    furthest: Sequence[Mapping[str, int]]
    own: Mapping[bytes, bytes]


class World:
    """One example. Whatever is done to it, :meth:`finish` must find what the oracle says.

    With ``replays`` events can be applied again on purpose. Then something does not come that a replay may apply
    otherwise than the first time (docs/decisions/0002): studies whose UID is changed in another partition than their
    own.
    """

    def __init__(
        self,
        servers: Servers,
        level: Level = Level.INSTANCE,
        fanout: int = 2,
        origin: str = "unknown",
        records: int = 2,
        *,
        replays: bool = True,
    ) -> None:
        self._servers = servers
        self._tally = servers.tally
        self.deployment = Deployment(
            servers.folder,
            servers.redis_url,
            "m" + uuid4().hex[:12],
            STATE__SHARDS=str(SHARDS),
            INVENTORY__LEVEL=str(level),
            CHAIN__ROLLUP_FANOUT=str(fanout),
            CHAIN__ORIGIN=origin,
            INVENTORY__MAX_RECORDS_PER_INSTANCE=str(records),
        )
        self.deployment.clock.now = BEGIN
        self.topic = ModelTopic([[] for _ in range(PARTITIONS)])
        self.replays = replays
        self.universe = Universe(studies=4, series=2, instances=6, patients=2, renamed=0.1, moving=True, classless=0.7)
        self._scattered = Scattered()
        self.journal = Journal(level, scattered=self._scattered.uids())
        self._seconds = 0.0
        self._number = 0
        self._sent: list[tuple[Json, int]] = []
        self._moments: list[Moment] = []
        self._furthest: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        self._falls = 0
        self.consumers = [self._start(number, []) for number in range(CONSUMERS)]
        self.hand_out()

    def close(self) -> None:
        """Leave nothing of the example on the server."""
        redis, name = self.deployment.redis, self.deployment.name
        if keys := [*redis.keys(f"st:*:{name}:*"), *redis.keys(f"st:{{{name}}}:*")]:
            redis.unlink(*keys)
        self.deployment.close()

    # --- events ------------------------------------------------------------------------------------------------

    def publish(self, seed: int, count: int) -> None:
        """So many messages drawn from ``seed``: of keyed and of scattered studies, told again, and no events at all."""
        rng = Random(seed)
        for _ in range(count):
            drawn = rng.random()
            self._number += 1
            if drawn < 0.1 and self._sent:
                self.send(*rng.choice(self._sent))  # told again
            elif drawn < 0.3:
                self.send(self._scattered.draw(rng, self._number), rng.randrange(PARTITIONS))
            elif drawn < 0.35:
                self.topic.append(rng.randrange(PARTITIONS), rng.choice((None, b"{}")), self.deployment.clock.now)
            else:
                event = random_event(rng, self.universe, self._number)
                self.send(event, _home(event_key(event)))

    def send(self, event: Json, partition: int) -> None:
        """One message; the archive's clock goes on with it.

        A change of a study's UID tells of the old study in the new one's partition. Then all orders in which the two
        partitions can come have to be looked at, so one study has it happen once only.
        """
        told = read_all(event, self.deployment.clock.now)
        foreign = {one.study_uid for one in told if isinstance(one, Told) and _is_foreign(one, partition)}
        if foreign and (self.replays or any(map(self._was_renamed, foreign))):
            event = {name: value for name, value in event.items() if name != "prior"}
        clock = self.deployment.clock
        clock.now = max(clock.now, BEGIN + self._number * MICROSECONDS + self._number)
        timestamp = clock.now // 1000 * 1000
        offset = self.topic.append(partition, orjson.dumps(event), timestamp)
        self.journal.add(event, timestamp, partition, offset)
        self._sent.append((event, partition))
        self._tally[f"messages of level {event.get('level', 'INSTANCE')}"] += 1

    def publish_rename(self, seed: int) -> tuple[int, int]:
        """A store of a study, and news of the patient that it names, in the order of their times; their partitions.

        Often nothing else is ever told of the two: it would make good what goes wrong here.
        """
        rng = Random(seed)
        universe = replace(self.universe, studies=10**6, patients=10**6) if rng.random() < 0.7 else self.universe
        identity = random_identity(rng, universe)
        places = []
        for level in ("INSTANCE", "PATIENT"):
            self._number += 1
            event = random_event(rng, universe, self._number, action="store", level=level)
            dataset = event["dataset"] if level == "PATIENT" else event["datasets"][0]
            dataset |= identity
            places.append(_home(event_key(event)))
            self.send(event, places[-1])
        return places[0], places[1]

    def _was_renamed(self, study_uid: str) -> bool:
        return any(_is_foreign(entry.told, entry.partition) for entry in self.journal.entries.get(study_uid, ()))

    def wait(self, seconds: int) -> None:
        """The archive's clock goes on."""
        self.deployment.clock.now += seconds * MICROSECONDS

    # --- consumers ---------------------------------------------------------------------------------------------

    def _start(self, number: int, partitions: Sequence[int]) -> Party:
        opened = self._servers.open(self.deployment, f"consumer {number}")
        source = ModelSource(self.topic)
        clock = Clock(now=lambda: self.deployment.clock.now, monotonic=lambda: self._seconds)
        with _wired(
            Source=lambda *given: source, DeadLetterTopic=lambda *given: ModelLetters(), system_clock=lambda: clock
        ):
            parts = wiring.open_consumer(self.deployment.settings, opened)
        for partition in partitions:
            source.assign(partition)
        return Party(opened, source, parts)

    def consume(
        self,
        who: int,
        polls: Sequence[Mapping[int, int]],
        later: float = 0.0,
        interruption: Interruption | None = None,
    ) -> None:
        """Let a consumer poll as often as told, taking so many messages of each partition, ``later`` seconds from its
        last time. One that crashes is started again, with the partitions that it believed to own.
        """
        party = self.consumers[who]
        self._seconds += later
        party.source.plan.extend(polls)
        party.connection.interrupt(interruption)
        conflicts = party.parts.counts["conflicts"]
        try:
            party.parts.consumer.run(NeverWaits())
        except Paused:
            pass
        except (Crash, StateUnreachable):  # the server is away when the process begins: it ends
            self._tally["consumers died"] += 1
            self.restart(who)
        finally:
            party.source.plan.clear()
            party.connection.interrupt(None)
            self._tally["shards written by others in between"] += party.parts.counts["conflicts"] - conflicts

    def restart(self, who: int) -> None:
        self.consumers[who] = self._start(who, sorted(self.consumers[who].source.partitions))

    def hand_out(self) -> None:
        """Each partition to one consumer, as the group would have it."""
        for partition in range(PARTITIONS):
            for who, party in enumerate(self.consumers):
                owned = partition in party.source.partitions
                if who == partition % CONSUMERS and not owned:
                    party.source.assign(partition)
                elif who != partition % CONSUMERS and owned:
                    party.source.revoke(partition)

    def move(self, partition: int, to: int, *, told: bool) -> None:
        """A partition goes to a consumer. Those that had it are not told if ``told`` is false: they are zombies."""
        for who, party in enumerate(self.consumers):
            if who == to and partition not in party.source.partitions:
                party.source.assign(partition)
            elif who != to and partition in party.source.partitions and told:
                party.source.revoke(partition)

    def apply_all(self) -> None:
        """Let the consumers apply everything that the topic holds."""
        polls: list[dict[int, int]] = [{}, dict.fromkeys(range(PARTITIONS), EVERYTHING), {}]
        for _ in range(_TRIES):
            for who in range(CONSUMERS):
                self.consume(who, polls, later=10.0)
            if all(offsets == self.topic.ends() for offsets in self._offsets()):
                return
        raise AssertionError(f"not applied: {self._offsets()} of {self.topic.ends()}")

    # --- what the server forgets, what operators do ------------------------------------------------------------

    def remember(self) -> None:
        """Keep what the shards now hold, for a later fall."""
        self._look_how_far()
        furthest = [dict(one) for one in self._furthest]
        redis = self.deployment.redis
        own = {key: held for key in self._own_keys() if (held := redis.dump(key)) is not None}
        self._moments = [*self._moments[1 - _MOMENTS :], Moment(self.deployment.dump_shards(), furthest, own)]

    def _own_keys(self) -> list[bytes]:
        found: list[bytes] = self.deployment.redis.keys(f"st:{{{self.deployment.name}}}:*")  # type: ignore[assignment]
        return found

    def lose(self, moment: int, shards: Sequence[int], *, own: bool = False) -> None:
        """These shards fall back to an earlier moment: 0 is the latest that was remembered. ``own``: so does what the
        repository has once, its head, plan, lease and watermarks.
        """
        if not self._moments:
            return
        self._falls += 1
        self._tally["shards fell back"] += len(shards)
        at = max(0, len(self._moments) - 1 - moment)
        for shard in shards:
            self.deployment.lose(shard, self._moments[at].held[shard])
            self._furthest[shard] = dict(self._moments[at].furthest[shard])
        if own:
            self._tally["repositories fell back"] += 1
            pipeline = self.deployment.redis.pipeline(transaction=True)
            for key in self._own_keys():
                pipeline.delete(key)
            for key, held in self._moments[at].own.items():
                pipeline.restore(key, 0, held)
            pipeline.execute()
        del self._moments[at + 1 :]  # that future never came

    def replay(self, partition: int, last: int) -> None:
        """Let everything after offset ``last`` of a partition be applied again."""
        if not self.replays:
            return
        self._look_how_far()
        self._tally["replays"] += (
            self.deployment.opened.studies.lower_offsets(self.topic.topic.field(partition), last) > 0
        )
        # A fall behind this would lose the order to replay, and with it what the replay has shown in between.
        self._moments.clear()

    def _look_how_far(self) -> None:
        for furthest, offsets in zip(self._furthest, self._offsets(), strict=True):
            for field, offset in offsets.items():
                furthest[field] = max(offset, furthest.get(field, -1))

    def _offsets(self) -> list[dict[str, int]]:
        """The last offset of each partition that each shard has applied."""
        pipeline = self.deployment.redis.pipeline(transaction=False)
        for keys in self.deployment.shard_keys:
            pipeline.hgetall(keys.offsets)
        return [{field.decode(): int(offset) for field, offset in found.items()} for found in pipeline.execute()]

    def _being_replayed(self) -> set[str]:
        """Studies whose shard has yet to apply again what it had applied before."""
        self._look_how_far()
        offsets = self._offsets()
        found = set()
        for uid, entries in self.journal.entries.items():
            shard = self.deployment.opened.studies.shard_of(uid)
            for field in {self.topic.topic.field(entry.partition) for entry in entries}:
                if offsets[shard].get(field, -1) < self._furthest[shard].get(field, -1):
                    found.add(uid)
        return found

    # --- inventories -------------------------------------------------------------------------------------------

    def produce(
        self,
        kind: str = "next",
        *,
        force: bool = False,
        writer: int = 0,
        interruption: Interruption | None = None,
        prepare: Callable[[Producer], None] = lambda producer: None,
    ) -> Manifest | None:
        """Let a writer produce, and hold what it has produced to the guarantee. None: there was a reason not to.

        ``prepare`` does something to the producer before it begins.
        """
        opened = self._servers.open(self.deployment, f"writer {writer}")
        producer, lease = wiring.open_producer(self.deployment.settings, opened)
        self._expire(lease)
        assert lease.take()
        # A forced first inventory that is never published would leave its start behind in the shards.
        force = force and producer.folder.head() is not None
        self._import_if_all_was_lost(producer.folder.head())
        before = self._what_must_be_shown(force=force)
        assert isinstance(opened.connection, InterruptedConnection)
        opened.connection.interrupt(interruption)
        prepare(producer)
        try:
            manifest = producer.produce(kind, force=force)
        except (Crash, StateUnreachable):
            self._tally["writers died"] += 1
            return None
        except NoWatermark:
            self._tally["writers had to wait"] += 1
            kept = not before.ready or self._fell_behind(producer.folder.head())
            assert interruption is not None or kept, "nothing kept the writer from producing"
            return None
        except (LostWrites, Fenced, StateForgotten) as error:
            self._tally[f"writers gave up: {type(error).__name__}"] += 1
            assert interruption is not None, "nobody disturbed the writer"
            return None
        finally:
            opened.connection.interrupt(None)
        lease.release()
        self._tally[f"inventories: {manifest.kind}"] += 1
        self._check(manifest, before)
        return manifest

    def _import_if_all_was_lost(self, head: Manifest | None) -> None:
        """A shard that fell back to before the first cut wants the head imported, unless all studies are there.

        Here the topic holds all that ever was: it will be as if that had been done, so that is only said.
        """
        chain, opened = Chain(self.deployment.opened.connection, self.deployment.name), self.deployment.opened
        cuts = Cuts(opened.connection, opened.studies)
        if head is not None and (head.cut > 1 or cuts.studies() < head.total_records) and cuts.never_taken():
            in_redis = chain.head()
            newest = head if in_redis is None else max(head, Manifest.from_json(in_redis), key=lambda one: one.sequence)
            chain.set_imported(newest.sop_instance_uid)
            self._tally["imports wanted"] += 1

    def _fell_behind(self, head: Manifest | None) -> bool:
        """Whether the repository's own keys fell back to a watermark before that of the head."""
        watermark = self.deployment.opened.repository.watermark().time
        return head is not None and head.status == COMPLETE and watermark is not None and watermark < head.watermark

    def _expire(self, lease: Lease) -> None:
        self.deployment.redis.delete(self.deployment.keys.lease)

    def _what_must_be_shown(self, *, force: bool) -> Demand:
        watermark = self.deployment.opened.repository.watermark()
        offsets = self._offsets()
        everywhere = {field: min(one.get(field, -1) for one in offsets) for field in self.topic.ends()}
        return Demand(
            ready=watermark.time is not None
            and all(everywhere.get(field, -1) >= offset for field, offset in watermark.offsets.items()),
            promised={} if force else watermark.offsets,
            everywhere=everywhere,
            replayed=self._being_replayed(),
            falls=self._falls,
        )

    def _check(self, manifest: Manifest, before: Demand) -> None:
        """What a watermark stood for has to be shown although shards fell back meanwhile; all else if none did."""
        applied = before.everywhere if self._falls == before.falls else before.promised
        self.journal.start = manifest.scope_begin
        self.journal.check(
            self.deployment.path(manifest),
            {int(field.rpartition(":")[2]): offset for field, offset in applied.items()},
            manifest.watermark if manifest.status == COMPLETE else 0,
            before.replayed | self._being_replayed(),
        )

    # --- the end -----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """When nobody disturbs any more and all is applied, state and inventory are what the oracle says."""
        for who in range(CONSUMERS):
            self.restart(who)
        self.hand_out()
        self.apply_all()
        self.wait(60)
        self.apply_all()
        manifest = self.produce()
        assert manifest is not None
        assert self.deployment.opened.studies.owed() == 0
        states = self._states()
        assert self.journal.shown(self.deployment.path(manifest)) == states, "the inventory does not show the state"
        self.journal.check_states(states)

    def _states(self) -> dict[str, State]:
        """What the state itself holds, each study as it would be written."""
        opened, items = self.deployment.opened, StudyItems(self.journal.level)
        times: dict[str, int] = {}
        for keys in self.deployment.shard_keys:
            scores: list[Any] = self.deployment.redis.zrange(keys.updated, 0, -1, withscores=True)
            times |= {uid.decode(): int(time) for uid, time in scores}
        found = {}
        for read in opened.studies.read(times):
            record = read.record
            assert record.update_time == times[record.study_instance_uid], "the index has another time"
            found[record.study_instance_uid] = shown(items.encode(record, 0)[_ITEM_HEADER:], record.update_time)
        assert found.keys() == times.keys()
        return found
