"""What stands around the roles: budgets, networks, autoscaling, monitoring, Jobs and the test pod."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import yaml

from stocktake.arguments import duration
from stocktake.cli import parser
from tests.integration.helm.rendered import CHART, Object, Rendered, render

ALERTS: Final = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))


def test_a_budget_never_keeps_a_node_from_being_drained(chart: Rendered) -> None:
    for budget in chart.of_kind("PodDisruptionBudget"):
        assert budget["spec"].keys() == {"maxUnavailable", "unhealthyPodEvictionPolicy", "selector"}
        assert budget["spec"]["maxUnavailable"] != 0
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_what_has_more_than_one_pod_has_a_budget(chart: Rendered, request: pytest.FixtureRequest) -> None:
    if "no-budget" in request.node.name:
        assert chart.of_kind("PodDisruptionBudget") == []
        return
    several = {
        one.component
        for one in chart.workloads
        if one.item["kind"] in ("Deployment", "StatefulSet") and one.item["spec"].get("replicas", 2) > 1
    }
    assert chart.components_of("PodDisruptionBudget") == several
    for budget in chart.of_kind("PodDisruptionBudget"):
        component = budget["metadata"]["labels"]["app.kubernetes.io/component"]
        labels = chart.workload(component).metadata["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_how_many_may_be_away_can_be_said(rendered: Callable[[str], Rendered]) -> None:
    given = [one["spec"]["maxUnavailable"] for one in rendered("budget-values.yaml").of_kind("PodDisruptionBudget")]
    assert given == ["50%", "50%"]


def _egress(chart: Rendered, component: str) -> list[tuple[frozenset[int], Any]]:
    """The ports and the peers of each rule."""
    rules = chart.one("NetworkPolicy", component)["spec"]["egress"]
    return [(frozenset(port["port"] for port in rule["ports"]), rule.get("to")) for rule in rules]


@pytest.mark.parametrize(
    ("component", "needs"),
    [
        ("consumer", ["dns", "redis", "kafka"]),
        ("writer", ["dns", "redis", "kafka", "sinks"]),  # kafka for the sink that is a topic
        ("service", ["dns", "redis", "kafka"]),
        ("enricher", ["dns", "redis", "kafka", "archives"]),
        ("bridge-pacs", ["dns", "redis", "kafka", "archives"]),
        ("baseline", ["dns", "redis"]),
        ("verification", ["dns", "redis"]),
        ("doctor", ["dns", "redis", "kafka", "sinks", "archives"]),
    ],
)
def test_each_role_may_reach_what_it_needs_and_nothing_else(
    rendered: Callable[[str], Rendered], component: str, needs: list[str]
) -> None:
    peers: dict[str, Any] = {
        "dns": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "redis": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "valkey"}}}],
        "kafka": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kafka"}}}],
        "archives": [{"ipBlock": {"cidr": "10.20.0.0/16", "except": ["10.20.1.0/24"]}}],
        "sinks": None,
    }
    ports = {"dns": {53}, "redis": {6379, 26379}, "kafka": {9093}, "archives": {443, 8042}, "sinks": {443}}
    chart = rendered("network-policy-values.yaml")
    expected = [(frozenset(ports[need]), peers[need]) for need in needs]
    assert sorted(map(repr, _egress(chart, component))) == sorted(map(repr, expected))


def test_every_pod_is_under_a_policy_of_both_directions(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("network-policy-values.yaml")
    policies = chart.of_kind("NetworkPolicy")
    for workload in chart.workloads:
        (policy,) = (
            one
            for one in policies
            if one["spec"]["podSelector"]["matchLabels"].items() <= workload.metadata["labels"].items()
        )
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policies) == len(chart.workloads)


def test_only_who_is_named_may_call_the_service_and_nobody_any_other_role(
    rendered: Callable[[str], Rendered],
) -> None:
    for policy in rendered("network-policy-values.yaml").of_kind("NetworkPolicy"):
        if policy["metadata"]["name"].endswith("-service"):
            (rule,) = policy["spec"]["ingress"]
            assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
            assert rule["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring", "ingress"]
        else:
            assert "ingress" not in policy["spec"]
    closed = rendered("network-policy-defaults-values.yaml")
    assert all("ingress" not in policy["spec"] for policy in closed.of_kind("NetworkPolicy"))
    assert _egress(closed, "writer") == [(frozenset({53}), None), (frozenset({6379}), None)]


def test_names_are_looked_up_over_both_protocols(rendered: Callable[[str], Rendered]) -> None:
    for policy in rendered("network-policy-defaults-values.yaml").of_kind("NetworkPolicy"):
        dns = policy["spec"]["egress"][0]
        assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]


def test_where_something_else_scales_the_chart_does_not_say_how_many(rendered: Callable[[str], Rendered]) -> None:
    for name, kind, scaler in (
        ("autoscaling-keda-values.yaml", "Deployment", "ScaledObject"),
        ("autoscaling-keda-static-values.yaml", "StatefulSet", "ScaledObject"),
        ("autoscaling-hpa-values.yaml", "Deployment", "HorizontalPodAutoscaler"),
    ):
        chart = rendered(name)
        consumer = chart.workload("consumer").item
        assert consumer["kind"] == kind
        assert "replicas" not in consumer["spec"]
        assert chart.one(scaler, "consumer")["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": kind,
            "name": consumer["metadata"]["name"],
        }


def test_keda_is_asked_about_each_topic_of_each_repository(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("autoscaling-keda-values.yaml")
    scaled = chart.one("ScaledObject", "consumer")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    specification = scaled["spec"]
    assert (specification["minReplicaCount"], specification["maxReplicaCount"]) == (2, 6)
    assert specification["pollingInterval"] == 15
    behavior = specification["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"] == {"stabilizationWindowSeconds": 30}
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 900
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    found = []
    for trigger in specification["triggers"]:
        assert trigger["type"] == "kafka"
        assert trigger["authenticationRef"] == {"name": "kafka", "kind": "ClusterTriggerAuthentication"}
        metadata = trigger["metadata"]
        assert all(isinstance(value, str) for value in metadata.values())  # KEDA takes texts only
        assert metadata["bootstrapServers"] == "kafka-0.kafka:9093,kafka-1.kafka:9093"
        assert (metadata["lagThreshold"], metadata["offsetResetPolicy"]) == ("100000", "earliest")
        assert metadata["allowIdleConsumers"] == "false"
        found.append((metadata["consumerGroup"], metadata["topic"]))
    assert found == [
        ("inventories.pacs", "pacs.events"),
        ("inventories.vna", "vna.events"),
        ("inventories.vna", "vna.corrections"),
    ]


def test_keda_knows_the_groups_and_topics_that_the_program_has(rendered: Callable[[str], Rendered]) -> None:
    for name in ("autoscaling-keda-values.yaml", "autoscaling-keda-static-values.yaml"):
        chart = rendered(name)
        settings = chart.settings(chart.containers_of("consumer")[0])
        expected = {
            (f"{settings.kafka.group_id}.{repository.name}", topic)
            for repository in settings.repositories
            for topic in repository.topics
        }
        triggers = chart.one("ScaledObject", "consumer")["spec"]["triggers"]
        assert {(one["metadata"]["consumerGroup"], one["metadata"]["topic"]) for one in triggers} == expected


def test_hpa_measures_processor_time(rendered: Callable[[str], Rendered]) -> None:
    specification = rendered("autoscaling-hpa-values.yaml").one("HorizontalPodAutoscaler", "consumer")["spec"]
    assert (specification["minReplicas"], specification["maxReplicas"]) == (1, 3)
    (metric,) = specification["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert specification["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600


def test_prometheus_asks_the_service_with_a_token(rendered: Callable[[str], Rendered]) -> None:
    for name, scheme in (("monitoring-values.yaml", "https"), ("monitoring-plain-values.yaml", "http")):
        chart = rendered(name)
        monitor = chart.one("ServiceMonitor", "service")
        service = chart.one("Service", "service")
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert (endpoint["path"], endpoint["scheme"]) == ("/metrics", scheme)
        credentials = {"name": "stocktake-prometheus", "key": "token"}
        assert endpoint["authorization"] == {"type": "Bearer", "credentials": credentials}
        assert ("tlsConfig" in endpoint) == (scheme == "https")
    endpoint = rendered("monitoring-values.yaml").one("ServiceMonitor", "service")["spec"]["endpoints"][0]
    assert endpoint["tlsConfig"] == {
        "serverName": "archive-stocktake-service.default.svc",
        "ca": {"secret": {"name": "stocktake-tls", "key": "ca.crt"}},
    }
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("1m", "20s")


def _rules(groups: list[Object]) -> Iterator[Object]:
    for group in groups:
        yield from group["rules"]


def test_the_rules_are_those_of_the_file_but_for_where_the_runbook_is(rendered: Callable[[str], Rendered]) -> None:
    (rule,) = rendered("monitoring-plain-values.yaml").of_kind("PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == ALERTS
    based = rendered("monitoring-values.yaml").of_kind("PrometheusRule")[0]["spec"]["groups"]
    for one in _rules(based):
        if "alert" in one:
            url = one["annotations"]["runbook_url"]
            assert url == f"https://git.example.org/stocktake/docs/runbook.md#{one['alert'].lower()}"


def test_single_alerts_can_be_left_out_and_changed(rendered: Callable[[str], Rendered]) -> None:
    (rule,) = rendered("monitoring-values.yaml").of_kind("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    given = {one["alert"]: one for one in _rules(rule["spec"]["groups"]) if "alert" in one}
    before = {one["alert"]: one for one in _rules(ALERTS["groups"]) if "alert" in one}
    assert before.keys() - given.keys() == {"StocktakeSinkTrouble"}
    stopped = given.pop("StocktakeStopped")
    assert (stopped["for"], stopped["labels"]) == ("9m", {"severity": "warning", "team": "imaging"})
    assert given.pop("StocktakeWatermarkStale")["expr"] == "stocktake_watermark_age_seconds > 3600"
    for name, one in given.items():
        assert one["expr"] == before[name]["expr"]
        assert (one.get("for"), one["labels"]) == (before[name].get("for"), before[name]["labels"])


def test_grafana_finds_the_dashboard(rendered: Callable[[str], Rendered]) -> None:
    for name, label in (("monitoring-values.yaml", "grafana_dashboard"), ("monitoring-plain-values.yaml", "grafana")):
        dashboard = rendered(name).one("ConfigMap", "dashboard")
        assert label in dashboard["metadata"]["labels"]
        assert json.loads(dashboard["data"]["stocktake.json"])["title"]
    assert (
        dashboard["data"]["stocktake.json"] == (CHART / "files" / "dashboard.json").read_text(encoding="utf-8").rstrip()
    )


def test_the_writers_are_asked_for_a_baseline_of_each_repository(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("baseline-values.yaml")
    (job,) = chart.of_kind("Job")
    assert job["metadata"]["name"] == "archive-stocktake-baseline-1"
    assert "annotations" not in job["metadata"]
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (2, 86400)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # what failed stays, and its log
    for container, repository in zip(chart.containers_of("baseline"), ("pacs", "vna"), strict=True):
        args = parser().parse_args(container["args"])
        assert (args.command, args.ask, args.repository, args.timeout) == ("baseline", True, repository, duration("2h"))


def test_helm_can_wait_for_the_baseline(rendered: Callable[[str], Rendered]) -> None:
    (job,) = rendered("baseline-hook-values.yaml").of_kind("Job")
    assert job["metadata"]["name"] == "archive-stocktake-baseline"
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install,post-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def test_each_chain_is_verified_where_the_writer_keeps_it(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("verification-values.yaml")
    (cron,) = chart.of_kind("CronJob")
    assert (cron["spec"]["schedule"], cron["spec"]["timeZone"]) == ("0 4 * * 0", "Europe/Berlin")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    job = cron["spec"]["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["ttlSecondsAfterFinished"]) == (3, 3600)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    for container, repository in zip(chart.containers_of("verification"), ("pacs", "vna"), strict=True):
        args = parser().parse_args(container["args"])
        assert (args.command, args.record, args.repository) == ("verify", True, repository)
        assert args.path == chart.settings(container).inventory.dir / repository


def test_a_verification_that_failed_is_tried_again_for_whatever_reason_and_evictions_do_not_count(
    rendered: Callable[[str], Rendered],
) -> None:
    (cron,) = rendered("verification-values.yaml").of_kind("CronJob")
    (evicted,) = cron["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_helm_test_asks_the_doctor_about_each_repository(chart: Rendered, request: pytest.FixtureRequest) -> None:
    if "no-tests" in request.node.name:
        assert chart.of_kind("Pod") == []
        return
    (pod,) = chart.of_kind("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    names = [repository.name for repository in chart.settings(chart.containers_of("consumer")[0]).repositories]
    assert [container["name"] for container in pod["spec"]["containers"]] == sorted(names)
    for container in pod["spec"]["containers"]:
        assert container["args"][:3] == ["doctor", "--repository", container["name"]]


def test_the_doctor_looks_at_the_folder_if_the_volume_can_be_mounted_twice() -> None:
    for mode, without in (("ReadWriteMany", []), ("ReadWriteOnce", ["--without", "folder"])):
        chart = render("--set", f"inventories.accessModes={{{mode}}},writer.replicas=1")
        (container,) = chart.containers_of("doctor")
        assert container["args"] == ["doctor", "--repository", "main", *without]
        mounted = "inventories" in {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == (mode == "ReadWriteMany")
