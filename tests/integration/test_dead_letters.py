"""Bad messages: kept byte for byte beside the stream, told of without their values, never in the way of good ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition

from consumers.dead_letters import DeadLetterTopic
from consumers.errors import BrokerUnreachable, DeadLetterLimit, TopicUnusable
from consumers.events import BadEvent, Event
from consumers.formats.native import NativeFormat
from state.attributes import Level, recordable
from state.studies import PartsWanted
from state.times import MICROSECONDS, to_iso
from stocktake.settings import load
from tests.harness import Deployment, wait_for
from tests.oracle.adversary import BEGIN, CT
from tests.servers.kafka_broker import KafkaBroker

NAME: Final = "Zaphod^Beeblebrox"  # stands in every bad message that can hold it; no reason may


def good(study: int, instance: int = 1) -> bytes:
    values = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.{instance}"}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (values | {"00080016": CT}).items()}
    return orjson.dumps({"action": "store", "time": to_iso(BEGIN + instance), "dataset": dataset})


def changed(**changes: Any) -> bytes:
    """A good message with other members; None takes one out."""
    event = orjson.loads(good(999)) | changes
    return orjson.dumps({name: value for name, value in event.items() if value is not None})


def with_attribute(tag: str, element: Any) -> bytes:
    event = orjson.loads(good(999))
    event["dataset"] |= {"00100010": {"vr": "PN", "Value": [{"Alphabetic": NAME}]}, tag: element}
    return orjson.dumps(event)


BAD: Final[dict[str, bytes]] = {
    "not JSON": f'{{"action": "store", {NAME}'.encode(),
    "no object": orjson.dumps([NAME]),
    "a dataset that is a text": changed(dataset=NAME),
    "a time that is a number": changed(time=20260101),
    "an element that is a text": with_attribute("00100020", NAME),
    "a value that is a text": with_attribute("00100020", {"vr": "LO", "Value": NAME}),
    "a VR that is a list": with_attribute("00100020", {"vr": [NAME], "Value": [NAME]}),
    "a VR that is an object": with_attribute("00100020", {"vr": {NAME: 1}, "Value": [NAME]}),
    "a missing UID": with_attribute("00080018", {"vr": "UI"}),
    "a missing SOP Class": with_attribute("00080016", {"vr": "UI"}),
    "a UID of 200 digits": with_attribute("00080018", {"vr": "UI", "Value": ["1." + "2" * 198]}),
    "a UID of letters": with_attribute("00080018", {"vr": "UI", "Value": [NAME]}),
    "5 MB of nesting": b'{"action": "store", "dataset": ' + b'{"a":[' * (5 * 1024 * 1024 // 6),
    "an unknown action": changed(action=NAME),
    "an action that is a list": changed(action=[NAME]),
    "an unknown level": changed(level=NAME),
    "an unknown VR": with_attribute("00100020", {"vr": "ZZ", "Value": [NAME]}),
    "a VR of another kind": with_attribute("00100020", {"vr": "SQ", "Value": [{}]}),
    "a time that is none": changed(time=NAME),
    "a time that is not in the calendar": changed(time="2026-02-30T00:00:00Z"),
    "no bytes": b"",
    "Latin-1": '{"action": "store", "dataset": {"00100010": "Müller"}}'.encode("latin-1"),
    "UTF-16": good(999).decode().encode("utf-16"),
    "a reason that is a text": changed(reason=NAME),
}  # fmt: skip


@pytest.fixture
def deploy(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment with a topic of one partition, so that the messages have one order."""
    made: list[Deployment] = []

    def make(topic: str = "", **given: str) -> Deployment:
        topic = topic or make_topic(partitions=1)
        made.append(Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, topic, **given))
        made[-1].clock.now = BEGIN
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


def send(deployment: Deployment, *values: bytes | None) -> list[int]:
    """Send messages; their offsets."""
    return [one.offset for one in deployment.publish_raw((b"key", value, BEGIN) for value in values)]


def dead_letters(deployment: Deployment) -> list[tuple[bytes, dict[str, str]]]:
    """What stands on the dead-letter topic: values and headers."""
    name = f"{deployment.topic}.dlq"
    with closing(KafkaConsumer(bootstrap_servers=deployment.settings.kafka.bootstrap_servers[0])) as consumer:
        if name not in consumer.topics():
            return []
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        found = []
        while consumer.position(partition) < end:
            for record in consumer.poll(1000).get(partition, []):
                assert record.key == b"key"
                found.append((record.value, {header: value.decode() for header, value in record.headers}))
        return found


def stored(deployment: Deployment) -> set[str]:
    """The instances of the good messages that the state holds."""
    studies = deployment.opened.studies
    wanted = {f"1.2.{number}": PartsWanted(everything=True) for number in range(100)}
    return {uid for record in studies.read_parts(wanted).values() for uid, _ in record.instances()}


def test_each_bad_message_is_kept_byte_for_byte_and_the_good_ones_around_it_are_applied(
    deploy: Callable[..., Deployment],
) -> None:
    deployment = deploy()
    sent = [value for number, bad in enumerate(BAD.values()) for value in (good(number), bad)]
    offsets = send(deployment, *sent, good(99))
    counts = deployment.consume_all()
    letters = dead_letters(deployment)
    assert [value for value, _ in letters] == list(BAD.values())
    for (_, headers), offset in zip(letters, offsets[1::2], strict=True):
        assert headers.keys() == {"reason", "topic", "partition", "offset"}
        assert (headers["topic"], headers["partition"], headers["offset"]) == (deployment.topic, "0", str(offset))
        assert headers["reason"]
    assert counts["dead_letters"] == len(BAD)
    assert stored(deployment) == {f"1.2.{number}.1.1" for number in [*range(len(BAD)), 99]}


def decoder() -> NativeFormat:
    return NativeFormat(load(None, {}).consumer, UTC, Counter())


@pytest.mark.parametrize("kind", BAD)
def test_a_reason_never_holds_a_value_of_the_message(kind: str) -> None:
    with pytest.raises(BadEvent) as refused:
        decoder().decode(BAD[kind], BEGIN)
    for part in ("Zaphod", "Beeblebrox", "Müller", "22222", "20260101", "1.2.999"):
        assert part not in str(refused.value)
    assert len(str(refused.value)) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.just("1" * 5000),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Alphabetic", "vr", "Value", "x"]), inner)
    ),
    max_leaves=6,
)
TAGS = sorted({tag for level in (Level.STUDY, Level.SERIES, Level.INSTANCE) for tag in recordable(level)})
ELEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "vr": JSON | st.sampled_from(["PN", "SQ", "UN", ["PN"]]),
        "Value": JSON | st.lists(JSON, max_size=3),
        "InlineBinary": JSON,
    },
)


@given(
    st.sampled_from(TAGS),
    ELEMENTS | JSON,
    st.fixed_dictionaries({}, optional=dict.fromkeys(("action", "level", "time", "reason", "prior", "datasets"), JSON)),
)
def test_whatever_a_message_says_it_is_events_or_a_bad_event(tag: str, element: Any, members: dict[str, Any]) -> None:
    event = orjson.loads(good(1))
    event["dataset"][tag] = element
    try:
        value = orjson.dumps(event | members)
    except TypeError:
        return  # an integer that JSON texts of this library do not hold
    try:
        events = decoder().decode(value, BEGIN)
    except BadEvent:
        return
    assert events


def test_records_without_a_value_are_skipped_and_counted(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    send(deployment, good(1), None, good(2), None)
    counts = deployment.consume_all()
    assert (counts["empty_records"], counts["dead_letters"]) == (2, 0)
    assert stored(deployment) == {"1.2.1.1.1", "1.2.2.1.1"}


def test_a_compacted_topic_with_instances_is_refused(
    deploy: Callable[..., Deployment], make_topic: Callable[..., str]
) -> None:
    deployment = deploy(make_topic(partitions=1, **{"cleanup.policy": "compact"}))
    send(deployment, good(1))
    with pytest.raises(TopicUnusable, match=r"cleanup\.policy"):
        deployment.consume_all()
    assert stored(deployment) == set()


# --- the limit ---------------------------------------------------------------------------------------------------

LIMIT = {"CONSUMER__DLQ_LIMIT": "0.1", "CONSUMER__DLQ_WINDOW": "50"}  # five bad ones are borne, the sixth is too many


def test_past_the_limit_the_consumer_stops_until_resumed_then_goes_on_and_loses_and_doubles_nothing(
    deploy: Callable[..., Deployment],
) -> None:
    deployment = deploy(**LIMIT)
    bad = [f"bad {number}".encode() for number in range(8)]
    send(deployment, good(1), *bad[:5], good(2), bad[5], good(3), bad[6], bad[7], good(4))
    with pytest.raises(DeadLetterLimit, match="resume"):
        deployment.consume_all()
    assert stored(deployment) == {"1.2.1.1.1", "1.2.2.1.1"}
    for _ in range(2):
        with pytest.raises(DeadLetterLimit, match="resume"):
            deployment.consume_all()
    assert [value for value, _ in dead_letters(deployment)] == bad[:5]
    assert deployment.opened.repository.resume()
    deployment.consume_all()
    assert stored(deployment) == {f"1.2.{number}.1.1" for number in range(1, 5)}
    assert [value for value, _ in dead_letters(deployment)] == bad
    assert deployment.opened.repository.counters()["dead_letters"] == len(bad)


def test_a_batch_whose_dead_letters_could_not_be_written_is_not_passed_over(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker refuses one write of the dead-letter topic; the good messages beside it are applied all the same."""
    deployment = deploy()
    write, tries = DeadLetterTopic.write, []

    def fail_once(self: DeadLetterTopic, letters: list[Any]) -> None:
        tries.append(len(letters))
        if len(tries) == 1:
            raise BrokerUnreachable("the dead-letter topic cannot be written: NotEnoughReplicas")
        write(self, letters)

    monkeypatch.setattr(DeadLetterTopic, "write", fail_once)
    send(deployment, good(1), b"bad", good(2))
    with deployment.consuming():
        wait_for(lambda: bool(tries), "the first try")
        send(deployment, good(3))
        wait_for(lambda: "1.2.3.1.1" in stored(deployment), "the last message applied")
    assert stored(deployment) == {"1.2.1.1.1", "1.2.2.1.1", "1.2.3.1.1"}
    assert [value for value, _ in dead_letters(deployment)] == [b"bad"]


def test_a_reason_for_removal_that_breaks_its_vr_is_emptied_or_refused() -> None:
    """A code of 17 characters or with a backslash is no SH: written as it stands it would make two values."""
    reason = {"CodeValue": "1\\2" + "3" * 20, "CodingSchemeDesignator": "DCM", "CodeMeaning": "x" * 65}
    try:
        [event] = decoder().decode(changed(action="delete", reason=reason), BEGIN + MICROSECONDS)
    except BadEvent:
        return
    assert isinstance(event, Event)
    assert all("\\" not in str(value) and len(str(value)) <= 64 for value in event.reason.values())
