"""So many random examples of the model on a given server, counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Deployed
from tests.model.world import Servers, model_conditions

STEPS: Final = 30  # of one example, at most


def play(
    servers: Servers,
    examples: int,
    *,
    done: Callable[[], None] = lambda: None,
    phases: Collection[Phase] = tuple(Phase),
    seed: int | None = None,
    without: Collection[str] = (),
) -> None:
    """Play so many examples; raises what the first one that fails raises, after looking for a smaller one that does.

    ``done`` is called after each example. With a ``seed`` the examples are the same each time. The rules named in
    ``without`` are not played.
    """

    class Bound(Deployed):
        def teardown(self) -> None:
            super().teardown()
            done()

    Bound.servers = servers
    for rule in without:
        assert callable(getattr(Deployed, rule))
        setattr(Bound, rule, None)
    if seed is not None:
        hypothesis.seed(seed)(Bound)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=phases,
        report_multiple_bugs=False,
    )
    with model_conditions(), _quiet():
        run_state_machine_as_test(Bound, settings=chosen)


@contextmanager
def _quiet() -> Iterator[None]:
    """The program has much to say of what is done to it here; nobody would read it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
