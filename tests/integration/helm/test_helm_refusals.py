"""What the chart refuses before anything runs, and with which words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest
import yaml

from stocktake.setting_table import SETTINGS
from tests.integration.helm.rendered import CHART, render, template

SCHEMA: Final = jsonschema.Draft7Validator(
    yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8")),
)
VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SECRETS: Final = [setting.name for setting in SETTINGS if setting.secret]
SERVICE: Final = ("service.enabled=true", "service.tokensSecret.name=a", "service.tokensSecret.key=b")
ONE_NODE: Final = ("inventories.accessModes={ReadWriteOnce}", "writer.replicas=1")
POLICY: Final = ("networkPolicy.enabled=true",)
KEDA: Final = ("autoscaling.kind=keda", "settings.kafka.bootstrap_servers=kafka:9092")


def _complaints(given: str) -> Iterator[str]:
    """What the schema says of the chart's values with one of them, ``path=value``, given as to ``helm --set``."""
    path, _, text = given.partition("=")
    value: Any = int(text) if text.isdecimal() else {"true": True, "false": False}.get(text, text)
    for name in reversed(re.split(r"(?<!\\)\.|(?=\[0\])", path)):
        value = [value] if name == "[0]" else {name.replace("\\.", "."): value}
    for error in SCHEMA.iter_errors(_merged(VALUES, value)):
        for one in (error, *(error.context or ())):
            yield f"{'.'.join(map(str, one.absolute_path))}: {one.message}"


def _merged(values: Any, given: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(given, dict):
        return given
    return values | {name: _merged(values.get(name), one) for name, one in given.items()}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("replicaCount=3", "replicaCount"),
        ("consumer.replica=3", "replica"),
        ("consumer.workers=0", "workers"),
        ("consumer.probePeriodSeconds=1", "probePeriodSeconds"),
        ("consumer.maxSurge=some", "maxSurge"),
        ("settings.consumer.health_file=/tmp/health", "health_file"),
        ("settings.kafka.bootstrap_server=kafka:9092", "bootstrap_server"),
        ("settings.inventory.interval=often", "interval"),
        ("settings.inventory.dir=inventories", "dir"),
        ("settings.inventory.level=PATIENT", "level"),
        ("settings.kafka.max_poll_records=0", "max_poll_records"),
        ("settings.log.format=xml", "format"),
        ("settings.repositories.pacs.format=native", "topics"),
        ("settings.repositories.Pacs.topics=pacs.events", "Pacs"),
        ("settings.repositories.pacs.topic=pacs.events", "topic"),
        ("settings.repositories.pacs.format=hl7", "format"),
        ("settings.repositories.pacs.heartbeats=yes", "heartbeats"),
        ("settings.archives.main.timeout=5s", "url"),
        ("settings.archives.main.url=orthanc:8042", "url"),
        ("settings.archives.main.url=https://user:hunter2@pacs.example.org", "url"),
        ("settings.archives.main.kind=fhir", "kind"),
        ("settings.archives.main.password=hunter2", "password"),
        ("settings.archives.main.token=hunter2", "token"),
        ("settings.archives.main.requests_per_second=0", "requests_per_second"),
        ("settings.archives.Main.url=https://pacs.example.org", "Main"),
        ("secrets.archives.main.token=hunter2", "token"),
        ("secrets.archives.main.username.name=stocktake-archives", "username"),
        ("enricher.enabled=sometimes", "enabled"),
        ("enricher.replicas=2", "replicas"),
        ("bridges.a.kind=orthanc", "repository"),
        ("bridges.a.kind=dimse", "kind"),
        ("bridges.a.replicas=2", "replicas"),
        ("bridges.a.args=--older", "args"),
        ("bridges.A.kind=orthanc", "'A'"),
        ("settings.sinks.vna.timeout=5s", "url"),
        ("settings.sinks.vna.password=hunter2", "password"),
        ("secrets.sinks.vna.password=hunter2", "password"),
        ("secrets.redis.password.value=hunter2", "value"),
        ("secrets.redis.url.name=stocktake-redis", "key"),
        ("service.tokensSecret.name=stocktake-tokens", "key"),
        ("service.tokensSecret=hunter2", "tokensSecret"),
        ("service.type=LoadBalancer", "type"),
        ("service.port=0", "port"),
        ("service.ingress.host=https://stocktake.example.org", "host"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("podDisruptionBudget.minAvailable=1", "minAvailable"),
        ("networkPolicy.kafka.to[0].cidr=10.0.0.0/8", "cidr"),
        ("networkPolicy.redis.ports[0]=redis", "ports"),
        ("autoscaling.kind=vpa", "kind"),
        ("autoscaling.minReplicas=0", "minReplicas"),
        ("monitoring.prometheusRule.alerts.StocktakeStopped.after=5m", "after"),
        ("monitoring.serviceMonitor.tokenSecret.value=hunter2", "value"),
        ("baselineJob.timeout=long", "timeout"),
        ("verification.path=/data", "path"),
        ("podLabels.app\\.kubernetes\\.io/component=mine", "component"),
        ("podAnnotations.checksum/settings=mine", "checksum/settings"),
        ("topologySpreadConstraints[0].maxSkew=1", "topologyKey"),
        *((f"settings.{name}=hunter2", name.rpartition(".")[2]) for name in SECRETS),
        *((f"secrets.{name}=hunter2", name.rpartition(".")[2]) for name in SECRETS),
    ],
)
def test_the_schema_refuses_what_it_does_not_know_and_names_it(given: str, named: str) -> None:
    complaints = list(_complaints(given))
    assert complaints
    assert any(named in complaint for complaint in complaints)


@pytest.mark.parametrize(
    ("given", "named"), [("replicaCount=3", "replicaCount"), ("secrets.redis.url.name=stocktake-redis", "key")]
)
def test_helm_holds_values_to_the_schema(given: str, named: str) -> None:
    answer = template("--set", given)
    assert answer.returncode != 0
    assert named in answer.stderr
    assert "schema" in answer.stderr


def test_the_schema_has_no_complaint_about_the_values_that_the_chart_comes_with() -> None:
    assert list(_complaints("nameOverride=")) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["bridges.b.kind=orthanc", "bridges.b.repository=pacs"], "bridges.b needs settings.archives.pacs"),
        (
            ["settings.archives.main.url=http://a", "bridges.b.kind=orthanc", "bridges.b.repository=main"],
            "bridges.b is of kind orthanc, but settings.archives.main.kind is dicomweb",
        ),
        (
            [
                "settings.archives.main.url=http://a",
                *(f"bridges.{name}.{given}" for name in "bc" for given in ("kind=dicomweb", "repository=main")),
            ],
            "bridges.b and bridges.c are of the same repository main",
        ),
        (["settings.archives.pacs.url=http://a"], "settings.archives.pacs is of no use: there is no repository pacs"),
        (
            ["secrets.archives.main.token.name=a", "secrets.archives.main.token.key=b"],
            "secrets.archives.main is of no use: settings.archives.main is missing",
        ),
        (["enricher.enabled=true"], "enricher.enabled is true, but settings.archives names no archive"),
        (
            ["consumer.replicas=3", "consumer.workers=4", "consumer.partitions=8"],
            "consumer.replicas 3 times consumer.workers 4 are 12 readers, but consumer.partitions is 8, and a "
            "partition has one reader: 4 would be idle",
        ),
        (
            [*KEDA, "autoscaling.maxReplicas=9", "consumer.partitions=8"],
            "autoscaling.maxReplicas 9 times consumer.workers 1 are 9 readers, but consumer.partitions is 8",
        ),
        (["consumer.maxSurge=0"], "consumer.maxSurge and consumer.maxUnavailable are both 0"),
        (
            ["settings.kafka.instance_id=a", "consumer.replicas=2"],
            "settings.kafka.instance_id is one name for 2 pods",
        ),
        (
            ["settings.kafka.instance_id=a"],
            "settings.kafka.instance_id is one name, and consumer.maxSurge lets a new pod start beside the old one",
        ),
        (
            ["settings.kafka.instance_id=a", "consumer.staticMembership=true"],
            "settings.kafka.instance_id cannot be given with consumer.staticMembership",
        ),
        ([*KEDA, "autoscaling.minReplicas=5"], "autoscaling.minReplicas 5 is more than autoscaling.maxReplicas 4"),
        (["autoscaling.kind=keda"], "autoscaling.kind is keda, which asks Kafka for the lag"),
        (
            [*KEDA, "settings.kafka.security_protocol=SSL"],
            "settings.kafka.security_protocol is SSL, so KEDA too has to say who it is",
        ),
        (["autoscaling.kind=hpa"], "autoscaling.kind is hpa, which measures against consumer.resources.requests.cpu"),
        (
            ["inventories.accessModes={ReadWriteOnce}"],
            "writer.replicas is 2, but inventories.accessModes is [ReadWriteOnce]: pods on several nodes could not "
            "mount the volume. Give inventories.accessModes [ReadWriteMany]",
        ),
        (["inventories.accessModes={ReadWriteOncePod}"], "or set writer.replicas 1"),
        ([*ONE_NODE, *SERVICE], "service.mountInventories is true, but inventories.accessModes is [ReadWriteOnce]"),
        (
            [*ONE_NODE, "verification.enabled=true"],
            "verification.enabled is true, but inventories.accessModes is [ReadWriteOnce]",
        ),
        (
            ["inventories.existingClaim=archive", "inventories.accessModes={ReadWriteOnce}"],
            "inventories.accessModes is [ReadWriteOnce]: pods on several nodes could not mount the volume",
        ),
        (["service.enabled=true"], "service.enabled is true, but there are no tokens"),
        (
            [*SERVICE, "settings.http.tokens_file=/tls/tokens"],
            "service.tokensSecret and settings.http.tokens_file say two things",
        ),
        (
            [*SERVICE, "service.tlsSecret=a", "settings.http.tls_cert_file=/tls/tls.crt"],
            "service.tlsSecret and settings.http.tls_* say two things",
        ),
        (
            [*SERVICE, "settings.http.listen=127.0.0.1:8080"],
            "settings.http.listen is 127.0.0.1:8080, where nothing outside the pod would reach the service",
        ),
        ([*SERVICE, "settings.http.listen=localhost:8080"], "settings.http.listen is localhost:8080"),
        ([*SERVICE, "settings.http.listen=[::1]:8080"], "settings.http.listen is [::1]:8080"),
        (["service.ingress.enabled=true"], "service.ingress.enabled is true, but service.enabled is not"),
        ([*SERVICE, "service.ingress.enabled=true"], "service.ingress.host is missing"),
        (
            [*SERVICE, "service.ingress.enabled=true", "service.ingress.host=a.example.org"],
            "service.ingress.tlsSecret is missing: whoever sees the network could read tokens and patient data",
        ),
        (["monitoring.serviceMonitor.enabled=true"], "monitoring.serviceMonitor.enabled is true, but service.enabled"),
        (
            [*SERVICE, "monitoring.serviceMonitor.enabled=true"],
            "monitoring.serviceMonitor.tokenSecret is missing",
        ),
        (
            ["monitoring.prometheusRule.enabled=true", "monitoring.prometheusRule.alerts.Stopped.enabled=false"],
            "monitoring.prometheusRule.alerts.Stopped: there is no such alert, only Stocktake",
        ),
        (
            ["settings.consumer.shutdown_timeout=45s"],
            "terminationGracePeriodSeconds is 45, but settings.consumer.shutdown_timeout is 45s: pods would be killed "
            "before they have ended in order. Set terminationGracePeriodSeconds to 60 or more",
        ),
        (["terminationGracePeriodSeconds=20"], "terminationGracePeriodSeconds is 20, but settings.consumer.shutdown_"),
        (
            ["settings.archives.main.url=http://a", "settings.archives.main.timeout=1.5m"],
            "terminationGracePeriodSeconds is 45, but settings.archives.main.timeout is 1.5m",
        ),
        (
            ["settings.archives.main.url=http://a", "terminationGracePeriodSeconds=30"],
            "terminationGracePeriodSeconds is 30, but settings.archives.main.timeout is 30s",
        ),
        (
            [*SERVICE, "settings.consumer.shutdown_timeout=5s", "terminationGracePeriodSeconds=10"],
            "terminationGracePeriodSeconds is 10, but what a pod of the service takes to end is 10s",
        ),
        (
            [*POLICY, "settings.archives.main.url=http://orthanc:8042/a:1"],
            "settings.archives.main.url is at port 8042, but networkPolicy.archives.ports is [443]: it could not be "
            "reached. Add 8042",
        ),
        (
            [*POLICY, "settings.archives.main.url=http://pacs/dicom-web"],
            "settings.archives.main.url is at port 80, but networkPolicy.archives.ports is [443]",
        ),
        (
            [*POLICY, "settings.sinks.vna.url=dicom://ARCHIVE@vna.example.org:11112"],
            "settings.sinks.vna.url is at port 11112, but networkPolicy.sinks.ports is [443]",
        ),
        (
            [*POLICY, "settings.sinks.vna.url=DICOMS://A@[fd00::7]", "networkPolicy.sinks.ports={443,11112}"],
            "settings.sinks.vna.url is at port 104, but networkPolicy.sinks.ports is [443, 11112]",
        ),
    ],
)
def test_what_could_not_run_is_refused_with_the_reason(given: list[str], told: str) -> None:
    answer = template(*(argument for one in given for argument in ("--set", one)))
    assert answer.returncode != 0
    assert told in answer.stderr


@pytest.mark.parametrize("time", ["44s", "44999ms", "44", "0.7m", "500ms"])
def test_a_time_below_the_grace_period_is_taken_in_whatever_unit(time: str) -> None:
    chart = render("--set-string", f"settings.consumer.shutdown_timeout={time}")
    settings = chart.settings(chart.containers_of("consumer")[0])
    assert 0 < settings.consumer.shutdown_timeout < 45


def test_as_many_readers_as_partitions_are_taken() -> None:
    render("--set", "consumer.replicas=2,consumer.workers=4,consumer.partitions=8")


def test_network_policies_with_the_ports_of_the_urls_are_taken() -> None:
    urls = {
        "archives.main.url": "http://orthanc:8042",
        "sinks.a.url": "dicom://ARCHIVE@vna.example.org",
        "sinks.b.url": "https://user@[fd00::7]/dicom-web:80?a=b:1",
        "sinks.c.url": "s3://bucket/inventories",
        "sinks.d.url": "kafka:inventories",
    }
    given = [f"settings.{name}={url}" for name, url in urls.items()]
    ports = ["networkPolicy.archives.ports={8042}", "networkPolicy.sinks.ports={104,443}"]
    render(*(argument for one in (*POLICY, *given, *ports) for argument in ("--set", one)))


def test_a_claim_that_exists_is_held_to_be_one_for_several_nodes_unless_the_values_say_otherwise() -> None:
    existing = "inventories.existingClaim=archive"
    assert render("--set", existing).workload("writer").item["spec"]["replicas"] == 2
    one = render(*(argument for given in (existing, *ONE_NODE) for argument in ("--set", given)))
    assert one.containers_of("doctor")[0]["args"][-2:] == ["--without", "folder"]


def test_the_schema_allows_nothing_unknown_in_any_group() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    kubernetes_own = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity"}

    def open_groups(node: dict[str, Any], name: str) -> Iterator[str]:
        if node.get("type") == "object" and "additionalProperties" not in node and name not in kubernetes_own:
            yield name
        for child_name, child in [*node.get("properties", {}).items(), *node.get("definitions", {}).items()]:
            yield from open_groups(child, child_name)
        for keyword in ("items", "additionalProperties"):
            if isinstance(node.get(keyword), dict):
                yield from open_groups(node[keyword], f"{name}.{keyword}")

    assert list(open_groups(schema, "values")) == []


def test_values_yaml_has_every_value_that_the_schema_knows_and_a_comment_for_it() -> None:
    """But the settings, whose table is in the README, and what members with names hold."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)

    def missing(node: dict[str, Any], given: Any, name: str) -> Iterator[str]:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        for key, child in node.get("properties", {}).items():
            if not isinstance(given, dict) or (key not in given and given):
                yield f"{name}.{key}"
            elif key in given and key != "settings":
                yield from missing(child, given[key], f"{name}.{key}")

    optional = {"values.global", "values.affinity.nodeAffinity"}
    assert [name for name in missing(schema, values, "values") if name not in optional] == []

    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#") and not line.endswith(":"):
            assert lines[number - 1].strip(), f"line {number + 1} of values.yaml, {line!r}, has no comment"
