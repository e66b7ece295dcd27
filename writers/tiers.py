"""How the chain is kept shallow: members have tiers, and a full tier is rolled up into the next (design, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from state.times import to_iso
from writers.manifest import Member


@dataclass(frozen=True, slots=True)
class Step:
    """What the next inventory is: ``replaced`` members leave the chain's top, ``kept`` ones are incorporated."""

    kind: str
    tier: int | None
    kept: tuple[Member, ...]
    replaced: tuple[Member, ...]


def baseline() -> Step:
    """A baseline holds everything itself and incorporates nothing."""
    return Step("baseline", None, (), ())


def next_step(members: Sequence[Member], fanout: int) -> Step:
    """A delta, or a rollup when ``fanout`` members of one tier stand at the top of the chain."""
    if not members:
        return baseline()
    if len(_top_run(members)) >= fanout:
        return rollup(members, fanout)
    return Step("delta", 0, tuple(members), ())


def rollup(members: Sequence[Member], fanout: int) -> Step:
    """A rollup of what stands at the top in one tier, at most ``fanout``; on a bare baseline there is only a delta."""
    run = _top_run(members)[-fanout:]
    if not run:
        return next_step(members, fanout)
    below = members[: len(members) - len(run)]
    return Step("rollup", (run[-1].tier or 0) + 1, tuple(below), tuple(run))


def _top_run(members: Sequence[Member]) -> list[Member]:
    """The newest members that share one tier; none if the newest is a baseline."""
    run: list[Member] = []
    for member in reversed(members):
        if member.tier is None or (run and member.tier != run[0].tier):
            break
        run.insert(0, member)
    return run


def describe(step: Step, since: int, cut: int, content: int) -> str:
    """Inventory Instance Description: what of the scope this instance itself holds."""
    until = f"up to cut {cut} ({to_iso(content)})"
    if step.kind == "baseline":
        return f"Baseline: every study of the repository {until}"
    changed = f"studies changed after cut {since} {until}"
    if step.kind == "rollup":
        first, last = step.replaced[0].sequence, step.replaced[-1].sequence
        return f"Rollup of tier {step.tier}: current records of studies in inventories {first} to {last}, and {changed}"
    return f"Delta: {changed}"
