"""What is published under which key, and what is told of the rest. A real broker is met in the integration tests."""

from __future__ import annotations

import io
import socket
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import orjson
import pydicom
import pytest

from consumers.policy import KafkaPolicy
from consumers.publish import EventTooLarge, NoKey, Publisher, PublishError, ensure_topic, event_key, line_key
from consumers.simulate import simulate
from stocktake.commands import publish as command
from stocktake.exits import CommandError, Exit
from stocktake.settings import load

STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def test_the_key_is_the_study_of_the_dataset_or_of_the_first_dataset() -> None:
    assert event_key({"dataset": STUDY}) == b"1.2.3"
    assert event_key({"datasets": [STUDY, STUDY]}) == b"1.2.3"
    assert line_key(orjson.dumps({"dataset": STUDY})) == b"1.2.3"


def test_the_key_of_a_patient_event_is_the_patient_id() -> None:
    event = {"level": "PATIENT", "dataset": {"00100020": {"vr": "LO", "Value": [" Pä1 "]}}}
    assert event_key(event) == "Pä1".encode()
    with pytest.raises(NoKey, match="no Patient ID"):
        event_key(event | {"dataset": {"00100020": {"vr": "LO"}}})


def test_padding_does_not_make_another_key() -> None:
    assert event_key({"dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.3\0 "]}}}) == b"1.2.3"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ([], "is not a JSON object"),
        ({}, "has no Study Instance UID"),
        ({"datasets": []}, "has no Study Instance UID"),
        ({"datasets": {}}, "has no Study Instance UID"),
        ({"dataset": {}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": {"vr": "UI"}}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": {"vr": "UI", "Value": [""]}}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": {"vr": "UI", "Value": [None]}}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": {"vr": "UI", "Value": [12]}}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": "1.2"}}, "has no Study Instance UID"),
        ({"dataset": {"0020000D": {"vr": "UI", "Value": ["1.²"]}}}, "holds characters that no UID has"),
    ],
)
def test_an_event_that_names_no_study_has_no_key(event: object, reason: str) -> None:
    with pytest.raises(NoKey, match=reason):
        event_key(event)


@pytest.mark.parametrize("line", [b"{", b"\xff", b"nonsense"])
def test_a_line_that_is_not_json_has_no_key(line: bytes) -> None:
    with pytest.raises(NoKey, match="is not JSON"):
        line_key(line)


@pytest.fixture
def mute_broker() -> Iterator[str]:
    """HOST:PORT that takes connections and never answers.

    Not a closed port: kafka-python leaves the socket of a refused connection open, which is a warning here.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_broker_that_does_not_answer_is_told_within_the_timeout_and_leaves_no_thread(mute_broker: str) -> None:
    policy = replace(load(None, {}).kafka, bootstrap_servers=(mute_broker,), timeout=0.3)
    for attempt in (lambda: ensure_topic(policy, "t"), lambda: Publisher(policy, "t")):
        began = monotonic()
        with pytest.raises(PublishError, match=f"topic 't': Kafka at {mute_broker} cannot be reached"):
            attempt()
        assert monotonic() - began < 3
    assert [thread.name for thread in threading.enumerate() if "kafka" in thread.name] == []


class FakePublisher:
    """Takes what the command would send; a message of more than 5,000 bytes is too large."""

    messages: list[tuple[str, bytes, bytes]]

    def __init__(self, policy: KafkaPolicy, topic: str, progress: Callable[[int], None]) -> None:
        self.topic = topic
        self.sent = 0

    def send(self, key: bytes, value: bytes, timestamp: int | None = None) -> None:
        if len(value) > 5000:
            raise EventTooLarge("is too large for a message")
        self.sent += 1
        self.messages.append((self.topic, key, value))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes, bytes]]:
    FakePublisher.messages = []
    monkeypatch.setattr(command, "Publisher", FakePublisher)
    monkeypatch.setattr(command, "ensure_topic", lambda policy, topic, partitions: True)
    return FakePublisher.messages


def run_command(*arguments: str | Path, **environment: str) -> Exit:
    parser = ArgumentParser()
    command.configure(parser)
    args = parser.parse_args([str(argument) for argument in arguments])
    args.repository = None
    return command.run(args, load(None, environment))


def summary(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], list[str]]:
    out, err = capsys.readouterr()
    return orjson.loads(out), err.splitlines()


def test_lines_are_published_unchanged_under_their_studys_key(
    sent: list[tuple[str, bytes, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [orjson.dumps(event) for event in simulate(5, 1, max_instances=2)]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(lines))
    assert run_command(path) is Exit.DONE
    assert [value for _topic, _key, value in sent] == lines
    assert all(key == event_key(orjson.loads(value)) for _topic, key, value in sent)
    assert summary(capsys) == (
        {"published": len(lines), "unreadable": 0, "topic": "stocktake.main.events"},
        [],
    )


def test_unreadable_lines_are_named_and_the_rest_is_published(
    sent: list[tuple[str, bytes, bytes]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = orjson.dumps({"dataset": STUDY})
    large = orjson.dumps({"dataset": STUDY, "pad": "x" * 5000})
    stdin = io.TextIOWrapper(io.BytesIO(b"\n".join([good, b"{", b"", b"{}", large, good])))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run_command("-", "--topic", "other") is Exit.BAD_INPUT
    assert sent == [("other", b"1.2.3", good)] * 2
    assert summary(capsys) == (
        {"published": 2, "unreadable": 3, "topic": "other"},
        [
            "-:2: is not JSON",
            "-:4: has no Study Instance UID (0020000D) in its dataset",
            "-:5: is too large for a message",
        ],
    )


def test_a_folder_of_dicom_files_is_published_and_every_other_file_named(
    sent: list[tuple[str, bytes, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = TEST_FILES / "dicomdirtests" / "77654033"
    assert run_command(folder, TEST_FILES / "README.txt", tmp_path / "absent.ndjson") is Exit.BAD_INPUT
    told, errors = summary(capsys)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert (told["published"], told["unreadable"]) == (len(files), 2)
    assert len(sent) == len(files)
    assert all(key == event_key(orjson.loads(value)) for _topic, key, value in sent)
    assert errors == [
        f"{TEST_FILES / 'README.txt'}: is not a DICOM file",
        f"{tmp_path / 'absent.ndjson'}: cannot be read: No such file or directory",
    ]


def test_the_command_says_which_broker_does_not_answer(mute_broker: str) -> None:
    environment = {"STOCKTAKE_KAFKA__BOOTSTRAP_SERVERS": mute_broker, "STOCKTAKE_KAFKA__TIMEOUT": "300ms"}
    with pytest.raises(CommandError, match=mute_broker) as failed:
        run_command(TEST_FILES, **environment)
    assert failed.value.code is Exit.UNREACHABLE


@pytest.mark.parametrize("partitions", ["0", "-1", "many"])
def test_the_command_refuses_a_number_of_partitions_that_is_none(partitions: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command("-", "--partitions", partitions)
    assert stopped.value.code == Exit.USAGE
