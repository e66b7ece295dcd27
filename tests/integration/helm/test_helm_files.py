"""The chart's files: every ci file renders and lints, every template is one kind of object, versions fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
import yaml

import stocktake
from tests.integration.helm.rendered import CHART, CI_FILES, KUBE_VERSION, Rendered, ci_file, helm, render


def test_the_chart_names_the_version_of_the_program() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == stocktake.__version__


@pytest.mark.parametrize("name", CI_FILES)
def test_lint_has_no_complaint(name: str) -> None:
    answer = helm("lint", CHART, "--strict", "--kube-version", KUBE_VERSION, "--values", ci_file(name))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_cluster_that_is_too_old_is_refused() -> None:
    answer = helm("template", "archive", CHART, "--kube-version", "1.26.9")
    assert "incompatible with Kubernetes" in answer.stderr


def test_each_template_makes_one_kind_of_object_and_carries_it_in_its_name(
    rendered: Callable[[str], Rendered],
) -> None:
    """Of all ci files together every template makes something."""
    kinds = defaultdict(set)
    for name in CI_FILES:
        for source, item in rendered(name).sources:
            kinds[source].add(item["kind"].lower())
    files = {path.name for path in (CHART / "templates").glob("*.yaml")}
    assert kinds.keys() == files
    for file, found in kinds.items():
        assert found == {
            {"pvc": "persistentvolumeclaim"}.get(kind := file.removesuffix(".yaml").rpartition("-")[2], kind)
        }


def test_but_for_bridges_a_template_makes_one_object(chart: Rendered) -> None:
    sources = [source for source, _ in chart.sources if not source.startswith("bridge-")]
    assert len(set(sources)) == len(sources)


def test_no_two_objects_of_a_kind_have_one_name(chart: Rendered) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in chart.objects]
    assert len(set(names)) == len(names)


def test_all_objects_carry_the_recommended_labels(chart: Rendered) -> None:
    for item in chart.objects:
        labels = item["metadata"]["labels"]
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance"} <= labels.keys()
        assert item["kind"] == "Pod" or "helm.sh/chart" in labels


def test_no_selector_names_a_version(chart: Rendered) -> None:
    for item in chart.objects:
        selector = item.get("spec", {}).get("selector")
        if item["kind"] in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "ServiceMonitor"):
            assert selector.get("matchLabels", selector).keys() == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }


def test_names_stay_short_enough_for_kubernetes() -> None:
    """63 characters are what a label and a Service's name can have, 52 what a CronJob's can."""
    long = render(
        "--values",
        ci_file("network-policy-values.yaml"),
        "--set",
        "fullnameOverride=" + "n" * 50,
    )
    for item in long.objects:
        assert len(item["metadata"]["name"]) <= (52 if item["kind"] == "CronJob" else 63)


def test_every_ci_file_says_something_new(rendered: Callable[[str], Rendered]) -> None:
    seen: dict[str, str] = {}
    for name in CI_FILES:
        text = repr(rendered(name).objects)
        assert seen.setdefault(text, name) == name
