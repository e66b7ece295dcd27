"""Looks at a slow and failing archive beside a stream of events: ``python -m tests.real_archives.slow [events]``.

The archive takes 2 seconds for each answer, fails one request in five, and turns some away with 429 and Retry-After.
Of some studies it told next to nothing; the others' events say everything. Compared, in turn and several times, is how
fast a consumer applies the others' events: alone, without an archive to ask, and while an enricher looks up the
rest. In the end all of these must be complete, and none may have cost more requests than its tries.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson

from consumers.publish import Publisher
from tests.benchmarks.events import INSTANCES, instance_events
from tests.harness import Deployment, wait_for
from tests.real_archives.site import PARTITIONS, open_servers, report
from tests.servers.fake_dicomweb import FakeArchive, instance, run_archive
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer
from tests.soak.program import program, settings_file

EVENTS: Final = 240_000
LACKING: Final = 40  # studies of which the events say too little
REPETITIONS: Final = 4
LATENCY: Final = 2.0
ERRORS: Final = 0.2
_PATIENCE: Final = 900.0
_REQUESTS: Final = 2  # that a study costs when nothing fails


def study_uid(number: int) -> str:
    return f"2.25.88.{number}"


def lacking_events(studies: int) -> Iterator[tuple[bytes, bytes]]:
    """Stores of two instances of each study, by their UIDs alone."""
    for number in range(1, studies + 1):
        uid = study_uid(number)
        for one in (1, 2):
            dataset = {
                "0020000D": {"vr": "UI", "Value": [uid]},
                "0020000E": {"vr": "UI", "Value": [f"{uid}.1"]},
                "00080018": {"vr": "UI", "Value": [f"{uid}.1.{one}"]},
            }
            event: dict[str, Any] = {"action": "store", "time": "2026-11-20T08:00:00Z", "dataset": dataset}
            yield uid.encode(), orjson.dumps(event | {"lacking": True})


def slow_archive(studies: int, latency: float, errors: float) -> FakeArchive:
    archive = FakeArchive(latency=latency, error_share=errors, retry_after="1", busy=3)
    for number in range(1, studies + 1):
        uid = study_uid(number)
        archive.add(*(instance(uid, f"{uid}.1", f"{uid}.1.{one}") for one in (1, 2)))
    return archive


class Trial:
    """One repository, with or without an archive to ask."""

    def __init__(
        self, folder: Path, broker: KafkaBroker, redis: RedisServer, events: int, lacking: int, url: str = ""
    ) -> None:
        repository = "r" + uuid4().hex[:8]
        topic = f"stocktake-test-{uuid4().hex}"
        broker.create_topic(topic, PARTITIONS, {})
        given = {} if not url else self._archive(repository, url)
        self.deployment = Deployment(folder, redis.url, repository, broker.bootstrap_servers, topic, **given)
        self.settings = settings_file(folder, self.deployment)
        self._folder = folder
        self.events = events
        self._url = url
        with Publisher(self.deployment.settings.kafka, topic) as publisher:
            if url:
                for key, value in lacking_events(lacking):
                    publisher.send(key, value)
            for key, value in instance_events(events // INSTANCES):
                publisher.send(key, value)

    @staticmethod
    def _archive(repository: str, url: str) -> dict[str, str]:
        given = {"URL": url, "QUIET": "200ms", "CONNECTIONS": "8", "REQUESTS_PER_SECOND": "100"}
        return {f"ARCHIVES__{repository.upper()}__{name}": value for name, value in given.items()}

    def rate(self) -> float:
        """Events a second that a consumer applies; the enricher, if there is an archive, is at work meanwhile."""
        consumer = program("consumer", self.settings, self._folder, "consume", "--until-caught-up")
        enricher = program("enricher", self.settings, self._folder, "enrich")
        applied = self._applied
        try:
            if self._url:
                enricher.start()
            consumer.start()
            wait_for(lambda: applied() > 0, "the first events", _PATIENCE)
            first, begun = applied(), time.monotonic()
            wait_for(lambda: applied() >= self.events, "all events", _PATIENCE)
            rate = max(1, self.events - first) / (time.monotonic() - begun)
            wait_for(lambda: consumer.exit_code is not None, "the end", _PATIENCE)
            assert consumer.exit_code == 0, consumer.last_words()
        finally:
            consumer.kill()
            enricher.kill()
        return rate

    def _applied(self) -> int:
        return self.deployment.opened.repository.counters().get("events_store", 0)

    def settle(self, lacking: int) -> None:
        """Go on until nothing is owed; all must be complete then."""
        consumer = program("consumer", self.settings, self._folder, "consume")
        enricher = program("enricher", self.settings, self._folder, "enrich", "--until-settled")
        try:
            consumer.start()
            enricher.start()
            wait_for(lambda: enricher.exit_code is not None, "everything looked up", _PATIENCE)
            assert enricher.exit_code == 0, enricher.last_words()
        finally:
            consumer.kill()
            enricher.kill()
        opened = self.deployment.opened
        assert (opened.debts.count(), opened.debts.count_given_up()) == (0, 0)
        for record, _ in opened.studies.read(map(study_uid, range(1, lacking + 1))):
            assert record.number_of_instances == 2
            assert record.attributes["00100020"] == "P1"

    def close(self) -> None:
        self.deployment.close()


def play(
    folder: Path,
    broker: KafkaBroker,
    redis: RedisServer,
    events: int,
    lacking: int,
    repetitions: int,
    latency: float = LATENCY,
    errors: float = ERRORS,
) -> dict[str, object]:
    """Compare the rates, and settle; the figures."""
    alone: list[float] = []
    beside: list[float] = []
    requests: list[int] = []
    seconds: list[float] = []
    for _ in range(repetitions):
        trial = Trial(folder, broker, redis, events, lacking)
        alone.append(trial.rate())
        trial.close()
        with run_archive(slow_archive(lacking, latency, errors)) as archive:
            begun = time.monotonic()
            trial = Trial(folder, broker, redis, events, lacking, archive.url)
            beside.append(trial.rate())
            trial.settle(lacking)
            seconds.append(time.monotonic() - begun)
            trial.close()
            requests += archive.by_study.values()
            assert len(archive.by_study) == lacking
    tries = trial.deployment.settings.archives[0].tries
    assert max(requests) <= _REQUESTS * tries, max(requests)
    return {
        "events": events,
        "lacking_studies": lacking,
        "alone_per_second": [round(one) for one in alone],
        "beside_looks_per_second": [round(one) for one in beside],
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(alone), 3),
        "requests_per_study": {"mean": round(statistics.mean(requests), 2), "most": max(requests)},
        "settled_within_seconds": [round(one) for one in seconds],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS)
    args = parser.parse_args()
    with open_servers() as (folder, broker, redis):
        report(**play(folder, broker, redis, args.events, LACKING, REPETITIONS))


if __name__ == "__main__":
    main()
