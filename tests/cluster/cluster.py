"""A cluster of one machine: what is applied is made so, pod by pod, while :meth:`Cluster.until` waits for something."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from tests.cluster.chart import Objects, Workload
from tests.cluster.container import Given
from tests.cluster.pod import Place, Pod
from tests.cluster.rollout import next_steps, settled
from tests.oracle.events import Json

PATIENCE: Final = 180.0  # seconds for anything that should happen

_EACH: Final = 0.05  # seconds between two looks at everything


@dataclass(frozen=True, slots=True)
class Ended:
    """A pod that is gone. Times are seconds: from its start to ready (None: never), from SIGTERM to its end."""

    component: str
    name: str
    to_ready: float | None
    to_end: float


class Cluster:
    """Runs what it is told to. ``secrets`` are the values of Secrets by name and key.

    Claims and all that is pods' own are folders below ``folder``. Nothing happens by itself: whoever uses it waits with
    :meth:`until`, in one thread, on which all processes depend. ``meanwhile`` is called at each look.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.meanwhile: list[Callable[[], None]] = []
        self.ended: list[Ended] = []
        self._folder = folder
        self._secrets = secrets
        self._given = Given({}, secrets)
        self._workloads: dict[str, Workload] = {}
        self._pods: dict[str, list[Pod]] = {}
        self._faults: list[str] = []
        self._numbers = count(1)

    @contextmanager
    def running(self) -> Iterator[Cluster]:
        """Nothing of it is left when the block ends."""
        try:
            yield self
        finally:
            for pod in self.all_pods():
                pod.kill()

    # --- what is told to it -------------------------------------------------------------------------------------

    def apply(self, objects: Objects) -> None:
        """Install or upgrade: pods whose template has changed are replaced from now on."""
        self._given = Given(objects.config_maps(), self._secrets, objects.services())
        found = objects.workloads()
        self._workloads = {gone: old.scaled(0) for gone, old in self._workloads.items() if gone not in found} | found
        for component in found:
            self._pods.setdefault(component, [])

    def claim(self, name: str) -> Path:
        """The folder that a claim stands for."""
        folder = self._folder / "claims" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def restart(self, component: str) -> None:
        """``kubectl rollout restart``."""
        self._workloads[component] = self._workloads[component].restarted(next(self._numbers))

    def scale(self, component: str, replicas: int) -> None:
        """``kubectl scale``."""
        self._workloads[component] = self._workloads[component].scaled(replicas)

    def end(self) -> None:
        """Scale everything to nothing and wait until it is gone."""
        for component in self._workloads:
            self.scale(component, 0)
        self.until(lambda: not self.all_pods(), "all pods gone")

    def run_once(self, templates: Mapping[str, Json], patience: float = PATIENCE) -> dict[str, str]:
        """Run the pods of Jobs and tests to their end, side by side; what the containers of each printed."""
        pods = {name: self._once(name, template) for name, template in templates.items()}
        for name, pod in pods.items():
            self._pods.setdefault(name, []).append(pod)
        self.until(lambda: all(pod.gone for pod in pods.values()), f"the end of {', '.join(pods)}", patience)
        return {name: pod.log() for name, pod in pods.items()}

    def _once(self, name: str, template: Json) -> Pod:
        return Pod(f"{name}-{next(self._numbers)}", template, "once", self._place(), once=True)

    # --- what comes of it ---------------------------------------------------------------------------------------

    def components(self) -> list[str]:
        return list(self._workloads)

    def pods(self, component: str) -> list[Pod]:
        """Those that are there, the ones that are ending too."""
        return list(self._pods.get(component, ()))

    def all_pods(self) -> list[Pod]:
        return [pod for pods in self._pods.values() for pod in pods]

    def settled(self, *components: str) -> bool:
        """Whether the rollouts of these are complete; of all, if none is named."""
        return all(settled(self._workloads[one], self._pods[one]) for one in components or self._workloads)

    @property
    def faults(self) -> list[str]:
        """What should not have been, of pods that are there and of those that are gone."""
        return self._faults + [fault for pod in self.all_pods() for fault in pod.faults]

    def until(self, happened: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
        """Look after everything until it has; how many seconds that took.

        Raises:
            AssertionError: it did not in time, or something happened that should not have.
        """
        begun = time.monotonic()
        while True:
            self.tick()
            for each in self.meanwhile:
                each()
            assert not self.faults, "\n".join(self.faults)
            if happened():
                return time.monotonic() - begun
            assert time.monotonic() - begun < patience, f"not within {patience:g} seconds: {what}; {self._standing()}"
            time.sleep(_EACH)

    def tick(self) -> None:
        """Look once at everything, and do what is due."""
        for component, pods in self._pods.items():
            for pod in list(pods):
                pod.tick()
                if pod.gone:
                    pods.remove(pod)
                    self._note(component, pod)
        for component, workload in self._workloads.items():
            pods = self._pods[component]
            steps = next_steps(workload, pods)
            for pod in pods:
                if pod.name in steps.end:
                    pod.end()
            for number in steps.make:
                name = f"{workload.name}-{number}" if workload.strategy.ordered else self._new_name(workload)
                pods.append(Pod(name, workload.template, workload.revision, self._place()))

    def _place(self) -> Place:
        """A folder for each life of a pod, also where names come again."""
        return Place(self._folder / f"{next(self._numbers):04}", self.claim, self._given)

    def _new_name(self, workload: Workload) -> str:
        return f"{workload.name}-{workload.revision}-{next(self._numbers):05}"

    def _note(self, component: str, pod: Pod) -> None:
        self._faults += pod.faults
        if pod.told_at is not None and pod.gone_at is not None:
            to_ready = None if pod.ready_at is None else pod.ready_at - pod.made_at
            self.ended.append(Ended(component, pod.name, to_ready, pod.gone_at - pod.told_at))

    def _standing(self) -> str:
        return "; ".join(
            f"{pod.name}: {'ending' if pod.ending else 'ready' if pod.ready else 'not ready'} ({_words(pod)})"
            for pod in self.all_pods()
        )


def _words(pod: Pod) -> str:
    return " | ".join(one.container.last_words()[-200:] for one in pod.containers)
