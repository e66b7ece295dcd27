"""What a study is after its events: the rules of store, update and delete (design, section 3) on plain dicts.

Events are applied in their partition's order. Times decide the Study Update DateTime, which is the greatest, and on
which side of a removal an event lies. A removal of a study or series as such ends a life: an event before it is of that
life and changes nothing any more. A removal told after something newer counts as made one microsecond after that. One
that is not later than the latest known changes nothing. A store at or after an instance's removal ends it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from state.attributes import Level
from state.values import Item
from tests.oracle.events import News, Said, Told
from tests.oracle.patients import Overlay, Saying, lay_over

State = dict[str, Any]

_SOP_CLASS: Final = "00080016"
_MODALITY: Final = "00080060"
_MODALITIES: Final = "00080061"


@dataclass(frozen=True)
class Removal:
    time: int
    reason: Item


@dataclass(frozen=True)
class LifeEnd:
    told: int
    until: int


@dataclass
class Instance:
    """``series_uid`` is the series that it was last said to be in."""

    series_uid: str
    attributes: Item = field(default_factory=dict)
    removal: Removal | None = None

    @property
    def known(self) -> bool:
        """Whether an inventory can hold it: its SOP Class is known."""
        return bool(self.attributes.get(_SOP_CLASS))


@dataclass
class Series:
    """``stored``: more than a removal was said of it."""

    attributes: Item = field(default_factory=dict)
    removal: Removal | None = None
    ended: LifeEnd | None = None
    newest: int = 0
    stored: bool = False

    @property
    def known(self) -> bool:
        return self.stored or self.removal is not None

    @property
    def modality(self) -> str:
        return str(self.attributes.get(_MODALITY) or "OT")


@dataclass
class Study:
    """``sayings`` is all that was said of the study itself and counts, from which its patient follows."""

    time: int = 0
    attributes: Item = field(default_factory=dict)
    sayings: list[Saying] = field(default_factory=list)
    removal: Removal | None = None
    ended: LifeEnd | None = None
    announced_series: int | None = None
    announced_instances: int | None = None
    series: dict[str, Series] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)

    def apply(self, told: Told) -> None:
        newest, self.time = self.time, max(self.time, told.time)
        if _of_ended_life(told.time, self.ended):
            return
        for said in told.said:
            whole = told.action == "store" and told.level is Level.STUDY
            self.sayings.append(Saying(told.time, whole, said.attributes[Level.STUDY]))
            if told.action == "store":
                self._store(told, said)
            elif told.action == "update":
                self._announced(said)
                self._update(told, said)
            else:
                self._announced(said)
                self._delete(told, said, newest)

    def _announced(self, said: Said) -> None:
        if said.announced_series is not None:
            self.announced_series = said.announced_series
        if said.announced_instances is not None:
            self.announced_instances = said.announced_instances

    # --- store -------------------------------------------------------------------------------------------------

    def _store(self, told: Told, said: Said) -> None:
        if self.removal is not None:
            self.removal = None
            if told.level is not Level.STUDY:
                self._drop_all_but(said.series_uid, its_instances=told.level is Level.SERIES)
        self._announced(said)
        if told.level is Level.STUDY:
            self.attributes = dict(said.attributes[Level.STUDY])
            return
        self.attributes |= said.attributes[Level.STUDY]
        series = self.series.setdefault(said.series_uid, Series())
        if _of_ended_life(told.time, series.ended):
            return
        series.newest = max(series.newest, told.time)
        series.stored = True
        if series.removal is not None:
            series.removal = None
            if told.level is Level.INSTANCE:
                self._drop_instances_of(said.series_uid)
        if told.level is Level.SERIES:
            series.attributes = dict(said.attributes[Level.SERIES])
            return
        series.attributes |= said.attributes[Level.SERIES]
        before = self.instances.get(said.sop_uid)
        removal = before.removal if before is not None and not _ends(told.time, before.removal) else None
        self.instances[said.sop_uid] = Instance(said.series_uid, dict(said.attributes[Level.INSTANCE]), removal)

    def _drop_all_but(self, series_uid: str, *, its_instances: bool) -> None:
        """Of what the record held, what is stored now comes back alone; what was announced of the rest goes too."""
        self.series = {
            uid: series if uid == series_uid else Series(ended=series.ended, newest=series.newest)
            for uid, series in self.series.items()
        }
        self.instances = {
            uid: instance
            for uid, instance in self.instances.items()
            if its_instances and instance.series_uid == series_uid
        }
        self.announced_series = self.announced_instances = None

    def _drop_instances_of(self, series_uid: str) -> None:
        self.instances = {uid: one for uid, one in self.instances.items() if one.series_uid != series_uid}

    # --- update and delete -------------------------------------------------------------------------------------

    def _update(self, told: Told, said: Said) -> None:
        level = told.level
        self.attributes |= said.attributes[Level.STUDY]
        if level is Level.STUDY:
            return
        before = self.instances.get(said.sop_uid)
        # Only a store says in which series an instance is.
        series_uid = said.series_uid if before is None or level is Level.SERIES else before.series_uid
        series = self.series.setdefault(series_uid, Series())
        if _of_ended_life(told.time, series.ended):
            return
        series.newest = max(series.newest, told.time)
        series.attributes |= said.attributes[Level.SERIES]
        if level is Level.SERIES:
            series.stored = True
            return
        known = {} if before is None else before.attributes
        given = said.attributes[level]
        if known.get(_SOP_CLASS) and not given.get(_SOP_CLASS):
            given = {tag: value for tag, value in given.items() if tag != _SOP_CLASS}  # Type 1: it cannot become empty
        removal = None if before is None else before.removal
        now = self.instances[said.sop_uid] = Instance(series_uid, known | given, removal)
        series.stored = series.stored or now.known

    def _delete(self, told: Told, said: Said, newest: int) -> None:
        self.attributes |= said.attributes[Level.STUDY]
        if told.level is Level.STUDY:
            if self.ended is None or told.time > self.ended.told:
                self.ended = _life_end(told.time, newest)
                self.removal = Removal(self.ended.until, told.reason)
            return
        before = self.instances.get(said.sop_uid) if told.level is Level.INSTANCE else None
        series_uid = said.series_uid if before is None else before.series_uid
        series = self.series.setdefault(series_uid, Series())
        if _of_ended_life(told.time, series.ended):
            return
        newest, series.newest = series.newest, max(series.newest, told.time)
        series.attributes |= said.attributes[Level.SERIES]
        if told.level is Level.SERIES:
            if series.ended is None or told.time > series.ended.told:
                series.ended = _life_end(told.time, newest)
                series.removal = Removal(series.ended.until, told.reason)
            return
        instance = self.instances.setdefault(said.sop_uid, Instance(series_uid))
        given = said.attributes[Level.INSTANCE]
        instance.attributes |= {tag: value for tag, value in given.items() if value and tag != _SOP_CLASS}
        instance.removal = _later(instance.removal, Removal(told.time, told.reason))

    # --- what follows ------------------------------------------------------------------------------------------

    def known_series(self) -> dict[str, Series]:
        return {uid: series for uid, series in self.series.items() if series.known}

    def known_instances(self, series_uid: str | None = None) -> dict[str, Instance]:
        return {uid: one for uid, one in self.instances.items() if one.known and series_uid in (None, one.series_uid)}

    def removal_of_series(self, series_uid: str) -> Removal | None:
        """As such, or with its last instance: then the latest removal below, also of one whose SOP Class is unknown."""
        if (explicit := self.series[series_uid].removal) is not None:
            return explicit
        known = self.known_instances(series_uid)
        if not known or any(one.removal is None for one in known.values()):
            return None
        below = [one.removal for one in self.instances.values() if one.series_uid == series_uid]
        return max((one for one in below if one is not None), key=lambda one: one.time)

    def removal_of_study(self) -> Removal | None:
        """As such, or with its last series; not while more was announced than has been seen."""
        if self.removal is not None:
            return self.removal
        series = self.known_series()
        if not any(one.stored for one in series.values()) or (self.announced_series or 0) > len(series):
            return None
        all_explicit = all(one.removal is not None for one in series.values())
        if not all_explicit and (self.announced_instances or 0) > len(self.known_instances()):
            return None
        if any(self.removal_of_series(uid) is None for uid in series):
            return None
        below = [self.removal_of_series(uid) for uid in self.series]  # those too of which only removals are known
        return max((one for one in below if one is not None), key=lambda one: one.time)

    def effective(self, level: Level, start: int | None, news: Collection[News] = ()) -> State:
        """The study as an inventory of that level shows it, in a chain that begins at ``start``."""
        return self.shown_with(lay_over(self.sayings, news), self.without_news(level), start)

    def shown_with(self, overlay: Overlay, without_news: State, start: int | None) -> State:
        """The same from its two parts: what is shown of its patient, and all else."""
        time = max(self.time, overlay.time)
        own = {tag: value for tag, value in self.attributes.items() if tag != _MODALITIES}
        return without_news | {
            "time": time if start is None else max(time, start),
            "attributes": filled(own | overlay.attributes),
        }

    def without_news(self, level: Level) -> State:
        """What is shown of it whatever is told of its patient."""
        series = self.known_series()
        removed_series = {uid: self.removal_of_series(uid) is not None for uid in series}
        live = [uid for uid, gone in removed_series.items() if not gone]
        instances = self.known_instances()
        live_instances = [one for one in instances.values() if one.removal is None and one.series_uid in live]
        modalities = sorted({series[uid].modality for uid in live or series})
        state: State = {
            "removal": _shown(self.removal_of_study()),
            "modalities": "\\".join(modalities) if series else self.attributes.get(_MODALITIES, ""),
            "number of series": _text(len(live) if series else self.announced_series),
            "number of instances": _text(len(live_instances) if instances else self.announced_instances),
        }
        if level is not Level.STUDY:
            state["series"] = {uid: self._effective_series(uid, level) for uid in series}
        return state

    def _effective_series(self, series_uid: str, level: Level) -> State:
        series = self.series[series_uid]
        state: State = {
            "removal": _shown(self.removal_of_series(series_uid)),
            "attributes": filled({**series.attributes, _MODALITY: series.modality}),
        }
        if level is Level.INSTANCE:
            state["instances"] = {
                uid: {"removal": _shown(one.removal), "attributes": filled(one.attributes)}
                for uid, one in self.known_instances(series_uid).items()
            }
        return state


def filled(item: Item) -> Item:
    """Without what is empty: an inventory may show that as an empty value or leave it out."""
    found: Item = {}
    for tag, value in item.items():
        kept = value if isinstance(value, str) else [filled(one) for one in value]
        if kept:
            found[tag] = kept
    return found


def _ends(time: int, removal: Removal | None) -> bool:
    return removal is not None and time >= removal.time


def _of_ended_life(time: int, ended: LifeEnd | None) -> bool:
    return ended is not None and time < ended.until


def _life_end(time: int, newest: int) -> LifeEnd:
    return LifeEnd(time, max(time, newest + 1) if newest else time)


def _later(before: Removal | None, now: Removal) -> Removal:
    return before if before is not None and before.time > now.time else now


def _shown(removal: Removal | None) -> list[Item] | None:
    """The Reason for Removal Code Sequence of what is removed, None of what is not."""
    return None if removal is None else [removal.reason] if removal.reason else []


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
