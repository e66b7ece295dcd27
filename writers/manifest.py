"""The manifest of an inventory: what stands in the JSON file beside it, in head.json and as the head in Redis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from state.times import parse_time, to_iso


@dataclass(frozen=True, slots=True)
class Member:
    """An inventory that the head still reaches, in the chain's order from the oldest. ``tier`` None: a baseline.

    ``parts`` are the files of its parts, if it is split.
    """

    sop_instance_uid: str
    sequence: int
    tier: int | None
    file: str
    total_records: int
    parts: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """All of its own files, in the order of their records."""
        return (self.file, *self.parts)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that the chain needs to know of one inventory. Times are UTC microseconds, in JSON ISO 8601.

    ``cut`` is n, ``watermark`` Tn; ``slice_from`` is the cut before, from which on its own records are owed.
    ``scope_begin`` None: the beginning is open. ``file`` is relative to the repository's folder. ``members`` ends with
    the inventory itself. ``last_item_time`` is the latest Item Inventory DateTime up to here.
    """

    sop_instance_uid: str
    repository: str
    sequence: int
    kind: str
    tier: int | None
    level: str
    status: str
    cut: int
    slice_from: int
    watermark: int
    scope_begin: int | None
    scope_end: int
    last_item_time: int
    own_records: int
    total_records: int
    counts: dict[str, int]
    incorporated: tuple[str, ...]
    members: tuple[Member, ...]
    transfer_syntax_uid: str
    file: str
    bytes: int
    sha256: str
    software: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        found = asdict(self)
        for name in _TIMES:
            found[name] = None if found[name] is None else to_iso(found[name])
        found["incorporated"] = list(self.incorporated)
        found["members"] = [member | {"parts": list(member["parts"])} for member in found["members"]]
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Manifest:
        """The manifest that :meth:`to_json` made.

        Raises:
            ValueError: it is none.
        """
        try:
            values = dict(found)
            for name in _TIMES:
                values[name] = None if values[name] is None else parse_time(values[name])
            values["incorporated"] = tuple(values["incorporated"])
            values["members"] = tuple(
                Member(**{**member, "parts": tuple(member.get("parts", ()))}) for member in values["members"]
            )
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error}") from None


_TIMES = ("watermark", "scope_begin", "scope_end", "last_item_time")
