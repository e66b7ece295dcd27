"""What helm makes of the chart and a values file, and how a test asks it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from stocktake.settings import Settings, load
from tests.servers.helm_tool import helm_binary

CHART: Final = Path(__file__).resolve().parents[3] / "helm"
KUBE_VERSION: Final = "1.33.0"
RELEASE: Final = "archive"
CI_FILES: Final = tuple(sorted(path.name for path in (CHART / "ci").iterdir()))
WORKLOADS: Final = ("Deployment", "StatefulSet", "Job", "CronJob", "Pod")
STAND_IN: Final = "rediss://kept-in-the-cluster"  # whatever the secret is, it must be a URL where one is wanted
COMPONENT: Final = "app.kubernetes.io/component"

_SOURCE: Final = re.compile(r"^# Source: stocktake/templates/(\S+)$", re.MULTILINE)

Object = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """An object that runs pods, and what each of its pods is."""

    item: Object
    metadata: Object
    pod: Object

    @property
    def component(self) -> str:
        return str(self.metadata["labels"][COMPONENT])

    @property
    def containers(self) -> list[Object]:
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]


@dataclass(frozen=True)
class Rendered:
    """The objects that one values file renders to, each with the template that it is from."""

    sources: tuple[tuple[str, Object], ...]

    @cached_property
    def objects(self) -> list[Object]:
        return [item for _, item in self.sources]

    def of_kind(self, kind: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, component: str) -> Object:
        """The one object of this kind whose name ends with the component's."""
        (found,) = (one for one in self.of_kind(kind) if one["metadata"]["name"].endswith(f"-{component}"))
        return found

    def components_of(self, kind: str) -> set[str]:
        return {one["metadata"]["labels"][COMPONENT] for one in self.of_kind(kind)}

    @cached_property
    def workloads(self) -> list[Workload]:
        found = []
        for item in self.objects:
            if item["kind"] not in WORKLOADS:
                continue
            template = item
            if item["kind"] == "CronJob":
                template = item["spec"]["jobTemplate"]
            if item["kind"] != "Pod":
                template = template["spec"]["template"]
            found.append(Workload(item, template["metadata"], template["spec"]))
        return found

    def workload(self, component: str) -> Workload:
        (found,) = (one for one in self.workloads if one.component == component)
        return found

    def components(self) -> set[str]:
        """Of what runs for ever."""
        return {one.component for one in self.workloads if one.item["kind"] in ("Deployment", "StatefulSet")}

    def containers_of(self, component: str) -> list[Object]:
        return self.workload(component).containers

    def pods(self) -> list[Object]:
        return [one.pod for one in self.workloads]

    def containers(self) -> Iterator[tuple[Workload, Object]]:
        """Each container with what runs it."""
        for one in self.workloads:
            for container in one.containers:
                yield one, container

    def environment(self, container: Object) -> dict[str, str]:
        """What the container's process would see, with a dummy for each secret."""
        config_maps = {item["metadata"]["name"]: item["data"] for item in self.of_kind("ConfigMap")}
        environment: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environment |= config_maps[source["configMapRef"]["name"]]
        for entry in container["env"]:
            stand_in = "{}" if entry["name"].endswith("STORAGE_OPTIONS") else STAND_IN
            if "fieldRef" in entry.get("valueFrom", {}):
                assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
                stand_in = f"{RELEASE}-stocktake-consumer-0"
            environment[entry["name"]] = entry.get("value", stand_in)
        return environment

    def settings(self, container: Object) -> Settings:
        return load(None, self.environment(container))


def helm(verb: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm, and do not mind if it fails."""
    return subprocess.run([helm_binary(), verb, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(*arguments: str | Path, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    return helm("template", RELEASE, chart, "--kube-version", KUBE_VERSION, *arguments)


def render(*arguments: str | Path) -> Rendered:
    """What the chart renders to, which must succeed."""
    answer = template(*arguments)
    assert answer.returncode == 0, f"{arguments}: {answer.stderr}"
    sources = []
    for document in re.split(r"^---$", answer.stdout, flags=re.MULTILINE):
        if item := yaml.load(document, yaml.CSafeLoader):
            found = _SOURCE.search(document)
            assert found is not None
            sources.append((found[1], item))
    return Rendered(tuple(sources))


def ci_file(name: str) -> Path:
    return CHART / "ci" / name
