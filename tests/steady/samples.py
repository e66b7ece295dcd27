"""What is looked at while it runs: memory and processor time of each process, and how long events take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from threading import Event as Flag
from threading import Thread
from typing import Final
from urllib.request import urlopen

from kafka import KafkaConsumer, TopicPartition

from tests.benchmarks.measuring import cpu_seconds, family
from tests.harness import Deployment
from tests.soak.watch import Offsets, Watch

_EACH: Final = 5.0  # seconds between two looks at memory
_BETWEEN: Final = 0.25  # seconds from an answer to the next question of how far the state is
_LOOK: Final = 0.005
_LONGEST: Final = 30.0  # seconds that an event may take to be seen at all


@dataclass(frozen=True, slots=True)
class Sample:
    """``at`` is in seconds since the beginning; bytes held and processor seconds used so far, by role."""

    at: float
    bytes: Mapping[str, int]
    cpu: Mapping[str, float]


@dataclass
class Samples:
    """Taken in two threads for the time of a ``with`` block. ``latencies``: when asked, and how long it took."""

    deployment: Deployment
    pids: Mapping[str, int]
    samples: list[Sample] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _stop: Flag = field(default_factory=Flag)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Samples:
        begun = time.monotonic()
        for look in (self._memory, self._latency):
            thread = Thread(target=self._guarded, args=(look, begun), name=look.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, look: object, begun: float) -> None:
        assert callable(look)
        try:
            look(begun)
        except BaseException as error:
            self.failures.append(error)

    def _memory(self, begun: float) -> None:
        host, port = self.deployment.settings.http.listen
        while not self._stop.wait(_EACH):
            with urlopen(f"http://{host}:{port}/metrics", timeout=_LONGEST) as answer:  # as Prometheus does
                answer.read()
            held = {role: _held(pid) for role, pid in self.pids.items()}
            found = self.deployment.redis.info("memory")
            assert isinstance(found, dict)
            held["state"] = int(found["used_memory"])
            cpu = {role: _spent(pid) for role, pid in self.pids.items()}
            self.samples.append(Sample(time.monotonic() - begun, held, cpu))

    def _latency(self, begun: float) -> None:
        """How long after they are on the topic the latest events are applied."""
        watch = Watch(self.deployment)
        partitions = [TopicPartition(self.deployment.topic, number) for number in range(watch.partitions)]
        consumer = KafkaConsumer(bootstrap_servers=list(self.deployment.settings.kafka.bootstrap_servers))
        try:
            while not self._stop.wait(_BETWEEN):
                ends = {one.partition: end - 1 for one, end in consumer.end_offsets(partitions).items()}
                asked = time.monotonic()
                while not _reached(watch.offsets(), ends):
                    if time.monotonic() - asked > _LONGEST:
                        raise AssertionError(f"events of {asked - begun:.0f} s are not applied within {_LONGEST:g} s")
                    time.sleep(_LOOK)
                self.latencies.append((asked - begun, time.monotonic() - asked))
        finally:
            consumer.close()


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the run: the most bytes held by role, milliseconds that events took, processors used by role."""

    begin: float
    end: float
    peak: Mapping[str, int]
    median_ms: float
    p99_ms: float
    processors: Mapping[str, float]


def window(found: Samples, begin: float, end: float) -> Window:
    """What was seen between two moments."""
    taken = [one for one in found.samples if begin <= one.at < end]
    waits = sorted(took for at, took in found.latencies if begin <= at < end)
    hundredths = quantiles(waits, n=100)
    first, last = taken[0], taken[-1]
    return Window(
        begin,
        end,
        {role: max(one.bytes[role] for one in taken) for role in first.bytes},
        1000 * hundredths[49],
        1000 * hundredths[98],
        {role: (last.cpu[role] - spent) / (last.at - first.at) for role, spent in first.cpu.items()},
    )


def _reached(offsets: Offsets, ends: Mapping[int, int]) -> bool:
    """Whether a partition's last event is applied, of each: where it belongs, the shard's offset is that event's."""
    return all(max(shard.get(number, -1) for shard in offsets) >= end for number, end in ends.items())


def _held(pid: int) -> int:
    """Bytes that a process and its children hold in memory."""
    return sum(_resident(one) for one in family(pid))


def _spent(pid: int) -> float:
    """Processor seconds of a process, of its children and of those that have ended."""
    return sum(cpu_seconds(one, with_ended=True) for one in family(pid))


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # a child that has just ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
