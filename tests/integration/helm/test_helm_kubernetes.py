"""All rendered objects against the API schemas of Kubernetes, from the oldest that the chart takes to the newest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest
import yaml
from kubernetes_validate import validate

from tests.integration.helm.rendered import CHART, CI_FILES, Object, Rendered
from tests.integration.helm.schemas import VERSIONS, complaints

CUSTOM: Final = {
    "ServiceMonitor",
    "PrometheusRule",
    "ScaledObject",
}  # of operators; their shapes have tests of their own
ALL: Final = CUSTOM | {
    *("ConfigMap", "CronJob", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy"),
    *("PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"),
}


def _all(rendered: Callable[[str], Rendered]) -> list[Object]:
    """Every object of every ci file, but the same one only once."""
    found = {json.dumps(item, sort_keys=True): item for name in CI_FILES for item in rendered(name).objects}
    return list(found.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_object(rendered: Callable[[str], Rendered], version: str) -> None:
    objects = [item for item in _all(rendered) if item["kind"] not in CUSTOM]
    assert [complaint for item in objects for complaint in complaints(version, item)] == []


def test_objects_of_all_kinds_are_looked_at(rendered: Callable[[str], Rendered]) -> None:
    assert {item["kind"] for item in _all(rendered)} == ALL


def test_the_oldest_version_is_the_one_that_the_chart_asks_for() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_an_object_that_is_wrong_is_found(rendered: Callable[[str], Rendered]) -> None:
    """A misspelt key deep in a pod, as a check that the schemas say no, and that theirs is the same answer."""
    deployment = json.loads(json.dumps(rendered("default-values.yaml").one("Deployment", "consumer")))
    assert validate(deployment, VERSIONS[-1], strict=True) == VERSIONS[-1]
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    for version in VERSIONS:
        (complaint,) = complaints(version, deployment)
        assert "readOnlyRootFileSystem" in complaint
    with pytest.raises(Exception, match="readOnlyRootFileSystem"):
        validate(deployment, VERSIONS[-1], strict=True)
