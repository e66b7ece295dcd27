"""The chain stays shallow: its depth grows with the logarithm of its age, and no record is rewritten often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writers.manifest import Member
from writers.tiers import Step, baseline, next_step, rollup


@dataclass
class Chain:
    """What the head reaches, and which inventories' records each member holds."""

    members: tuple[Member, ...] = ()
    holds: dict[int, frozenset[int]] = field(default_factory=dict)
    written: Counter[int] = field(default_factory=Counter)
    sequence: int = 0

    def take(self, step: Step) -> None:
        assert (*step.kept, *step.replaced) == self.members or step.kind == "baseline"
        self.sequence += 1
        replaced = frozenset[int]().union(*(self.holds.pop(one.sequence) for one in step.replaced))
        self.holds[self.sequence] = replaced | {self.sequence}
        self.written.update(self.holds[self.sequence])
        self.members = (*step.kept, Member(f"1.2.{self.sequence}", self.sequence, step.tier, "", 0))


@pytest.mark.parametrize("fanout", [2, 3, 8, 50])
def test_depth_grows_with_the_logarithm_of_the_chains_age_and_records_are_rewritten_once_a_tier(fanout: int) -> None:
    chain = Chain()
    for age in range(1, 5001):
        step = next_step(chain.members, fanout)
        if step.kind == "rollup":
            assert len(step.replaced) == fanout
            assert {one.tier for one in step.replaced} == {(step.tier or 0) - 1}
        chain.take(step)
        tiers = 1 + (log(age, fanout) if age > 1 else 0)
        assert len(chain.members) <= 1 + fanout * (tiers + 1)
        assert max(chain.written.values()) <= 1 + tiers
    assert frozenset[int]().union(*chain.holds.values()) == set(range(1, 5001))
    assert sum(map(len, chain.holds.values())) == 5000
    # What a member holds was written at most once for each tier below its own.
    for member in chain.members:
        for sequence in chain.holds[member.sequence]:
            assert chain.written[sequence] <= 1 + (member.tier or 0)


@given(st.lists(st.sampled_from(["next", "next", "next", "rollup", "baseline"]), max_size=60), st.integers(2, 5))
def test_whatever_is_asked_for_every_inventorys_records_are_reached_once(kinds: list[str], fanout: int) -> None:
    chain = Chain()
    since = 1
    for kind in kinds:
        if kind == "baseline" or not chain.members:
            step, since = baseline(), chain.sequence + 1
            chain.holds.clear()
        else:
            step = (rollup if kind == "rollup" else next_step)(chain.members, fanout)
        chain.take(step)
        assert chain.members[0].tier is None
        assert {one.sequence for one in chain.members} == chain.holds.keys()
        held = [sequence for sequences in chain.holds.values() for sequence in sequences]
        assert sorted(held) == list(range(since, chain.sequence + 1))


def test_the_first_inventory_is_a_baseline_and_the_second_a_delta() -> None:
    assert next_step((), 8) == rollup((), 8) == baseline() == Step("baseline", None, (), ())
    first = Member("1.2.1", 1, None, "", 0)
    assert next_step((first,), 2) == rollup((first,), 2) == Step("delta", 0, (first,), ())


def test_a_rollup_now_takes_what_stands_at_the_top_in_one_tier() -> None:
    members = tuple(Member(f"1.2.{at}", at, tier, "", 0) for at, tier in enumerate((None, 1, 0, 0)))
    assert rollup(members, 8) == Step("rollup", 1, members[:2], members[2:])
