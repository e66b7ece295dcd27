"""Every role logs one JSON object a line, which says what it is about and never what a message or an answer holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from consumers.messages import look
from stocktake.cli import main
from stocktake.exits import Exit
from tests.harness import Deployment, wait_for
from tests.http_site import listen
from tests.integration.test_dead_letters import BAD, NAME, good, with_attribute
from tests.oracle.adversary import BEGIN
from tests.programs import Command, running
from tests.servers.fake_dicomweb import FakeArchive, run_archive
from tests.servers.kafka_broker import KafkaBroker

PATIENT: Final = "PATIENT-4711"
REQUEST: Final = "0123456789abcdef0123456789abcdef"
ALWAYS: Final = {"time", "level", "logger", "message", "role", "worker"}
SOMETIMES: Final = {"repository", "topic", "partition", "offset", "request", "exception"}
COMMANDS: Final = {
    "consume": ("consumer", "--workers", "2"),
    "write": ("writer",),
    "serve": ("service",),
    "enrich": ("enricher",),
    "bridge": ("bridge", "dicomweb", "--poll", "1s"),
}


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    """One that answers every question with what nobody can read, and nobody may."""
    answer = (200, f"<html>{NAME} {PATIENT}</html>".encode(), "application/dicom+json")
    with run_archive(FakeArchive()) as found:
        found.answers |= {"studies": answer, "studies/1.2.77/metadata": answer}
        yield found


@pytest.fixture
def deployment(
    tmp_path: Path,
    redis_url: str,
    repository: str,
    kafka_broker: KafkaBroker,
    make_topic: Callable[..., str],
    archive: FakeArchive,
) -> Iterator[Deployment]:
    given = {
        "LOG__FORMAT": "json",
        "HEALTH__FILE": str(tmp_path / "health"),
        "HTTP__LISTEN": listen(),
        "INVENTORY__INTERVAL": "1s",
        "KAFKA__SESSION_TIMEOUT": "4s",
        f"ARCHIVES__{repository.upper()}__URL": archive.url,
        f"ARCHIVES__{repository.upper()}__QUIET": "0s",
        f"ARCHIVES__{repository.upper()}__TRIES": "1",
    }
    where = kafka_broker.bootstrap_servers
    made = Deployment(tmp_path, redis_url, repository, where, make_topic(partitions=2), **given)
    yield made
    made.close()


def test_every_role_logs_json_and_no_line_holds_what_a_patient_is_called(
    tmp_path: Path,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        programs = {
            command: stack.enter_context(running(tmp_path, deployment.environ, command, *arguments))
            for command, (_, *arguments) in COMMANDS.items()
        }
        publish(deployment)
        for role in ("consumer", "writer", "service"):
            wait_for(partial(well, "--ready", "--role", role), f"{role} is ready")
        wait_for(well, "all are alive")
        wait_for(lambda: deployment.opened.repository.counters().get("dead_letters", 0) == len(BAD), "dead letters")
        wait_for(
            lambda: {1, 2} <= {line["worker"] for line in programs["consume"].lines()}, "both workers have partitions"
        )
        programs["write"].logs("published")
        programs["enrich"].logs("is left as it is")
        programs["bridge"].logs("waits and tries again")
        answers = ask(deployment)
        assert {command: program.end() for command, program in programs.items()} == dict.fromkeys(COMMANDS, 0)
    assert [path.name for path in tmp_path.glob("health*")] == []  # nobody is expected any more
    for command, (role, *_) in COMMANDS.items():
        lines = programs[command].lines()
        check_form(role, programs[command], lines)
        assert {line["repository"] for line in lines if "repository" in line} == {deployment.name}, command
    check_consumers(deployment, programs["consume"].lines())
    check_service(deployment, programs["serve"].lines(), answers)


def well(*arguments: str) -> bool:
    """What ``stocktake health`` says."""
    with redirect_stdout(StringIO()):
        return main(["health", *arguments]) == Exit.DONE


def publish(deployment: Deployment) -> None:
    """Good and bad messages; in all that can hold them stand a patient's name and number."""
    values = {"vr": "LO", "Value": [PATIENT]}
    some = [good(1), with_attribute("00100020", values), with_attribute("00100030", {"vr": "DA", "Value": [NAME]})]
    some += [with_attribute("00080050", {"vr": "SH", "Value": [PATIENT * 9]})]
    deployment.publish_raw((b"key", value, BEGIN) for value in (*some, *BAD.values()))
    deployment.publish_raw([(*look("1.2.77", BEGIN), BEGIN)])


def ask(deployment: Deployment) -> dict[str, str]:
    """Requests with a well-formed id, without one and with one that may be a patient's; the ids of their answers."""
    address = deployment.environ["STOCKTAKE_HTTP__LISTEN"]
    found = {}
    for given in (REQUEST, "", PATIENT):
        headers = {"X-Request-ID": given} if given else {}
        path = f"http://{address}/api/v1/repositories/{deployment.name}"
        answer = httpx.get(path, headers=headers, params={"PatientID": PATIENT})
        assert answer.status_code == 200
        found[given] = answer.headers["X-Request-ID"]
    return found


def check_form(role: str, program: Command, lines: list[dict[str, Any]]) -> None:
    assert lines, f"{role} logs nothing"
    assert NAME not in program.log
    assert PATIENT not in program.log
    for line in lines:
        assert ALWAYS <= line.keys() <= ALWAYS | SOMETIMES
        assert line["role"] == role
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["time"])


def check_consumers(deployment: Deployment, lines: list[dict[str, Any]]) -> None:
    """Both workers and what started them; each dead letter with its place."""
    assert {line["worker"] for line in lines} == {None, 1, 2}
    letters = [line for line in lines if line["message"].startswith("dead letter")]
    assert len({(line["topic"], line["partition"], line["offset"]) for line in letters}) == len(BAD)
    assert {line["repository"] for line in letters} == {deployment.name}
    places = [line for line in lines if line["message"].startswith("reading topic")]
    assert {(line["topic"], line["partition"]) for line in places} == {(deployment.topic, 0), (deployment.topic, 1)}


def check_service(deployment: Deployment, lines: list[dict[str, Any]], answers: dict[str, str]) -> None:
    """Each request with the id that its answer has; one that is not well-formed was not taken."""
    asked = [line for line in lines if line["logger"] == "stocktake.access"]
    assert [(line["request"], line["repository"]) for line in asked] == [
        (one, deployment.name) for one in answers.values()
    ]
    assert answers[REQUEST] == REQUEST
    assert all(re.fullmatch("[0-9a-f]{32}", answers[given]) for given in ("", PATIENT))
