"""A deployment played with at random ends as the oracle says, whatever was done to it (docs/architecture.md).

`make model` plays many more examples.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase

from state.attributes import Level
from tests.model.campaign import play
from tests.model.exchanges import Mishap
from tests.model.machine import Deployed
from tests.model.planted import PLANTED, Planting, planted
from tests.model.world import Servers, model_conditions

EXAMPLES = 60
UNTIL_CAUGHT = 300


@pytest.fixture
def servers(redis_url: str, tmp_path: Path) -> Servers:
    return Servers(redis_url, tmp_path)


def test_whatever_happens_state_and_inventories_are_what_the_oracle_says(servers: Servers) -> None:
    played = []
    play(servers, EXAMPLES, done=lambda: played.append(1))
    assert len(played) >= EXAMPLES


def test_a_tail_lost_with_the_first_inventory_is_gone_on_from_though_an_attempt_at_it_was_given_up(
    servers: Servers,
) -> None:
    """What the model has found: the first inventory's cut is not the first one then."""

    class Bound(Deployed):
        pass

    Bound.servers = servers
    with model_conditions():
        played = Bound()
        played.begin(level=Level.INSTANCE, fanout=2, origin="unknown", replays=False)
        played.catch_up()
        played.remember()
        played.produce(disturbance=(6, Mishap.CRASH_BEFORE, ("nothing", None)), force=False, kind="next")
        played.writer_dies_at_the_folder(at="write_head")
        played.lose(moment=0, own=False, shards=[0])
        played.teardown()


@pytest.mark.parametrize("planting", PLANTED, ids=lambda planting: planting.name)
def test_an_error_planted_on_purpose_is_caught(servers: Servers, planting: Planting) -> None:
    """The examples are the same each time, so that this cannot fail by bad luck."""
    with planted(planting), pytest.raises(AssertionError):
        play(servers, UNTIL_CAUGHT, phases=(Phase.generate,), seed=planting.seed, without=planting.needless)
