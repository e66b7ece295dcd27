"""Events of AWS HealthImaging: an image set is looked at, whatever its event says of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import BadEvent, Look
from state.times import parse_time
from tests.samples import NOW, decoded, samples

OWED: Final = "imageset:12345678901234567890123456789012/abcdef7890abcdef7890abcdef789012"
TIME: Final = parse_time("2026-09-21T10:00:00Z")


def changed(detail: dict[str, Any] | None = None, kind: object = "Image Set Created", **members: Any) -> bytes:
    """A created image set's event of another kind, or with other members, of the event and of its detail."""
    event = samples()["healthimaging/image_set_created"].json | members | {"detail-type": kind}
    event["detail"] |= detail or {}
    return orjson.dumps(event)


@pytest.mark.parametrize("what", ["created", "updated", "copied", "deleted"])
def test_what_has_happened_to_an_image_set_has_it_looked_at(what: str) -> None:
    assert decoded(f"healthimaging/image_set_{what}", "healthimaging") == [Look(OWED, TIME)]


def test_both_spellings_of_the_image_sets_id_are_read() -> None:
    one = changed({"imagesetId": None, "imageSetId": "a" * 32})
    assert decoded(one, "healthimaging") == [Look(f"{OWED.partition('/')[0]}/{'a' * 32}", TIME)]


@pytest.mark.parametrize(
    "kind",
    ["Copying", "Copying With Read Only Access", "Copy Failed", "Updating", "Update Failed", "Deleting"],
)
def test_what_is_under_way_or_has_failed_says_nothing(kind: str) -> None:
    counts: Counts = Counter()
    assert decoded(changed(kind=f"Image Set {kind}"), "healthimaging", counts) == []
    assert counts == {"messages_skipped": 1}


@pytest.mark.parametrize("name", ["import_job_completed", "data_store_created"])
def test_jobs_and_data_stores_say_nothing(name: str) -> None:
    counts: Counts = Counter()
    assert decoded(f"healthimaging/{name}", "healthimaging", counts) == []
    assert counts == {"messages_skipped": 1}


def test_an_event_of_an_image_set_that_is_not_known_yet_has_it_looked_at() -> None:
    assert decoded(changed(kind="Image Set Restored"), "healthimaging") == [Look(OWED, TIME)]


def test_versions_may_come_in_any_order_and_again() -> None:
    older, newer = changed({"imageSetVersion": "1"}), changed({"imageSetVersion": "2"})
    assert decoded(older, "healthimaging") == decoded(newer, "healthimaging") == [Look(OWED, TIME)]


def test_in_a_cloudevent_it_says_the_same() -> None:
    assert decoded("cloudevents/structured_healthimaging", "healthimaging") == [Look(OWED, TIME)]


def test_an_absent_time_is_the_records_and_counted() -> None:
    counts: Counts = Counter()
    assert decoded(changed(time=None), "healthimaging", counts) == [Look(OWED, NOW)]
    assert counts["times_absent"] == 1


BAD: Final[dict[str, tuple[bytes, str]]] = {
    "another source": (changed(source="aws.s3"), "source is not aws.medical-imaging"),
    "no source": (changed(source=None), "source is not aws.medical-imaging"),
    "type no text": (
        changed(kind=1),
        "unexpected JSON: Expected `str`, got `int` - at `$.detail-type`",
    ),
    "no detail": (changed(detail=None).replace(b'"detail":', b'"detil":'), "datastoreId is absent"),
    "detail no object": (
        orjson.dumps(samples()["healthimaging/image_set_created"].json | {"detail": "Zaphod"}),
        "unexpected JSON: Expected `object`, got `str`",
    ),
    "no image set": (changed({"imagesetId": ""}), "imageSetId is absent"),
    "image set of another form": (changed({"imagesetId": "Zaphod"}), "imageSetId is not 32 letters and digits"),
    "data store of another form": (changed({"datastoreId": "a/" * 16}), "datastoreId is not 32 letters and digits"),
    "id no text": (
        changed({"imagesetId": 7}),
        "unexpected JSON: Expected `str | null`, got `int` - at `$.imagesetId`",
    ),
    "no time": (changed(time="Zaphod"), "time is neither ISO 8601 nor a DICOM DT"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_event_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, reason = BAD[kind]
    with pytest.raises(BadEvent) as error:
        decoded(value, "healthimaging")
    assert str(error.value) == reason
    assert error.value.__cause__ is None
