"""What an archive did not say is looked up, and what is found counts only while nothing newer has happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.owing import Owing
from tests.looks.machine import planted_without_the_token, play
from tests.looks.world import World, open_world

EXAMPLES = int(os.environ.get("STOCKTAKE_TEST_EXAMPLES", "80"))
UNTIL_CAUGHT = 300

A1 = ("1.1", "1.1.1", "1.1.1.1")
A2 = ("1.1", "1.1.1", "1.1.1.2")


@pytest.fixture
def world(tmp_path: Path, redis_url: str, repository: str) -> Iterator[World]:
    world = open_world(tmp_path, redis_url, repository)
    yield world
    world.deployment.close()


def test_a_study_of_which_too_little_was_told_is_known_at_once_and_complete_when_it_was_looked_up(world: World) -> None:
    world.store(A1)
    world.consume()
    assert world.deployment.opened.studies.count() == 1
    assert world.live() == {}
    world.settle()
    assert world.live() == world.expected()
    assert world.deployment.opened.debts.count() == 0


def test_what_happened_after_the_archive_was_asked_outdates_its_answer(world: World) -> None:
    world.store(A1)
    world.consume()
    world.look_up()
    world.delete(A1)  # told, but not applied when the answer is written
    world.write_answers()
    world.consume()
    assert world.counts["answers_outdated"] > 0
    assert world.deployment.opened.debts.count() == 1
    world.settle()
    assert world.live() == {}
    assert world.asked["1.1"] == 2


def test_a_duplicate_of_an_event_that_tells_little_takes_nothing_away(world: World) -> None:
    world.store(A1)
    world.settle()
    world.store(A1, times=2)
    world.consume()
    assert world.live().keys() == {A1}


def test_what_the_archive_deleted_without_a_word_is_removed_when_its_study_is_looked_up(world: World) -> None:
    world.store(A1)
    world.store(A2)
    world.settle()
    world.delete(A2, told=False)
    world.settle()
    assert world.live() == world.expected()
    world.delete(A1[:1], told=False)
    world.settle()
    assert world.live() == {}


def test_what_was_removed_and_is_in_the_archive_again_comes_back(world: World) -> None:
    world.store(A1)
    world.store(A2)
    world.settle()
    world.delete(A1[:1])
    world.consume()
    world.archive.store(A2)
    world.ask("1.1")
    world.settle()
    assert world.live() == world.expected()


def test_reading_the_whole_stream_again_needs_no_further_look(world: World) -> None:
    world.store(A1)
    world.settle()
    world.store(A2)
    world.settle()
    asked = world.asked["1.1"]
    world.replay()
    world.settle()
    assert world.live() == world.expected()
    assert world.asked["1.1"] == asked


def test_a_stream_that_is_read_again_from_the_middle_ends_as_it_had_ended(world: World) -> None:
    world.store(A1)
    world.settle()
    world.ask("1.1")
    world.consume()
    middle = len(world.log)
    world.delete(A1)
    world.archive.store(A1)  # without a word
    world.settle()
    assert world.live() == world.expected()
    world.replay(middle)
    world.settle()
    assert world.live() == world.expected()


def test_a_consumer_that_was_started_before_there_was_an_archive_heeds_debts_too(world: World) -> None:
    world.follows = False
    world.archive.store(A1)
    world.tell(A1)
    world.ask("1.1")
    world.consume()
    world.look_up()
    world.delete(A1)
    world.consume()
    world.write_answers()
    world.settle()
    assert world.live() == {}


def test_what_is_silently_back_and_silently_gone_again_is_removed(world: World) -> None:
    world.store(A1)
    world.settle()
    world.delete(A1[:1])
    world.consume()
    world.archive.store(A1)
    world.ask("1.1")
    world.settle()
    assert world.live() == world.expected()
    world.delete(A1[:1], told=False)
    world.settle()
    assert world.live() == {}


def test_what_was_stored_and_deleted_before_anybody_looked_is_no_study_that_lives(world: World) -> None:
    world.store(A1)
    world.delete(A1)
    world.consume()
    [(record, _)] = world.deployment.opened.studies.read(["1.1"])
    assert record.number_of_series is None
    world.settle()
    [(record, _)] = world.deployment.opened.studies.read(["1.1"])
    assert record.is_removed


def test_an_event_that_tells_little_takes_nothing_away_that_was_known(world: World) -> None:
    world.archive.store(A1)
    world.tell(A1)
    world.consume()
    before = world.live()
    world.tell(A1, lacking=True)
    world.consume()
    assert world.live() == before


def test_a_look_makes_nothing_known_by_itself(world: World) -> None:
    world.ask("1.9")
    world.settle()
    assert world.deployment.opened.studies.count() == 0
    assert world.deployment.opened.debts.count() == 0


def test_events_of_a_study_that_owes_nothing_cost_no_look(world: World) -> None:
    world.store(A1)
    world.settle()
    world.delete(A1)
    world.consume()
    assert world.deployment.opened.debts.count() == 0


def test_whatever_happens_the_state_ends_as_the_archive_is(tmp_path: Path, redis_url: str) -> None:
    played: list[int] = []
    play(tmp_path, redis_url, EXAMPLES, done=lambda: played.append(1))
    assert len(played) >= EXAMPLES


def test_an_answer_that_counts_whatever_happened_since_is_caught(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Owing, "_decide", planted_without_the_token)
    with pytest.raises(AssertionError):
        play(tmp_path, redis_url, UNTIL_CAUGHT, derandomize=True)
