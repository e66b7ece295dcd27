"""Two writer pods on one folder, of which the one that leads is paused beyond its lease and woken again.

Nothing else runs: events are applied by hand. A pause strikes while the writer is idle, at a random moment while it
makes a baseline, or while the files of one get their final names. It stops the program's first process alone, or all of
the container, as a machine that hangs would.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import orjson

from state.requests import InventoryRequests
from tests.chains import Chain
from tests.cluster.chart import hurried, render
from tests.cluster.cluster import PATIENCE, Cluster
from tests.cluster.container import Container
from tests.cluster.lineage import ChainWatch, line_faults
from tests.cluster.pod import Pod
from tests.cluster.sandbox import need_sandboxes
from tests.cluster.site import CLAIM, merged, values_of
from writers.files import InventoryFolder

LEASE: Final = 1.5
PHASES: Final = ("idle", "producing", "publishing")

_GIVEN: Final = {
    "INVENTORY__LEASE": f"{LEASE:g}s",
    "INVENTORY__INTERVAL": "500ms",
    "INVENTORY__MAX_RECORDS_PER_INSTANCE": "700",  # so that a baseline has parts
    "INVENTORY__PROCESSES": "2",
    "CHAIN__ROLLUP_FANOUT": "4",
}
_LEADS: Final = "leading the writers"
_DOES_NOT: Final = ("waiting to take over", "lease was lost", "has taken over")
_CHANGED: Final = 50  # studies, before each pause


@dataclass(frozen=True, slots=True)
class Pause:
    """``planned``: whether an inventory was being made; ``taken_over``: seconds from the pause to the next leader."""

    phase: str
    planned: bool
    taken_over: float
    away: float
    inventories: int


@dataclass
class Pair:
    """Two writers at work, one of which leads."""

    chain: Chain
    cluster: Cluster
    watch: ChainWatch
    studies: int
    rng: Random
    baseline: float = 1.0  # seconds that one takes

    def begin(self) -> None:
        """Wait for the first baseline."""
        self.cluster.meanwhile.append(self.watch.look)
        self.cluster.until(self.cluster.settled, "both writers ready")
        self.cluster.until(lambda: self.watch.sequence > 0, "the first inventory")

    def time_baseline(self) -> None:
        """See how long one takes from the request on; pauses while ``producing`` strike within that."""
        requests = self._requests()
        begun, number = time.monotonic(), requests.ask("baseline")

        def answered() -> bool:
            _, answer = requests.look("baseline")
            return answer is not None and answer.number >= number

        self.cluster.until(answered, "a baseline")
        self.baseline = time.monotonic() - begun

    def pause(self, phase: str) -> Pause:
        """Pause the leader once, in one of ``PHASES``, and wake it when the other one has produced.

        Raises:
            AssertionError: the other one does not take over, or the woken one does not stand by, alive and ready.
        """
        leader, other = self._leader()
        self.chain.store(*self.rng.sample(range(1, self.studies + 1), _CHANGED))
        self._wait_for(phase)
        [running] = leader.containers
        stopped = _stop(running.container, whole=self.rng.random() < 0.5)
        # On a machine that is short of time it may have lost its lease before.
        led, stood_by = _leads(leader), _count(leader, _DOES_NOT[0])
        begun, planned, before = time.monotonic(), self._plans(), self.watch.sequence
        try:
            taken_over = self.cluster.until(lambda: _leads(other), "the other writer leads")
            self.cluster.until(lambda: self.watch.sequence >= before + 2, "two inventories of the other writer")
            time.sleep(self.rng.uniform(0, 0.5))
        finally:
            for pid in stopped:
                _send(pid, signal.SIGCONT)
        away = time.monotonic() - begun
        if led:
            self.cluster.until(lambda: _count(leader, _DOES_NOT[0]) > stood_by, "the woken writer stands by")
        leader.ask_all()
        self.cluster.until(lambda: leader.asked_all(), "all probes of the woken writer well")
        return Pause(phase, planned, taken_over, away, self.watch.sequence - before)

    def end(self) -> list[str]:
        """End both; what is wrong with the chain they leave, held to the events and to itself."""
        self.chain.store(*range(1, self.studies + 1, 7))
        studies = self.chain.deployment.opened.studies
        self.cluster.until(lambda: studies.owed() == 0, "an inventory of all events")
        self.cluster.end()
        folder = self.chain.deployment.folder
        head = InventoryFolder(folder.parent, folder.name).head()
        assert head is not None
        self.chain.check(head)
        self.chain.check_no_orphans(head)
        return [*self.watch.faults, *line_faults(folder)]

    def _wait_for(self, phase: str) -> None:
        if phase == "idle":
            self.cluster.until(lambda: not self._plans(), "the writer is idle")
            return
        self._requests().ask("baseline")
        if phase == "producing":
            time.sleep(self.rng.uniform(0, self.baseline))
            return
        before, deadline = self._manifests(), time.monotonic() + PATIENCE
        while not any(_is_part(path) for path in self._manifests() - before):
            assert time.monotonic() < deadline, "no part got its final name"

    def _manifests(self) -> set[Path]:
        return set(self.chain.deployment.folder.glob("[0-9]*/*/*/*.json"))

    def _leader(self) -> tuple[Pod, Pod]:
        """Who leads, and who does not; waits until it is clear."""
        pods = self.cluster.pods("writer")
        self.cluster.until(lambda: sum(map(_leads, pods)) == 1, "one writer leads")
        first, second = pods
        return (first, second) if _leads(first) else (second, first)

    def _requests(self) -> InventoryRequests:
        opened = self.chain.deployment.opened
        return InventoryRequests(opened.connection, opened.policy.name)

    def _plans(self) -> bool:
        deployment = self.chain.deployment
        return deployment.redis.get(deployment.keys.plan) is not None


@contextmanager
def open_pair(folder: Path, redis_url: str, repository: str, studies: int, seed: int) -> Iterator[Pair]:
    """Two writers as the chart runs them, started, for so many studies; gone when the block ends."""
    need_sandboxes()
    cluster = Cluster(folder / "pods", {"redis": {"url": redis_url}})
    chain = Chain(folder, redis_url, repository, **_GIVEN, INVENTORY__DIR=str(cluster.claim(CLAIM)))
    try:
        for first in range(1, studies + 1, 500):
            chain.store(*range(first, min(first + 500, studies + 1)))
        values = merged(values_of(chain.deployment), {"consumer": {"replicas": 0}, "service": {"enabled": False}})
        with cluster.running():
            cluster.apply(hurried(render(values, folder), 1))
            yield Pair(chain, cluster, ChainWatch(chain.deployment.folder), studies, Random(seed))
    finally:
        chain.deployment.close()


def _stop(container: Container, *, whole: bool) -> list[int]:
    """SIGSTOP to the first process, and if ``whole`` to all others after it; those that were sent it."""
    first = container.pid
    assert first is not None
    _send(first, signal.SIGSTOP)
    stopped = [first, *(container.processes()[1:] if whole else ())]
    for pid in stopped[1:]:
        _send(pid, signal.SIGSTOP)
    return stopped


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_part(path: Path) -> bool:
    return bool(orjson.loads(path.read_bytes())["kind"] == "part")


def _leads(pod: Pod) -> bool:
    text = pod.log()
    return text.rfind(_LEADS) > max(map(text.rfind, _DOES_NOT))


def _count(pod: Pod, text: str) -> int:
    return pod.log().count(text)
