"""A Hypothesis state machine that plays with a :class:`tests.looks.world.World`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from consumers.events import Event, Look
from consumers.owing import Decided, Mixed, Owing
from state.debts import DebtMove
from tests.looks.world import Instance, open_world

_STUDIES, _SERIES, _INSTANCES = st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)
INSTANCES = st.builds(lambda a, b, c: (f"1.{a}", f"1.{a}.{b}", f"1.{a}.{b}.{c}"), _STUDIES, _SERIES, _INSTANCES)
PARTITIONS = st.integers(0, 1)


def play(
    folder: Path,
    redis_url: str,
    examples: int,
    *,
    done: Callable[[], None] = lambda: None,
    derandomize: bool = False,
) -> None:
    """Play so many examples; raises the first that ends otherwise than the archive is."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = open_world(folder, redis_url, "r" + uuid4().hex[:8])

        @rule(instance=INSTANCES, times=st.integers(1, 2))
        def store(self, instance: Instance, times: int) -> None:
            self.world.store(instance, times=times)

        @rule(instance=INSTANCES, depth=st.integers(1, 3), told=st.booleans())
        def delete(self, instance: Instance, depth: int, told: bool) -> None:
            if any(one[:depth] == instance[:depth] for one in self.world.archive.instances):
                self.world.delete(instance[:depth], told=told)

        @rule(study=_STUDIES)
        def ask(self, study: int) -> None:
            self.world.ask(f"1.{study}")

        @rule(most=st.integers(1, 8))
        def consume(self, most: int) -> None:
            self.world.consume(most)

        @rule(most=st.integers(1, 3))
        def look_up(self, most: int) -> None:
            self.world.look_up(most)

        @rule(most=st.integers(1, 3))
        def write_answers(self, most: int) -> None:
            self.world.write_answers(most)

        @rule()
        def enricher_dies(self) -> None:
            self.world.forget_answers()

        @rule()
        def remember(self) -> None:
            self.world.remember()

        @rule(shard=st.integers(0, 1))
        def lose(self, shard: int) -> None:
            self.world.lose(shard)

        @rule(share=st.floats(0, 1))
        def replay(self, share: float) -> None:
            self.world.replay(round(share * len(self.world.log)))

        def teardown(self) -> None:
            try:
                self.world.settle()
                assert self.world.live() == self.world.expected()
                done()
            finally:
                self.world.deployment.close()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=derandomize,
            phases=(Phase.generate,) if derandomize else tuple(Phase),
            suppress_health_check=list(HealthCheck),
        ),
    )


def planted_without_the_token(
    owing: Owing, decided: Decided, shard: int, name: str, told: Sequence[Mixed], before: str
) -> None:
    """An error planted on purpose: an answer counts whatever has happened to its study, and pays any debt."""
    token = before
    events: list[Any] = []
    for one, partition, offset in told:
        if isinstance(one, Event):
            events.append((one, partition, offset))
            if one.lacking:
                token = f"{partition}:{offset}"
        else:
            token = f"{partition}:{offset}" if isinstance(one, Look) else ""
    if events or not told:
        decided.events[shard][name] = events
    if token != before:
        decided.debts.setdefault(shard, []).append(DebtMove(name, before, token))
