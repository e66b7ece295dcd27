"""The plan of an inventory that is being produced, and the UID that it gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from pydicom.uid import generate_uid

from writers.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Plan:
    """An inventory that is being produced; ``parts`` are the UIDs of its parts, before any has its final name."""

    sop_instance_uid: str
    sequence: int
    cut: int
    file: str
    parts: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Plan:
        """The plan that ``asdict`` made."""
        return cls(**{**found, "parts": tuple(found.get("parts", ()))})

    @property
    def files(self) -> list[str]:
        """Everything that gets a final name, in that order: the parts, the root last."""
        return [*(beside(self.file, uid) for uid in self.parts), self.file]


def may_hold(head: Manifest, plan: Plan) -> bool:
    """Whether a chain may hold the planned inventory: not if its place is taken by another, or not reached yet."""
    if head.sequence < plan.sequence:
        return False
    at_its_place = {one.sop_instance_uid for one in head.members if one.sequence == plan.sequence}
    return not at_its_place or plan.sop_instance_uid in at_its_place


def beside(file: str, sop_instance_uid: str) -> str:
    """Where a part belongs, relative to the folder: beside its root."""
    return str(PurePosixPath(file).with_name(f"{sop_instance_uid}.dcm"))


def new_uid(root: str) -> str:
    """A SOP Instance UID that nobody ever had: a UUID under 2.25 (PS3.5 B.2), else random digits under the root."""
    return f"2.25.{uuid4().int}" if root == "2.25" else str(generate_uid(prefix=root + "."))
