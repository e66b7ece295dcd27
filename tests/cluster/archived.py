"""An archive that does not speak Kafka: its bridge, the enricher, consumer and writer restarted while it changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from state.attributes import Level
from state.times import MICROSECONDS, to_datetime
from tests.cluster.site import Site
from tests.oracle.journal import Journal
from tests.servers.fake_dicomweb import FakeArchive, instance, run_archive

REPOSITORY: Final = "pacs"

_EACH: Final = 0.2  # seconds between two changes
_REMOVED: Final = 0.1  # of the changes


@dataclass
class ChangingArchive:
    """Stores instances, also in studies that it has, and removes studies for good. ``has``: of each study, its own."""

    archive: FakeArchive
    rng: Random
    has: dict[str, set[str]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    changes: int = 0
    stopped: bool = False
    _next: float = 0.0

    def look(self) -> None:
        """One more change, if it is time."""
        if self.stopped or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EACH
        self.changes += 1
        if len(self.has) > 5 and self.rng.random() < _REMOVED:
            uid = self.rng.choice(sorted(self.has))
            self.archive.remove(uid)
            del self.has[uid]
            self.removed.add(uid)
            return
        old = bool(self.has) and self.rng.random() < 0.5
        uid = self.rng.choice(sorted(self.has)) if old else f"1.2.840.{self.changes}"
        sop = f"{uid}.1.{self.changes}"
        today = f"{to_datetime(time.time_ns() * MICROSECONDS // 1_000_000_000):%Y%m%d}"
        self.archive.add(instance(uid, f"{uid}.1", sop, today))
        self.has.setdefault(uid, set()).add(sop)

    def faults(self, site: Site) -> list[str]:
        """Where the head does not show what the archive has."""
        shown = Journal(Level.INSTANCE).shown(site.deployment.path(site.load.head()))
        found = {uid: _instances(state) for uid, state in shown.items() if state["removal"] is None}
        gone = {uid for uid, state in shown.items() if state["removal"] is not None}
        return [
            *(
                f"{uid} is shown with {found.get(uid)}, it has {sops}"
                for uid, sops in self.has.items()
                if found.get(uid) != sops
            ),
            *(f"{uid} is shown, and is not there" for uid in found.keys() - self.has.keys()),
            *(f"{uid} is shown as removed, and never was" for uid in gone - self.removed),
        ]


def _instances(state: dict[str, Any]) -> set[str]:
    return {
        sop for series in state["series"].values() for sop, one in series["instances"].items() if one["removal"] is None
    }


@contextmanager
def changing_archive(seed: int) -> Iterator[ChangingArchive]:
    """One that is served until the block ends."""
    with run_archive(FakeArchive()) as archive:
        yield ChangingArchive(archive, Random(seed))


def values(archive: FakeArchive) -> dict[str, Any]:
    """What the chart is given beside the rest."""
    bridge = {"kind": "dicomweb", "repository": REPOSITORY, "args": ["--poll", "1s", "--heartbeat", "1s"]}
    # What it does not list any more is gone.
    archive_settings = {"url": archive.url, "quiet": "200ms", "requests_per_second": 200, "absent": "remove"}
    return {
        "settings": {
            "archives": {REPOSITORY: archive_settings},
            "repositories": {REPOSITORY: {"heartbeats": True}},
        },
        "bridges": {REPOSITORY: bridge},
        "service": {"enabled": False},
        "consumer": {"replicas": 1},
    }


def run(site: Site, changing: ChangingArchive) -> list[str]:
    """Install, restart every role while the archive changes, wait until all is inventoried; what is wrong."""
    cluster, load = site.cluster, site.load
    site.apply(**values(changing.archive))
    cluster.meanwhile += [load.look, load.chain.look, changing.look]
    with load.stage("install"):
        cluster.until(cluster.settled, "all pods ready")
    cluster.until(lambda: load.chain.sequence > 0, "the first inventory")
    for component in cluster.components():
        with load.stage(f"restart of the {component}"):
            cluster.restart(component)
            cluster.until(lambda: cluster.settled(component), f"the rollout of the {component}")  # noqa: B023
    changing.stopped = True
    cluster.until(lambda: not changing.faults(site), "all that the archive has in the head")
    with load.stage("end"):
        cluster.end()
    return [*changing.faults(site), *load.judge_chain()]
