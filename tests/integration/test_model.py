"""A deployment played with at random ends as the oracle says, whatever was done to it (docs/architecture.md).

`make model` plays many more examples.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase

from tests.model.campaign import play
from tests.model.planted import PLANTED, Planting, planted
from tests.model.world import Servers

EXAMPLES = 60
UNTIL_CAUGHT = 300


@pytest.fixture
def servers(redis_url: str, tmp_path: Path) -> Servers:
    return Servers(redis_url, tmp_path)


def test_whatever_happens_state_and_inventories_are_what_the_oracle_says(servers: Servers) -> None:
    played = []
    play(servers, EXAMPLES, done=lambda: played.append(1))
    assert len(played) >= EXAMPLES


@pytest.mark.parametrize("planting", PLANTED, ids=lambda planting: planting.name)
def test_an_error_planted_on_purpose_is_caught(servers: Servers, planting: Planting) -> None:
    """The examples are the same each time, so that this cannot fail by bad luck."""
    with planted(planting), pytest.raises(AssertionError):
        play(servers, UNTIL_CAUGHT, phases=(Phase.generate,), seed=planting.seed, without=planting.needless)
