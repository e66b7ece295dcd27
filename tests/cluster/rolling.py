"""Every role restarted, upgraded and scaled while events flow and deltas are written; then the oracle judges."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.cluster.site import Site
from tests.feed import members

SERVICE_PORT: Final = 8080

_EACH: Final = 0.25  # seconds between two requests to the service
_HEARD: Final = 2.0  # seconds after which nobody is sent to a pod that ends any more
_GIVEN_UP: Final = "giving up partition"
_READS: Final = "reading topic"


@dataclass
class Callers:
    """Ask the HTTP service as what stands before it does: any pod that is ready, until it has heard that it ends."""

    site: Site
    answers: Counter[str] = field(default_factory=Counter)
    nobody: int = 0
    stopped: bool = False
    _next: float = 0.0

    def look(self) -> None:
        if self.stopped or time.monotonic() < self._next:
            return
        now = time.monotonic()
        self._next = now + _EACH
        pods = [pod for pod in self.site.cluster.pods("service") if pod.ready]
        if all(pod.ending for pod in pods):
            self.nobody += 1
        for pod in pods:
            if pod.told_at is not None and now > pod.told_at + _HEARD:
                continue
            url = f"http://127.0.0.1:{pod.ports[SERVICE_PORT]}/api/v1/repositories/{self.site.deployment.name}"
            try:
                answer = httpx.get(url, headers={"authorization": f"Bearer {self.site.token}"}, timeout=10.0)
                self.answers[str(answer.status_code)] += 1
            except httpx.HTTPError as error:
                self.answers[type(error).__name__] += 1


def install(site: Site, **more: object) -> Callers:
    """Install the release, wait until all is ready, and put it under load."""
    site.apply(**more)
    with site.load.stage("install"):
        site.cluster.until(site.cluster.settled, "all pods ready")
    callers = Callers(site)
    site.load.start()
    if "service" in site.cluster.components():
        site.cluster.meanwhile.append(callers.look)
    return callers


def restart(site: Site, component: str) -> None:
    """``kubectl rollout restart`` of one role, to its end."""
    with site.load.stage(f"restart of the {component}"):
        site.cluster.restart(component)
        site.cluster.until(lambda: site.cluster.settled(component), f"the rollout of the {component}")


def upgrade(site: Site, **more: object) -> None:
    """``helm upgrade`` with other values, to its end."""
    with site.load.stage("upgrade with other settings"):
        site.apply(**more)
        site.cluster.until(site.cluster.settled, "the rollout of the upgrade")


def scale(site: Site, component: str, replicas: int) -> None:
    """``kubectl scale`` of one role, to its end."""
    with site.load.stage(f"{component} scaled to {replicas}"):
        site.cluster.scale(component, replicas)
        site.cluster.until(lambda: site.cluster.settled(component), f"{replicas} pods of the {component}")


def restart_static(site: Site) -> list[str]:
    """The same of consumers that are static members: what moved between the pods, which nothing should."""
    site.cluster.until(lambda: len(members(site.deployment)) == len(site.cluster.pods("consumer")), "a group at rest")
    held = _held(site)
    before = {pod: len(pod.log()) for pod in site.cluster.pods("consumer")}
    restart(site, "consumer")
    site.cluster.until(lambda: bool(members(site.deployment)), "the group at rest")
    faults = []
    for pod in [*before, *site.cluster.pods("consumer")]:
        told = pod.log()[before.get(pod, 0) :]
        if moved := [line for line in told.splitlines() if _GIVEN_UP in line or (pod in before and _READS in line)]:
            faults.append(f"{pod.name} was given or gave up partitions: {moved[0]}")
    if _held(site) != held:
        faults.append(f"the members had {sorted(held)} and have {sorted(_held(site))}")
    return faults


def _held(site: Site) -> set[str]:
    """What each member of the group holds, by partitions alone: a member has a new id each time."""
    return {",".join(sorted(str(one.partition) for one in some)) for some in members(site.deployment).values()}


def run_jobs(site: Site) -> dict[str, str]:
    """Run the Jobs, the CronJobs' pods and the tests of the release, once each; what they printed."""
    with site.load.stage("jobs and tests"):
        return site.cluster.run_once(site.objects.one_off())


def finish(site: Site, callers: Callers) -> list[str]:
    """End the load and the release; what was wrong with anything."""
    site.load.quiesce()
    callers.stopped = True
    with site.load.stage("end"):
        site.cluster.end()
    bad = {what: number for what, number in callers.answers.items() if what != "200"}
    return [
        *site.load.judge(),
        *([f"the HTTP service answered {bad}"] if bad else []),
        *([f"no pod of the HTTP service was ready {callers.nobody} times"] if callers.nobody else []),
    ]
