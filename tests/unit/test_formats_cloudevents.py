"""CloudEvents over Kafka: the envelope is taken off, and what is in it says what it says without one."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Event, Heartbeat, Look
from state.times import parse_time
from tests.samples import NOW, Headers, decoded, samples

TIME: Final = parse_time("2026-09-21T10:00:00.4834Z")
NATIVE: Final = samples()["native/store"].json
UNTIMED: Final = {name: value for name, value in NATIVE.items() if name != "time"}


def structured(**members: Any) -> bytes:
    """A structured event; None takes a member out."""
    event = {"specversion": "1.0", "id": "1", "source": "/pacs", "type": "a", "time": "2026-09-21T10:00:00.4834Z"}
    return orjson.dumps({name: value for name, value in (event | members).items() if value is not None})


def binary(**attributes: str | None) -> Headers:
    """Headers of a binary event; None takes an attribute out."""
    named = {"specversion": "1.0", "id": "1", "type": "a", "source": "/pacs", "time": "2026-09-21T10:00:00.4834Z"}
    kept = {name: value for name, value in (named | attributes).items() if value is not None}
    return [(f"ce_{name}", value.encode()) for name, value in kept.items()]


@pytest.mark.parametrize(
    "name",
    ["binary_native", "structured_native", "structured_base64", "structured_text"],
)
@pytest.mark.parametrize("format_name", ["auto", "cloudevents", "native", "orthanc"])
def test_a_native_event_says_the_same_in_an_envelope(name: str, format_name: str) -> None:
    counts: Counts = Counter()
    assert decoded(f"cloudevents/{name}", format_name, counts) == decoded("native/store", "native")
    assert counts == {}


@pytest.mark.parametrize("name", ["specversion", "specVersion", "SpecVersion"])
def test_the_version_is_recognised_in_whatever_case(name: str) -> None:
    value = structured(data=NATIVE, **{"specversion": None, name: "1.0"})
    assert decoded(value) == decoded("native/store")


def test_the_envelopes_time_is_that_of_data_without_one() -> None:
    counts: Counts = Counter()
    for value, headers in [
        (structured(data=UNTIMED), []),
        (structured(data=UNTIMED | {"time": None}), []),
        (orjson.dumps(UNTIMED) + b" \n", binary()),
    ]:
        [event] = decoded(value, "auto", counts, headers)
        assert event.time == TIME
    assert counts == {}


def test_data_with_a_time_of_their_own_keep_it() -> None:
    [event] = decoded(structured(data=NATIVE, time="2026-01-01T00:00:00Z"))
    assert event.time == TIME


def test_without_any_time_it_is_the_records_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decoded(structured(data=UNTIMED, time=None), "auto", counts)
    assert (event.time, counts["times_absent"]) == (NOW, 1)


def test_a_time_too_far_ahead_is_the_records_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decoded(structured(data=UNTIMED, time="2099-01-01T00:00:00Z"), "auto", counts)
    assert (event.time, counts["times_ahead"]) == (NOW, 1)


def test_what_stocktake_writes_may_be_in_an_envelope_too() -> None:
    assert decoded(structured(data={"action": "heartbeat", "sender": "bridge"})) == [Heartbeat(TIME)]


@pytest.mark.parametrize(
    ("name", "product", "bare"),
    [
        ("cloudevents/structured_azure_feed", "azure", "azure/feed_create"),
        ("cloudevents/structured_google", "google", "google/message_store"),
        ("cloudevents/structured_healthimaging", "healthimaging", "healthimaging/image_set_created"),
    ],
)
def test_messages_of_a_product_say_the_same_in_an_envelope(name: str, product: str, bare: str) -> None:
    for format_name in (product, "auto", "cloudevents"):
        assert decoded(name, format_name) == decoded(bare, product)
    other = "orthanc"
    with pytest.raises(BadEvent, match="neither a native event nor of format orthanc"):
        decoded(name, other)


def test_a_batch_is_read_event_by_event() -> None:
    store, look = decoded("cloudevents/batch")
    assert isinstance(store, Event)
    assert (store.action, store.time) == (Action.STORE, TIME)
    assert look == Look("orthanc:0c7a4f9b-e037cf9a-d8ef9386-db692e07-7324e87f", parse_time("2026-09-21T10:00:00.4834Z"))


def test_a_batch_with_one_bad_event_is_bad_as_a_whole_and_says_which() -> None:
    batch = b"[%s,%s]" % (structured(data=NATIVE), structured(data={}))
    with pytest.raises(BadEvent, match=r"^element 1: neither a native event nor of format auto$"):
        decoded(batch)


def test_an_event_of_azure_says_nothing_without_data_if_its_type_says_nothing() -> None:
    counts: Counts = Counter()
    assert decoded(structured(type="Microsoft.EventGrid.SubscriptionDeletedEvent"), "azure", counts) == []
    assert decoded(b"", "azure", counts, binary(type="Microsoft.EventGrid.SubscriptionDeletedEvent")) == []
    assert counts == {"messages_skipped": 2}


CONTENT: Final[Headers] = [("content-type", b"application/cloudevents+json; charset=utf-8")]
BAD: Final[dict[str, tuple[bytes, Headers, str]]] = {
    "version 0.3": (structured(specversion="0.3", data=NATIVE), [], "specversion of the CloudEvent is not 1.x"),
    "version no text": (structured(specversion=1, data=NATIVE), [], "unexpected JSON: Expected `str`, got `int`"),
    "version 0.3 in headers": (b"{}", binary(specversion="0.3"), "specversion of the CloudEvent is not 1.x"),
    "type no text": (
        structured(type=["Zaphod"], data=NATIVE),
        [],
        "unexpected JSON: Expected `str | null`, got `array`",
    ),
    "time no text": (structured(time=7, data=NATIVE), [], "unexpected JSON: Expected `str | null`, got `int`"),
    "time that is none": (structured(time="Zaphod", data=UNTIMED), [], "time is neither ISO 8601 nor a DICOM DT"),
    "no data": (structured(), [], "neither a native event nor of format auto"),
    "data null": (structured().replace(b"{", b'{"data":null,', 1), [], "neither a native event nor of format auto"),
    "data no object": (structured(data=5), [], "not a JSON object"),
    "data of nothing known": (structured(data={"a": "Zaphod"}), [], "neither a native event nor of format auto"),
    "image of Azure without UIDs": (
        structured(type="Microsoft.HealthcareApis.DicomImageCreated"),
        [],
        "imageStudyInstanceUid is absent",
    ),
    "base64 that is none": (structured(data_base64="*Zaphod*"), [], "data_base64 is not base64"),
    "base64 beyond ASCII": (structured(data_base64="\u00e9"), [], "data_base64 is not base64"),
    "base64 of no JSON": (
        structured(data_base64=b64encode(b"Zaphod").decode()),
        [],
        "not JSON: JSON is malformed: invalid character (byte 0)",
    ),
    "no envelope though the header says so": (
        orjson.dumps({"a": 1}),
        CONTENT,
        "the content-type is that of a CloudEvent, and specversion is absent",
    ),
    "a header that is no text": (b"{}", [("ce_specversion", b"\xff")], "header ce_specversion is not UTF-8"),
    "no version in a header": (b"{}", [("ce_specversion", None)], "specversion of the CloudEvent is not 1.x"),
    "envelopes without end": (
        b'{"specversion":"1.0","data":' * 20 + b"{}" + b"}" * 20,
        [],
        "arrays and envelopes are nested too deeply",
    ),
    "arrays without end": (
        b"[" * 20 + b"]" * 20,
        [],
        "element 0: element 0: element 0: element 0: arrays and envelopes are nested too deeply",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_envelope_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, headers, reason = BAD[kind]
    with pytest.raises(BadEvent) as error:
        decoded(value, "auto", headers=headers)
    assert str(error.value) == reason
    assert error.value.__cause__ is None
