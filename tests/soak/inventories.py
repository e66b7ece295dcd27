"""Inventories taken while events arrive, held to the guarantee; and the last one, held to all that was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from state.errors import StateError
from tests.harness import Deployment, wait_for
from tests.soak.archive import Archive
from tests.soak.fleet import Fleet
from tests.soak.truth import Truth
from tests.soak.watch import Watch
from writers.files import InventoryFolder
from writers.manifest import Manifest
from writers.moment import NoWatermark
from writers.produce import LostWrites

_SHOWN: Final = 20  # faults of one kind that are named


@dataclass
class Inventories:
    """``afterwards`` is called after each check, while no fault is under way."""

    deployment: Deployment
    truth: Truth
    watch: Watch
    fleet: Fleet
    afterwards: Callable[[], None] = lambda: None
    checked: int = 0
    partial: int = 0
    failures: list[str] = field(default_factory=list)

    def newest(self) -> Manifest | None:
        """What head.json says."""
        return InventoryFolder(self.deployment.settings.inventory.dir, self.deployment.name).head()

    def sequence(self) -> int:
        """How many inventories there are."""
        newest = self.newest()
        return 0 if newest is None else newest.sequence

    def check(self) -> None:
        """Check the one that the writer made last, and one that is made now in its place."""
        if problem := self.fleet.writer.end():
            self.failures.append(problem)
        written = self.newest()
        self.watch.look({})
        applied = self.watch.everywhere()
        try:
            made: Manifest | None = produce(self.deployment)
        except (NoWatermark, LostWrites, StateError) as error:
            self.failures.append(f"no inventory could be made: {error}")
            made = None
        self.fleet.writer.start()
        self.truth.read_on()
        self._hold(written, {})
        self._hold(made, applied)
        self.afterwards()

    def _hold(self, manifest: Manifest | None, applied: Mapping[int, int]) -> None:
        if manifest is None:
            return
        self.checked += 1
        self.partial += manifest.status != "COMPLETE"
        try:
            self.truth.check(manifest, self.deployment.path(manifest), applied)
        except AssertionError as error:
            self.failures.append(f"inventory {manifest.sequence}: {str(error)[:500]}")


def judge(deployment: Deployment, truth: Truth, archive: Archive) -> tuple[dict[str, Any], list[str]]:
    """Make one now that everything is applied, and hold it to what the topic holds: the figures, and what is wrong."""
    manifest = produce(deployment)
    truth.read_on()
    compared = truth.compare(manifest, deployment.path(manifest))
    unsent = [identity for identity in archive.ids if identity not in truth.ids]
    letters = truth.bad_not_kept()
    failures = [
        *compared.faults,
        *(f"the topic lacks event {identity}" for identity in unsent[:_SHOWN]),
        *(f"not among the dead letters: partition {number} offset {offset}" for number, offset in letters[:_SHOWN]),
    ]
    figures = {
        "events": len(archive.ids),
        "records_on_the_topic": truth.records,
        "bad_messages": len(truth.bad),
        "bad_messages_lost": len(letters),
        "inventories": manifest.sequence,
        "studies": compared.studies,
        "instances": compared.instances,
        "studies_lost": len(compared.lost),
        "studies_phantom": len(compared.phantom),
        "studies_wrong": len(compared.wrong),
        "studies_counted_twice": len(compared.counted_twice),
    }
    return figures, failures


def produce(deployment: Deployment) -> Manifest:
    """The next inventory, when the lease of a writer that has ended or was killed is free."""
    producer, lease = deployment.open_producer()
    wait_for(lease.take, "the writer's lease")
    try:
        return producer.produce()
    finally:
        lease.release()
