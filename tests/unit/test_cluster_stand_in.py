"""The stand-in for Kubernetes (tests/cluster) replaces, probes and names pods as its original does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.chart import COMPONENT, Objects, Strategy, Workload
from tests.cluster.container import Given, environment, expanded
from tests.cluster.probes import Kind, Probe, Standings
from tests.cluster.rollout import Steps, next_steps, settled


@dataclass
class Seen:
    name: str
    revision: str
    ready: bool = True
    ending: bool = False


def workload(replicas: int, **strategy: Any) -> Workload:
    return Workload("web", "web", replicas, Strategy(**strategy), {"metadata": {}, "spec": {}})


def new(of: Workload, *names: str, ready: bool = True, ending: bool = False) -> list[Seen]:
    return [Seen(name, of.revision, ready, ending) for name in names]


def old(*names: str, ready: bool = True, ending: bool = False) -> list[Seen]:
    return [Seen(name, "old", ready, ending) for name in names]


# --- Deployments -----------------------------------------------------------------------------------------------------


def test_a_successor_is_ready_before_an_old_pod_ends_where_none_may_be_missing() -> None:
    web = workload(2, surge=1)
    assert next_steps(web, old("a", "b")) == Steps(make=[0])
    assert next_steps(web, old("a", "b") + new(web, "c", ready=False)) == Steps()
    assert next_steps(web, old("a", "b") + new(web, "c")) == Steps(end=["a"])
    assert next_steps(web, old("a", ending=True) + old("b") + new(web, "c")) == Steps(make=[0])
    assert next_steps(web, new(web, "c", "d")) == Steps()


def test_an_old_pod_ends_first_where_none_may_be_beyond_the_number() -> None:
    writer = workload(2, unavailable=1)
    assert next_steps(writer, old("a", "b")) == Steps(end=["a"])
    assert next_steps(writer, old("a", ending=True) + old("b")) == Steps(make=[0])
    assert next_steps(writer, old("b") + new(writer, "c", ready=False)) == Steps()
    assert next_steps(writer, old("b") + new(writer, "c")) == Steps(end=["b"])


def test_old_pods_that_are_not_ready_are_missed_by_nobody() -> None:
    web = workload(2, surge=1)
    assert next_steps(web, old("a") + old("b", ready=False)).end == ["b"]


def test_recreate_waits_until_every_old_process_has_ended() -> None:
    bridge = workload(1, recreate=True)
    assert next_steps(bridge, old("a")) == Steps(end=["a"])
    assert next_steps(bridge, old("a", ending=True)) == Steps()
    assert next_steps(bridge, []) == Steps(make=[0])


def test_scaling_makes_and_ends_as_many_as_are_missing_or_too_many() -> None:
    web = workload(3, surge=1)
    assert next_steps(web, new(web, "a")) == Steps(make=[0, 1])
    assert next_steps(web.scaled(1), new(web, "a", "b") + new(web, "c", ready=False)).end == ["c", "a"]


# --- StatefulSets ----------------------------------------------------------------------------------------------------


def test_a_stateful_set_replaces_one_pod_at_a_time_from_the_last_and_under_its_name() -> None:
    web = workload(2, ordered=True, surge=2)
    assert next_steps(web, []) == Steps(make=[0, 1])
    assert next_steps(web, old("web-0", "web-1")) == Steps(end=["web-1"])
    assert next_steps(web, old("web-0") + old("web-1", ending=True)) == Steps()
    assert next_steps(web, old("web-0")) == Steps(make=[1])
    assert next_steps(web, old("web-0") + new(web, "web-1", ready=False)) == Steps()
    assert next_steps(web, old("web-0") + new(web, "web-1")) == Steps(end=["web-0"])


def test_a_stateful_set_that_is_no_parallel_one_waits_for_each_pod() -> None:
    web = workload(2, ordered=True)
    assert next_steps(web, []) == Steps(make=[0])
    assert next_steps(web, new(web, "web-0", ready=False)) == Steps()
    assert next_steps(web, new(web, "web-0")) == Steps(make=[1])


@pytest.mark.parametrize("strategy", [{"surge": 1}, {"unavailable": 1}, {"recreate": True}, {"ordered": True}])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_rollout_ends_with_new_pods_alone_and_breaks_no_limit_on_the_way(
    strategy: dict[str, Any], replicas: int
) -> None:
    web = workload(replicas, **strategy)
    pods: Sequence[Seen] = old(*(f"web-{number}" for number in range(replicas)))
    [how] = strategy
    least = {"surge": replicas, "unavailable": replicas - 1, "recreate": 0, "ordered": replicas - 1}[how]
    for turn in range(40):
        assert sum(one.ready and not one.ending for one in pods) >= least
        assert len([one for one in pods if not one.ending]) <= replicas + web.strategy.surge
        steps = next_steps(web, pods)
        ends = [one for one in pods if one.name in steps.end]
        pods = [one for one in pods if not one.ending]  # they have ended meanwhile
        for one in ends:
            one.ending = True
        for one in pods:
            one.ready = True
        first = 0 if web.strategy.ordered else 100 + 10 * turn  # a name that is new
        pods = [*pods, *(Seen(f"web-{first + number}", web.revision, ready=False) for number in steps.make)]
    assert settled(web, pods)


def test_a_restart_and_a_changed_template_make_a_new_revision_and_a_number_does_not() -> None:
    web = workload(2)
    assert web.scaled(3).revision == web.revision
    assert web.restarted(1).revision != web.revision
    assert web.restarted(1).revision != web.restarted(2).revision


# --- probes ----------------------------------------------------------------------------------------------------------


def probe(period: float, failures: int, successes: int = 1) -> Probe:
    return Probe(("true",), 0.0, period, 1.0, failures, successes)


def kinds(standings: Standings, now: float) -> list[Kind]:
    return [kind for kind, _ in standings.due(now)]


def test_the_startup_probe_comes_alone_until_it_is_well_and_readiness_is_asked_for_at_once_then() -> None:
    standings = Standings({"startup": probe(5, 3), "liveness": probe(10, 3), "readiness": probe(10, 1)}, 0.0)
    assert kinds(standings, 0.0) == ["startup"]
    standings.note("startup", False, 0.0)
    assert kinds(standings, 4.9) == []
    assert kinds(standings, 5.0) == ["startup"]
    ready = [standings.ready]
    standings.note("startup", True, 5.0)
    ready.append(standings.ready)
    assert kinds(standings, 5.0) == ["readiness"]
    standings.note("readiness", True, 5.0)
    assert [*ready, standings.ready] == [False, False, True]
    assert kinds(standings, 15.0) == ["liveness", "readiness"]


def test_a_container_is_given_up_after_as_many_failures_in_a_row_as_its_probe_says() -> None:
    standings = Standings({"liveness": probe(10, 3)}, 0.0)
    found = []
    for well in (False, False, True, False, False, False):
        standings.note("liveness", well, 0.0)
        found.append(standings.given_up)
    assert found == [None] * 5 + ["liveness"]


def test_a_container_that_never_starts_is_given_up_by_its_startup_probe() -> None:
    standings = Standings({"startup": probe(5, 2)}, 0.0)
    standings.note("startup", False, 0.0)
    standings.note("startup", False, 5.0)
    assert standings.given_up == "startup"


def test_a_container_without_probes_is_ready() -> None:
    assert Standings({}, 0.0).ready


# --- what a container is given ---------------------------------------------------------------------------------------

POD = {"metadata": {"name": "web-0"}, "spec": {"enableServiceLinks": False}}
GIVEN = Given({"settings": {"A": "1"}}, {"redis": {"url": "redis://x"}}, ["stocktake-service"])


def test_a_container_has_what_its_template_says_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKTAKE_LOG__LEVEL", "DEBUG")
    container = {
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "B", "value": "$(A) and $(C)"},
            {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    found = environment(container, POD, GIVEN)
    assert found.keys() == {"PATH", "HOSTNAME", "A", "B", "URL", "NAME"}
    assert (found["B"], found["URL"], found["NAME"]) == ("1 and $(C)", "redis://x", "web-0")
    assert expanded("--name=$(NAME)", found) == "--name=web-0"


def test_service_links_are_there_unless_they_are_switched_off() -> None:
    assert "STOCKTAKE_SERVICE_SERVICE_HOST" in environment({}, POD | {"spec": {}}, GIVEN)
    assert "STOCKTAKE_SERVICE_SERVICE_HOST" not in environment({}, POD, GIVEN)


def test_percentages_of_a_rollout_are_rounded_as_kubernetes_does() -> None:
    spec = {"replicas": 3, "template": {"metadata": {"labels": {"app.kubernetes.io/component": "web"}}, "spec": {}}}
    item = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    assert Objects((item,)).workloads()["web"].strategy == Strategy(surge=1, unavailable=0)


def test_a_stateful_set_that_something_else_scales_has_one_pod_at_first() -> None:
    spec = {"podManagementPolicy": "Parallel", "template": {"metadata": {"labels": {COMPONENT: "web"}}, "spec": {}}}
    web = Objects(({"kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec},)).workloads()["web"]
    assert (web.replicas, web.strategy) == (1, Strategy(ordered=True, surge=1))
