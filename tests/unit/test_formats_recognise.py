"""The formats by name: which messages each takes, and that none of them is ever dropped without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Entity, Event, Look, Told
from consumers.formats.native import NativeFormat
from consumers.formats.recognise import event_format
from consumers.policy import FORMATS
from state.attributes import Level
from stocktake.settings import load
from tests.fuzz_formats import CANARIES, RuleBroken, outcome, run
from tests.samples import NOW, Headers, Sample, decoded, new_format, samples

PRODUCTS: Final = ("azure", "google", "healthimaging", "orthanc")
SILENT: Final = {
    "azure/feed_create_deleted",
    "azure/grid_fhir",
    "azure/grid_validation",
    "cloudevents/structured_fhir",
    "google/message_storage_class",
    "healthimaging/data_store_created",
    "healthimaging/image_set_copy_failed",
    "healthimaging/image_set_updating",
    "healthimaging/import_job_completed",
    "orthanc/changes_of_patients",
    "orthanc/extensions_job",
    "orthanc/new_patient",
    "orthanc/updated_attachment",
}
NAMED: Final = [pytest.param(sample, id=name) for name, sample in samples().items()]


def takes(name: str, sample: Sample) -> bool:
    """Whether the format decodes the sample."""
    try:
        decoded(sample.value, name, headers=sample.headers)
    except BadEvent:
        return False
    return True


# --- which format takes what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", NAMED)
def test_every_sample_is_recognised(sample: Sample) -> None:
    counts: Counts = Counter()
    told = decoded(sample.value, "auto", counts, sample.headers)
    assert (not told, counts["messages_skipped"]) == ((True, 1) if sample.name in SILENT else (False, 0))


@pytest.mark.parametrize("sample", NAMED)
def test_an_explicit_format_takes_its_own_messages_and_native_ones_and_no_other(sample: Sample) -> None:
    product = sample.name.partition("/")[0]
    if product == "native":
        assert all(takes(name, sample) for name in FORMATS)
    elif product in PRODUCTS:
        enveloped = b'"specversion"' in sample.value.lower()
        assert {name for name in FORMATS if takes(name, sample)} == (
            {"auto", product, "cloudevents"} if enveloped else {"auto", product}
        )
    else:
        assert takes("cloudevents", sample)


def test_a_native_event_may_carry_members_that_a_product_has() -> None:
    event = samples()["native/store"].json | {
        "StudyInstanceUid": "9",
        "ChangeType": "x",
        "message": 1,
        "detail-type": 1,
    }
    assert decoded(orjson.dumps(event)) == decoded("native/store")


def test_what_kafka_connect_puts_around_a_value_is_taken_off() -> None:
    for name in ("native/store", "azure/feed_create", "orthanc/changes"):
        value = b'{"schema":null,"payload":%s}' % samples()[name].value
        assert decoded(value) == decoded(name)


@pytest.mark.parametrize(
    "value", [b"", b"  ", b"Zaphod", b"{", b"1", b'"a"', b"null", b"\xff", b"{}", b'{"action":"x"}']
)
def test_the_native_formats_reasons_are_the_same_by_that_name(value: bytes) -> None:
    native = NativeFormat(load(None, {}).consumer, UTC, Counter())
    with pytest.raises(BadEvent) as alone:
        native.decode(value, NOW)
    with pytest.raises(BadEvent) as named:
        decoded(value, "native")
    assert str(named.value) == str(alone.value)


def test_a_format_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="format 'hl7' is none of auto, native, cloudevents, azure"):
        event_format("hl7", NativeFormat(load(None, {}).consumer, UTC, Counter()), Counter())


# --- the fast path of native events ----------------------------------------------------------------------------------


def numbered(number: int) -> bytes:
    event = samples()["native/store"].json
    event["dataset"]["00080018"]["Value"] = [f"2.25.101.1.{number}"]
    return orjson.dumps(event)


class Watched(NativeFormat):
    """Counts the messages that had to be read in full."""

    in_full = 0

    def _decode_in_full(self, value: bytes, timestamp: int) -> list[Told]:
        self.in_full += 1
        return super()._decode_in_full(value, timestamp)


@pytest.mark.parametrize("name", FORMATS)
def test_a_message_of_a_form_that_was_learnt_is_looked_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native = Watched(load(None, {}).consumer, UTC, Counter())
    taken = event_format(name, native, Counter())
    expected = NativeFormat(load(None, {}).consumer, UTC, Counter())
    for number in range(1, 20):
        if number == 5:
            monkeypatch.setattr("consumers.formats.recognise.members_of", None)  # whoever calls it now, fails
        assert taken.decode(numbered(number), NOW, b"key") == expected.decode(numbered(number), NOW, b"key")
    assert native.in_full < 5


# --- hostile and truncated -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", NAMED)
def test_no_beginning_of_a_message_is_dropped_or_raises_another_error(sample: Sample) -> None:
    counts: Counts = Counter()
    formats = [new_format("auto", counts), new_format("cloudevents", counts)]
    for end in range(len(sample.value)):
        for taken in formats:
            what = outcome(taken, counts, sample.value[:end], sample.headers)
            # The attributes in Google's headers say all; nothing else is whole before it ends.
            assert what == "bad" or sample.name.startswith("google/connector_headers")


DEEP: Final = 20_000
HOSTILE: Final[dict[str, bytes]] = {
    "deep arrays": b"[" * DEEP,
    "deep arrays, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep metadata": samples()["azure/feed_create"].value.replace(b'"Metadata":', b'"Metadata":' + b'{"a":' * DEEP, 1),
    "deep metadata, closed": orjson.dumps(samples()["azure/feed_create_without_metadata"].json)[:-1]
    + b',"Metadata":{"00081032":'
    + b'{"vr":"SQ","Value":[{"00081032":' * 3000
    + b"{}"
    + b"}]}" * 3000
    + b"}}",
    "a number of many digits": b'{"Sequence":%s,"Action":"create","StudyInstanceUid":%s}' % (b"9" * DEEP, b"9" * DEEP),
    "a number beyond all": b'{"ChangeType":1e999,"ID":1e-999}',
    "an enumeration beyond all": b'{"change_type":%s,"resource_type":1}' % (b"9" * 400),
    "a lone surrogate": b'{"StudyInstanceUid":"\\ud800","Action":"create"}',
    "a lone surrogate as a name": b'{"\\udfff":1}',
    "a surrogate in UTF-8": b'{"ChangeType":"\xed\xa0\x80"}',
    "no number": b'{"ChangeType":NaN}',
    "infinite": b'{"ChangeType":Infinity}',
    "a name twice": b'{"specversion":"1.0","specversion":1,"data":{}}',
    "many versions": b'{"specversion":"1.0","SPECVERSION":"2","data":{}}',
    "UTF-16": samples()["azure/feed_create"].value.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + samples()["orthanc/changes"].value,
    "zero bytes": b"\x00" * 100,
    "a name without end": b'{"' + b"a" * DEEP,
    "very many elements": b"[" + b"{}," * DEEP + b"{}]",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", FORMATS)
def test_a_hostile_message_is_bad_and_nothing_else(name: str, kind: str) -> None:
    counts: Counts = Counter()
    assert outcome(new_format(name, counts), counts, HOSTILE[kind], []) == "bad"


@pytest.mark.parametrize("sample", NAMED)
@pytest.mark.parametrize("wrong", [None, True, 7, 1.5, "Zaphod", [], ["Zaphod"], {}, {"Zaphod": "Zaphod"}])
def test_a_value_of_the_wrong_kind_anywhere_is_told_skipped_or_refused(sample: Sample, wrong: Any) -> None:
    counts: Counts = Counter()
    taken = new_format("auto", counts)
    try:
        whole = sample.json
    except orjson.JSONDecodeError:
        return  # a resource path
    for changed in _each_changed(whole, wrong):
        outcome(taken, counts, orjson.dumps(changed), sample.headers)


def _each_changed(value: Any, wrong: Any) -> list[Any]:
    """The value with each of its parts, however deep, replaced in turn."""
    found: list[Any] = [wrong]
    if isinstance(value, dict):
        for name, inside in value.items():
            found += [value | {name: changed} for changed in _each_changed(inside, wrong)]
            found.append({other: one for other, one in value.items() if other != name})
    elif isinstance(value, list):
        for place, inside in enumerate(value):
            found += [[*value[:place], changed, *value[place + 1 :]] for changed in _each_changed(inside, wrong)]
    return found


@pytest.mark.parametrize("sample", NAMED)
def test_a_duplicate_says_the_same(sample: Sample) -> None:
    taken = new_format("auto", Counter())
    first = taken.decode(sample.value, NOW, b"key", sample.headers)
    assert taken.decode(sample.value, NOW, b"key", sample.headers) == first


# --- the fuzz run ----------------------------------------------------------------------------------------------------


def test_damaged_messages_are_told_skipped_or_refused_and_never_dropped() -> None:
    found = run(4000, seed=7)
    assert sum(found[what] for what in ("told", "skipped", "bad")) == 4000
    assert all(found[what] > 200 for what in ("told", "skipped", "bad"))


def test_the_same_seed_makes_the_same_messages() -> None:
    assert run(300, seed=3) == run(300, seed=3)


class Faulty:
    """A format that breaks a rule."""

    def __init__(self, told: list[Told] | Exception) -> None:
        self._told = told

    def decode(
        self, value: bytes, timestamp: int, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> list[Told]:
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], "counted once"),
        (KeyError("a"), "KeyError escaped"),
        (RecursionError(), "RecursionError escaped"),
        (BadEvent(f"who is {CANARIES[0]}?"), "names a value"),
        (BadEvent(""), "a reason that is none"),
        ([Look("", NOW)], "a look at nothing"),
        ([Look("1.2.3", NOW * 3)], "a time that cannot be"),
        ([Event(Action.STORE, Level.INSTANCE, "1.2.3", NOW, (Entity("1.2.3.4", None, {}),))], "without its UIDs"),
    ],
)
def test_the_fuzz_run_notices_what_breaks_a_rule(told: list[Told] | Exception, why: str) -> None:
    headers: Headers = []
    with pytest.raises(RuleBroken, match=why):
        outcome(Faulty(told), Counter(), b"{}", headers)
