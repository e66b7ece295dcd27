"""When a writer gives signs of life: after each turn, and during a production for what is done and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from typing import Any, cast

import pytest

from consumers.clock import Clock
from consumers.health import Health, check
from state.chain import Lease
from state.errors import Fenced, StateForgotten, StateUnreachable
from state.requests import Asked, InventoryRequests
from state.times import MICROSECONDS
from stocktake.settings import load
from writers.files import FolderUnusable
from writers.going_on import GoingOn
from writers.moment import NoWatermark
from writers.produce import Producer
from writers.service import WriterService

NOW = 1_800_000_000 * MICROSECONDS
SILENCE = 300.0  # seconds after which `stocktake health` calls a writer dead


class Time:
    """Seconds since :data:`NOW`, and a health file kept by them."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self._path = folder / "health"
        self.health = Health(self._path, Clock(now=self._now, monotonic=lambda: self.seconds))

    def _now(self) -> int:
        return NOW + round(self.seconds * MICROSECONDS)

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds

    @property
    def problems(self) -> list[str]:
        return check(self._path, self._now(), SILENCE)


class TheLease:
    """One that is ours, unless it is to be another's or the state away."""

    repository, token = "main", 1

    def __init__(self, takes: list[bool | Exception] | None = None) -> None:
        self._takes = takes or [True]
        self.kept = 0
        self.released = 0
        self.turn: Callable[[], None] = lambda: None  # each turn of the loop begins here

    def take(self) -> bool:
        self.turn()
        taken = self._takes.pop(0) if len(self._takes) > 1 else self._takes[0]
        if isinstance(taken, Exception):
            raise taken
        return taken

    def keep(self) -> None:
        self.turn()
        self.kept += 1

    def release(self) -> None:
        self.released += 1


def going_on(time: Time, lease: TheLease | None = None, seconds: float = 30.0) -> GoingOn:
    return GoingOn(cast("Lease", lease or TheLease()), seconds, time.health.still)


# --- during a production -------------------------------------------------------------------------------------------


def test_a_production_of_an_hour_is_alive_throughout(tmp_path: Path) -> None:
    time = Time(tmp_path)
    work = going_on(time)
    for minute in range(60):
        time.pass_(60)
        work.written(100_000 * (minute + 1))
        assert not [one for one in time.problems if one.startswith("not alive")]


def test_blocks_of_a_file_studies_that_are_struck_off_and_files_that_are_looked_at_are_signs_of_life(
    tmp_path: Path,
) -> None:
    time = Time(tmp_path)
    work = going_on(time)
    for _ in range(10):
        time.pass_(200)
        work.done()
        assert not [one for one in time.problems if one.startswith("not alive")]
    for _ in work.over(range(10)):
        time.pass_(200)
    assert not [one for one in time.problems if one.startswith("not alive")]


def test_to_wait_for_a_process_that_does_nothing_keeps_the_lease_and_is_no_sign_of_life(tmp_path: Path) -> None:
    time, lease = Time(tmp_path), TheLease()
    work = going_on(time, lease, seconds=0)
    for _ in range(301):
        time.pass_(1)
        work.written(5000)
    assert lease.kept == 301
    time.pass_(1)
    assert time.problems == ["not alive: the last word in " + str(tmp_path / "health") + " is 301 seconds old"]
    work.written(5001)
    assert not [one for one in time.problems if one.startswith("not alive")]


# --- the loop ------------------------------------------------------------------------------------------------------


class TheProducer:
    """``produce`` does what it is given."""

    def __init__(self, produce: Callable[[], Any]) -> None:
        self._produce = produce

    def recover(self) -> None:
        """Nothing was left behind."""

    def owes_anything(self) -> bool:
        return True

    def produce(self, kind: str = "next") -> Any:
        return self._produce()


class NoRequests:
    def waiting(self) -> None:
        """Nobody asks."""


def run(time: Time, lease: TheLease, produce: Callable[[], Any], turns: int = 1) -> list[str]:
    """So many turns of the loop; what it says that it waits for, each time."""
    stop, said = Flag(), list[str]()
    inventory = load(None, {"STOCKTAKE_INVENTORY__INTERVAL": "1ms", "STOCKTAKE_INVENTORY__LEASE": "1ms"}).inventory

    def beat(waiting_for: str) -> None:
        said.append(waiting_for)
        time.pass_(0.01)  # what is refused is refused at once
        time.health.beat(waiting_for)
        if len(said) >= turns:
            stop.set()

    lease.turn = lambda: time.pass_(2)
    producer, requests = cast("Producer", TheProducer(produce)), cast("InventoryRequests", NoRequests())
    WriterService(producer, cast("Lease", lease), inventory, requests, beat=beat).run(stop)
    return said


def raising(error: Exception) -> Callable[[], Any]:
    def produce() -> Any:
        raise error

    return produce


def test_a_writer_that_leads_is_ready_also_during_its_first_production(tmp_path: Path) -> None:
    time = Time(tmp_path)
    seen: list[list[str]] = []
    run(time, TheLease(), lambda: seen.append(time.problems), turns=2)
    assert seen[0] == []


def test_a_writer_that_stands_by_is_ready(tmp_path: Path) -> None:
    time = Time(tmp_path)
    assert run(time, TheLease([False]), lambda: None, turns=2) == ["", ""]
    assert time.problems == []


@pytest.mark.parametrize(
    ("error", "waiting_for"),
    [
        (FolderUnusable("full"), "the folder of inventories"),
        (StateForgotten("8 shards know of none"), "the import of its state"),
        (NoWatermark("no consumer"), ""),
        (Fenced("another leads"), ""),
    ],
)
def test_a_writer_that_cannot_produce_now_is_alive_and_not_ready_if_it_waits_for_what_it_needs(
    tmp_path: Path, error: Exception, waiting_for: str
) -> None:
    time = Time(tmp_path)
    assert run(time, TheLease(), raising(error), turns=5)[-1] == waiting_for
    assert time.problems == ([f"not ready: waiting for {waiting_for}"] if waiting_for else [])


def test_a_writer_that_does_not_reach_its_state_is_alive_and_not_ready(tmp_path: Path) -> None:
    time = Time(tmp_path)
    assert run(time, TheLease([StateUnreachable("away")]), lambda: None) == ["redis"]
    assert time.problems == ["not ready: waiting for redis"]


def test_a_leader_whose_folder_cannot_be_used_lets_another_try_and_is_not_ready(tmp_path: Path) -> None:
    time, lease = Time(tmp_path), TheLease()
    tries: list[int] = []

    def produce() -> None:
        tries.append(1)
        raise FolderUnusable("not mounted")

    said = run(time, lease, produce, turns=40)
    assert (len(tries), lease.released) == (3, 1)
    assert said[-1] == "the folder of inventories"
    assert time.problems == ["not ready: waiting for the folder of inventories"]


def test_what_was_asked_for_is_answered_as_soon_as_it_is_the_head(tmp_path: Path) -> None:
    """What is left to do after that may fail, and must not have it made again."""
    del tmp_path
    answered: list[str] = []

    class Requests:
        def waiting(self) -> Asked | None:
            return None if answered else Asked(5, "baseline")

        def answer(self, asked: Asked, manifest: dict[str, str]) -> None:
            answered.append(f"{asked.number} {asked.kind} {manifest['uid']}")

    class Published:
        def to_json(self) -> dict[str, str]:
            return {"uid": "1.2.3"}

    class FailsLate(TheProducer):
        def produce(self, kind: str = "next", published: Callable[[Any], None] = lambda manifest: None) -> Any:
            if kind == "baseline":
                published(Published())
                raise StateUnreachable("away")
            stop.set()

    stop = Flag()
    inventory = load(None, {"STOCKTAKE_INVENTORY__INTERVAL": "1ms", "STOCKTAKE_INVENTORY__LEASE": "1ms"}).inventory
    producer = cast("Producer", FailsLate(lambda: None))
    WriterService(producer, cast("Lease", TheLease()), inventory, cast("InventoryRequests", Requests())).run(stop)
    assert answered == ["5 baseline 1.2.3"]
