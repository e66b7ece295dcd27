"""Where a study stands in two repositories, from the oracle's account of each side: plain Python, from scratch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.oracle.study import State


@dataclass(frozen=True)
class Rules:
    """What must agree, by tag, and what is out of scope."""

    attributes: tuple[str, ...] = ()
    ignored_modalities: frozenset[str] = frozenset()
    study_date_from: str = ""


def place_of(source: State | None, target: State | None, rules: Rules) -> str | None:
    """The place by its name in the state; None if neither side has the study."""
    one = source if source is not None else target
    if one is None:
        return None
    if not in_scope(one, rules):
        return "OUT_OF_SCOPE"
    at_source = source is not None and source["removal"] is None
    at_target = target is not None and target["removal"] is None
    if not at_source and not at_target:
        return "REMOVED_ON_BOTH"
    if not at_target:
        return "MISSING"
    if not at_source:
        return "EXTRA" if source is None else "REMOVED_AT_SOURCE_ONLY"
    assert source is not None
    assert target is not None
    if content(source) != content(target):
        return "INCOMPLETE" if _number(target) < _number(source) else "DIFFERENT"
    return "DIFFERENT" if differing(source, target, rules) else "IN_SYNC"


def differing(source: State, target: State, rules: Rules) -> list[str]:
    """The tags of attributes that do not agree, case and blanks aside."""
    return [tag for tag in rules.attributes if plain(source, tag) != plain(target, tag)]


def figures(
    source: Mapping[str, State], target: Mapping[str, State], rules: Rules
) -> tuple[Counter[str], Counter[tuple[str, str, str]], Counter[tuple[str, str]], dict[str, str]]:
    """Studies by place; by place, modality and year; by place and day of update while open; and each one's place."""
    places: dict[str, str] = {}
    groups: Counter[tuple[str, str, str]] = Counter()
    days: Counter[tuple[str, str]] = Counter()
    for uid in source.keys() | target.keys():
        place = place_of(source.get(uid), target.get(uid), rules)
        assert place is not None
        places[uid] = place
        one = source.get(uid) or target[uid]
        groups[place, _modality(one), _year(one)] += 1
        if place not in ("IN_SYNC", "REMOVED_ON_BOTH", "OUT_OF_SCOPE"):
            days[place, datetime.fromtimestamp(one["time"] // 1_000_000, UTC).strftime("%Y%m%d")] += 1
    return Counter(places.values()), groups, days, places


def in_scope(one: State, rules: Rules) -> bool:
    modalities = {each for each in one["modalities"].split("\\") if each}
    if rules.ignored_modalities and modalities and modalities <= rules.ignored_modalities:
        return False
    date = one["attributes"].get("00080020", "")
    return not (rules.study_date_from and date and date < rules.study_date_from)


def content(one: State) -> object:
    """The live instances; the numbers alone where none is known."""
    live = {
        uid
        for series in one.get("series", {}).values()
        if series["removal"] is None
        for uid, instance in series.get("instances", {}).items()
        if instance["removal"] is None
    }
    return live, one["number of series"] or "0", one["number of instances"] or "0"


def _number(one: State) -> int:
    return int(one["number of instances"] or 0)


def plain(one: State, tag: str) -> str:
    value = one["attributes"].get(tag, "")
    assert isinstance(value, str)
    return " ".join(value.split()).rstrip("^ ").casefold()


def _modality(one: State) -> str:
    found = sorted(each for each in one["modalities"].split("\\") if each)
    telling = [each for each in found if each not in {"SR", "PR", "KO", "OT", "SEG", "REG", "DOC", "AU"}]
    return str((telling or found or ["none"])[0])


def _year(one: State) -> str:
    date = str(one["attributes"].get("00080020", ""))
    return date[:4] if date[:4].isdigit() else "none"
