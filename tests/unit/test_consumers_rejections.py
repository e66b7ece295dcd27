"""Rejection notes (IHE IOCM): what they name is removed for the reason that they state, and comes back with them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Any, Final

import orjson
import pytest

from consumers.events import Event, Look, Told
from consumers.formats.native import NativeFormat
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.merge import merge, parts_wanted
from state.packing import Packer
from state.record import StudyRecord
from state.times import MICROSECONDS, parse_time, to_iso
from stocktake.settings import load

Json = dict[str, Any]

BEGIN: Final = parse_time("2026-11-20T08:00:00+00:00")
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
STUDY: Final = "1.2"
NOTE: Final = "1.2.9.1"
QUALITY: Final = "113001"
MEANINGS: Final = {
    QUALITY: "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}


def element(vr: str, *values: Any) -> Json:
    return {"vr": vr, "Value": list(values)}


def instance(sop_uid: str, series_uid: str = "1.2.1", sop_class: str = CT) -> Json:
    return {
        "0020000D": element("UI", STUDY),
        "0020000E": element("UI", series_uid),
        "00080018": element("UI", sop_uid),
        "00080016": element("UI", sop_class),
    }


def note(*rejected: str, title: str = QUALITY, scheme: str = "DCM", study: str = STUDY, uid: str = NOTE) -> Json:
    code = {"00080100": element("SH", title), "00080102": element("SH", scheme), "00080104": element("LO", "a title")}
    instances = [{"00081150": element("UI", CT), "00081155": element("UI", one)} for one in rejected]
    series = {"0020000E": element("UI", "1.2.1"), "00081199": element("SQ", *instances)}
    evidence = {"0020000D": element("UI", study), "00081115": element("SQ", series)}
    return instance(uid, "1.2.9", KEY_OBJECT_SELECTION) | {
        "0040A043": element("SQ", code),
        "0040A375": element("SQ", evidence),
    }


class Stream:
    """Messages applied to one record, each a second after the one before; it is packed and read again each time."""

    def __init__(self) -> None:
        self.record = StudyRecord(STUDY)
        self._format = NativeFormat(load(None, {}).consumer, UTC, Counter())
        self._packer = Packer()
        self._offset = 0

    def tell(self, action: str, dataset: Json, second: int | None = None) -> list[Told]:
        self._offset += 1
        moment = BEGIN + (self._offset if second is None else second) * MICROSECONDS
        told = self._format.decode(
            orjson.dumps({"action": action, "time": to_iso(moment), "dataset": dataset}), 2 * BEGIN
        )
        events = [one for one in told if isinstance(one, Event)]
        merge(self.record, [(one, "t:0", self._offset) for one in events])
        self._read_again()
        return told

    def _read_again(self) -> None:
        before = self.record
        study, series = self._packer.pack_head(before)
        chunks = [self._packer.pack_chunk(before, index) for index in range(len(before.chunks))]
        self.record = self._packer.unpack_head(STUDY, (b"rev", str(before.update_time).encode(), study, series))
        for index, packed in enumerate(chunks):
            self._packer.unpack_chunk(self.record, index, packed)
        self.record.changed_chunks.clear()

    def live(self) -> set[str]:
        return {uid for uid, one in self.record.instances() if one.tombstone is None}

    def reason(self, sop_uid: str) -> Any:
        found = self.record.instance(sop_uid)
        assert found is not None
        assert found.tombstone is not None
        return found.tombstone.reason


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    for number in (1, 2, 3):
        stream.tell("store", instance(f"1.2.1.{number}"))
    return stream


@pytest.mark.parametrize("title", MEANINGS)
def test_what_a_note_names_is_removed_for_the_reason_that_its_title_states(stream: Stream, title: str) -> None:
    stream.tell("store", note("1.2.1.1", "1.2.1.3", title=title))
    assert stream.live() == {"1.2.1.2", NOTE}
    expected = {"00080100": title, "00080102": "DCM", "00080104": MEANINGS[title]}
    assert stream.reason("1.2.1.1") == stream.reason("1.2.1.3") == expected


@pytest.mark.parametrize(("title", "scheme"), [("113004", "DCM"), (QUALITY, "99LOCAL"), ("113680", "DCM")])
def test_a_selection_with_another_title_rejects_nothing(stream: Stream, title: str, scheme: str) -> None:
    stream.tell("store", note("1.2.1.1", title=title, scheme=scheme))
    assert stream.live() == {"1.2.1.1", "1.2.1.2", "1.2.1.3", NOTE}


def test_what_a_note_rejected_is_there_again_when_the_note_is_removed(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1", "1.2.1.3"))
    stream.tell("delete", instance(NOTE, "1.2.9"))
    assert stream.live() == {"1.2.1.1", "1.2.1.2", "1.2.1.3"}


def test_a_note_whose_series_is_removed_rejects_no_more(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1"))
    stream.tell("delete", {tag: instance(NOTE, "1.2.9")[tag] for tag in ("0020000D", "0020000E")})
    assert "1.2.1.1" in stream.live()


def test_what_was_stored_again_after_it_was_rejected_stays(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1"))
    stream.tell("store", instance("1.2.1.1"))
    stream.tell("store", note("1.2.1.1"))  # the note is told again
    assert "1.2.1.1" in stream.live()
    stream.tell("update", note("1.2.1.1"))
    assert "1.2.1.1" in stream.live()


def test_a_note_that_comes_back_rejects_again(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1"))
    stream.tell("delete", instance(NOTE, "1.2.9"))
    stream.tell("store", note("1.2.1.2"))
    assert stream.live() == {"1.2.1.1", "1.2.1.3", NOTE}


def test_what_somebody_else_removed_stays_removed_when_the_note_goes(stream: Stream) -> None:
    stream.tell("delete", instance("1.2.1.1"))
    stream.tell("store", note("1.2.1.1", "1.2.1.2"))
    stream.tell("delete", instance("1.2.1.2"))
    stream.tell("delete", instance(NOTE, "1.2.9"))
    assert stream.live() == {"1.2.1.3"}
    assert stream.reason("1.2.1.1") == {}


def test_what_two_notes_reject_is_back_when_both_are_gone(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1"))
    stream.tell("store", note("1.2.1.1", title="113039", uid="1.2.9.2"))
    assert stream.reason("1.2.1.1")["00080100"] == QUALITY
    stream.tell("delete", instance(NOTE, "1.2.9"))
    assert stream.reason("1.2.1.1")["00080100"] == "113039"
    stream.tell("delete", instance("1.2.9.2", "1.2.9"))
    assert "1.2.1.1" in stream.live()


def test_a_note_that_comes_before_what_it_rejects_in_the_same_moment_rejects_it(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.7"), second=50)
    stream.tell("store", instance("1.2.1.7"), second=50)
    assert "1.2.1.7" not in stream.live()


def test_a_note_says_nothing_of_a_life_of_a_series_that_began_later(stream: Stream) -> None:
    series = {tag: instance("1.2.1.1")[tag] for tag in ("0020000D", "0020000E")}
    stream.tell("delete", series, second=20)
    stream.tell("store", instance("1.2.1.1"), second=21)
    stream.tell("store", note("1.2.1.1"), second=15)  # late
    assert "1.2.1.1" in stream.live()


def test_a_note_of_an_ended_life_is_a_new_one_when_it_is_stored_again(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.1"))
    stream.tell("delete", {"0020000D": element("UI", STUDY)})
    for number in (1, 2):
        stream.tell("store", instance(f"1.2.1.{number}"))
    stream.tell("store", note("1.2.1.1"))
    assert stream.live() == {"1.2.1.2", NOTE}


def test_an_instance_that_arrives_after_the_note_that_rejects_it_is_removed_if_it_is_older(stream: Stream) -> None:
    stream.tell("store", note("1.2.1.7"), second=50)
    stream.tell("store", instance("1.2.1.7"), second=40)
    assert "1.2.1.7" not in stream.live()
    stream.tell("store", instance("1.2.1.7"), second=60)
    assert "1.2.1.7" in stream.live()


def test_reading_the_stream_again_changes_nothing(stream: Stream) -> None:
    told = [
        ("store", instance("1.2.1.1"), 1),
        ("store", note("1.2.1.1", "1.2.1.2"), 10),
        ("store", instance("1.2.1.2"), 11),
        ("delete", instance(NOTE, "1.2.9"), 12),
        ("store", note("1.2.1.3", uid="1.2.9.2"), 13),
    ]
    for one in told:
        stream.tell(*one)
    live = stream.live()
    assert live == {"1.2.1.1", "1.2.1.2", "1.2.9.2"}
    for begin in range(len(told)):
        for one in told[begin:]:
            stream.tell(*one)
        assert stream.live() == live


def test_a_note_makes_the_other_studies_that_it_names_be_looked_up(stream: Stream) -> None:
    told = stream.tell("store", note("1.3.1.1", study="1.3"))
    assert [one.owed for one in told if isinstance(one, Look)] == ["1.3"]
    assert stream.live() == {"1.2.1.1", "1.2.1.2", "1.2.1.3", NOTE}


def test_a_note_asks_for_the_instances_that_it_names() -> None:
    stream = Stream()
    [event] = stream.tell("store", note("1.2.1.1", "1.2.1.2"))
    assert isinstance(event, Event)
    assert parts_wanted([(event, "t:0", 0)]).sop_instance_uids == {NOTE, "1.2.1.1", "1.2.1.2"}


@pytest.mark.parametrize(
    "broken",
    [
        {"0040A375": element("SQ", "no Item", {"0020000D": element("UI", "not a uid")}, {})},
        {"0040A375": {"vr": "SQ"}},
        {"0040A375": 7},
        {"0040A043": element("SQ", {"00080100": element("SH", 113001)})},
        {"0040A043": None},
    ],
)
def test_a_note_that_does_not_hold_together_is_an_instance_like_others(stream: Stream, broken: Json) -> None:
    stream.tell("store", note("1.2.1.1") | broken)
    assert stream.live() == {"1.2.1.1", "1.2.1.2", "1.2.1.3", NOTE}


def test_a_note_that_looks_like_one_that_rejects_nothing_is_read_all_the_same(stream: Stream) -> None:
    for number in range(1, 20):  # enough for the forms of messages to be learnt
        stream.tell("store", note("1.2.1.1", title="113004", uid=f"1.2.9.{number}"))
    stream.tell("store", note("1.2.1.1", uid="1.2.9.77"))
    assert "1.2.1.1" not in stream.live()
