"""The pages tried as a new user would: every block of commands is executed, or at least is what it says.

tests/docs/pages.py has the decision for each page, tests/docs/walks.py what is executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import blocks, pages
from tests.docs.pages import PAGES
from tests.docs.parsing import faults
from tests.docs.walks import WALKS, take
from tests.docs.world import World, own_world
from tests.servers.kafka_broker import KafkaBroker

WALKED: Final = [page for page, how in PAGES.items() if how.walk and how.ci]


@pytest.fixture(scope="module")
def world(kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    kafka_broker.start()  # a test before may have killed it
    with own_world(kafka_broker, tmp_path_factory.mktemp("docs")) as one:
        yield one


def test_every_page_has_a_decision_and_every_decision_a_page() -> None:
    assert set(PAGES) == set(pages())
    assert {how.walk for how in PAGES.values() if how.walk} == WALKS.keys()


@pytest.mark.parametrize("page", pages())
def test_every_block_that_nobody_executes_has_its_reason(page: str) -> None:
    how, found = PAGES[page], blocks(page)
    if not how.walk:
        assert how.why
        assert bool(found) == (how.why != "shows no commands"), f"{page}: {how.why}"
    for start, why in how.parsed.items():
        assert why
        assert [one for one in found if one.text.startswith(start)], f"{page} has no block that begins with {start!r}"


@pytest.mark.parametrize("page", pages())
def test_every_command_is_one_and_takes_its_options(page: str) -> None:
    assert [fault for block in blocks(page) for fault in faults(block)] == []


@pytest.mark.parametrize("page", WALKED)
def test_every_block_of_a_page_can_be_executed_as_it_stands(page: str, world: World, tmp_path: Path) -> None:
    how = PAGES[page]
    executed = take(page, how.walk, tmp_path / "walk", world)
    left = {one for one in blocks(page) if not one.text.startswith(tuple(how.parsed))}
    assert left == executed, "blocks without a walk or a reason: " + "; ".join(map(str, left ^ executed))
