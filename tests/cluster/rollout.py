"""Which pods a Deployment or a StatefulSet makes and ends next, by the rules of its controllers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.cluster.chart import Workload


class Seen(Protocol):
    """What a controller knows of a pod; one that is gone is not seen any more."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def ready(self) -> bool: ...
    @property
    def ending(self) -> bool: ...


@dataclass
class Steps:
    """``make`` are the numbers of pods to make (a StatefulSet's ordinals; else only how many counts)."""

    make: list[int] = field(default_factory=list)
    end: list[str] = field(default_factory=list)


def next_steps(workload: Workload, pods: Sequence[Seen]) -> Steps:
    """What to do now; nothing when all is as the workload says, or when something has to be waited for."""
    if workload.strategy.ordered:
        return _stateful_set(workload, pods)
    if workload.strategy.recreate:
        return _recreate(workload, pods)
    return _rolling(workload, pods)


def settled(workload: Workload, pods: Sequence[Seen]) -> bool:
    """Whether a rollout is complete: so many pods as wanted, all new and ready, no other."""
    return len(pods) == workload.replicas and all(
        one.ready and not one.ending and one.revision == workload.revision for one in pods
    )


def _recreate(workload: Workload, pods: Sequence[Seen]) -> Steps:
    old = [one for one in pods if one.revision != workload.revision]
    if old:
        return Steps(end=[one.name for one in old if not one.ending])
    return _to_number(workload, [one for one in pods if not one.ending])


def _rolling(workload: Workload, pods: Sequence[Seen]) -> Steps:
    there = [one for one in pods if not one.ending]
    new = [one for one in there if one.revision == workload.revision]
    old = [one for one in there if one.revision != workload.revision]
    if not old:
        return _to_number(workload, new)
    steps = Steps()
    room = workload.replicas + workload.strategy.surge - len(there)
    steps.make = list(range(max(0, min(room, workload.replicas - len(new)))))
    # Those that are not ready go first: nobody misses them.
    spare = sum(one.ready for one in there) - (workload.replicas - workload.strategy.unavailable)
    for one in sorted(old, key=lambda pod: pod.ready):
        if not one.ready:
            steps.end.append(one.name)
        elif spare > 0:
            steps.end.append(one.name)
            spare -= 1
    return steps


def _to_number(workload: Workload, there: Sequence[Seen]) -> Steps:
    missing = workload.replicas - len(there)
    surplus = sorted(there, key=lambda pod: pod.ready)[: max(0, -missing)]
    return Steps(make=list(range(max(0, missing))), end=[one.name for one in surplus])


def _stateful_set(workload: Workload, pods: Sequence[Seen]) -> Steps:
    """In order: a pod is made when those before it are ready, and replaced when those after it are."""
    by_number = {int(one.name.rpartition("-")[2]): one for one in pods}
    beyond = [one for number, one in sorted(by_number.items()) if number >= workload.replicas]
    if beyond:
        return Steps(end=[] if any(one.ending for one in beyond) else [beyond[-1].name])
    parallel = workload.strategy.surge > 0
    missing = [number for number in range(workload.replicas) if number not in by_number]
    if missing:
        before = [by_number[number] for number in range(missing[0])]
        if parallel:
            return Steps(make=missing)
        return Steps(make=missing[:1] if all(one.ready and not one.ending for one in before) else [])
    if any(one.ending for one in pods):
        return Steps()
    for number in reversed(range(workload.replicas)):
        one = by_number[number]
        if one.revision != workload.revision:
            return Steps(end=[one.name])
        if not one.ready:
            return Steps()
    return Steps()
