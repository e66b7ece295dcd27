"""What the folder no longer needs: inventories that the head's tree does not reach, replaced for long enough.

Only what its own manifest proves to be of the chain is ever removed: a file without a manifest, or with one that cannot
be read, stays for a person to look at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from state.connection import Connection
from state.deliveries import Deliveries
from state.times import MICROSECONDS, to_iso
from writers.files import InventoryFolder
from writers.manifest import Manifest
from writers.policy import InventoryPolicy

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replaced:
    """An inventory that is not reached any more, and the moment (UTC microseconds) up to which one goes without it."""

    manifest: Manifest
    since: int


def retain(folder: InventoryFolder, head: Manifest, connection: Connection, policy: InventoryPolicy) -> list[Replaced]:
    """Remove what has been replaced for longer than the policy keeps it, but nothing that a sink still needs."""
    sinks = [sink.name for sink in policy.sinks if sink.takes(head.repository)]
    needed_from = Deliveries(connection, head.repository).needed_from(sinks)
    return remove_replaced(folder, head, connection.now(), policy.retention, needed_from)


def remove_replaced(
    folder: InventoryFolder, head: Manifest, now: int, keep: float, needed_from: int | None = None
) -> list[Replaced]:
    """Remove what has been replaced for more than ``keep`` seconds; what was removed. Needs the lease.

    What has the sequence ``needed_from`` or a later one stays. What cannot be removed is told in the log, and tried
    again the next time.
    """
    removed = []
    for found in replaced(folder.manifests(), head):
        if now - found.since <= keep * MICROSECONDS:
            continue
        if needed_from is not None and found.manifest.sequence >= needed_from:
            continue
        manifest = found.manifest
        try:
            folder.remove_published(manifest)
        except OSError as error:
            log.warning("retention: %s cannot be removed: %s", manifest.file, error)
            continue
        told = (manifest.file, manifest.sequence, manifest.kind, to_iso(found.since))
        log.info("retention: removed %s (sequence %d, %s), which is not reached since %s", *told)
        removed.append(found)
    folder.remove_empty_days()
    return removed


def replaced(manifests: Sequence[Manifest], head: Manifest) -> Iterator[Replaced]:
    """Inventories of the head's chain that its tree does not reach, oldest first.

    An inventory is not reached from the first one after it on that does not list it; if that one is gone too, from the
    next.
    """
    chain = sorted(
        (
            one
            for one in manifests
            if one.repository == head.repository and one.sequence <= head.sequence and one.members
        ),
        key=lambda one: one.sequence,
    )
    reached = {member.sop_instance_uid for member in head.members}
    for place, one in enumerate(chain):
        if one.sop_instance_uid in reached or one.sequence == head.sequence:
            continue
        later = (each for each in (*chain[place + 1 :], head) if each.sequence > one.sequence)
        since = next(each.watermark for each in later if _goes_without(each, one))
        yield Replaced(one, since)


def _goes_without(later: Manifest, one: Manifest) -> bool:
    return all(member.sop_instance_uid != one.sop_instance_uid for member in later.members)
