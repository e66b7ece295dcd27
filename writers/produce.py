"""Producing the next inventory of a chain, in the order on which its soundness rests (design, section 6).

1.  finish or discard what a writer that died has left; the higher sequence of Redis and head.json wins
2.  read the watermark Tn, and wait until every shard has applied what it stands for
3.  write the plan: SOP Instance UID, sequence, n
4.  take cut n: raise the generation of every shard
5.  read the slice and encode its records into temporary files
6.  if a shard's generation is not above n it has lost writes from before the cut: wait, take the cut again, read again
7.  write the header, which only now knows the scope's end; sync the whole file. If there is more than one inventory may
    hold: the same for each part, and the plan says their UIDs
8.  rename it to its final name; its manifest beside it. Parts come first, the root last
9.  move the head in Redis: compare and set on sequence and fencing token
10. head.json
11. strike the written studies off; one that has changed since is owed by cut n + 1
12. remove the plan
13. remove inventories that neither the head nor a sink needs any more, if they have been kept for long enough

A writer that dies before 8 is done leaves temporary files, perhaps parts, and a plan: the next one removes them and
begins anew with other UIDs and a higher n. One that dies after 8 leaves whole files: the next one finishes from 9.
Nobody ever sees a half file or two heads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import tzinfo
from itertools import chain
from typing import Final

from state.chain import Chain, Cuts, Lease
from state.connection import Connection
from state.errors import Fenced
from state.repository import Repository
from state.times import to_datetime
from writers import iod, moment, slices, tiers
from writers.assembly import Assembler, Parts, in_parts
from writers.files import FolderUnusable, InventoryFolder, Written
from writers.going_on import GoingOn
from writers.heads import Heads
from writers.manifest import Manifest, Member
from writers.moment import Applied, Moment
from writers.plan import Plan, may_hold, new_uid
from writers.policy import ChainPolicy, InventoryPolicy
from writers.records import Limits, Records, read_revs
from writers.retention import retain
from writers.runs import Slices

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 3  # to read a slice whose shards lose writes


class LostWrites(Exception):
    """A shard lost writes from before the cut and did not get them back in time."""


class Producer:
    """Writes one repository's chain while it holds the lease.

    ``progress`` is told how many records are written; ``alive`` is called whenever something was done.
    """

    def __init__(
        self,
        connection: Connection,
        runs: Slices,
        repository: Repository,
        lease: Lease,
        inventory: InventoryPolicy,
        policy: ChainPolicy,
        zone: tzinfo,
        software: str,
        progress: Callable[[int], None] = lambda records: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = InventoryFolder(inventory.dir, repository.name)
        self._connection = connection
        self._slices = runs
        self._studies = studies = runs.studies
        self._repository = repository
        self._chain = Chain(connection, repository.name)
        self._cuts = Cuts(connection, studies)
        self._heads = Heads(self._chain, self._cuts, lease, self.folder, inventory.level)
        self._lease = lease
        self._inventory = inventory
        self._policy = policy
        self._zone = zone
        self._software = software
        self._progress = progress
        self._going_on = GoingOn(lease, inventory.lease, alive)
        self._assembler = Assembler(self.folder, inventory, zone, self._going_on.done)
        self._in_hand: Plan | None = None

    # --- step 1 ------------------------------------------------------------------------------------------------

    def recover(self, *, vouched: bool = False) -> Manifest | None:
        """Bring Redis, head.json and a plan left behind together; the head as it then is. Needs the lease.

        ``vouched``: also where the state knows nothing of the chain.

        Raises:
            FolderUnusable: the folder cannot be written, or does not fit the state.
            StateForgotten: the state has lost what the head was made from.
            Fenced: another writer has the lease.
        """
        try:
            self.folder.make()
            return self._recover(vouched=vouched)
        except OSError as error:
            self._refuse_if_fenced(error)
            raise FolderUnusable(f"{self.folder.path} cannot be written: {error}") from error

    def _recover(self, *, vouched: bool) -> Manifest | None:
        head = self._heads.agree(vouched=vouched)
        plan = self._chain.plan()
        if plan is None:
            self.folder.discard_partials()
            return head
        left = Plan.from_json(plan)
        if head is None or head.sequence < left.sequence:
            manifest = self.folder.whole(self._going_on.over(left.files))
            if manifest is None:
                log.info("discarding inventory %s, which a writer left unfinished", left.sop_instance_uid)
                self.folder.remove(left.files)
            else:
                log.info("finishing inventory %s, which a writer left behind", left.sop_instance_uid)
                self._move_head(head, manifest)
                head = manifest
        if head is not None and head.sop_instance_uid == left.sop_instance_uid:
            self._settle(left)
        self._forget(left)
        self.folder.discard_partials()
        return head

    # --- steps 2 to 12 -----------------------------------------------------------------------------------------

    def owes_anything(self) -> bool:
        """Whether any study changed since it was last inventoried."""
        return self._studies.owed() > 0

    def produce(
        self,
        kind: str = "next",
        *,
        force: bool = False,
        published: Callable[[Manifest], None] = lambda manifest: None,
    ) -> Manifest:
        """Write the next inventory: ``next`` as the tiers ask for, or a ``baseline`` or ``rollup`` now.

        ``force`` cuts past the watermark; the inventory then says PARTIAL. A forced baseline vouches for the state.
        ``published`` is told as soon as it is the head, whatever else is left to do.

        Raises:
            NoWatermark: no cut can be taken now.
            FolderUnusable: the folder cannot be written; nothing is lost, the next try begins anew.
            StateForgotten: the state has lost what the chain was made from; see :mod:`writers.heads`.
            Fenced: another writer has the lease.
            LostWrites: a shard lost writes and did not get them back; the next try begins anew.
            ProcessDied: a process that encodes was killed; the next try begins anew.
        """
        try:
            return self._produce(kind, published, force=force)
        except Fenced:
            self._clear_away()
            raise
        except OSError as error:
            self._refuse_if_fenced(error)
            raise FolderUnusable(f"{self.folder.path} cannot be written: {error}") from error

    def _produce(self, kind: str, published: Callable[[Manifest], None], *, force: bool) -> Manifest:
        head = self.recover(vouched=force and kind == "baseline")  # 1.
        step = self._step(kind, head)
        self._heads.refuse_missing(step)
        found = self._moment(head, force=force)  # 2.
        content, status, applied = found.content, found.status, found.applied
        plan = self._plan(head, content)  # 3.
        self._in_hand = plan
        self._chain.write_plan(self._lease.token, asdict(plan), plan.cut)
        begin = self._cut(plan.cut, head, content, applied)  # 4.
        records = self._read_whole_slice(plan, step, head, content, begin, applied)  # 5., 6.
        plan, parts = self._in_parts(plan, records)  # 7.
        self._in_hand = plan
        files = self._assemble(plan, step, head, content, status, begin, records, parts)
        self._lease.keep()
        for written, manifest in files:
            self.folder.publish(written, manifest)  # 8.
        self._move_head(head, manifest)  # 9., 10.
        published(manifest)
        self._settle(plan)  # 11.
        self._forget(plan)  # 12.
        self._in_hand = None
        self._retain(step, manifest)  # 13.
        told = (step.kind, plan.sop_instance_uid, plan.sequence, records.own, len(files))
        log.info("published %s %s: sequence %d, %d records, %d files", *told)
        return manifest

    def _step(self, kind: str, head: Manifest | None) -> tiers.Step:
        members = () if head is None else head.members
        imported = head is not None and self._chain.imported() == head.sop_instance_uid  # then every study is owed
        if kind == "baseline" or imported:
            return tiers.baseline()
        if kind == "rollup":
            return tiers.rollup(members, self._policy.rollup_fanout)
        return tiers.next_step(members, self._policy.rollup_fanout)

    def _moment(self, head: Manifest | None, *, force: bool) -> Moment:
        if force:
            return moment.forced(head, self._connection.now())
        return moment.by_watermark(self._repository, self._cuts, head, self._going_on.done)

    def _plan(self, head: Manifest | None, content: int) -> Plan:
        uid = new_uid(self._inventory.uid_root)
        return Plan(
            sop_instance_uid=uid,
            sequence=1 if head is None else head.sequence + 1,
            # Above every cut ever planned or taken: a cut may not be taken again for a later moment.
            cut=max(self._chain.last_cut() + 1, 1 if head is None else head.cut + 1, self._cuts.collecting()),
            file=self.folder.place(uid, to_datetime(content, self._zone)),
        )

    def _cut(self, n: int, head: Manifest | None, content: int, applied: Applied) -> int | None:
        """Take the cut; the chain's start, None if its beginning is open."""
        if self._policy.origin == "empty" or self._repository.is_whole():
            self._take(n, None, content, applied)
            return None
        if head is not None:
            self._take(n, head.scope_begin, content, applied)
            return head.scope_begin
        if self._policy.start is not None:
            self._take(n, self._policy.start, content, applied)
            return self._policy.start
        oldest = self._take(n, None, content, applied)
        start = content if oldest is None else min(oldest, content)
        # What was applied since with an older time belongs to n + 1 and counts as updated at the start.
        self._cuts.set_start(start, self._going_on.done)
        return start

    def _take(self, n: int, start: int | None, content: int, applied: Applied) -> int | None:
        """Take the cut in every shard, also in those that have to get back what they lost; the oldest update time."""
        for _ in range(_ATTEMPTS):
            taken = self._cuts.take(
                n, start, content, applied, begins=self._heads.begins, meanwhile=self._going_on.done
            )
            if taken.forgotten:
                raise self._heads.forgotten(len(taken.forgotten))
            if not taken.behind:
                return taken.oldest
            log.warning("%d shards lost writes while cut %d was taken; waiting for them", len(taken.behind), n)
            if self._cuts.wait_for(applied, moment.WAIT, self._going_on.done):
                break
        raise LostWrites(f"repository {self._repository.name}: shards lost writes from before cut {n}")

    # --- steps 5 and 6 -----------------------------------------------------------------------------------------

    def _read_whole_slice(
        self, plan: Plan, step: tiers.Step, head: Manifest | None, content: int, begin: int | None, applied: Applied
    ) -> Records:
        for _ in range(_ATTEMPTS):
            records = self._read_slice(plan, step, head, content)
            lost = self._cuts.lost(plan.cut)
            if not lost:
                return records
            log.warning("%d shards lost writes from before cut %d; reading the slice again", len(lost), plan.cut)
            self._take(plan.cut, begin, content, applied)
        raise LostWrites(f"repository {self._repository.name}: shards lost writes from before cut {plan.cut}")

    def _read_slice(self, plan: Plan, step: tiers.Step, head: Manifest | None, content: int) -> Records:
        uid = plan.sop_instance_uid
        self.folder.discard_partial(uid)  # of an attempt before
        return self._slices.write(
            (study for _, study in self._own(plan.cut, step)),
            # At or after Content Date/Time (C.38.1), and later than any in the chain before: the newest record wins.
            max(content, 0 if head is None else head.last_item_time + 1),
            self.folder.temporary,
            uid,
            self._tell,
        )

    def _tell(self, records: int) -> None:
        self._going_on.written(records)
        self._progress(records)

    def _own(self, cut: int, step: tiers.Step) -> Iterator[slices.ShardedUid]:
        if step.kind == "baseline":
            return slices.everything(self._studies)
        if step.kind == "rollup":
            files = [self.folder.path / file for member in step.replaced for file in member.files]
            return slices.rolled_up(self._studies, cut, files)
        return slices.changed(self._studies, cut)

    # --- steps 7 to 12 -----------------------------------------------------------------------------------------

    def _in_parts(self, plan: Plan, records: Records) -> tuple[Plan, Parts]:
        """The plan with UIDs for the parts, if one inventory cannot hold all records, and what is in each."""
        groups = in_parts(records.segments, Limits.of(self._inventory))
        if len(groups) <= 1:
            return plan, {}
        parts = {new_uid(self._inventory.uid_root): segments for segments in groups}
        plan = replace(plan, parts=tuple(parts))
        self._chain.write_plan(self._lease.token, asdict(plan), plan.cut)
        return plan, parts

    def _assemble(
        self,
        plan: Plan,
        step: tiers.Step,
        head: Manifest | None,
        content: int,
        status: str,
        begin: int | None,
        records: Records,
        parts: Parts,
    ) -> list[tuple[Written, Manifest]]:
        """The parts, if there are any, and the root last."""
        own = 0 if plan.parts else records.own
        total = records.own + (step.kept[-1].total_records if step.kept else 0)
        since = 0 if head is None else head.cut
        *beside, _ = plan.files
        itself = Member(plan.sop_instance_uid, plan.sequence, step.tier, plan.file, total, tuple(beside))
        manifest = Manifest(
            sop_instance_uid=plan.sop_instance_uid,
            repository=self._repository.name,
            sequence=plan.sequence,
            kind=step.kind,
            tier=step.tier,
            level=str(self._inventory.level),
            status=status,
            cut=plan.cut,
            slice_from=since,
            watermark=content,
            scope_begin=begin,
            scope_end=max(content, records.newest_update or 0, 0 if head is None else head.scope_end),
            last_item_time=records.last_item_time,
            own_records=own,
            total_records=total,
            counts=records.counts,
            incorporated=(*(one.sop_instance_uid for one in step.kept[-1:]), *plan.parts),
            members=(*step.kept, itself),
            transfer_syntax_uid=iod.TRANSFER_SYNTAXES[self._inventory.transfer_syntax],
            file=plan.file,
            bytes=0,
            sha256="",
            software=self._software,
        )
        description = tiers.describe(step, since, plan.cut, content)
        return self._assembler.assemble(manifest, description, step.kept[-1:], records.segments, parts)

    def _move_head(self, head: Manifest | None, manifest: Manifest) -> None:
        self._chain.move_head(self._lease.token, 0 if head is None else head.sequence, manifest.to_json())
        self.folder.write_head(manifest)

    def _refuse_if_fenced(self, error: OSError) -> None:
        """A file that is gone may have been removed by the writer that took over; then it is no fault of the folder."""
        try:
            self._lease.keep()
        except Fenced:
            self._clear_away()
            raise Fenced(f"another writer of repository {self._repository.name} has taken over") from error

    def _clear_away(self) -> None:
        """After being overtaken: remove what this writer left and nobody else took over."""
        plan = self._in_hand
        left = self._chain.plan()
        if plan is None or (left is not None and left["sop_instance_uid"] == plan.sop_instance_uid):
            return  # the next writer finishes it, or removes it
        self.folder.discard_partial(plan.sop_instance_uid, *plan.parts)
        # A Redis that lost its tail may have forgotten the head; head.json has not.
        in_redis, on_disk = self._chain.head(), self.folder.head()
        heads = [Manifest.from_json(in_redis)] if in_redis is not None else []
        if not any(may_hold(head, plan) for head in [*heads, *([on_disk] if on_disk is not None else [])]):
            self.folder.remove(plan.files)

    def _settle(self, plan: Plan) -> None:
        # Notes lost with the disk cache of a machine that died: the studies stay owed and are written again.
        notes = chain.from_iterable(map(read_revs, self.folder.partials(plan.sop_instance_uid, "revs")))
        self._cuts.settle(plan.cut, plan.sequence, self._going_on.over(notes))

    def _forget(self, plan: Plan) -> None:
        self._chain.write_plan(self._lease.token, None)
        self.folder.discard_partial(plan.sop_instance_uid, *plan.parts)

    def _retain(self, step: tiers.Step, head: Manifest) -> None:
        # Deltas replace nothing; that something has become old enough meanwhile can wait for the next rollup.
        if self._inventory.retention and step.kind != "delta":
            self._lease.keep()
            retain(self.folder, head, self._connection, self._inventory)
