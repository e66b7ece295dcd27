"""What is compared of a study in two repositories, and what its place among all studies follows from.

Of each record a *summary* is kept beside that of the other repository's record, in the shard that both share. It holds
what the place follows from and nothing else: no patient attribute, only hashes of them. The place itself is found by
the script that writes the record (``state/lua/place.lua``), so it is as true as the record is, after any crash.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from xxhash import xxh3_64_hexdigest

from state.attributes import Level, recordable
from state.keys import PairKeys
from state.policy import ComparisonPolicy
from state.record import StudyRecord
from state.times import MICROSECONDS
from state.values import Item

SOURCE: Final = "s"
TARGET: Final = "t"
NO_DATE: Final = "none"  # the year of a study without a Study Date

_ACCESSION_NUMBER: Final = "00080050"
_STUDY_DATE: Final = "00080020"
_LIKE_NONE: Final = frozenset({"SR", "PR", "KO", "OT", "SEG", "REG", "DOC", "AU"})  # said only where nothing else is
_NO_MARKS: Final = str.maketrans("", "", "|,@\t\n")  # which a summary has a meaning for
_DAY: Final = 86_400 * MICROSECONDS
_HASH: Final = 8  # hexadecimal digits of an attribute's


class Place(StrEnum):
    """How a study stands in the two repositories; the value is its code in the state."""

    IN_SYNC = "S"
    MISSING = "M"
    INCOMPLETE = "I"
    DIFFERENT = "D"
    EXTRA = "X"
    REMOVED_AT_SOURCE_ONLY = "R"
    REMOVED_ON_BOTH = "B"
    OUT_OF_SCOPE = "O"
    COMPARED_ANEW = "Q"
    OPEN_COMPARED_ANEW = "q"  # the same of a study that was open


OPEN: Final = (
    Place.MISSING,
    Place.INCOMPLETE,
    Place.DIFFERENT,
    Place.EXTRA,
    Place.REMOVED_AT_SOURCE_ONLY,
    Place.OPEN_COMPARED_ANEW,
)


class Summary(NamedTuple):
    """One side of a comparison.

    ``rules`` tells by which rules it was made. ``live``: not removed. ``content`` is an order-independent hash over the
    live SOP Instance UIDs with the numbers of series and instances. ``group`` is modality and year, ``day`` that of
    the last update (UTC). ``attributes`` has a hash of each attribute that must agree, empty for one without a value.
    """

    rules: str
    live: bool
    in_scope: bool
    content: str
    instances: int
    group: str
    day: str
    attributes: tuple[str, ...]

    @property
    def series(self) -> int:
        """How many series are live."""
        return int(self.content.split(":")[1])

    @property
    def modality(self) -> str:
        """The one that the study is counted by."""
        return self.group.rpartition(",")[0]

    @property
    def year(self) -> str:
        """The Study Date's."""
        return self.group.rpartition(",")[2]

    @classmethod
    def parse(cls, text: str) -> Summary | None:
        """None for an empty text."""
        if not text:
            return None
        alone, core, instances, *_ = text.split("\t")
        flags, content, attributes = core.split("|")
        group, _, day = alone[2:].partition("@")
        hashes = tuple(attributes.split(","))
        return cls(flags[:_HASH], flags[_HASH] == "1", flags[-1] == "1", content, int(instances), group, day, hashes)


class Comparison:
    """Makes the summaries of one side of a pair."""

    def __init__(self, policy: ComparisonPolicy, repository: str, shards: int) -> None:
        self.side = SOURCE if repository == policy.source else TARGET
        self.rules = rules_of(policy)
        self._policy = policy
        tags = {row.keyword: tag for tag, row in recordable(Level.STUDY).items()}
        self._tags = [tags[keyword] for keyword in policy.attributes]
        self._renamed = policy.accession_numbers if self.side == SOURCE else {}
        pairs = [PairKeys(policy.source, policy.target, shard) for shard in range(shards)]
        self._keys = [[*keys.all, keys.uncompared(self.side)] for keys in pairs]
        # A study that the other side knows by another UID is not where its record is.
        self._known_as = {} if self.side == SOURCE else {new: old for old, new in policy.study_uids.items()}
        self._named = {} if self.side == SOURCE else policy.study_uids
        self._ignored = frozenset(policy.ignored_modalities)
        self._alone = Place.MISSING.value if self.side == SOURCE else Place.EXTRA.value
        dates = policy.study_date_from or policy.study_date_to
        self._scopeless = not (dates or self._ignored or policy.updated_from is not None)

    def keys(self, shard: int) -> list[str]:
        """The pair's keys of a shard, in the order in which the scripts want them."""
        return self._keys[shard]

    def is_elsewhere(self, study_instance_uid: str) -> bool:
        """Whether the pair knows a study of this side by another UID."""
        return study_instance_uid in self._known_as

    def known_as(self, study_instance_uid: str) -> str:
        """By which UID the pair knows a study of this side."""
        return self._known_as.get(study_instance_uid, study_instance_uid)

    def named(self, study_instance_uid: str) -> str:
        """By which UID this side knows a study of the pair."""
        return self._named.get(study_instance_uid, study_instance_uid)

    def summary(self, record: StudyRecord) -> str:
        """The text that stands for a record in the state."""
        shown = record.shown_attributes if record.laid_over.attributes else record.attributes
        modalities, updated = record.modalities, record.update_time
        live = not record.is_removed
        in_scope = self._scopeless or self._in_scope(shown, modalities, updated)
        alone = ("B" if not live else self._alone) if in_scope else "O"
        instances = record.number_of_instances or 0
        hashes = [self._hash(tag, shown.get(tag)) for tag in self._tags]
        return (
            f"{alone}|{_modality(modalities)},{_year(shown.get(_STUDY_DATE))}@{_day(updated // _DAY)}\t"
            f"{self.rules}{live:d}{in_scope:d}|{record.fingerprint:x}:{record.number_of_series or 0}:{instances}|"
            f"{','.join(hashes)}\t{instances}"
        )

    def _hash(self, tag: str, value: object) -> str:
        if not value:
            return ""
        if tag == _ACCESSION_NUMBER and self._renamed and isinstance(value, str):
            value = self._renamed.get(value, value)
        return hashed(value if isinstance(value, str) else repr(value))

    def _in_scope(self, shown: Item, modalities: str, updated: int) -> bool:
        policy = self._policy
        if policy.updated_from is not None and updated < policy.updated_from:
            return False
        if self._ignored and modalities and self._ignored.issuperset(modalities.split("\\")):
            return False
        date = shown.get(_STUDY_DATE)
        if not isinstance(date, str) or not date:
            return True
        if policy.study_date_from and date < policy.study_date_from:
            return False
        return not policy.study_date_to or date <= policy.study_date_to


def place_of(source: Summary | None, target: Summary | None, *, was_open: bool = False) -> Place:
    """What ``state/lua/place.lua`` makes of two summaries, for those who have no state: readers of inventories.

    ``was_open`` tells only between the two places of what is to be compared anew.

    Raises:
        ValueError: neither side has the study.
    """
    if source is None or target is None:
        one = source or target
        if one is None:
            raise ValueError("a study that neither side has is nowhere")
        if not one.in_scope:
            return Place.OUT_OF_SCOPE
        if not one.live:
            return Place.REMOVED_ON_BOTH
        return Place.EXTRA if source is None else Place.MISSING
    if source.rules != target.rules:
        return Place.OPEN_COMPARED_ANEW if was_open else Place.COMPARED_ANEW
    if not source.in_scope:
        return Place.OUT_OF_SCOPE
    if not source.live:
        return Place.REMOVED_AT_SOURCE_ONLY if target.live else Place.REMOVED_ON_BOTH
    if not target.live:
        return Place.MISSING
    if source.content != target.content:
        return Place.INCOMPLETE if target.instances < source.instances else Place.DIFFERENT
    return Place.IN_SYNC if source.attributes == target.attributes else Place.DIFFERENT


def rules_of(policy: ComparisonPolicy) -> str:
    """What tells one set of rules from another: eight hexadecimal digits."""
    names = sorted(policy.accession_numbers.items()), sorted(policy.study_uids.items())
    ignored = sorted(policy.ignored_modalities)
    dates = (policy.study_date_from, policy.study_date_to, policy.updated_from)
    return xxh3_64_hexdigest(repr((1, policy.attributes, ignored, dates, names)).encode())[:_HASH]


@lru_cache(maxsize=1 << 14)
def hashed(value: str) -> str:
    """Equal for values that say the same, whatever their case, blanks and trailing empty components."""
    words = " ".join(value.split()).rstrip("^ ").casefold()
    return xxh3_64_hexdigest(words.encode())[:_HASH] if words else ""


@lru_cache(maxsize=1 << 10)
def _modality(modalities: str) -> str:
    """The one that a study is counted by."""
    found = modalities.split("\\") if modalities else []
    telling = [one for one in found if one not in _LIKE_NONE]
    modality = min(telling or found, default=NO_DATE)
    return modality.translate(_NO_MARKS) or NO_DATE


def _year(date: object) -> str:
    return date[:4] if isinstance(date, str) and date[:4].isdigit() else NO_DATE


@lru_cache(maxsize=1 << 10)
def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y%m%d")
