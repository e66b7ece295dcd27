"""Two trees of Inventories compared by the rules of a cutover: the places that the state has, from the files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from state.comparison import OPEN, Comparison, Place, Summary, place_of
from state.pair import Compared
from state.policy import ComparisonPolicy
from state.vr import is_uid
from stocktake.import_records import Faults, imported_record
from writers.reader import InvalidInventory, StudyItem
from writers.resolve import resolve
from writers.tree import Tree

_UNKNOWN: Final = 1  # microsecond since the epoch: before any moment that a rule could name


@dataclass(slots=True)
class TreeCounts:
    """Counted while :func:`compare_trees` runs. ``groups`` are studies by place, modality and year; ``left_out`` are
    records whose Study Instance UID is none: no state could hold them.
    """

    in_source: int = 0
    in_target: int = 0
    left_out: int = 0
    groups: Counter[tuple[Place, str, str]] = field(default_factory=Counter)

    @property
    def open(self) -> int:
        """Studies that are not settled."""
        return sum(count for (place, _, _), count in self.groups.items() if place in OPEN)


def compare_trees(
    source: Tree,
    target: Tree,
    rules: ComparisonPolicy,
    zones: tuple[tzinfo, tzinfo],
    counts: TreeCounts,
    progress: Callable[[], None],
) -> Iterator[Compared]:
    """The studies that are open: first those that the target names, in its order, then those in the source only.

    Memory holds a summary, about 500 bytes, for each study of the source. ``zones`` are those of times without offset
    where a file states none. ``counts`` is complete when this is exhausted. ``progress`` is called for each record.

    Raises:
        InvalidInventory: a file of either tree is malformed or cut off, or the trees are of different levels.
        OSError: a file cannot be read.
    """
    if source.level != target.level:
        raise InvalidInventory(
            target.root.path,
            f"is of Inventory Level {target.level or '(none)'}, {source.root.path} of {source.level or '(none)'}: "
            "one knows less than the other",
        )
    at_source: dict[str, str] = {}
    for uid, text in _summaries(source, rules, rules.source, zones[0], counts, progress):
        at_source[uid] = text
        counts.in_source += 1
    for uid, text in _summaries(target, rules, rules.target, zones[1], counts, progress):
        counts.in_target += 1
        found = _compared(uid, at_source.pop(uid, ""), text, counts)
        if found.place in OPEN:
            yield found
    for uid, text in at_source.items():
        found = _compared(uid, text, "", counts)
        if found.place in OPEN:
            yield found


def _summaries(
    tree: Tree,
    rules: ComparisonPolicy,
    repository: str,
    zone: tzinfo,
    counts: TreeCounts,
    progress: Callable[[], None],
) -> Iterator[tuple[str, str]]:
    comparison = Comparison(rules, repository, 0)
    for effective in resolve(tree, zone, progress):
        item = effective.item
        if is_uid(item.study_instance_uid):
            summary = comparison.summary(imported_record(item, _updated(item), Faults()))
            yield comparison.known_as(item.study_instance_uid), summary
        else:
            counts.left_out += 1


def _updated(item: StudyItem) -> int:
    return item.study_update_datetime or item.item_inventory_datetime or _UNKNOWN


def _compared(uid: str, source_text: str, target_text: str, counts: TreeCounts) -> Compared:
    source, target = Summary.parse(source_text), Summary.parse(target_text)
    place = place_of(source, target)
    told = source or target
    if told is not None:
        counts.groups[place, told.modality, told.year] += 1
    return Compared(uid, place, None, source, target, None)
