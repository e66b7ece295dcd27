"""A repository on real servers that loses things: its archive's events, its inventories, and what they come to."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

from kafka import KafkaAdminClient, TopicPartition

from state.address import parse_redis_url
from state.attributes import Level
from tests.feed import broker_admin
from tests.harness import Deployment, wait_for
from tests.oracle.events import patient_attributes
from tests.oracle.shown import shown
from tests.oracle.study import State
from tests.recovery.pages import Player
from tests.servers.kafka_broker import KafkaBroker
from tests.soak.archive import Archive
from tests.soak.program import Program, program, settings_file
from tests.soak.truth import Truth
from writers.files import InventoryFolder
from writers.manifest import Manifest
from writers.study_items import StudyItems
from writers.tree import load_tree
from writers.verify import verify

NAME: Final = "pacs"  # as the pages call the repository
FOLDER: Final = "/var/lib/stocktake/inventories"  # and inventory.dir
TOPIC: Final = "pacs.events"
PARTITIONS: Final = 4
SHARDS: Final = 8
PATIENCE: Final = 120.0  # seconds

Known: TypeAlias = Mapping[str, tuple[int, int]]

_ITEM_HEADER: Final = 8  # bytes: an Item's tag and length
_EARLIEST: Final = -2  # as Kafka's protocol says it


class Site:
    """A deployment, its archive and the truth of its topic; ``player`` runs commands at it."""

    def __init__(self, folder: Path, redis_url: str, broker: KafkaBroker, seed: int, **given: str) -> None:
        self.broker = broker
        self.run_folder = folder
        self.backup = folder / "backup"
        topic = f"recovery-{uuid4().hex}"
        broker.create_topic(topic, PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
        settings = {
            "STATE__SHARDS": str(SHARDS),
            "KAFKA__GROUP_ID": topic,
            "KAFKA__SESSION_TIMEOUT": "6s",
            "CONSUMER__MAX_OUT_OF_ORDER": "500ms",
            "INVENTORY__INTERVAL": "1h",  # only when it is asked for
            "INVENTORY__WRITE_EMPTY": "false",
            "INVENTORY__LEASE": "3s",
            "CHAIN__ROLLUP_FANOUT": "2",
            "LOG__LEVEL": "WARNING",
        }
        self.deployment = Deployment(folder, redis_url, NAME, broker.bootstrap_servers, topic, **settings | given)
        self.truth = Truth(broker.bootstrap_servers, topic, PARTITIONS)
        self._seed = seed
        self.archive = self._archive()
        self.player = Player(
            self.deployment.environ,
            {
                "$REPO": NAME,
                FOLDER: str(self.deployment.settings.inventory.dir),
                "/backup": str(self.backup),
                TOPIC: topic,
            },
            {"valkey-cli": self._valkey_cli, "kafka-topics.sh": self._kafka_topics},
        )
        self._settings = settings_file(folder, self.deployment)

    def close(self) -> None:
        self.archive.stop()
        self.deployment.close()

    # --- the archive and its topic -----------------------------------------------------------------------------

    def _archive(self) -> Archive:
        archive = Archive(self.broker.bootstrap_servers, self.deployment.topic, self._seed, rate=0.0)
        archive.start()
        return archive

    def restart_archive(self) -> None:
        """It tells its whole story again, under the present times, and knows how many partitions there are now."""
        self.archive.stop()
        self.archive = self._archive()

    def publish(self, events: int) -> None:
        """So many more events of every kind; they are on the topic when this returns."""
        wanted = self.archive.sent + events
        self.archive.burst(events)
        wait_for(lambda: self.archive.sent >= wanted or bool(self.archive.failures), "events published", PATIENCE)

    def consume(self) -> None:
        self.player.run("stocktake consume --until-caught-up")

    def retire(self) -> int:
        """Let Kafka remove what it holds now, as its retention would; how many messages those are."""
        self.truth.read_on()
        with broker_admin(self.deployment) as admin:
            partitions = [TopicPartition(self.deployment.topic, number) for number in range(PARTITIONS)]
            before = _beginnings(admin, partitions)
            admin.delete_records(dict.fromkeys(partitions, -1))
            after = _beginnings(admin, partitions)
        return sum(after) - sum(before)

    # --- the chain ---------------------------------------------------------------------------------------------

    @property
    def folder(self) -> InventoryFolder:
        return InventoryFolder(self.deployment.settings.inventory.dir, NAME)

    def head(self) -> Manifest:
        found = self.folder.head()
        assert found is not None, "there is no inventory yet"
        return found

    def grow(self, inventories: int, events: int) -> None:
        """So many inventories with so many events before each."""
        for _ in range(inventories):
            self.publish(events)
            self.consume()
            self.player.run("stocktake write --once")

    def known(self) -> Known:
        """How many events each study has until now, and when the newest happened."""
        self.truth.read_on()
        entries = self.truth.journal.entries
        return {uid: (len(found), max(one.told.time for one in found)) for uid, found in entries.items()}

    def check(self, rebuilt: Known | None = None) -> int:
        """Everything is applied: a new inventory shows what the topic ever told; its tree keeps all rules, and the
        folder holds no two inventories of one sequence.

        What the chain does not show was lost when Redis was ``rebuilt``. So a study of which something is told since
        that happened before may be judged otherwise, or have a patient of whom there was older news; how many those
        are.
        """
        self.player.run("stocktake write --once")
        self.truth.read_on()
        path = self.deployment.path(self.head())
        compared = self.truth.compare(self.head(), path)
        assert compared.studies > 0
        shown, journal = self.truth.journal.shown(path), self.truth.journal
        late = [
            uid
            for uid in compared.wrong
            if rebuilt is not None
            and (self._told_late(uid, rebuilt) or without_patient(shown[uid]) == without_patient(journal.state(uid)))
        ]
        for uid in late:
            del compared.wrong[uid]
        compared.counted_twice = [uid for uid in compared.counted_twice if uid not in late]
        told = [line for uid in list(compared.wrong)[:3] for line in differences(shown[uid], journal.state(uid), uid)]
        assert not compared.faults, told or compared.faults[:5]
        self.check_no_fork()
        return len(late)

    def _told_late(self, uid: str, rebuilt: Known) -> bool:
        count, newest = rebuilt.get(uid, (0, 0))
        return any(entry.told.time < newest for entry in self.truth.journal.entries[uid][count:])

    def check_state(self, before: Mapping[str, State]) -> int:
        """The state holds what it held ``before``, but that a study may have another patient's attributes or update
        time where news of its patient is not known any more, or was read before the study this time and after it then;
        how many studies that are.
        """
        found = self.studies()
        assert found.keys() == before.keys()
        different = [uid for uid in before if found[uid] != before[uid]]
        wrong = [uid for uid in different if without_patient(found[uid]) != without_patient(before[uid])]
        assert not wrong, [line for uid in wrong[:3] for line in differences(found[uid], before[uid], uid)]
        return len(different)

    def check_no_fork(self) -> None:
        """The head's tree breaks no rule, and no two inventories of the folder claim one place in the chain."""
        path = self.deployment.path(self.head())
        assert list(verify(path)) == []
        assert len(load_tree(path).nodes) == sum(len(member.files) for member in self.head().members)
        sequences = [one.sequence for one in self.folder.manifests() if one.members]
        assert len(sequences) == len(set(sequences)), f"a fork: {sorted(sequences)}"

    # --- the state ---------------------------------------------------------------------------------------------

    def studies(self) -> dict[str, State]:
        """What the state says of each study, as an inventory would tell it, with its Study Update DateTime."""
        found, items = {}, StudyItems(Level.INSTANCE)
        times: dict[str, int] = {}
        for keys in self.deployment.shard_keys:
            scores: Any = self.deployment.redis.zrange(keys.updated, 0, -1, withscores=True)
            times |= {uid.decode(): int(time) for uid, time in scores}
        for read in self.deployment.opened.studies.read(times):
            record = read.record
            assert record.update_time == times[record.study_instance_uid], "the index has another time"
            found[record.study_instance_uid] = shown(items.encode(record, 0)[_ITEM_HEADER:], record.update_time)
        assert found.keys() == times.keys()
        return found

    # --- programs, and what is lost ----------------------------------------------------------------------------

    @contextmanager
    def running(self, *commands: str) -> Iterator[list[Program]]:
        """``stocktake write`` and its like as processes for the time of a block; none may end by itself."""
        found = [program(one, self._settings, self.run_folder, *one.split()) for one in commands]
        try:
            for one in found:
                one.start()
            if "write" in commands:
                wait_for(lambda: bool(self.deployment.redis.exists(self.deployment.keys.lease)), "a writer", PATIENCE)
            yield found
            assert not (ended := [one.last_words() for one in found if one.exit_code is not None]), ended
            assert not (problems := [problem for one in found if (problem := one.end())]), problems
        finally:
            for one in found:
                one.kill()

    def said(self, one: Program, text: str) -> None:
        """Wait until a program has logged it."""
        wait_for(lambda: text in one.log_file.read_text("utf-8"), f"{text!r} in the log of {one.name}", PATIENCE)

    def lose_folder(self) -> None:
        gone = self.run_folder / "gone"
        self.deployment.folder.rename(gone)  # all at once, though a writer is at work there
        shutil.rmtree(gone)

    def _valkey_cli(self, words: Sequence[str]) -> None:
        """What the pages ask of valkey-cli, which need not be installed."""
        assert words[0] == "-u", "the pages name the server"
        if words[2] == "--rdb":
            save_rdb(self.deployment.settings.redis.url, Path(words[3]))
        else:
            self.deployment.redis.execute_command(*words[2:])  # type: ignore[no-untyped-call]

    def _kafka_topics(self, words: Sequence[str]) -> None:
        """``kafka-topics.sh --alter`` with a number of partitions."""
        given = dict(pairwise(words))
        assert "--alter" in given
        assert given["--topic"] == self.deployment.topic
        partitions = int(given["--partitions"])
        self.truth.read_on()  # what was told before the change comes first
        with broker_admin(self.deployment) as admin:
            admin.create_partitions({self.deployment.topic: partitions})
        self.truth.widen(partitions)


def save_rdb(url: str, path: Path) -> None:
    """A snapshot, got as ``valkey-cli --rdb`` gets it: as a replica would."""
    address = parse_redis_url(url, 6379).addresses[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.create_connection(address, timeout=PATIENCE) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"SYNC\r\n")
        while (line := answer.readline().strip()) == b"":  # the server is still at work
            pass
        assert line.startswith(b"$"), line
        if not line.startswith(b"$EOF:"):
            path.write_bytes(answer.read(int(line[1:])))
            return
        end = line.removeprefix(b"$EOF:")
        found = b""
        while not found.endswith(end):
            found += answer.read1()
        path.write_bytes(found.removesuffix(end))


def differences(found: Any, before: Any, where: str) -> Iterator[str]:
    """What differs in two nested accounts, a line for each place."""
    if isinstance(found, dict) and isinstance(before, dict):
        for key in sorted({*found, *before}):
            yield from differences(found.get(key), before.get(key), f"{where}/{key}")
    elif found != before:
        yield f"{where}: {str(found)[:100]}, before {str(before)[:100]}"


def without_patient(state: State) -> State:
    """A study without what news of its patient may change."""
    attributes = {tag: value for tag, value in state["attributes"].items() if tag not in patient_attributes()}
    return state | {"attributes": attributes, "time": 0}


def _beginnings(admin: KafkaAdminClient, partitions: Sequence[TopicPartition]) -> list[int]:
    found: Any = admin.list_partition_offsets(dict.fromkeys(partitions, _EARLIEST))
    return [found[one].offset for one in partitions]
