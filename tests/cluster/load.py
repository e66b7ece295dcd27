"""The load that a cluster is under: events from an archive, and what is seen of their way into inventories."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from state.errors import StateError
from state.times import MICROSECONDS
from tests.cluster.cluster import Cluster
from tests.cluster.lineage import ChainWatch, line_faults
from tests.harness import Deployment
from tests.soak.archive import Archive
from tests.soak.truth import Truth
from tests.soak.watch import Watch
from writers.diff import Counts
from writers.files import InventoryFolder
from writers.manifest import Manifest
from writers.state_diff import diff_with_state
from writers.tree import load_tree

_EACH: Final = 0.25  # seconds between two looks at the watermark
_SHOWN: Final = 20  # faults of one kind that are named


@dataclass(frozen=True, slots=True)
class Stage:
    """What was seen while something was done. ``oldest_watermark`` and ``stall`` are the largest, in seconds."""

    name: str
    seconds: float
    events: int
    inventories: int
    oldest_watermark: float
    stall: float
    to_ready: tuple[float, ...]
    to_end: tuple[float, ...]

    def line(self) -> str:
        """The same for people."""
        ready = f", ready within {max(self.to_ready):.1f} s" if self.to_ready else ""
        end = f", ended within {max(self.to_end):.1f} s" if self.to_end else ""
        return (
            f"{self.name}: {self.seconds:.1f} s, {self.events} events, {self.inventories} inventories; "
            f"{len(self.to_ready)} pods{ready}{end}; watermark at most {self.oldest_watermark:.1f} s old, "
            f"longest stall {self.stall:.1f} s"
        )


@dataclass
class Load:
    """Events for one repository of the cluster, from :meth:`start` to :meth:`quiesce`."""

    deployment: Deployment
    cluster: Cluster
    archive: Archive
    truth: Truth
    watch: Watch
    chain: ChainWatch
    stages: list[Stage] = field(default_factory=list)
    _oldest_watermark: float = 0.0
    _next: float = 0.0

    def start(self) -> None:
        """Send events from now on, and look at everything whenever the cluster waits."""
        self.archive.start()
        self.cluster.meanwhile += [self.look, self.chain.look]
        self.cluster.until(self._some_applied, "the first events applied")

    def look(self) -> None:
        """Look at what is applied and how old the watermark is."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EACH
        self.watch.look(self.archive.ends())
        try:
            watermark = self.deployment.opened.repository.watermark().time
        except StateError:
            return
        if watermark is not None:
            self._oldest_watermark = max(self._oldest_watermark, time.time() - watermark / MICROSECONDS)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note what is seen during a block, and print it."""
        begun, sent, inventories = time.monotonic(), self.archive.sent, self.chain.sequence
        ended = len(self.cluster.ended)
        self._oldest_watermark = self.watch.longest_stall = 0.0
        yield
        fresh = [pod for pod in self.cluster.all_pods() if pod.made_at > begun]
        stage = Stage(
            name=name,
            seconds=time.monotonic() - begun,
            events=self.archive.sent - sent,
            inventories=self.chain.sequence - inventories,
            oldest_watermark=self._oldest_watermark,
            stall=self.watch.longest_stall,
            to_ready=tuple(pod.ready_at - pod.made_at for pod in fresh if pod.ready_at is not None),
            to_end=tuple(one.to_end for one in self.cluster.ended[ended:]),
        )
        self.stages.append(stage)
        print(stage.line(), flush=True)

    def quiesce(self) -> None:
        """Send no more, and wait until everything is applied and inventoried."""
        self.archive.stop()
        ends = self.archive.ends()
        self.cluster.until(lambda: self.watch.look(ends), "everything applied")
        studies = self.deployment.opened.studies
        self.cluster.until(lambda: studies.owed() == 0, "everything inventoried")

    def judge(self) -> list[str]:
        """Hold the head that the cluster's writers left to all that was published; what is wrong. Nothing runs."""
        head = self.head()
        self.truth.read_on()
        unsent = [identity for identity in self.archive.ids if identity not in self.truth.ids]
        return [
            *self.truth.compare(head, self.deployment.path(head)).faults,
            *(f"the topic lacks event {identity}" for identity in unsent[:_SHOWN]),
            *(f"not among the dead letters: {place}" for place in self.truth.bad_not_kept()[:_SHOWN]),
            *self.judge_chain(),
        ]

    def judge_chain(self) -> list[str]:
        """Whether the head shows the state and the chain is one line; what is wrong. Nothing runs."""
        studies, level = self.deployment.opened.studies, self.deployment.settings.inventory.level
        tree = load_tree(self.deployment.path(self.head()))
        differences = list(diff_with_state(tree, studies, level, Counts()))
        return [
            *(f"head and state differ: {one.study_instance_uid}" for one in differences[:_SHOWN]),
            *([f"offsets of shards went back {self.watch.back} times"] if self.watch.back else []),
            *self.chain.faults,
            *line_faults(self.deployment.folder),
        ]

    def head(self) -> Manifest:
        """What head.json says."""
        head = InventoryFolder(self.deployment.settings.inventory.dir, self.deployment.name).head()
        assert head is not None, "no inventory was written"
        return head

    def _some_applied(self) -> bool:
        return self.archive.sent > 0 and any(offset >= 0 for offset in self.watch.everywhere().values())
