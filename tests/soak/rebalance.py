"""The second part of a soak: consumers join and leave every second under load, by SIGTERM, without any other fault."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.harness import wait_for
from tests.soak.archive import Archive
from tests.soak.deployment import open_deployment
from tests.soak.inventories import judge
from tests.soak.profiles import Profile
from tests.soak.program import Program, program, settings_file
from tests.soak.servers import Servers
from tests.soak.truth import Truth
from tests.soak.watch import Watch

REPOSITORY: Final = "churn"
LONGEST_STALL: Final = 30.0  # seconds

_PATIENCE: Final = 120.0
_SESSION: Final = "10s"
_MOST: Final = 4  # consumers at a time
_EACH: Final = 0.05  # seconds between two looks at the offsets
_COUNTED: Final = ("events_store", "events_update", "events_delete", "events_patient")


@dataclass
class Crowd:
    """Consumers of which one joins or leaves at a time."""

    settings: Path
    folder: Path
    rng: Random
    staying: list[Program] = field(default_factory=list)
    leaving: list[Program] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    joined: int = 0
    left: int = 0

    @contextmanager
    def gone_at_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            for one in (*self.staying, *self.leaving):
                one.kill()

    def change(self) -> None:
        """One joins, or one leaves; at least one stays."""
        self.look()
        full = len(self.staying) + len(self.leaving) >= _MOST
        if len(self.staying) > 1 and (full or self.rng.random() < 0.5):
            self.leave()
        elif not full:
            self.join()

    def join(self) -> None:
        self.joined += 1
        newcomer = program(f"{REPOSITORY} consumer {self.joined}", self.settings, self.folder, "consume")
        newcomer.start()
        self.staying.append(newcomer)

    def leave(self) -> None:
        one = self.staying.pop(self.rng.randrange(len(self.staying)))
        one.ask_to_end()
        self.leaving.append(one)
        self.left += 1

    def all_well(self) -> bool:
        """Whether nobody has ended who should not have."""
        self.look()
        return not self.failures

    def look(self) -> None:
        """Who has left, and who should not have."""
        for one in list(self.leaving):
            if one.exit_code is not None:
                self.leaving.remove(one)
                if not one.ended_well():
                    self.failures.append(f"{one.name} ended with {one.exit_code} after SIGTERM")
        for one in list(self.staying):
            if one.exit_code is not None:
                self.staying.remove(one)
                self.failures.append(f"{one.name} ended by itself with {one.exit_code}: {one.last_words()}")


def run_rebalance(folder: Path, servers: Servers, profile: Profile, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what was wrong."""
    deployment = open_deployment(
        folder, servers.redis.url, servers.broker, REPOSITORY, profile, KAFKA__SESSION_TIMEOUT=_SESSION
    )
    crowd = Crowd(settings_file(folder, deployment), folder, Random(seed))
    archive = Archive(servers.broker.bootstrap_servers, deployment.topic, seed, profile.churn_rate)
    watch = Watch(deployment)
    with crowd.gone_at_the_end():
        crowd.join()
        archive.start()
        wait_for(lambda: watch.look({0: 0}) or not crowd.all_well(), "the first events applied", _PATIENCE)
        watch.longest_stall = 0.0
        _churn(crowd, archive, watch, profile.churn)
        under_churn = watch.longest_stall
        archive.stop()
        wait_for(lambda: watch.look(archive.ends()), "everything applied", _PATIENCE)
        for one in crowd.staying:
            if problem := one.end():
                crowd.failures.append(problem)
    counters = deployment.opened.repository.counters()
    counted = sum(counters.get(name, 0) for name in _COUNTED)
    truth = Truth(servers.broker.bootstrap_servers, deployment.topic, profile.partitions)
    judged, wrong = judge(deployment, truth, archive)
    deployment.close()
    failures = [*crowd.failures, *wrong]
    if watch.back:
        failures.append(f"offsets of shards went back {watch.back} times")
    if counted != truth.records:
        failures.append(f"{counted} events were counted as applied, {truth.records} are on the topic")
    if under_churn > LONGEST_STALL:
        failures.append(f"nothing was applied for {under_churn:.0f} seconds while there was something to apply")
    figures = {
        "seconds": profile.churn,
        "joined": crowd.joined,
        "left": crowd.left,
        "longest_stall_seconds": round(under_churn, 2),
        "offsets_that_went_back": watch.back,
        "events_counted_as_applied": counted,
        **judged,
    }
    return figures, failures


def _churn(crowd: Crowd, archive: Archive, watch: Watch, seconds: float) -> None:
    end = time.monotonic() + seconds
    change = 0.0
    while time.monotonic() < end:
        if time.monotonic() >= change:
            crowd.change()
            change = time.monotonic() + 1.0
        watch.look(archive.ends())
        time.sleep(_EACH)
