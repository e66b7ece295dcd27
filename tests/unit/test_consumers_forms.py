"""A form never changes what a message comes to, and messages as archives write them are read by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.counts import Counts
from consumers.events import BadEvent
from consumers.formats import instance_forms, study_forms
from consumers.formats.native import NativeFormat
from stocktake.settings import load

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
NOW: Final = 1_800_000_000_000_000  # microseconds
STYLES: Final = ((",", ":"), (", ", ": "), (" ,", "\t:\n"))

Json = dict[str, Any]


class Watched(NativeFormat):
    """One that counts the messages that it reads in full."""

    def __init__(self) -> None:
        self.counts: Counts = Counter()
        self.in_full = 0
        super().__init__(load(None, {}).consumer, UTC, self.counts)

    def _decode_in_full(self, value: bytes, timestamp: int) -> Any:
        self.in_full += 1
        return super()._decode_in_full(value, timestamp)

    def outcome(self, message: bytes, key: bytes | None = None) -> tuple[object, ...]:
        before = self.counts.copy()
        try:
            told: object = self.decode(message, NOW, key)
        except BadEvent as error:
            return ("bad", str(error))
        return (told, self.counts - before)


def element(vr: str, *values: Any) -> Json:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def instance(number: int, series: str = "1.2.1", **changes: Any) -> Json:
    """An event of an instance; ``changes`` are elements by tag with a leading t, None to leave one out."""
    dataset = {
        "00080016": element("UI", CT),
        "00080018": element("UI", f"{series}.{number}"),
        "00080060": element("CS", "CT"),
        "00091003": element("LO", f"v{number}"),
        "00100010": element("PN", {"Alphabetic": "Müller^Jürgen"}),
        "00100020": element("LO", "P1"),
        "0020000D": element("UI", series.rpartition(".")[0]),
        "0020000E": element("UI", series),
        "00200013": element("IS", number),
        "00200032": element("DS", -0.5, 1, number / 8),
    } | {name.removeprefix("t"): value for name, value in changes.items()}
    return event("INSTANCE", number, {tag: value for tag, value in dataset.items() if value is not None})


def study(number: int, **changes: Any) -> Json:
    """An event of a whole study, as QIDO-RS would return it."""
    dataset = {
        "00080020": element("DA", "20260102"),
        "00080030": element("TM", "101500.25"),
        "00080050": element("SH", f"A{number}"),
        "00080061": element("CS", *(["CT", "SR"] if number % 2 else ["CT"])),
        "00081030": element("LO", "Schädel nativ") if number % 3 else element("LO"),
        "00081032": element("SQ", {"00080100": element("SH", "C"), "00080102": element("SH", "99RIS"),
                                   "00080104": element("LO", "Meaning")}),
        "00100010": element("PN", {"Alphabetic": f"Doe^Jane^{'ABC'[number % 3]}"}),
        "00100020": element("LO", f"P{number}"),
        "0020000D": element("UI", f"1.2.{number}"),
        "00201206": element("IS", 1 + number % 4),
        "00201208": element("IS", number),
        "00091001": element("UN"),
    } | {name.removeprefix("t"): value for name, value in changes.items()}  # fmt: skip
    return event("STUDY", number, {tag: value for tag, value in dataset.items() if value is not None})


def event(level: str, number: int, dataset: Json) -> Json:
    time = f"2026-01-01T10:{number // 60 % 60:02}:{number % 60:02}.000001+00:00"
    return {"id": f"e-{number}", "action": "store", "level": level, "time": time, "dataset": dataset}


def written(message: Json, style: tuple[str, str] = STYLES[0]) -> bytes:
    return json.dumps(message, separators=style, ensure_ascii=False).encode()


# --- they are used -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("key", [None, b"1.2"])
def test_a_series_is_read_by_its_form_once_it_is_known_what_varies(style: tuple[str, str], key: bytes | None) -> None:
    reader = Watched()
    for number in range(1, 100):
        reader.outcome(written(instance(number, "1.2.1"), style), key)
    assert reader.in_full <= 4
    for number in range(1, 100):
        reader.outcome(written(instance(number, f"1.2.{2 + number % 2}"), style), key)
    assert reader.in_full <= 8


@pytest.mark.parametrize("style", STYLES)
def test_studies_are_read_by_the_form_of_the_first(style: tuple[str, str]) -> None:
    reader = Watched()
    for number in range(200):
        reader.outcome(written(study(number), style))
    assert reader.in_full == 1


def test_several_values_of_an_element_with_another_vr_are_read_by_the_form_and_as_they_are() -> None:
    reader = Watched()
    for number in range(20):
        message = written(study(number, t00080061=element("SH", "CT", "SR")))
        assert reader.outcome(message) == Watched().outcome(message)
    assert reader.in_full == 1


def test_a_series_whose_instances_have_unlike_uids_is_read_by_its_form_too() -> None:
    reader = Watched()
    for number in range(1, 60):
        uid = element("UI", f"1.2.1.{number % 7}.{number}")
        reader.outcome(written(instance(number, t00080018=uid)))
    assert reader.in_full <= 5


@pytest.mark.parametrize("make", [instance, study])
def test_an_id_may_be_a_number_and_a_time_may_have_a_space(make: Callable[..., Json]) -> None:
    reader = Watched()
    for number in range(1, 60):
        message = make(number) | {"id": number, "time": f"2026-01-01 10:00:{number:02}Z"}
        assert reader.outcome(written(message)) == Watched().outcome(written(message))
    assert reader.in_full <= 4


def test_what_is_escaped_in_a_value_that_stays_the_same_does_not_keep_a_series_from_its_form() -> None:
    reader = Watched()
    for number in range(1, 60):
        reader.outcome(json.dumps(instance(number), separators=(",", ":")).encode())  # M\u00fcller
    assert reader.in_full <= 4


@pytest.mark.parametrize(
    "odd",
    [
        {"t00091002": {"vr": "OB", "InlineBinary": "AAAA"}},  # an element that is not passed over as a plain one
        {"t00080061": element("CS", "ct")},  # mended, each time
    ],
)
def test_what_never_has_a_form_is_not_learnt_from_each_time(odd: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    class Counted(study_forms.StudyForm):
        def __init__(self, *args: Any) -> None:
            tried.append(1)
            super().__init__(*args)

    monkeypatch.setattr(study_forms, "StudyForm", Counted)
    reader = Watched()
    for number in range(1000):
        reader.outcome(written(study(number, **odd)))
    assert len(tried) <= 10


def test_forms_that_are_not_usual_any_more_are_forgotten_and_the_usual_ones_are_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study_forms, "_FORGET", 64)
    monkeypatch.setattr(study_forms, "_MOST_FORMS", 1)
    reader = Watched()
    reader.outcome(written(study(1)))
    for number in range(500):
        reader.outcome(written(study(number, t00080090=element("PN"))))
    assert reader.in_full <= 70


def test_forms_of_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_forms, "_MOST_SERIES", 3)
    reader, fresh = Watched(), Watched()
    for number in range(200):
        message = written(instance(number, f"1.2.{number // 8}"))
        assert reader.outcome(message, b"%d" % number) == Watched().outcome(message)
    assert reader.in_full < 200
    assert fresh.in_full == 0


# --- and change nothing --------------------------------------------------------------------------------------------

VALUES: Final[tuple[Any, ...]] = (
    None,
    element("LO"),
    element("LO", ""),
    element("LO", "plain"),
    element("LO", " padded "),
    element("LO", "Größe"),
    element("LO", 'quo"ted'),
    element("LO", "back\\slash"),
    element("LO", "}],"),
    element("LO", "\u0085"),
    element("LO", "x" * 65),
    element("LO", "A", "B"),
    element("CS", "CT", "mr"),
    element("CS", "CT", None),
    element("DA", "20260230"),
    element("DA", "20260228"),
    element("TM", "2400"),
    element("PN", {"Alphabetic": "A^B", "Ideographic": "山田"}),
    element("PN", {"Alphabetic": "A=B"}),
    element("PN", "A^B"),
    element("UI", "1.2", "1.3"),
    element("UI", "1..2"),
    element("UI", ""),
    element("UI", "9" * 65),
    element("IS", 7),
    element("IS", "7"),
    element("IS", "07.0"),
    element("IS", 1e300),
    element("SQ"),
    element("SQ", {}),
    {"Value": ["no VR"]},
    {"vr": "LO", "Value": "no list"},
    {"vr": "IS", "Value": 5},
    {"vr": "IS", "Value": [True]},
    {"vr": "LO", "Value": ["x"], "more": [1]},
    {"vr": "UN", "InlineBinary": "AAEC"},
    7,
    "text",
    [],
)
TAGS: Final = (
    "00080016", "00080018", "00080020", "00080061", "00080050", "00081030", "00081032", "00100010", "00100020",
    "0020000D", "0020000E", "00200013", "00200032", "00201206", "00201208", "00091001", "id", "time", "dataset",
)  # fmt: skip
SPLICES: Final = (
    b"",
    b'"',
    b"\\",
    b"]",
    b"}",
    b",",
    b"1",
    b" ",
    b"\n",
    b"\x00",
    b"\xfc",
    b"null",
    b'"id":"',
    b'"time":',
)
OUTER: Final = ("2026-01-01T10:00:00Z", "20260101100000.5+0100", "2026-01-01 10:00:00Z", "2026", "soon", "", 5, None)


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Messages of few series and studies, most of them as an archive writes them; some with a change or other bytes."""
    found = []
    style = draw(st.sampled_from(STYLES))
    make = draw(st.sampled_from([instance, study]))
    for number in range(draw(st.integers(2, 25))):
        message = make(number)
        if draw(st.integers(1, 3)) == 1:
            tag = draw(st.sampled_from(TAGS))
            value = draw(st.sampled_from(VALUES))
            message = make(number, **{f"t{tag}": value})
        if draw(st.integers(1, 8)) == 1:
            message["time"] = draw(st.sampled_from(OUTER))
        if draw(st.integers(1, 12)) == 1:
            message[draw(st.sampled_from(["action", "level", "prior", "reason", "meta", "datasets"]))] = draw(
                st.sampled_from(["update", "delete", {}, {"time": "2026"}, [], {"id": "7"}, "SERIES", "STUDY"])
            )
        text = written(message, style if draw(st.integers(1, 10)) > 1 else ("  ,", " : "))
        if draw(st.integers(1, 5)) == 1:
            begin = draw(st.integers(0, len(text)))
            text = text[:begin] + draw(st.sampled_from(SPLICES)) + text[begin + draw(st.integers(0, 3)) :]
        found.append(text)
    return found


@given(messages(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_message_comes_to_the_same_whatever_came_before_it(found: Sequence[bytes], keyed: bool) -> None:
    reader = Watched()
    for message in found:
        assert reader.outcome(message, b"key" if keyed else None) == Watched().outcome(message)


def after(*, of: bytes, to: bytes) -> bytes:
    """A message of the usual form with these bytes replaced."""
    message = written(instance(9))
    assert message.count(of) == 1
    return message.replace(of, to)


@pytest.mark.parametrize(
    "message",
    [
        after(of=b'"id":"e-9"', to=b'"id":"e\n9"'),
        after(of=b'"id":"e-9"', to=b'"id":"\\"'),
        after(of=b'"id":"e-9"', to=b'"id":"\xff"'),
        after(of=b'"id":"e-9",', to=b""),
        after(of=b'"id":"e-9"', to=b'"id":9'),
        after(of=b'"id":"e-9"', to=b'"id":09'),
        after(of=b'"id":"e-9"', to=b'"id":9.5'),
        after(of=b'"id":"e-9"', to=b'"id":"e-9"x'),
        after(of=b"T10:00:09", to=b"\x0010:00:09"),
        after(of=b"T10:00:09", to=b"T10:61:09"),
        after(of=b'"time":', to=b'"meta":{"time":"2026-01-01T00:00:00Z"},"\\u0074ime":'),
        after(of=b'"1.2.1.9"', to=b'"1.2.1..9"'),
        after(of=b'"1.2.1.9"', to=b'"1.2.1.9."'),
        after(of=b'"1.2.1.9"', to=b'"1.2.1.9 "'),
        after(of=b'"1.2.1.9"', to=b'"1.2.1.%s"' % (b"9" * 59)),
        after(of=b'"1.2.1.9"', to=b'"1.2.1.%s"' % (b"9" * 58)),
        after(of=b'"1.2.1.9"', to=b'"1.2.1.9","1.2.1.9"'),
        after(of=b'"Value":[9]', to=b'"Value":[09]'),
        after(of=b'"Value":[9]', to=b'"Value":[9'),
        after(of=b'"Value":[9]', to=b'"Value":[]'),
        after(of=b'"Value":[9]', to=b'"Value":["9.5"]'),
        after(of=b",1.125]", to=b",1.]"),
        after(of=b",1.125]", to=b',"\n"]'),
        after(of=b",1.125]", to=b",]"),
        after(of=b'"v9"', to=b'"v9').replace(b",1.125]", b',1.125"]'),
        after(of=b'"v9"', to=b'"v\x009"'),
        after(of=b'"v9"', to=b'"v","9"'),
        written(instance(9)) + b" ",
        written(instance(9))[:-1],
        written(instance(9))[:-1] + b',"prior":{}}',
    ],
)
def test_one_thing_that_is_not_as_usual_is_read_as_if_nothing_were_usual(message: bytes) -> None:
    for key in (None, b"key"):
        reader = Watched()
        for number in range(1, 9):
            reader.outcome(written(instance(number)), key)
        assert reader.outcome(message, key) == Watched().outcome(message)


@pytest.mark.parametrize(
    ("of", "to"),
    [
        (b'{"vr":"UN"}', b'{"vr":"UN","Value":[09]}'),
        (b'{"vr":"UN"}', b'{"vr":"UN","Value":["\n"]}'),
        (b'"Value":[9]', b'"Value":[9'),
        (b'"Value":["C"]', b'"Value":["C]'),
        (b'"Value":["C"]', b'"Value":[""]'),
        (b'"Value":["P9"]', b'"Value":["P9","P9"]'),
        (b'"Value":["P9"]', b'"Value":["P9 "]'),
        (b'"Value":["1.2.9"]', b'"Value":["1.2.9."]'),
        (b'"Value":["CT","SR"]', b'"Value":["CT" ,"SR"]'),
        (b'"Value":["CT","SR"]', b'"Value":["CT","SR",""]'),
        (b'"id":"e-9"', b'"id":"\x01"'),
        (b'"time":"2026', b'"time":"\x002026'),
        (b'{"id"', b'{"prior":{},"id"'),
    ],
)
def test_one_thing_of_a_study_that_is_not_as_usual_is_read_as_if_nothing_were_usual(of: bytes, to: bytes) -> None:
    message = written(study(9))
    assert message.count(of) == 1
    reader = Watched()
    for number in range(4):
        reader.outcome(written(study(number)))
    changed = message.replace(of, to)
    assert reader.outcome(changed) == Watched().outcome(changed)


@pytest.mark.parametrize("odd", [b'{"vr":"\xfcUN"}', b'{"vr":"UN","Value":["\xfc"]}', b"[" * 500 + b"]" * 500])
def test_what_is_passed_over_and_cannot_be_read_makes_no_form_and_no_error(odd: bytes) -> None:
    reader = Watched()
    for number in range(4):
        message = written(study(number)).replace(b'{"vr":"UN"}', odd)
        [outcome, _] = reader.outcome(message)
        assert isinstance(outcome, list)
    assert reader.in_full == 4


def test_a_long_message_that_is_no_such_message_is_found_out_soon() -> None:
    reader = Watched()
    for number in range(4):
        reader.outcome(written(study(number)))
    items = [{"00080100": element("SH", "C")}] * 20_000
    message = written(study(5, t00081032=element("SQ", *items), t00091001=element("UN"))) + b"x"
    assert reader.outcome(message) == Watched().outcome(message)


@example(number=5)
@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_counts_and_values_of_a_form_are_those_of_the_message(number: int) -> None:
    reader = Watched()
    for other in range(3):
        reader.outcome(written(study(other)))
    [told] = reader.decode(written(study(number)), NOW)
    [alone] = Watched().decode(written(study(number)), NOW)
    assert reader.in_full == 1
    assert told == alone
