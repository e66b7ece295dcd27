"""Whole files of an inventory from its encoded records: one, or a root and the parts that it is split into.

A part is an Inventory SOP Instance of its own: PARTIAL, of the same Scope, with nothing incorporated. The root then
holds no records itself and incorporates the inventory before it and all parts (PS3.3 C.38.1.1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import TypeAlias

from pydicom.dataset import Dataset

from writers import iod, terms
from writers.files import InventoryFolder, Written, assemble
from writers.manifest import Manifest, Member
from writers.plan import beside, new_uid
from writers.policy import InventoryPolicy
from writers.reader import InventoryFile
from writers.records import Limits, Segment

Parts: TypeAlias = "Mapping[str, Sequence[Segment]]"  # by SOP Instance UID; none if there is one file


@dataclass(frozen=True, slots=True)
class Assembler:
    """Puts together the files of one inventory in ``folder``. ``each_block`` is called again and again."""

    folder: InventoryFolder
    policy: InventoryPolicy
    zone: tzinfo
    each_block: Callable[[], None]

    def assemble(
        self,
        manifest: Manifest,
        description: str,
        before: Sequence[Member],
        segments: Sequence[Segment],
        parts: Parts,
    ) -> list[tuple[Written, Manifest]]:
        """The parts, if there are any, and the root last; each is on disk under its temporary name.

        ``manifest`` is the root's, without what is known only now: sizes and digests. ``before`` is the member that it
        incorporates beside its parts, if there is one.
        """
        below = [self._member(member) for member in before]
        transaction = new_uid(self.policy.uid_root) if self.policy.write_transaction_uid else ""
        if not parts:
            return [self._file(manifest, description, below, segments, transaction)]
        files = []
        for number, (uid, some) in enumerate(parts.items(), 1):
            own = sum(one.records for one in some)
            part = replace(
                manifest,
                sop_instance_uid=uid,
                kind="part",
                tier=None,
                status=terms.PARTIAL,
                own_records=own,
                total_records=own,
                counts={"studies": own},
                incorporated=(),
                members=(),
                file=beside(manifest.file, uid),
            )
            files.append(self._file(part, f"Part {number} of {len(parts)}. {description}", (), some, transaction))
        below += [iod.reference(part.sop_instance_uid, (), self._stored(part)) for _, part in files]
        return [*files, self._file(manifest, description, below, (), transaction)]

    def _member(self, member: Member) -> Dataset:
        """An Item of (0008,0422) with a copy of the member's own."""
        with InventoryFile(self.folder.path / member.file) as inventory:
            below = inventory.header.get("IncorporatedInventoryInstanceSequence") or []
        manifest = self.folder.manifest(member.file)
        return iod.reference(member.sop_instance_uid, below, None if manifest is None else self._stored(manifest))

    def _stored(self, manifest: Manifest) -> iod.StoredFile | None:
        """Where the file is, if that is told at all."""
        if not self.policy.access.inventory_base_uri:
            return None
        return iod.StoredFile(manifest.file, manifest.bytes, manifest.sha256, manifest.transfer_syntax_uid)

    def _file(
        self,
        manifest: Manifest,
        description: str,
        below: Sequence[Dataset],
        segments: Sequence[Segment],
        transaction_uid: str,
    ) -> tuple[Written, Manifest]:
        uid, policy = manifest.sop_instance_uid, self.policy
        scope = (manifest.scope_begin, manifest.scope_end)
        heading = iod.Heading(uid, manifest.watermark, scope, policy.level, description, below)
        counts = (manifest.own_records, manifest.total_records)
        trailer = iod.trailer(manifest.status, *counts, policy, manifest.software, transaction_uid)
        path = self.folder.partial(uid, "dcm")
        written = write_file(path, heading, segments, trailer, policy, self.zone, self.each_block)
        return written, replace(manifest, bytes=written.bytes, sha256=written.sha256)


def write_file(
    path: Path,
    heading: iod.Heading,
    segments: Sequence[Segment],
    trailer: bytes,
    policy: InventoryPolicy,
    zone: tzinfo,
    each_block: Callable[[], None] = lambda: None,
) -> Written:
    """Write one whole Inventory: what its heading says, the records of ``segments``, and the trailer."""
    return assemble(
        path,
        iod.file_meta(heading.sop_instance_uid, iod.TRANSFER_SYNTAXES[policy.transfer_syntax]),
        iod.header(heading, policy, zone) + iod.STUDIES_BEGIN,
        [one.body for one in segments],
        iod.STUDIES_END + trailer,
        deflated=policy.transfer_syntax == "DEFLATED",
        each_block=each_block,
    )


def in_parts(segments: Sequence[Segment], most: Limits) -> list[list[Segment]]:
    """Segments in their order, as many together as one inventory may hold."""
    parts: list[list[Segment]] = []
    records = size = 0
    for segment in segments:
        if not parts or not most.hold(records + segment.records, size + segment.bytes):
            parts.append([])
            records = size = 0
        parts[-1].append(segment)
        records += segment.records
        size += segment.bytes
    return parts
