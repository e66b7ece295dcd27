"""An archive that tells little, a log of what it told, and the state that consumers and the enricher make of it.

Nothing here waits: each step of each process is one call, in whatever order a test makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from consumers.answers import answer
from consumers.apply import Applier
from consumers.archives.archive import DicomJson, FoundStudy
from consumers.counts import Counts
from consumers.formats.native import NativeFormat
from consumers.grouping import Decoded
from consumers.messages import look, uid_element
from consumers.owing import Owing
from state.debts import Debt
from state.repository import partition_field
from state.times import MICROSECONDS, parse_time, to_iso
from tests.harness import Deployment

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
BEGIN: Final = parse_time("2026-11-20T08:00:00+00:00")
LATER: Final = BEGIN * 2  # than any moment of any clock

PARTITION: Final = partition_field("looks", 0)

Instance = tuple[str, str, str]  # Study, Series, SOP Instance UID


@dataclass
class FakeArchive:
    """What an archive has: of each instance a number that changes whenever it does, as its Instance Number."""

    instances: dict[Instance, int] = field(default_factory=dict)
    names: count[int] = field(default_factory=lambda: count(1))

    def store(self, instance: Instance) -> None:
        self.instances[instance] = next(self.names)

    def delete(self, *uids: str) -> None:
        """Delete an instance, series or study."""
        for one in [one for one in self.instances if one[: len(uids)] == uids]:
            del self.instances[one]

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        found = {one: number for one, number in self.instances.items() if one[0] == study_instance_uid}
        if not found:
            return None
        datasets = [dataset_of(one) | described(number) for one, number in found.items()]
        return FoundStudy(study_instance_uid, dataset_of((study_instance_uid,)), datasets)


def dataset_of(uids: Sequence[str]) -> DicomJson:
    return {tag: uid_element(uid) for tag, uid in zip(("0020000D", "0020000E", "00080018"), uids, strict=False)}


def described(number: int) -> DicomJson:
    return {
        "00080016": uid_element(CT),
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00200013": {"vr": "IS", "Value": [number]},
    }


class World:
    """The archive, the log, which is one partition, and the state."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.archive = FakeArchive()
        self.log: list[bytes] = []
        self.counts: Counts = Counter()
        self._clock = BEGIN
        self._format = NativeFormat(deployment.settings.consumer, UTC, self.counts)
        self._in_hand: list[tuple[Debt, FoundStudy | None]] = []
        self._dumps: list[list[dict[bytes, bytes]]] = []
        self.asked: Counter[str] = Counter()
        self.follows = True  # consumers know of an archive

    # --- the archive -------------------------------------------------------------------------------------------

    def tick(self) -> int:
        self._clock += MICROSECONDS
        return self._clock

    def store(self, instance: Instance, *, times: int = 1) -> None:
        """It stores an instance, and tells no more than its UIDs, perhaps several times."""
        self.archive.store(instance)
        self._tell("store", instance, times=times)

    def tell(self, instance: Instance, *, lacking: bool = False) -> None:
        """It tells of an instance that it has: all, or no more than its SOP Class."""
        said = described(self.archive.instances[instance])
        dataset = dataset_of(instance) | ({"00080016": said["00080016"]} if lacking else said)
        event = {"action": "store", "time": to_iso(self.tick()), "lacking": lacking, "dataset": dataset}
        self.log.append(orjson.dumps(event))

    def delete(self, uids: Sequence[str], *, told: bool = True) -> None:
        """It deletes something; if it does not tell, a look has to find out."""
        self.archive.delete(*uids)
        if told:
            self._tell("delete", uids)
        else:
            self.ask(uids[0])

    def ask(self, study_instance_uid: str) -> None:
        """Someone wants the study to be looked up."""
        self.log.append(look(study_instance_uid, self.tick()).value)

    def _tell(self, action: str, uids: Sequence[str], *, times: int = 1) -> None:
        event: dict[str, Any] = {"action": action, "time": to_iso(self.tick()), "dataset": dataset_of(uids)}
        if action == "store":
            event["lacking"] = True
        self.log += [orjson.dumps(event)] * times

    # --- consumer and enricher ---------------------------------------------------------------------------------

    def consume(self, most: int = 1 << 30) -> int:
        """A consumer that has just started applies messages; how many."""
        opened = self.deployment.opened
        owing = Owing(opened.debts, follows=self.follows or opened.debts.count() > 0)
        applier = Applier(opened.studies, opened.patients, owing, self.counts)
        begin = applier.assign(PARTITION) + 1
        some = self.log[begin : begin + most]
        if some:
            decoded = [
                Decoded(PARTITION, begin + place, self._format.decode(value, LATER)) for place, value in enumerate(some)
            ]
            applier.apply(decoded)
            applier.advance({PARTITION: begin + len(some) - 1})
        return len(some)

    def look_up(self, most: int = 1 << 30) -> int:
        """An enricher asks for what is owed, and has what it got in its hands; how many."""
        due = [debt for debt, _ in zip(self.deployment.opened.debts.due(LATER), range(most), strict=False)]
        for debt in due:
            self.asked[debt.owed] += 1
            self._in_hand.append((debt, self.archive.study(debt.owed)))
        return len(due)

    def write_answers(self, most: int = 1 << 30) -> None:
        """It writes what it has in its hands."""
        some, self._in_hand = self._in_hand[:most], self._in_hand[most:]
        for debt, found in some:
            record = next((read.record for read in self.deployment.opened.studies.read([debt.owed])), None)
            for message in answer(debt, record, found, remove_absent=True, now=self._clock):
                self.log.append(message.value)

    def forget_answers(self) -> None:
        """The enricher dies."""
        self._in_hand.clear()

    # --- what goes wrong ---------------------------------------------------------------------------------------

    def remember(self) -> None:
        """A moment to which shards may fall back."""
        self._dumps = [*self._dumps[-3:], self.deployment.dump_shards()]

    def lose(self, shard: int) -> None:
        """A shard falls back to the latest such moment."""
        if self._dumps:
            shard %= len(self._dumps[-1])
            self.deployment.lose(shard, self._dumps[-1][shard])

    def replay(self, begin: int = 0) -> None:
        """All is read again from that offset on."""
        self.deployment.opened.studies.lower_offsets(PARTITION, begin - 1)

    # --- the end -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Go on until nothing is owed."""
        for _ in range(20):
            self.write_answers()
            applied = self.consume()
            if not applied and not self.look_up():
                return
        raise AssertionError(f"not settled: {self.deployment.opened.debts.count()} are owed")

    def live(self) -> dict[Instance, Any]:
        """Every live instance that an inventory shows, with its Instance Number."""
        found: dict[Instance, Any] = {}
        studies = self.deployment.opened.studies
        uids = [uid for shard in range(studies.shards) for uid in studies.updated(shard, None, None)]
        for record, _ in studies.read(uids):
            if record.is_removed:
                continue
            for uid, instance in record.instances():
                series = record.series[instance.series_instance_uid]
                if instance.tombstone is None and instance.is_inventoried and not series.is_removed:
                    place = (record.study_instance_uid, instance.series_instance_uid, uid)
                    found[place] = instance.attributes.get("00200013")
        return found

    def expected(self) -> dict[Instance, Any]:
        return {one: str(number) for one, number in self.archive.instances.items()}


def open_world(folder: Path, redis_url: str, repository: str, **given: str) -> World:
    """A world with an empty state, and more settings if need be. Its deployment is to be closed."""
    return World(Deployment(folder, redis_url, repository, STATE__SHARDS="2", **given))
