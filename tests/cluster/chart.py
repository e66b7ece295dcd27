"""What ``helm template`` makes of values, as the objects that a cluster would run."""

from __future__ import annotations

import hashlib
import math
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from tests.oracle.events import Json
from tests.servers.helm_tool import helm_binary

CHART: Final = Path(__file__).resolve().parents[2] / "helm"
KUBE_VERSION: Final = "1.33.0"
RELEASE: Final = "stocktake"
COMPONENT: Final = "app.kubernetes.io/component"

_RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True, slots=True)
class Strategy:
    """How pods are replaced. ``ordered``: a StatefulSet's, one by one from the last; ``recreate``: all end first."""

    surge: int = 0
    unavailable: int = 0
    recreate: bool = False
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or a StatefulSet."""

    name: str
    component: str
    replicas: int
    strategy: Strategy
    template: Json

    @property
    def revision(self) -> str:
        """Differs if anything in the pods' template does."""
        return hashlib.sha256(orjson.dumps(self.template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]

    def scaled(self, replicas: int) -> Workload:
        """As ``kubectl scale`` leaves it."""
        return replace(self, replicas=replicas)

    def restarted(self, number: int) -> Workload:
        """As ``kubectl rollout restart`` leaves it: the template has one more annotation."""
        metadata = self.template["metadata"]
        annotations = {**metadata.get("annotations", {}), _RESTARTED: str(number)}
        return replace(self, template={**self.template, "metadata": {**metadata, "annotations": annotations}})


@dataclass(frozen=True, slots=True)
class Objects:
    """Everything that one release is made of."""

    items: tuple[Json, ...]

    def of_kind(self, kind: str) -> list[Json]:
        return [item for item in self.items if item["kind"] == kind]

    def workloads(self) -> dict[str, Workload]:
        """The Deployments and StatefulSets, by component."""
        found = [_deployment(item) for item in self.of_kind("Deployment")]
        found += [_stateful_set(item) for item in self.of_kind("StatefulSet")]
        return {one.component: one for one in found}

    def one_off(self) -> dict[str, Json]:
        """The pods that run once and end, by the name of what makes them: Jobs, CronJobs and tests."""
        pods = {item["metadata"]["name"]: item["spec"]["template"] for item in self.of_kind("Job")}
        for item in self.of_kind("CronJob"):
            pods[item["metadata"]["name"]] = item["spec"]["jobTemplate"]["spec"]["template"]
        return pods | {item["metadata"]["name"]: item for item in self.of_kind("Pod")}

    def config_maps(self) -> dict[str, dict[str, str]]:
        """What each ConfigMap holds, by its name."""
        return {item["metadata"]["name"]: item.get("data", {}) for item in self.of_kind("ConfigMap")}

    def services(self) -> list[str]:
        """The names of the Services."""
        return [item["metadata"]["name"] for item in self.of_kind("Service")]


def render(values: Mapping[str, Any], folder: Path) -> Objects:
    """Render the chart with these values; ``folder`` takes the file of them.

    Raises:
        AssertionError: helm refuses them.
    """
    file = folder / "values.json"
    file.write_bytes(orjson.dumps(values))
    command = [
        str(helm_binary()),
        "template",
        RELEASE,
        str(CHART),
        "--kube-version",
        KUBE_VERSION,
        "--values",
        str(file),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    return Objects(tuple(_objects(answer.stdout)))


def _objects(text: str) -> Iterator[Json]:
    for found in yaml.load_all(text, Loader=yaml.CSafeLoader):
        if found:
            yield found


def _deployment(item: Json) -> Workload:
    spec = item["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy", {})
    if strategy.get("type") == "Recreate":
        how = Strategy(recreate=True)
    else:
        rolling = strategy.get("rollingUpdate", {})
        surge = _share(rolling.get("maxSurge", "25%"), replicas, up=True)
        unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
        how = Strategy(surge=surge, unavailable=unavailable if surge or unavailable else 1)
    return _workload(item, replicas, how)


def _stateful_set(item: Json) -> Workload:
    spec = item["spec"]
    how = spec.get("updateStrategy", {})
    assert how.get("type", "RollingUpdate") == "RollingUpdate", "only rolling updates are known here"
    assert not spec.get("volumeClaimTemplates"), "claims of a StatefulSet's own are not known here"
    replicas = spec.get("replicas", 1)
    parallel = spec.get("podManagementPolicy") == "Parallel"
    return _workload(item, replicas, Strategy(ordered=True, surge=replicas if parallel else 0))


def _workload(item: Json, replicas: int, strategy: Strategy) -> Workload:
    template = item["spec"]["template"]
    return Workload(
        name=item["metadata"]["name"],
        component=template["metadata"]["labels"][COMPONENT],
        replicas=replicas,
        strategy=strategy,
        template=template,
    )


def _share(value: int | str, replicas: int, *, up: bool) -> int:
    """A number of pods, or a percentage of them, rounded as Kubernetes does."""
    if isinstance(value, int):
        return value
    pods = replicas * int(value.removesuffix("%")) / 100
    return math.ceil(pods) if up else math.floor(pods)


def hurried(objects: Objects, seconds: int) -> Objects:
    """The same with startup probes that ask so often; the chart has no value for that, and nobody should need one."""
    return Objects(tuple(_hurried(item, seconds) for item in objects.items))


def _hurried(item: Any, seconds: int) -> Any:
    if isinstance(item, dict):
        found = {key: _hurried(value, seconds) for key, value in item.items()}
        if "startupProbe" in found:
            found["startupProbe"] = found["startupProbe"] | {"periodSeconds": seconds}
        return found
    return [_hurried(one, seconds) for one in item] if isinstance(item, list) else item
