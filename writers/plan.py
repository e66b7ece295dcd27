"""The plan of an inventory that is being produced, and the UID that it gets."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from pydicom.uid import generate_uid

from writers.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Plan:
    """An inventory that is being produced."""

    sop_instance_uid: str
    sequence: int
    cut: int
    file: str


def may_hold(head: Manifest, plan: Plan) -> bool:
    """Whether a chain may hold the planned inventory: not if its place is taken by another, or not reached yet."""
    if head.sequence < plan.sequence:
        return False
    at_its_place = {one.sop_instance_uid for one in head.members if one.sequence == plan.sequence}
    return not at_its_place or plan.sop_instance_uid in at_its_place


def new_uid(root: str) -> str:
    """A SOP Instance UID that nobody ever had: a UUID under 2.25 (PS3.5 B.2), else random digits under the root."""
    return f"2.25.{uuid4().int}" if root == "2.25" else str(generate_uid(prefix=root + "."))
