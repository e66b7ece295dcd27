"""What the reader of data sets has seen never changes what it reads, and it reads what a plain reading would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC
from typing import Any, Final, NamedTuple

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

import consumers.formats.datasets
from consumers.counts import Counts
from consumers.events import BadEvent, Entity, Event
from consumers.formats.datasets import DatasetReader
from consumers.formats.native import NativeFormat
from consumers.merge import merge
from state.attributes import MODALITY, SOP_CLASS_UID, Attribute, Level, recordable
from state.record import StudyRecord
from state.values import InvalidElement, Item, Repairs, flat_item
from state.vr import is_uid
from stocktake.settings import load

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
LEVELS: Final = (Level.STUDY, Level.SERIES, Level.INSTANCE)
NOW: Final = 1_800_000_000_000_000  # microseconds
UIDS: Final = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
SERIES_COUNT, INSTANCE_COUNT = "00201206", "00201208"

_raws: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class Outcome(NamedTuple):
    """What reading came to: the study and what is said, or the error; and the values mended and emptied."""

    study: str
    entity: Entity | None
    error: str
    mended: tuple[int, int]


def read(reader: DatasetReader, text: bytes, level: Level) -> Outcome:
    repairs = Repairs()
    try:
        study, entity = reader.read(_raws(text), level, repairs)
    except (BadEvent, InvalidElement) as error:
        return Outcome("", None, f"{type(error).__name__}: {error}", (0, 0))
    return Outcome(study, entity, "", (repairs.repaired, repairs.emptied))


# --- a plain reading -----------------------------------------------------------------------------------------------


def table(level: Level, of: Level, kept: Level) -> dict[str, Attribute]:
    """What an event of ``level`` says of the entity ``of``: an attribute of several levels belongs to the event's own,
    else to the highest. Below ``kept`` only what counts and modalities follow from.
    """
    above = LEVELS[: LEVELS.index(of)]
    taken = set(recordable(level)) if of is not level else set()
    taken |= {tag for one in above if one is not level and of is not level for tag in recordable(one)}
    found = {tag: row for tag, row in recordable(of).items() if tag not in taken}
    if LEVELS.index(of) > LEVELS.index(kept):
        found = {tag: row for tag, row in found.items() if tag in (MODALITY, SOP_CLASS_UID)}
    return found


def plain_uid(dataset: Mapping[str, Any], level: Level) -> str:
    match dataset.get(UIDS[level]):
        case {"Value": [str(text)]} if is_uid(text.strip(" \0")):
            return text.strip(" \0")
    raise BadEvent


def plain_count(raw: Raw | None) -> int | None:
    try:
        count = int(orjson.loads(bytes(raw or b"null"))["Value"][0])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None
    return count if 0 <= count < 2**31 else None


def read_plainly(text: bytes, level: Level, kept: Level) -> Outcome | None:
    """The same by orjson and the table; None if it cannot be read. What is passed over is not looked at."""
    repairs = Repairs()
    raws = _raws(text)
    uids: list[str] = []
    items: list[Item] = []
    try:
        for one in LEVELS[: LEVELS.index(level) + 1]:
            said = table(level, one, kept)
            found = {tag: orjson.loads(bytes(raw)) for tag, raw in raws.items() if tag in said or tag == UIDS[one]}
            uids.append(plain_uid(found, one))
            items.append(flat_item(found, said, repairs))
    except (BadEvent, InvalidElement, orjson.JSONDecodeError):
        return None
    series, instance = ([*uids, None, None])[1:3]
    study_item, series_item, instance_item = ([*items, {}, {}])[:3]
    counts = plain_count(raws.get(SERIES_COUNT)), plain_count(raws.get(INSTANCE_COUNT))
    entity = Entity(series, instance, study_item, series_item, instance_item, *counts)
    return Outcome(uids[0], entity, "", (repairs.repaired, repairs.emptied))


# --- data sets as they may come ------------------------------------------------------------------------------------

ODD: Final = (  # elements of any attribute
    "null",
    "{}",
    '{"vr":"LO"}',
    '{"vr":"LO","Value":[]}',
    '{"vr":"LO","Value":[null]}',
    '{"Value":["no VR"]}',
    '{"vr":"UN","InlineBinary":"AAEC"}',
    '{"vr":"LO","Value":["A","B"]}',
    '{"vr":"LO","vr":"LO","Value":["first"],"Value":["second"]}',
)
INVALID: Final = (
    '"a text"',
    "[1]",
    "17",
    "true",
    '{"vr":"ZZ","Value":["A"]}',
    '{"vr":["LO"],"Value":["A"]}',
    '{"vr":"SQ","Value":["A"]}',
    '{"vr":"LO","Value":"A"}',
    '{"vr":"LO","Value":[1e999]}',
)
ELEMENTS: Final[dict[str, tuple[str, ...]]] = {
    "00100010": (
        '{"vr":"PN","Value":[{"Alphabetic":"Doe^Jane"}]}',
        '{"vr":"PN","Value":[{"Alphabetic":"Doe^Jane","Ideographic":"山田"}]}',
        '{"vr":"PN","Value":["Doe^Jane"]}',
        '{"vr":"PN","Value":[{"Alphabetic":"\\u0044oe^J\\u00e4ne"}]}',
        '{"vr":"PN","Value":[{"Alphabetic":7}]}',
    ),
    "00100020": (
        '{"vr":"LO","Value":["P1"]}',
        '{ "vr" : "LO",\t"Value" : [ "P1" ] }',
        '{"Value":["P1"],"vr":"LO"}',
        '{"vr":"LO","Value":[" P1 "]}',
        '{"vr":"LO","Value":["P\\"1\\\\2"]}',
        '{"vr":"SH","Value":["P1"]}',
        f'{{"vr":"LO","Value":["{"x" * 200}"]}}',
        '{"vr":"LO","Value":["山田\\n"]}',
    ),
    "00100030": ('{"vr":"DA","Value":["1970.01.02"]}', '{"vr":"DA","Value":["19700102"]}', '{"vr":"DA","Value":["x"]}'),
    "00080056": ('{"vr":"CS","Value":["ONLINE"]}', '{"vr":"CS","Value":["offline"]}'),
    "00080060": ('{"vr":"CS","Value":["CT"]}', '{"vr":"CS","Value":["mr"]}', '{"vr":"CS","Value":["C*"]}'),
    "0008103E": ('{"vr":"LO","Value":["Thorax"]}', '{"vr":"LO","Value":["Schädel"]}'),
    "00080407": ('{"vr":"UR","Value":["https://example.org/a"]}', '{"vr":"UR","Value":["no uri "]}'),
    "00080016": (
        f'{{"vr":"UI","Value":["{CT}"]}}',
        f'{{"vr":"UI","Value":["{CT}\\u0000"]}}',
        '{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.4"]}',
        '{"vr":"UI","Value":["no uid"]}',
    ),
    "00200013": tuple(f'{{"vr":"IS","Value":[{value}]}}' for value in (1, 2, 3, "4.0", '"5"', '"6.0"', "[]", "{}")),
    "00280010": tuple(f'{{"vr":"US","Value":[{value}]}}' for value in (512, 0, -1, "1.5", '"256"', '"x"')),
    "0008001A": ('{"vr":"UI","Value":["1.2","1.3"]}', '{"vr":"UI","Value":["1.2"]}'),
    "0040A043": (
        *(
            f'{{"vr":"SQ","Value":[{{"00080100":{{"vr":"SH","Value":["{code}"]}},"00080102":{{"vr":"SH","Value":["DCM"]}},'
            '"00080104":{"vr":"LO","Value":["Meaning"]}}]}'
            for code in ("121144", "", "126000")
        ),
        '{"vr":"SQ","Value":[]}',
        '{"vr":"SQ","Value":[7]}',
        '{"vr":"SQ","Value":[{}]}',
    ),
    "04000561": ('{"vr":"SQ","Value":[{"04000550":{"vr":"SQ","Value":[{"00100020":{"vr":"LO"}}]}}]}',),
    SERIES_COUNT: ('{"vr":"IS","Value":[2]}', '{"vr":"IS","Value":["3"]}', '{"vr":"IS","Value":[-1]}', '{"vr":"IS"}'),
    INSTANCE_COUNT: ('{"vr":"IS","Value":[20]}', '{"vr":"IS","Value":["x"]}', "[]"),
    "00091001": ('{"vr":"UN","InlineBinary":"AA=="}', '"anything"', "1", "2", "[[[[]]]]"),
    "00200032": tuple(f'{{"vr":"DS","Value":[{number},0.5]}}' for number in range(9)),
}  # fmt: skip
BAD_UIDS: Final = ("null", '{"vr":"UI"}', '{"vr":"UI","Value":[]}', '{"vr":"UI","Value":["1.2","1.3"]}',
                   '{"vr":"UI","Value":[1.2]}', '{"vr":"UI","Value":["1..2"]}', '{"vr":"UI","Value":[".1"]}',
                   '{"vr":"UI","Value":["1.2."]}', '{"vr":"UI","Value":["1.a"]}', '"1.2"',
                   '{"vr":"UI","Value":["%s"]}' % ("1" * 65))  # fmt: skip

VARYING: Final = ("00200013", "00280010", "00200032", "0040A043")
Elements = dict[str, bytes]


def seldom(draw: st.DrawFn, one_in: int) -> bool:
    return draw(st.integers(1, one_in)) == one_in


def uid_element(draw: st.DrawFn, uid: str) -> str:
    """The same UID, now and then written in another way, or not at all."""
    forms = ('{"vr":"UI", "Value":["%s"]}', '{"vr":"UI","Value":["%s "]}', '{"Value":["%s\\u0000"]}')
    if seldom(draw, 80):
        return draw(st.sampled_from(BAD_UIDS))
    return (draw(st.sampled_from(forms)) if seldom(draw, 30) else '{"vr":"UI","Value":["%s"]}') % uid


def any_element(draw: st.DrawFn, tag: str) -> bytes:
    """What may be said of an attribute: most often something valid."""
    if seldom(draw, 60):
        return b'{"vr":"LO","Value":["M\xfcller"]}'  # Latin-1
    if seldom(draw, 12):
        return draw(st.sampled_from(INVALID)).encode()
    return draw(st.sampled_from([*ELEMENTS[tag][:3] * 3, *ELEMENTS[tag], *ODD[:4]])).encode()


@st.composite
def sequences(draw: st.DrawFn) -> list[tuple[bytes, Level]]:
    """Data sets of a few series: most of them the one before again, with an element or two changed or missing."""
    latest: dict[str, Elements] = {}
    found = []
    for number in range(draw(st.integers(1, 20))):
        series = draw(st.sampled_from(["1.2.1", "1.2.1", "1.2.2", "1.3.1"]))
        elements = dict(latest.get(series, {}))
        if not elements:
            chosen = draw(st.lists(st.sampled_from(sorted(ELEMENTS)), unique=True, max_size=8))
            elements = {tag: ELEMENTS[tag][0].encode() for tag in chosen}
        for tag in draw(st.lists(st.sampled_from(VARYING), unique=True, max_size=3)):
            elements[tag] = any_element(draw, tag)
        if seldom(draw, 3):
            tag = draw(st.sampled_from(sorted(ELEMENTS)))
            elements[tag] = any_element(draw, tag)
        if seldom(draw, 5):
            elements.pop(draw(st.sampled_from(sorted(ELEMENTS))), None)
        names = [("0020000D", series[:3]), ("0020000E", series), ("00080018", f"{series}.{number}")]
        elements |= {tag: uid_element(draw, uid).encode() for tag, uid in names}
        if seldom(draw, 50):
            del elements[draw(st.sampled_from([tag for tag, _ in names]))]
        if draw(st.booleans()):
            latest[series] = elements
        order = draw(st.permutations(list(elements))) if seldom(draw, 4) else sorted(elements)
        space = b"\n\t" if seldom(draw, 6) else b""
        members = [b'%s"%s"%s:%s%s' % (space, tag.encode(), space, space, elements[tag]) for tag in order]
        level = draw(st.sampled_from(LEVELS)) if seldom(draw, 6) else Level.INSTANCE
        found.append((b"{" + b",".join(members) + b"}", level))
    return found


@given(sequences(), st.sampled_from([Level.INSTANCE, Level.INSTANCE, Level.SERIES, Level.STUDY]))
@settings(max_examples=120, deadline=None)
def test_what_was_read_before_changes_nothing_neither_a_result_nor_a_count_nor_an_error(
    datasets: Sequence[tuple[bytes, Level]], kept: Level
) -> None:
    reader = DatasetReader(kept)
    for text, level in datasets:
        found = read(reader, text, level)
        assert found == read(DatasetReader(kept), text, level)
        plainly = read_plainly(text, level, kept)
        assert found == plainly if plainly is not None else found.error


@given(sequences())
@settings(max_examples=40, deadline=None)
def test_it_holds_also_when_the_reader_has_to_forget(datasets: Sequence[tuple[bytes, Level]]) -> None:
    limits = {"_MOST_VALUES": 1, "_LONGEST_KEPT": 60}
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in limits.items():
            patch.setattr(consumers.formats.datasets, name, limit)
        reader = DatasetReader()
        for text, level in datasets:
            assert read(reader, text, level) == read(DatasetReader(), text, level)


# --- whole messages --------------------------------------------------------------------------------------------

SPLICES: Final = (
    b"",
    b'"',
    b'\\"',
    b"\\",
    b"]",
    b"}",
    b"]}",
    b",",
    b"1",
    b"1,2",
    b"[1",
    b" ",
    b"null",
    b"\x00",
    b"\xfc",
    b'"id":"',
)
IDS: Final = ("", '"id":"a1",', '"id":"a2",', '"id":"\\"id\\":\\"x",', '"id":{"time":"2026"},', '"id":"a","id":"b",')
TIMES: Final = ("2026-09-21T10:00:00Z", "2026-09-21T10:00:01.5Z", "20260921100000+0000", "2026-09-21 ", "soon", "")


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Messages of such data sets; in some of them a few bytes are other bytes."""
    found = []
    for text, level in draw(sequences()):
        action = draw(st.sampled_from(["store", "store", "store", "update", "delete"]))
        time, one = draw(st.sampled_from([*TIMES[:2] * 5, *TIMES])), draw(st.sampled_from([*IDS[:3] * 5, *IDS]))
        body = b'"datasets":[%s,%s]' % (text, text) if seldom(draw, 12) else b'"dataset":' + text
        head = f'{{{one}"action":"{action}","level":"{level}","time":"{time}",'.encode()
        message = head + body + b"}"
        if seldom(draw, 4):
            begin = draw(st.integers(0, len(message)))
            message = message[:begin] + draw(st.sampled_from(SPLICES)) + message[begin + draw(st.integers(0, 3)) :]
        found.append(message)
    return found


def decoded(decoder: NativeFormat, counts: Counts, message: bytes, key: bytes | None = None) -> tuple[object, ...]:
    before = counts.copy()
    try:
        told: object = decoder.decode(message, NOW, key)
    except BadEvent as error:
        return ("bad", str(error))
    return (told, counts - before)


@given(messages())
@settings(max_examples=80, deadline=None)
def test_a_message_is_decoded_as_if_it_were_the_first_whatever_bytes_it_is_made_of(found: list[bytes]) -> None:
    policy = load(None, {}).consumer
    counts: Counts = Counter()
    known = NativeFormat(policy, UTC, counts)
    for message in found:
        alone: Counts = Counter()
        assert decoded(known, counts, message) == decoded(NativeFormat(policy, UTC, alone), alone, message)


# --- cases that are easily got wrong -------------------------------------------------------------------------------


def dataset(number: int, **changes: str) -> bytes:
    """An instance of one series; ``changes`` are elements by tag with a leading t, or "" to leave one out."""
    elements = {
        "0020000D": '{"vr":"UI","Value":["1.2"]}',
        "0020000E": '{"vr":"UI","Value":["1.2.1"]}',
        "00080018": f'{{"vr":"UI","Value":["1.2.1.{number}"]}}',
        "00080016": f'{{"vr":"UI","Value":["{CT}"]}}',
        "00100020": '{"vr":"LO","Value":["P1"]}',
        "0008103E": '{"vr":"LO","Value":["Thorax"]}',
        "00200013": f'{{"vr":"IS","Value":[{number}]}}',
    } | {name.removeprefix("t"): element for name, element in changes.items()}
    return ("{" + ",".join(f'"{tag}":{element}' for tag, element in elements.items() if element) + "}").encode()


def used(reader: DatasetReader) -> DatasetReader:
    """The reader after a few instances of the series."""
    for number in range(4):
        read(reader, dataset(number), Level.INSTANCE)
    return reader


@pytest.mark.parametrize(
    "changes",
    [
        {"t00100020": '{"vr":"LO","Value":["P2"]}'},
        {"t0020000D": '{"vr":"UI","Value":["1.9"]}'},
        {"t00080016": ""},
        {"t00200013": ""},
        {"t00200013": "null"},
        {"t00200013": '{"vr":"IS"}'},
        {"t00200013": '{"vr":"IS","Value":["07.0"]}'},
        {"t00080018": ""},
        {"t00080018": "null"},
        {"t0020000E": '{"vr":"UI","Value":["1.2.1 "]}'},
        {"t00280010": '{"vr":"US","Value":[512]}'},
        {"t00201208": '{"vr":"IS","Value":[7]}'},
        {"t00091001": '"private"'},
        {"t00080018": '{"vr":"UI","Value":["x"]}', "t00200013": '"x"'},
        {"t00200013": '"x"', "t00280010": '"x"'},
        {"t00280010": '"x"', "t00100020": '"x"'},
    ],
)
def test_one_change_in_a_known_series_is_read_as_if_nothing_were_known(changes: dict[str, str]) -> None:
    known = used(DatasetReader())
    for _ in range(2):
        text = dataset(9, **changes)
        assert read(known, text, Level.INSTANCE) == read(DatasetReader(), text, Level.INSTANCE)
        assert read(known, dataset(10), Level.INSTANCE) == read(DatasetReader(), dataset(10), Level.INSTANCE)


@pytest.mark.parametrize("kept", LEVELS)
@pytest.mark.parametrize("level", LEVELS)
def test_at_every_level_that_is_kept_every_attribute_of_every_level_can_be_said(level: Level, kept: Level) -> None:
    rows = {tag: row for one in LEVELS[: LEVELS.index(level) + 1] for tag, row in recordable(one).items()}
    elements = {f"t{tag}": f'{{"vr":"{row.vr}"}}' for tag, row in rows.items()}
    text = dataset(1, **elements)
    for reader in (DatasetReader(kept), used(DatasetReader(kept))):
        assert read(reader, text, level) == read_plainly(text, level, kept)


def test_an_attribute_of_several_levels_is_the_same_attribute_at_each() -> None:
    for one in LEVELS:
        for other in LEVELS:
            for tag in recordable(one).keys() & recordable(other).keys():
                assert recordable(one)[tag] == recordable(other)[tag]


def test_what_several_levels_have_is_said_of_the_event_s_own_else_of_the_highest() -> None:
    text = dataset(1, t00080056=ELEMENTS["00080056"][0], t00080407=ELEMENTS["00080407"][0])
    entity = read(DatasetReader(), text, Level.INSTANCE).entity
    assert entity is not None
    assert "00080056" in entity.instance
    assert "00080407" in entity.study
    assert entity.series.keys() == {"0008103E"}


@pytest.mark.parametrize("kept", [Level.STUDY, Level.SERIES])
def test_below_the_level_that_is_kept_only_modality_and_sop_class_are_read(kept: Level) -> None:
    entity = read(DatasetReader(kept), dataset(1, t00080060=ELEMENTS["00080060"][0]), Level.INSTANCE).entity
    assert entity is not None
    assert entity.study.keys() == {"00100020"}
    assert entity.series.keys() == ({MODALITY} if kept is Level.STUDY else {MODALITY, "0008103E"})
    assert entity.instance.keys() == {SOP_CLASS_UID}


def test_what_is_below_the_level_that_is_kept_is_not_even_looked_at() -> None:
    text = dataset(1, t00200013='"no element"')
    assert read(DatasetReader(Level.SERIES), text, Level.INSTANCE).error == ""
    assert read(DatasetReader(), text, Level.INSTANCE).error.startswith("InvalidElement: InstanceNumber (00200013)")


def test_the_reader_does_not_hold_on_to_the_messages_that_it_read() -> None:
    reader = used(DatasetReader())
    for number in range(3):
        message = bytearray(dataset(number, t00091001=f'"{number}"', t00100020=f'{{"vr":"LO","Value":["P{number}"]}}'))
        found = _raws(message)
        reader.read(found, Level.INSTANCE, Repairs())
        del found
        message.append(0)  # a BufferError if anything still looks at its bytes


def test_values_that_are_mended_or_emptied_are_counted_each_time_they_come() -> None:
    reader = DatasetReader()
    mended = dataset(1, t00100030='{"vr":"DA","Value":["1970.01.02"]}', t00280010='{"vr":"US","Value":[-1]}')
    assert [read(reader, mended, Level.INSTANCE).mended for _ in range(4)] == [(1, 1)] * 4


def test_the_first_fault_that_is_told_is_the_same_in_whatever_order_the_elements_come() -> None:
    elements = {"t00280010": '"x"', "t00100020": '"x"', "t00200013": '"x"'}
    for turned in (elements, dict(reversed(elements.items()))):
        assert "PatientID (00100020)" in read(used(DatasetReader()), dataset(1, **turned), Level.INSTANCE).error


# --- what is handed out --------------------------------------------------------------------------------------------


def told_by(told: Sequence[tuple[str, str, int, int]]) -> list[bytes]:
    """An event a second of study 1.2, from what it does, at which level, of which series and instance."""
    found = []
    for second, (action, level, series, number) in enumerate(told):
        elements: dict[str, tuple[str, Any]] = {
            "0020000D": ("UI", "1.2"),
            "00100010": ("PN", {"Alphabetic": f"Doe^{number // 3}"}),
            "00081032": ("SQ", {"00080100": {"vr": "SH", "Value": ["1"]}, "00080104": {"vr": "LO", "Value": ["M"]}}),
        }
        if level != "STUDY":
            elements |= {"0020000E": ("UI", f"1.2.{series}"), "00080060": ("CS", "CT")}
        if level == "INSTANCE":
            elements |= {"00080018": ("UI", f"1.2.{series}.{number}"), "00080016": ("UI", CT)}
            elements |= {"00280010": ("US", 512), "00200013": ("IS", number)}
        data = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in elements.items()}
        time = f"2026-09-21T00:{second // 60:02}:{second % 60:02}Z"
        found.append(orjson.dumps({"action": action, "level": level, "time": time, "dataset": data}))
    return found


_actions = st.sampled_from(["store", "store", "store", "store", "update", "delete"])
_told = st.tuples(
    _actions, st.sampled_from(["INSTANCE"] * 4 + ["SERIES", "STUDY"]), st.integers(1, 2), st.integers(1, 6)
)


@given(st.lists(_told, min_size=1, max_size=30), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_what_was_handed_out_is_never_changed_by_what_becomes_of_it(
    told: list[tuple[str, str, int, int]], size: int
) -> None:
    """Entities share their items; they are merged into records, in batches, and looked at again."""
    known = NativeFormat(load(None, {}).consumer, UTC, Counter())
    handed_out: list[tuple[Event, Event]] = []
    record, one_by_one = StudyRecord("1.2"), StudyRecord("1.2")
    batch: list[tuple[Event, str, int]] = []
    for offset, message in enumerate(told_by(told)):
        [event] = known.decode(message, NOW)
        [fresh] = NativeFormat(load(None, {}).consumer, UTC, Counter()).decode(message, NOW)
        assert isinstance(event, Event)
        assert isinstance(fresh, Event)
        assert event == fresh
        handed_out.append((event, deepcopy(event)))
        batch.append((event, "t:0", offset))
        if len(batch) == size:
            merge(record, batch)
            batch = []
        merge(one_by_one, [(fresh, "t:0", offset)])
    merge(record, batch)
    assert all(now == then for now, then in handed_out)
    assert record == one_by_one
