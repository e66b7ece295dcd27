"""What the chart's pages show works: values render, manifests fit Kubernetes, commands name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from stocktake.cli import parser
from tests.integration.helm.rendered import CHART, COMPONENT, KUBE_VERSION, render
from tests.integration.helm.schemas import VERSIONS, complaints

PAGES: Final = (CHART / "README.md", CHART / "quickstart.md")
STRIMZI: Final = {"Kafka", "KafkaNodePool", "KafkaTopic"}
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(kind: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if language == kind:
                found.append((page.name, text))
    return found


def _values() -> Iterator[Any]:
    for page, text in _blocks("yaml"):
        first = text.partition("\n")[0]
        if first.startswith("# values: "):
            yield pytest.param(text, id=f"{page}: {first.removeprefix('# values: ')}")


def _manifests() -> list[dict[str, Any]]:
    texts = [text for _, text in _blocks("yaml") if not text.startswith("# values: ")]
    return [item for text in texts for item in yaml.safe_load_all(text)]


@pytest.mark.parametrize("text", list(_values()))
def test_values_that_are_shown_can_be_installed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text, encoding="utf-8")
    chart = render("--values", file)
    for _, container in chart.containers():
        chart.settings(container)


def test_manifests_that_are_shown_fit_kubernetes() -> None:
    manifests = _manifests()
    assert {item["kind"] for item in manifests} == {"Service", "StatefulSet"} | STRIMZI
    for item in manifests:
        if item["kind"] in STRIMZI:
            assert item["apiVersion"] == "kafka.strimzi.io/v1"
            continue
        for version in VERSIONS:
            assert list(complaints(version, item)) == []
        if item["kind"] == "StatefulSet":
            pod = item["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert item["spec"]["selector"]["matchLabels"] == item["spec"]["template"]["metadata"]["labels"]


def test_the_servers_that_are_shown_are_as_stocktake_needs_them() -> None:
    (valkey,) = (
        item for item in _manifests() if item["kind"] == "StatefulSet" and item["metadata"]["name"] == "valkey"
    )
    (container,) = valkey["spec"]["template"]["spec"]["containers"]
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert (options["--maxmemory-policy"], options["--appendonly"]) == ("noeviction", "yes")
    for topic in (
        item for item in _manifests() if item["kind"] == "KafkaTopic" and "dlq" not in item["metadata"]["name"]
    ):
        assert topic["spec"]["config"]["cleanup.policy"] == "delete"


def test_commands_that_are_shown_are_commands() -> None:
    """Every `stocktake` that is run in a pod or in a pipe."""
    shown = []
    for _, text in _blocks("sh"):
        lines = text.replace("\\\n", " ").splitlines()
        shown += [
            match for line in lines for match in re.findall(r"(?:-- |^)stocktake ([^|>]+?)(?: 2?>.*)?(?:$| \|)", line)
        ]
    assert len(shown) >= 7
    for arguments in shown:
        parser().parse_args(arguments.split())


def test_objects_that_commands_name_exist(tmp_path: Path) -> None:
    """Of a release that is called stocktake, as the pages take for granted."""
    file = tmp_path / "values.yaml"
    file.write_text(
        next(text for _, text in _blocks("yaml") if text.startswith("# values: a bridge")), encoding="utf-8"
    )
    names = set()
    for values in (file, CHART / "ci" / "network-policy-values.yaml"):
        objects = render("--values", values, "--set", "fullnameOverride=stocktake").objects
        names |= {f"{item['kind'].lower()}/{item['metadata']['name']}" for item in objects}
    shown = {name for page in PAGES for name in re.findall(r"deployment/stocktake-[a-z-]+", page.read_text("utf-8"))}
    assert shown
    assert shown <= names


def test_the_runbook_finds_the_roles_by_labels_that_they_have() -> None:
    """Both `kubectl scale deployment -l ...` and `kubectl logs -l ...`, that is of Deployments and of their pods."""
    chart = render("--values", CHART / "ci" / "network-policy-values.yaml")
    objects = {one.item["metadata"]["labels"].get(COMPONENT) for one in chart.workloads} | chart.components_of(
        "Service"
    )
    pods = {one.component for one in chart.workloads}
    runbook = CHART.parent / "docs" / "runbook"
    text = "".join(page.read_text(encoding="utf-8") for page in [runbook.with_suffix(".md"), *runbook.glob("*.md")])
    listed = {name.strip() for names in re.findall(rf"{COMPONENT} in \((.*?)\)", text) for name in names.split(",")}
    single = set(re.findall(rf"{COMPONENT}=([a-z-]+)", text))
    assert listed
    assert listed <= objects
    assert single <= objects | pods


def test_the_page_names_the_oldest_kubernetes() -> None:
    oldest = f"Kubernetes {VERSIONS[0]} or newer"
    assert oldest in (CHART / "README.md").read_text(encoding="utf-8")
    assert VERSIONS[0] < KUBE_VERSION
