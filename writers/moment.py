"""The moment that a cut stands for: step 2 of a production (design, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from state.chain import Cuts
from state.repository import Repository
from state.times import to_iso
from writers import terms
from writers.manifest import Manifest

Applied: TypeAlias = "Mapping[str, int]"  # last offsets by partition
WAIT: Final = 30.0  # seconds for shards to reach what the watermark stands for


class NoWatermark(Exception):
    """No cut can be taken: a partition has no watermark, or a shard has not applied what it stands for."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Content Date/Time (UTC microseconds, never before that of the head) and Inventory Completion Status.

    ``applied`` is by partition the last offset that every shard has applied and the cut needs; nothing if it is forced.
    """

    content: int
    status: str
    applied: Applied


def forced(head: Manifest | None, now: int) -> Moment:
    """Now, whatever is applied."""
    return Moment(max(now, _before(head)), terms.PARTIAL, {})


def by_watermark(repository: Repository, cuts: Cuts, head: Manifest | None, meanwhile: Callable[[], None]) -> Moment:
    """The watermark, once every shard has what it stands for; ``meanwhile`` is called while that is waited for.

    Raises:
        NoWatermark: there is none, or it stands for what is not there.
    """
    before = _before(head)
    watermark = repository.watermark()
    if watermark.time is None:
        raise NoWatermark(f"repository {repository.name} has no watermark: {', '.join(watermark.missing)}")
    if behind := cuts.wait_for(watermark.offsets, WAIT, meanwhile):
        raise NoWatermark(
            f"repository {repository.name}: shards have not applied what the watermark stands for in "
            f"partition {', '.join(behind)}; is a consumer running?"
        )
    if watermark.time < before and head is not None and head.status == terms.COMPLETE:
        raise NoWatermark(
            f"repository {repository.name}: the watermark {to_iso(watermark.time)} lies before that of the head, "
            f"{to_iso(before)}: Redis has lost its latest writes and gets them back from Kafka, or events of a topic "
            "that was added are being applied (`stocktake status` names the partition)"
        )
    # After a forced cut the watermark may still lie before the head's: events up to that one may be missing.
    status = terms.COMPLETE if watermark.time >= before else terms.PARTIAL
    return Moment(max(watermark.time, before), status, watermark.offsets)


def _before(head: Manifest | None) -> int:
    return 0 if head is None else head.watermark
