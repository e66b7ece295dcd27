"""The gate's conditions, each met and not met; and why a study is where it is."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.gate import Condition, gate
from monitor.reasons import reasons
from monitor.tally import Tally
from monitor.words import PLACES, duration
from state.comparison import OPEN, Place, Summary
from state.pair import Compared
from tests.unit.cutovers import HEAD, RULES, figures, rows, side


def condition(name: str, **given: Any) -> Condition:
    found = gate(
        given.get("figures", figures()),
        given.get("rows", rows()),
        given.get("source", side("old")),
        given.get("target", side("new")),
    )
    [one] = [one for one in found.conditions if one.name == name]
    return one


def test_a_gate_is_met_when_every_condition_is() -> None:
    found = gate(figures(), rows(), side("old"), side("new"))
    assert [one.name for one in found.conditions if not one.met] == []
    assert found.met
    assert len({one.name for one in found.conditions}) == len(found.conditions) == 13
    assert found.to_json()["met"] is True


@pytest.mark.parametrize(
    ("name", "given", "figure"),
    [
        ("everything_compared", {"figures": figures(recompared=False)}, "not every study by the present rules"),
        ("everything_compared", {"figures": figures({Place.COMPARED_ANEW: 2})}, "2 studies are to be compared anew"),
        (
            "everything_compared",
            {"figures": figures({Place.OPEN_COMPARED_ANEW: 1})},
            "1 studies are to be compared anew",
        ),
        ("nothing_open", {"figures": figures({Place.MISSING: 3})}, "3 studies are open"),
        ("nothing_open", {"figures": figures({Place.MISSING: 3}, acknowledged=2)}, "1 studies are open"),
        ("nothing_open", {"rows": rows(minutes=4)}, "known for 4 min only"),
        ("nothing_open", {"rows": []}, "known for 0 s only"),
        ("nothing_open", {"rows": rows(missing=7)}, "7 were open within that time"),
        ("exceptions_acknowledged", {"figures": figures(exceptions=4, unseen=1)}, "1 of 4 are not"),
        ("watermark_old", {"source": side("old", age=300.0)}, "5 min old"),
        ("watermark_new", {"target": side("new", age=None)}, "there is none"),
        ("event_old", {"source": side("old", silence=7200.0)}, "2 h ago"),
        ("event_new", {"target": side("new", silence=None)}, "nothing ever came"),
        ("inventory_old", {"source": side("old", head=None)}, "there is none"),
        ("inventory_old", {"source": side("old", backlog=2)}, "sequence 12, COMPLETE, 2 studies changed since"),
        ("inventory_new", {"target": side("new", head=HEAD | {"status": "PARTIAL"})}, "sequence 12, PARTIAL"),
        (
            "verified_new",
            {"target": side("new", verified="1.2.4")},
            "the head was not verified, or not without findings",
        ),
        ("verified_old", {"source": side("old", verified=None)}, "the head was not verified, or not without findings"),
        ("beginning", {"source": side("old", head=None)}, "old: no inventory, new: open"),
        (
            "counts_equal",
            {"figures": figures({Place.MISSING: 3, Place.EXTRA: 1})},
            "103 live studies in scope at the source, 101 at the target",
        ),
    ],
)
def test_a_condition_that_is_not_met_says_what_was_found(name: str, given: dict[str, Any], figure: str) -> None:
    found = condition(name, **given)
    assert (found.met, found.figure) == (False, figure)
    assert found.wanted
    assert condition(name).met


def test_what_was_acknowledged_holds_nothing_up() -> None:
    seen = figures({Place.MISSING: 3}, acknowledged=3, exceptions=3)
    for name in ("nothing_open", "exceptions_acknowledged", "counts_equal"):
        assert condition(name, figures=seen, rows=rows(missing=3)).met


# --- reasons and words -----------------------------------------------------------------------------------------


def summary(
    instances: int = 2, series: int = 1, content: str = "ff", attributes: tuple[str, ...] = ("a", "b")
) -> Summary:
    return Summary("0" * 8, True, True, f"{content}:{series}:{instances}", instances, "CT,2026", "20260101", attributes)


@pytest.mark.parametrize(
    ("place", "source", "target", "told"),
    [
        (Place.MISSING, summary(), None, ["not at the target"]),
        (Place.MISSING, summary(), summary(), ["removed at the target"]),
        (Place.EXTRA, None, summary(), ["not at the source"]),
        (Place.REMOVED_AT_SOURCE_ONLY, summary(), summary(), ["removed at the source, still at the target"]),
        (Place.INCOMPLETE, summary(9), summary(8), ["9 instances at the source, 8 at the target"]),
        (Place.DIFFERENT, summary(series=1), summary(series=3), ["1 series at the source, 3 at the target"]),
        (Place.DIFFERENT, summary(content="f"), summary(content="e"), ["other instances at the target"]),
        (Place.DIFFERENT, summary(), summary(attributes=("a", "")), ["differs in StudyDate"]),
        (
            Place.DIFFERENT,
            summary(2),
            summary(3, attributes=("", "")),
            ["2 instances at the source, 3 at the target", "differs in PatientID, StudyDate"],
        ),
        (Place.OUT_OF_SCOPE, summary(), None, ["out of the migration's scope"]),
        (Place.OPEN_COMPARED_ANEW, summary(), summary(), ["to be compared anew by the present rules"]),
        (Place.IN_SYNC, summary(), summary(), []),
    ],
)
def test_why_a_study_is_where_it_is(
    place: Place, source: Summary | None, target: Summary | None, told: list[str]
) -> None:
    assert list(reasons(Compared("1.2.3", place, None, source, target, None), RULES.attributes)) == told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (12, "12 s"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_parts(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_every_place_has_its_words() -> None:
    assert PLACES.keys() == set(Place)


# --- the tally -------------------------------------------------------------------------------------------------


def test_modalities_and_years_add_up_to_all_studies() -> None:
    groups = {
        (place, modality, year): number
        for number, (place, modality, year) in enumerate(
            ((place, modality, year) for place in Place for modality in ("CT", "MR") for year in ("2025", "none")),
            start=1,
        )
    }
    found = Tally.of(groups)
    assert [line.value for line in found.modalities] == ["CT", "MR"]
    assert [line.value for line in found.years] == ["2025", "none"]
    for name in ("source", "target", "open"):
        total = getattr(found.all, name)
        assert sum(getattr(line, name) for line in found.modalities) == total
        assert sum(getattr(line, name) for line in found.years) == total
    assert found.all.open == sum(count for (place, _, _), count in groups.items() if place in OPEN)
    both = {Place.IN_SYNC, Place.INCOMPLETE, Place.DIFFERENT}
    source = sum(count for (place, _, _), count in groups.items() if place in both | {Place.MISSING})
    target = both | {Place.EXTRA, Place.REMOVED_AT_SOURCE_ONLY}
    assert found.all.source == source
    assert found.all.target == sum(count for (place, _, _), count in groups.items() if place in target)


def test_what_is_counted_down_to_nothing_is_not_listed() -> None:
    assert Tally.of({(Place.MISSING, "CT", "2025"): 0}) == Tally.of({})
