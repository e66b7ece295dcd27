"""A record of the latest events alone, completed by an Inventory's, says what the same events make of that record."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.events import Action, Entity, Event
from consumers.merge import merge
from state.attributes import MODALITY, SOP_CLASS_UID, Level
from state.imports import Covered
from state.record import StudyRecord
from state.values import Item
from stocktake.import_merge import complete
from writers.study_items import StudyItems

CT = "1.2.840.10008.5.1.4.1.1.2"
BEGUN = 100
DESCRIPTION, NAME, ROWS = "00081030", "00100010", "00280010"


def study(action: Action, time: int, **said: str) -> Event:
    attributes: Item = {DESCRIPTION if key == "description" else NAME: text for key, text in said.items()}
    return Event(action, Level.STUDY, "1.2", time, (Entity(None, None, attributes),))


def series(action: Action, time: int, uid: str) -> Event:
    return Event(action, Level.SERIES, "1.2", time, (Entity(uid, None, {}, {MODALITY: "CT"}),))


def instance(action: Action, time: int, series_uid: str, number: int, rows: str = "") -> Event:
    attributes: Item = {ROWS: rows} if rows else {}
    if action is Action.STORE:
        attributes[SOP_CLASS_UID] = CT
    return Event(
        action,
        Level.INSTANCE,
        "1.2",
        time,
        (Entity(series_uid, f"{series_uid}.{number}", {}, {}, attributes),),
    )


def made_of(*events: Event) -> StudyRecord:
    record = StudyRecord("1.2")
    merge(record, [(event, "", 0) for event in events])
    return record


STORE, UPDATE, DELETE = Action.STORE, Action.UPDATE, Action.DELETE
LIVE = (
    study(STORE, BEGUN, description="Head", name="Doe^Jane"),
    series(STORE, BEGUN, "1.2.1"),
    instance(STORE, BEGUN, "1.2.1", 1, rows="512"),
    instance(STORE, BEGUN, "1.2.1", 2, rows="512"),
    series(STORE, BEGUN, "1.2.2"),
    instance(STORE, BEGUN, "1.2.2", 1, rows="256"),
)
REMOVED = (*LIVE, study(DELETE, BEGUN))
IN_PART = (*LIVE, series(DELETE, BEGUN, "1.2.2"), instance(DELETE, BEGUN, "1.2.1", 2))


@pytest.mark.parametrize("known", [LIVE, REMOVED, IN_PART], ids=["live", "removed", "removed in part"])
@pytest.mark.parametrize(
    "since",
    [
        [instance(STORE, 200, "1.2.1", 3)],
        [instance(STORE, 200, "1.2.3", 1)],
        [study(UPDATE, 200, description="Neck")],
        [instance(UPDATE, 200, "1.2.1", 1, rows="128")],
        [instance(UPDATE, 200, "1.2.1", 2, rows="128")],
        [instance(DELETE, 200, "1.2.1", 1)],
        [instance(DELETE, 200, "1.2.1", 1), instance(DELETE, 201, "1.2.1", 2)],
        [series(DELETE, 200, "1.2.1")],
        [series(DELETE, 200, "1.2.1"), series(DELETE, 201, "1.2.2")],
        [series(DELETE, 200, "1.2.1"), instance(STORE, 201, "1.2.1", 4)],
        [study(DELETE, 200)],
        [study(DELETE, 200), instance(STORE, 201, "1.2.1", 4)],
        [study(DELETE, 200), instance(UPDATE, 201, "1.2.1", 1, rows="128")],
    ],
    ids=[
        "an instance stored",
        "a series stored",
        "the study updated",
        "an instance updated",
        "another instance updated",
        "an instance deleted",
        "all instances of a series deleted",
        "a series deleted",
        "all series deleted",
        "a series deleted and stored",
        "the study deleted",
        "the study deleted and stored",
        "the study deleted and updated",
    ],
)
def test_it_says_what_the_events_would_have_made_of_the_record(known: Sequence[Event], since: Sequence[Event]) -> None:
    expected = StudyItems(Level.INSTANCE).encode(made_of(*known, *since), 0)
    held, before = made_of(*since), made_of(*known)
    before.covered = Covered(BEGUN, BEGUN)
    assert complete(held, before)
    assert StudyItems(Level.INSTANCE).encode(held, 0) == expected
    assert held.covered == Covered(BEGUN, BEGUN)
    assert not complete(held, before)


def test_a_record_to_which_the_inventory_adds_nothing_is_left_as_it_is() -> None:
    held = made_of(*LIVE, instance(STORE, 200, "1.2.1", 3))
    before = made_of(*LIVE)
    before.covered = Covered(BEGUN, BEGUN)
    as_it_was = made_of(*LIVE, instance(STORE, 200, "1.2.1", 3))
    assert not complete(held, before)
    assert (held.chunks, held.series, held.attributes) == (as_it_was.chunks, as_it_was.series, as_it_was.attributes)
    assert held.covered is None
