"""The rules by which Hypothesis plays with a pair of repositories."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from state.attributes import Level
from tests.cutover.world import RULES, SIDES, World

sides = st.sampled_from(SIDES)
seeds = st.integers(0, 2**32 - 1)


class Compared(RuleBasedStateMachine):
    """One example is one pair. Subclasses bind ``redis_url`` and ``folder``."""

    redis_url: ClassVar[str]
    folder: ClassVar[Path]
    world: World

    @initialize(
        level=st.sampled_from((Level.INSTANCE, Level.INSTANCE, Level.STUDY)), rules=st.integers(0, len(RULES) - 1)
    )
    def begin(self, level: Level, rules: int) -> None:
        self.world = World(self.redis_url, self.folder, level, rules)

    @rule(side=sides, seed=seeds, count=st.integers(1, 6))
    def tell(self, side: str, seed: int, count: int) -> None:
        self.world.tell(side, seed, count)

    @rule(seed=seeds, count=st.integers(1, 30))
    def migrate(self, seed: int, count: int) -> None:
        self.world.migrate(seed, count)

    @rule(side=sides, last=st.integers(-1, 20))
    def replay(self, side: str, last: int) -> None:
        self.world.replay(side, last)

    @rule(side=sides)
    def recompare(self, side: str) -> None:
        self.world.recompare(side)

    @rule(rules=st.integers(0, len(RULES) - 1))
    def change_rules(self, rules: int) -> None:
        self.world.change_rules(rules)

    @rule(seed=seeds)
    def acknowledge(self, seed: int) -> None:
        self.world.acknowledge(seed)

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def sets_and_figures_are_what_the_oracle_says(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()


def play(redis_url: str, folder: Path, examples: int, **more: object) -> None:
    """Play so many examples.

    Raises:
        AssertionError: sets or figures are not what the oracle says.
    """
    bound = type("Bound", (Compared,), {"redis_url": redis_url, "folder": folder})
    given: dict[str, object] = {
        "max_examples": examples,
        "stateful_step_count": 12,
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
        "phases": (Phase.generate, Phase.shrink),
    }
    run_state_machine_as_test(bound, settings=settings(**(given | more)))  # type: ignore[arg-type]
