"""Inventories that are asked of the writer that leads, while it is at work, dies, or is of an older version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import orjson
import pytest

from state.requests import Asked, InventoryRequests
from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.roles import write
from stocktake.settings import load
from tests.chains import Chain
from tests.harness import PATIENCE, Deployment, wait_for


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A baseline of two studies and a delta of one."""
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__LEASE="1s", INVENTORY__INTERVAL="1h")
    for name, value in chain.deployment.environ.items():
        monkeypatch.setenv(name, value)
    chain.store(1, 2)
    chain.produce()
    chain.store(1)
    chain.produce()
    yield chain
    chain.deployment.close()


@pytest.fixture
def requests(chain: Chain) -> InventoryRequests:
    return InventoryRequests(chain.deployment.opened.connection, chain.deployment.name)


@contextmanager
def writing(deployment: Deployment) -> Iterator[Thread]:
    """A writer at work; it begins with a delta of its own, since its interval is over."""
    stop = Flag()
    thread = Thread(target=write, args=(load(None, deployment.environ), deployment.name, stop))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The manifest that a command prints."""
    capsys.readouterr()
    code = main([*arguments, "--ask", "--timeout", "30s"])
    captured = capsys.readouterr()
    assert code == Exit.DONE, captured.err
    found: dict[str, Any] = orjson.loads(captured.out)
    return found


def test_each_kind_is_produced_by_the_writer_that_leads_and_its_manifest_is_printed(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(chain.deployment):
        baseline = asked(capsys, "baseline")
        assert (baseline["kind"], baseline["own_records"], baseline["incorporated"]) == ("baseline", 2, [])
        delta = asked(capsys, "delta")
        assert (delta["kind"], delta["sequence"]) == ("delta", baseline["sequence"] + 1)
        rollup = asked(capsys, "rollup")
        assert (rollup["kind"], rollup["sequence"]) == ("rollup", baseline["sequence"] + 2)
    written = orjson.loads((chain.deployment.folder / "head.json").read_bytes())
    assert rollup == written


def test_one_inventory_answers_all_who_wait_for_its_kind_and_who_wait_for_any(
    chain: Chain, requests: InventoryRequests
) -> None:
    numbers = [requests.ask(kind) for kind in ("next", "baseline", "rollup", "baseline", "next")]
    assert numbers == [1, 2, 3, 4, 5]
    with writing(chain.deployment):
        wait_for(lambda: requests.waiting() is None, "the answers")
    [(_, any_), (_, baseline), (_, rollup)] = [requests.look(kind) for kind in ("next", "baseline", "rollup")]
    assert any_ is not None
    assert baseline is not None
    assert rollup is not None
    assert (baseline.number, rollup.number, any_.number) == (5, 5, 5)
    assert (baseline.sequence, rollup.sequence) == (3, 4)


def test_what_was_asked_for_is_produced_by_the_next_writer_if_one_dies_before_it_has_answered(
    chain: Chain, requests: InventoryRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        """What stands for kill -9: the writer does not even give its lease up."""

    def die(*args: object) -> None:
        raise Died

    number = requests.ask("baseline")
    deaths: list[BaseException] = []

    def die_writing() -> None:
        try:
            write(load(None, chain.deployment.environ), chain.deployment.name, Flag())
        except Died as error:
            deaths.append(error)

    with monkeypatch.context() as patched:
        patched.setattr(InventoryRequests, "answer", die)
        thread = Thread(target=die_writing)
        thread.start()
        thread.join(PATIENCE)
    assert len(deaths) == 1
    assert requests.waiting() == Asked(number, "baseline")
    with writing(chain.deployment):
        wait_for(lambda: requests.waiting() is None, "the answer")
    _, answer = requests.look("baseline")
    assert answer is not None
    assert answer.manifest is not None
    assert (answer.manifest["kind"], answer.sequence) == ("baseline", 4)


def test_programs_without_kinds_ask_for_deltas_and_answer_deltas_alone(
    chain: Chain, requests: InventoryRequests
) -> None:
    redis, key = chain.deployment.redis, chain.deployment.keys.requests
    redis.hincrby(key, "asked", 1)
    assert requests.waiting() == Asked(1, "next")
    number = requests.ask("baseline")
    redis.hset(key, "answered", orjson.dumps({"number": number, "sequence": 9, "sop_instance_uid": "2.25.9"}))
    assert requests.waiting() == Asked(number, "baseline")
    _, answer = requests.look()
    assert answer is not None
    assert (answer.sequence, answer.manifest) == (9, None)
    requests.answer(Asked(number, "baseline"), {"sequence": 10, "sop_instance_uid": "2.25.10"})
    assert requests.waiting() is None


def test_an_answer_to_a_request_that_redis_forgot_is_none_to_those_to_come(
    chain: Chain, requests: InventoryRequests
) -> None:
    manifest = {"sequence": 3, "sop_instance_uid": "2.25.1"}
    requests.answer(Asked(2, "baseline"), manifest)  # of two requests that the server has lost since
    assert requests.waiting() is None
    for kind in ("next", "baseline"):
        number = requests.ask(kind)
        assert requests.waiting() == Asked(number, kind)
    requests.answer(Asked(number, "baseline"), manifest)
    assert requests.waiting() is None


def test_a_number_that_went_to_another_request_after_a_loss_does_not_hide_that_this_kind_was_forgotten(
    chain: Chain, requests: InventoryRequests
) -> None:
    redis, key = chain.deployment.redis, chain.deployment.keys.requests
    number = requests.ask("baseline")
    assert requests.look("baseline") == (number, None)
    redis.delete(key)  # as a failover loses the latest writes
    assert requests.ask("next") == number
    assert requests.look("baseline") == (0, None)
    assert requests.look("next") == (number, None)


def test_a_program_that_may_not_write_the_folder_can_ask(
    chain: Chain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(chain.deployment):
        monkeypatch.setenv("STOCKTAKE_INVENTORY__DIR", "/proc/none")
        assert asked(capsys, "baseline")["kind"] == "baseline"
