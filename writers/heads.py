"""The head that a chain goes on from: where Redis, head.json or files were lost, it is told before anything is written.

Of Redis and head.json the higher sequence wins: a Redis that lost its tail cannot fork the chain, nor can a folder that
was restored from an older copy. Two losses are no tail, and nobody may go on from them unawares:

- A state that was begun anew beside a chain. Consumers fill it from what the topic still holds, and records made of
  that alone would prevail over those of the chain. It has to be imported first.
- A folder without files that the head's tree needs. Nobody could read what incorporates them.
"""

from __future__ import annotations

import logging
from typing import Final

from state.attributes import Level
from state.chain import Chain, Cuts, Lease
from state.errors import StateForgotten
from writers.files import FolderUnusable, InventoryFolder
from writers.manifest import Manifest
from writers.tiers import Step

log = logging.getLogger(__name__)

_FIRST: Final = 1  # cut, or inventory: a Redis that lost its tail may have lost all that there was up to then


def may_know_of_no_cut(head: Manifest, chain: Chain, cuts: Cuts) -> bool:
    """Whether it is well if shards know of no cut beside this head.

    It is if the head was imported; and after a first cut whose tail was lost, which leaves the studies or gets them
    back. A loss of everything does not. The first inventory's cut is a later one if attempts before it were given up.
    """
    if min(head.cut, head.sequence) <= _FIRST and cuts.studies() >= head.total_records:
        return True
    return chain.imported() == head.sop_instance_uid


class Heads:
    """Brings the heads in Redis and on disk together, for who holds the lease.

    ``begins``: beside the head agreed on, shards may know of no cut: none was taken, or a tail was lost with the first,
    or the head was imported, or somebody vouches for the state.
    """

    def __init__(self, chain: Chain, cuts: Cuts, lease: Lease, folder: InventoryFolder, level: Level) -> None:
        self._chain = chain
        self._cuts = cuts
        self._lease = lease
        self._folder = folder
        self._level = level
        self.begins = True

    def agree(self, *, vouched: bool = False) -> Manifest | None:
        """Let both name the one with the higher sequence; that one, None before the first inventory.

        ``vouched``: whoever asks answers for a state that knows nothing of the chain.

        Raises:
            FolderUnusable: head.json is of another repository or level.
            StateForgotten: the state has lost what the head was made from.
            Fenced: another writer has the lease.
        """
        found = self._chain.head()
        in_redis = None if found is None else Manifest.from_json(found)
        on_disk = self._folder.head()
        redis_sequence = 0 if in_redis is None else in_redis.sequence
        if on_disk is not None and on_disk.sequence > redis_sequence:
            self._refuse_foreign(on_disk)
            self._refuse_forgotten(on_disk, vouched=vouched)
            log.warning(
                "head.json is at sequence %d, Redis at %d: going on from head.json", on_disk.sequence, redis_sequence
            )
            self._chain.move_head(self._lease.token, redis_sequence, on_disk.to_json())
            return on_disk
        self.begins = True
        if in_redis is not None:
            self._refuse_forgotten(in_redis, vouched=vouched)
            if self._folder.has(in_redis.file):
                self._folder.write_head(in_redis)
        return in_redis

    def _refuse_foreign(self, head: Manifest) -> None:
        if (head.repository, head.level) != (self._chain.repository, str(self._level)):
            raise FolderUnusable(
                f"{self._folder.path}: head.json is of repository {head.repository} at level {head.level}, the "
                f"settings say {self._chain.repository} at level {self._level}; set inventory.dir to another folder"
            )

    def _refuse_forgotten(self, head: Manifest, *, vouched: bool) -> None:
        self.begins = may_know_of_no_cut(head, self._chain, self._cuts)
        if self.begins or not (forgotten := self._cuts.never_taken()):
            return
        if not vouched:
            raise self.forgotten(len(forgotten))
        log.warning("%d shards know nothing of the chain; going on, as it was asked for", len(forgotten))
        self.begins = True

    def forgotten(self, shards: int) -> StateForgotten:
        """So many shards know nothing of the chain: what to say of that."""
        return StateForgotten(
            f"{self._folder.path} holds inventories of repository {self._chain.repository}, and {shards} of "
            f"{self._cuts.shards} shards of the state in Redis know of none: they were lost, or this is another Redis. "
            "Is redis.url right? Then the state has to be made again from these: `stocktake import "
            f"{self._folder.path}`, as docs/runbook/redis-lost.md says; or, if it is known to be whole, the chain has "
            "to be begun anew with `stocktake baseline --force`"
        )

    def refuse_missing(self, step: Step) -> None:
        """Before a step of which readers need files of before.

        Raises:
            FolderUnusable: files of the head's tree are not there.
        """
        files = [file for member in (*step.kept, *step.replaced) for file in member.files]
        if missing := [file for file in files if not self._folder.has(file)]:
            raise FolderUnusable(
                f"{self._folder.path} lacks {len(missing)} of the {len(files)} files of the chain, the first "
                f"{missing[0]}: is the right volume mounted? Restore them, or begin the chain anew with `stocktake "
                "baseline` (docs/runbook/inventory-volume-lost.md)"
            )
