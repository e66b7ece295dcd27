"""Study records cut to what is asked of them: rows of a table, or the same record with less in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from state.attributes import Level, item_attributes
from writers.decoding import items_of
from writers.terms import REMOVED

LEVELS: Final = (Level.STUDY, Level.SERIES, Level.INSTANCE)

_BELOW: Final = {Level.STUDY: "InventoriedSeriesSequence", Level.SERIES: "InventoriedInstancesSequence"}
_NAMES: Final = {"Study": Level.STUDY, "Series": Level.SERIES, "Instance": Level.INSTANCE}


class NoSuchPart(Exception):
    """A record without the series or instances that are asked for; the text says which."""


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute that is asked for, as ``text`` has it: a keyword, or one of a level, such as ``Series.Modality``.

    ``levels`` are those whose Items it is taken from, from the study down.
    """

    text: str
    keyword: str
    levels: tuple[Level, ...]
    is_sequence: bool

    @classmethod
    def parse(cls, text: str) -> Column:
        """The column of a text.

        Raises:
            ValueError: it is no attribute of a study, series or instance record.
        """
        name, dot, keyword = text.rpartition(".")
        if dot and name not in _NAMES:
            raise ValueError(f"{text!r}: before the dot stands Study, Series or Instance")
        levels = (_NAMES[name],) if dot else LEVELS
        found = {level: row for level in levels for row in item_attributes(level).values() if row.keyword == keyword}
        if not found or keyword in _BELOW.values():
            what = f"{name.lower()} record" if dot else "study, series or instance record"
            raise ValueError(f"{keyword!r} is no attribute of a {what}")
        return cls(text, keyword, tuple(found), any(row.vr == "SQ" for row in found.values()))


def is_below(level: Level, other: Level) -> bool:
    """Whether ``level`` is a finer one than ``other``."""
    return LEVELS.index(level) > LEVELS.index(other)


def rows(study: Dataset, level: Level, *, removed: bool) -> Iterator[Mapping[Level, Dataset]]:
    """The Items of that level in a study record, each with those around it; a study without any has no row.

    ``removed``: also those that are removed from operational use, or in a series that is; the study is not asked.

    Raises:
        NoSuchPart: the record is of a higher level.
    """
    yield from _rows({Level.STUDY: study}, Level.STUDY, level, removed)


def _rows(above: Mapping[Level, Dataset], at: Level, level: Level, removed: bool) -> Iterator[Mapping[Level, Dataset]]:
    if at is level:
        yield above
        return
    below = LEVELS[LEVELS.index(at) + 1]
    for item in _parts(above[at], at, removed):
        yield from _rows({**above, below: item}, below, level, removed)


def cell(row: Mapping[Level, Dataset], column: Column) -> str:
    """A column's text in a row: of the lowest Item that has a value for it; values are separated by backslashes."""
    for level in reversed(column.levels):
        item = row.get(level)
        if item is not None and column.keyword in item and not item[column.keyword].is_empty:
            element = item[column.keyword]
            return "\\".join(str(value) for value in (element.value if element.VM > 1 else [element.value]))
    return ""


def narrow(study: Dataset, level: Level, columns: Sequence[Column], *, removed: bool) -> None:
    """Take what lies below ``level`` out of a record and, if there are ``columns``, all attributes but these.

    A column is kept in the Items of each of its levels. ``removed`` is as for :func:`rows`.

    Raises:
        NoSuchPart: the record is of a higher level.
    """
    kept = {at: {column.keyword for column in columns if at in column.levels} for at in LEVELS} if columns else {}
    _narrow(study, Level.STUDY, level, kept, removed)


def _narrow(item: Dataset, at: Level, level: Level, kept: Mapping[Level, set[str]], removed: bool) -> None:
    sequence = _BELOW.get(at, "")
    if is_below(level, at):
        parts = _parts(item, at, removed)
        for part in parts:
            _narrow(part, LEVELS[LEVELS.index(at) + 1], level, kept, removed)
        setattr(item, sequence, parts)
    elif sequence in item:
        delattr(item, sequence)
    for element in list(item) if kept else ():
        if element.keyword not in kept[at] and not (element.keyword == sequence and is_below(level, at)):
            del item[element.tag]


def _parts(item: Dataset, at: Level, removed: bool) -> list[Dataset]:
    if _BELOW[at] not in item:
        raise NoSuchPart(f"a {at.lower()} record without {_BELOW[at]}")
    parts = items_of(item, _BELOW[at])
    return [part for part in parts if removed or part.get("RemovedFromOperationalUse") != REMOVED]
