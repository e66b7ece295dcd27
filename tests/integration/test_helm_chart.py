"""The chart as helm renders it: what the program accepts, what a cluster would run, what is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import stocktake
from consumers.policy import ARCHIVE_KINDS, FORMATS
from stocktake.cli import parser
from stocktake.setting_table import (
    ARCHIVE_SETTINGS,
    NAMED,
    PREFIX,
    REPOSITORY_SETTINGS,
    SETTINGS,
    SINK_SETTINGS,
    Setting,
)
from stocktake.settings import Settings, load
from tests.servers.helm_tool import helm_binary

CHART: Final = Path(__file__).resolve().parents[2] / "helm"
KUBE_VERSION: Final = "1.33.0"
CI_FILES: Final = (
    "all-settings-values.yaml",
    "bridge-values.yaml",
    "claim-values.yaml",
    "default-values.yaml",
    "enricher-values.yaml",
    "existing-claim-values.yaml",
    "names-values.yaml",
    "no-enricher-values.yaml",
    "resources-values.yaml",
    "scheduling-values.yaml",
    "secrets-values.yaml",
    "service-account-values.yaml",
    "several-bridges-values.yaml",
    "several-repositories-values.yaml",
    "workers-values.yaml",
)
SECRETS: Final = {setting.variable: setting.name for setting in SETTINGS if setting.secret}
STAND_IN: Final = "rediss://kept-in-the-cluster"  # whatever the secret is, it must be a URL where one is wanted


@dataclass(frozen=True)
class Rendered:
    """The objects that one values file renders to."""

    objects: tuple[dict[str, Any], ...]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.objects if item["kind"] == kind]

    def deployment(self, component: str) -> dict[str, Any]:
        (found,) = (d for d in self.of_kind("Deployment") if d["metadata"]["name"].endswith(f"-{component}"))
        return found

    def components(self) -> set[str]:
        return {item["metadata"]["labels"]["app.kubernetes.io/component"] for item in self.of_kind("Deployment")}

    def containers_of(self, component: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.deployment(component)["spec"]["template"]["spec"]["containers"]
        return found

    def pods(self) -> list[dict[str, Any]]:
        return [deployment["spec"]["template"]["spec"] for deployment in self.of_kind("Deployment")]

    def containers(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each container with the pod it is in."""
        for pod in self.pods():
            for container in pod.get("initContainers", []) + pod["containers"]:
                yield pod, container

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """What the container's process would see, with a dummy for each secret."""
        config_maps = {item["metadata"]["name"]: item["data"] for item in self.of_kind("ConfigMap")}
        environment: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environment |= config_maps[source["configMapRef"]["name"]]
        for entry in container["env"]:
            stand_in = "{}" if entry["name"].endswith("STORAGE_OPTIONS") else STAND_IN
            environment[entry["name"]] = entry.get("value", stand_in)
        return environment

    def settings(self, container: dict[str, Any]) -> Settings:
        return load(None, self.environment(container))


def _helm(binary: Path, verb: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, verb, *arguments], capture_output=True, text=True, timeout=60, check=False)


def _template(binary: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return _helm(binary, "template", "archive", CHART, "--kube-version", KUBE_VERSION, *arguments)


@pytest.fixture(scope="module")
def helm() -> Path:
    return helm_binary()


@pytest.fixture(scope="module")
def rendered(helm: Path) -> dict[str, Rendered]:
    """Every ci file, rendered once."""
    results = {}
    for name in CI_FILES:
        answer = _template(helm, "--values", CHART / "ci" / name)
        assert answer.returncode == 0, f"{name}: {answer.stderr}"
        results[name] = Rendered(tuple(item for item in yaml.safe_load_all(answer.stdout) if item))
    return results


@pytest.fixture(params=CI_FILES)
def chart(request: pytest.FixtureRequest, rendered: dict[str, Rendered]) -> Rendered:
    """One ci file's objects; a test that takes it runs once for each file."""
    return rendered[request.param]


def test_every_ci_file_is_among_those_tested() -> None:
    assert tuple(sorted(path.name for path in (CHART / "ci").iterdir())) == CI_FILES


def test_the_chart_names_the_version_of_the_program() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == stocktake.__version__


@pytest.mark.parametrize("name", CI_FILES)
def test_lint_has_no_complaint(helm: Path, name: str) -> None:
    answer = _helm(helm, "lint", CHART, "--strict", "--kube-version", KUBE_VERSION, "--values", CHART / "ci" / name)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_cluster_that_is_too_old_is_refused(helm: Path) -> None:
    answer = _helm(helm, "template", "archive", CHART, "--kube-version", "1.24.9")
    assert "incompatible with Kubernetes" in answer.stderr


def test_one_file_renders_one_object_and_carries_its_kind_in_the_name(helm: Path) -> None:
    kinds = {"deployment": "Deployment", "configmap": "ConfigMap", "pvc": "PersistentVolumeClaim"}
    kinds["serviceaccount"] = "ServiceAccount"
    files = sorted((CHART / "templates").glob("*.yaml"))
    assert files
    for file in files:
        values = CHART / "ci" / "bridge-values.yaml"  # with everything that there can be
        answer = _template(helm, "--show-only", f"templates/{file.name}", "--values", values)
        (item,) = yaml.safe_load_all(answer.stdout)
        assert item["kind"] == kinds[file.stem.rpartition("-")[2]]


def test_the_program_accepts_every_variable_of_every_container(chart: Rendered) -> None:
    for _, container in chart.containers():
        settings = chart.settings(container)
        assert container["command"] == ["stocktake"]
        args = parser().parse_args(container["args"])
        assert args.command in {"consume", "write", "enrich", "bridge"}
        assert settings.repository(args.repository).name == args.repository == container["name"]
        if args.command in {"enrich", "bridge"}:
            assert settings.archive(args.repository) is not None


def test_every_setting_of_the_program_can_be_given(rendered: dict[str, Rendered]) -> None:
    chart = rendered["all-settings-values.yaml"]
    expected = {setting.variable for setting in SETTINGS}
    expected |= {
        setting.variable.replace("<NAME>", name) for setting in REPOSITORY_SETTINGS for name in ("PACS", "VNA")
    }

    def keys(settings: Sequence[Setting], *, with_secrets: bool) -> set[str]:
        found = [setting for setting in settings if with_secrets or not setting.secret]
        return {setting.variable.rpartition("__")[2] for setting in found}

    assert chart.components() == {"consumer", "writer", "enricher"}
    for component in chart.components():
        containers = chart.containers_of(component)
        assert len(containers) == 2
        given = [{name for name in chart.environment(one) if name.startswith(PREFIX)} for one in containers]
        of_sinks, of_archives = (
            {name for names in given for name in names if name.startswith(PREFIX + group)}
            for group in ("SINKS__", "ARCHIVES__")
        )
        assert all(names - of_sinks - of_archives == expected for names in given)
        assert {name.rpartition("__")[2] for name in of_sinks} == keys(
            SINK_SETTINGS, with_secrets=component == "writer"
        )
        assert {name.rpartition("__")[2] for name in of_archives} == keys(
            ARCHIVE_SETTINGS, with_secrets=component == "enricher"
        )


def test_the_schema_knows_what_the_program_can_choose_from() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    given = schema["properties"]["settings"]["properties"]
    repository, archive = (given[group]["additionalProperties"]["properties"] for group in ("repositories", "archives"))
    assert repository["format"]["enum"] == list(FORMATS)
    assert archive["kind"]["enum"] == list(ARCHIVE_KINDS)


def test_values_reach_the_program_unchanged(rendered: dict[str, Rendered]) -> None:
    chart = rendered["all-settings-values.yaml"]
    _, container = next(chart.containers())
    settings = chart.settings(container)
    assert settings.kafka.bootstrap_servers == ("kafka-0.kafka:9092", "kafka-1.kafka:9092")
    assert settings.kafka.max_poll_records == 1_000_000
    assert settings.consumer.dlq_limit == 0.00005
    assert settings.inventory.max_records_per_instance == 1_000_000
    assert settings.access.study_ae_titles == ("PACS1", "PACS 2")
    assert settings.inventory.write_empty is False
    assert settings.inventory.write_timezone is True
    assert settings.inventory.purpose == "Migration: phase 2"
    assert settings.inventory.institution_name == 'Universitätsklinikum "Nord"'
    assert [(one.format, one.heartbeats) for one in settings.repositories] == [("native", False), ("cloudevents", True)]
    pacs, vna = settings.archives
    assert (pacs.kind, pacs.url) == ("dicomweb", "https://pacs.example.org/dicom-web")
    assert (pacs.requests_per_second, pacs.connections, pacs.quiet, pacs.tries) == (0.5, 8, 0.0, 1000)
    assert (vna.kind, vna.absent) == ("orthanc", "keep")


def test_each_repository_has_a_consumer_and_a_writer(rendered: dict[str, Rendered]) -> None:
    chart = rendered["several-repositories-values.yaml"]
    for component, command in (("consumer", "consume"), ("writer", "write")):
        containers = chart.containers_of(component)
        assert [container["args"][:3] for container in containers] == [
            [command, "--repository", "new-target"],
            [command, "--repository", "source"],
        ]
    assert chart.deployment("consumer")["spec"]["replicas"] == 3


def test_each_archive_has_an_enricher(rendered: dict[str, Rendered]) -> None:
    containers = rendered["enricher-values.yaml"].containers_of("enricher")
    assert [container["args"] for container in containers] == [
        ["enrich", "--repository", "pacs"],
        ["enrich", "--repository", "vna"],
    ]


def test_an_enricher_runs_only_where_there_is_an_archive_and_it_is_not_turned_off(
    helm: Path, rendered: dict[str, Rendered]
) -> None:
    for name in ("default-values.yaml", "several-repositories-values.yaml", "no-enricher-values.yaml"):
        assert rendered[name].components() == {"consumer", "writer"}
    answer = _template(helm, "--values", CHART / "ci" / "no-enricher-values.yaml", "--set", "enricher.enabled=true")
    assert "component: enricher" in answer.stdout


def test_each_bridge_is_a_deployment_of_its_own(rendered: dict[str, Rendered]) -> None:
    chart = rendered["several-bridges-values.yaml"]
    assert chart.components() == {"consumer", "writer", "enricher", "bridge-old-pacs", "bridge-orthanc"}
    (polling,) = chart.containers_of("bridge-old-pacs")
    args = parser().parse_args(polling["args"])
    assert (args.command, args.kind, args.repository) == ("bridge", "dicomweb", "pacs")
    assert (args.poll, args.window) == (300.0, 30)
    (following,) = chart.containers_of("bridge-orthanc")
    args = parser().parse_args(following["args"])
    assert (args.command, args.kind, args.repository) == ("bridge", "orthanc", "teaching")
    assert args.without_deletions
    (plain,) = rendered["bridge-values.yaml"].containers_of("bridge-orthanc")
    assert plain["args"] == ["bridge", "orthanc", "--repository", "main"]


def test_a_consumer_container_runs_as_many_workers_as_asked_for(rendered: dict[str, Rendered]) -> None:
    for name, workers in (("default-values.yaml", 1), ("workers-values.yaml", 4)):
        for container in rendered[name].containers_of("consumer"):
            assert parser().parse_args(container["args"]).workers == workers


def test_probes_ask_the_program_for_the_health_of_their_own_repository(rendered: dict[str, Rendered]) -> None:
    chart = rendered["several-repositories-values.yaml"]
    for container in chart.containers_of("consumer"):
        assert str(chart.settings(container).consumer.health_file).startswith("/tmp/")  # noqa: S108 -- the emptyDir
        for kind, ready in (("startupProbe", False), ("livenessProbe", False), ("readinessProbe", True)):
            probe = container[kind]
            program, *arguments = probe["exec"]["command"]
            assert [program] == container["command"]
            args = parser().parse_args(arguments)
            assert (args.command, args.repository, args.ready) == ("health", container["name"], ready)
            assert probe["periodSeconds"] == (5 if kind == "startupProbe" else 30)
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 30


def test_without_a_health_file_there_are_no_probes(rendered: dict[str, Rendered]) -> None:
    for container in rendered["workers-values.yaml"].containers_of("consumer"):
        assert not {"startupProbe", "livenessProbe", "readinessProbe"} & container.keys()


def test_one_of_each_runs_at_a_time_but_of_consumers(chart: Rendered) -> None:
    for component in chart.components() - {"consumer"}:
        specification = chart.deployment(component)["spec"]
        assert specification["replicas"] == 1
        assert specification["strategy"] == {"type": "Recreate"}


def test_the_volume_is_mounted_where_the_writer_writes(chart: Rendered) -> None:
    pod = chart.deployment("writer")["spec"]["template"]["spec"]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    created = {claim["metadata"]["name"] for claim in chart.of_kind("PersistentVolumeClaim")}
    for container in pod["containers"]:
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        claim = claims[mounts[str(chart.settings(container).inventory.dir)]]["claimName"]
        assert claim in (created or {"archive-inventories"})


def test_files_that_settings_name_are_mounted_from_secrets_and_read_only(rendered: dict[str, Rendered]) -> None:
    chart = rendered["all-settings-values.yaml"]
    for pod, container in chart.containers():
        secrets = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
        folders = {
            Path(mount["mountPath"])
            for mount in container["volumeMounts"]
            if mount["name"] in secrets and mount["readOnly"] is True
        }
        settings = chart.settings(container)
        kafka, redis = settings.kafka, settings.redis
        for file in (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file, redis.tls_ca_file, redis.tls_key_file):
            assert file is not None
            assert file.parent in folders
        pacs = settings.archive("pacs")
        assert pacs is not None
        for file in (pacs.tls_ca_file, pacs.tls_cert_file, pacs.tls_key_file):
            assert file is not None
            assert file.parent in folders


def test_an_existing_claim_is_used_and_none_created(rendered: dict[str, Rendered]) -> None:
    assert rendered["existing-claim-values.yaml"].of_kind("PersistentVolumeClaim") == []


def test_uninstalling_keeps_the_claim(rendered: dict[str, Rendered]) -> None:
    (claim,) = rendered["default-values.yaml"].of_kind("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_no_container_has_more_rights_than_it_needs(chart: Rendered) -> None:
    for pod, container in chart.containers():
        effective = pod["securityContext"] | container["securityContext"]
        assert effective["runAsNonRoot"] is True
        assert effective["runAsUser"] == 10001
        assert effective["readOnlyRootFilesystem"] is True
        assert effective["allowPrivilegeEscalation"] is False
        assert effective["capabilities"] == {"drop": ["ALL"]}
        assert effective["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108
        assert {"name": "PYTHONSAFEPATH", "value": "1"} in container["env"]


def test_no_pod_can_reach_the_kubernetes_api(chart: Rendered) -> None:
    accounts = chart.of_kind("ServiceAccount")
    assert all(holder["automountServiceAccountToken"] is False for holder in [*accounts, *chart.pods()])
    names = {account["metadata"]["name"] for account in accounts} or {"imaging"}
    assert {pod["serviceAccountName"] for pod in chart.pods()} == names


def test_no_service_puts_its_variables_among_the_settings(chart: Rendered) -> None:
    assert {pod["enableServiceLinks"] for pod in chart.pods()} == {False}


def test_a_pod_has_longer_to_end_than_the_program_takes(chart: Rendered) -> None:
    for pod, container in chart.containers():
        settings = chart.settings(container)
        longest = max([settings.consumer.shutdown_timeout, *(archive.timeout for archive in settings.archives)])
        assert pod["terminationGracePeriodSeconds"] > longest


def _is_secret(variable: str) -> bool:
    group, _, rest = variable.removeprefix(PREFIX).lower().partition("__")
    key = rest.rpartition("__")[2]
    members = [setting for setting in NAMED.get(group, ()) if setting.secret]
    return variable in SECRETS or key in {setting.name.rpartition(".")[2] for setting in members}


def test_secrets_are_references_and_nothing_else(chart: Rendered) -> None:
    assert chart.of_kind("Secret") == []
    for config_map in chart.of_kind("ConfigMap"):
        assert not [name for name in config_map["data"] if _is_secret(name)]
    for _, container in chart.containers():
        for entry in container["env"]:
            if _is_secret(entry["name"]):
                assert entry.keys() == {"name", "valueFrom"}
                assert entry["valueFrom"].keys() == {"secretKeyRef"}


def test_a_named_secret_becomes_its_variable(rendered: dict[str, Rendered]) -> None:
    for _, container in rendered["secrets-values.yaml"].containers():
        references = {entry["name"]: entry["valueFrom"] for entry in container["env"] if "valueFrom" in entry}
        assert references == {
            "STOCKTAKE_REDIS__URL": {"secretKeyRef": {"name": "stocktake-redis", "key": "url"}},
            "STOCKTAKE_REDIS__PASSWORD": {"secretKeyRef": {"name": "stocktake-redis", "key": "password"}},
        }


def test_only_who_asks_an_archive_or_sends_to_a_sink_has_its_secrets(chart: Rendered) -> None:
    for _, container in chart.containers():
        command, repository = container["args"][0], container["name"].upper()
        for entry in container["env"]:
            if entry["name"].startswith(f"{PREFIX}ARCHIVES__"):
                assert command in {"enrich", "bridge"}
                assert entry["name"].startswith(f"{PREFIX}ARCHIVES__{repository}__")
            elif entry["name"].startswith(f"{PREFIX}SINKS__"):
                assert command == "write"


def test_an_archives_secrets_reach_its_enricher_and_its_bridge(rendered: dict[str, Rendered]) -> None:
    chart = rendered["several-bridges-values.yaml"]
    pacs, teaching = chart.containers_of("enricher")
    for container in (pacs, *chart.containers_of("bridge-old-pacs")):
        assert [entry for entry in container["env"] if "valueFrom" in entry] == [
            {
                "name": "STOCKTAKE_ARCHIVES__PACS__TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "stocktake-archives", "key": "pacs"}},
            }
        ]
    for container in (teaching, *chart.containers_of("bridge-orthanc")):
        policy = chart.settings(container).archive("teaching")
        assert policy is not None
        assert (policy.username, policy.password, policy.token) == ("stocktake", STAND_IN, "")


def test_selectors_match_their_pods_alone_and_survive_an_upgrade(chart: Rendered) -> None:
    components = []
    for deployment in chart.of_kind("Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.keys() == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        components.append(selector["app.kubernetes.io/component"])
    assert len(set(components)) == len(components)
    assert {"consumer", "writer"} <= set(components)


def test_resources_are_unset_unless_given(rendered: dict[str, Rendered]) -> None:
    assert all("resources" not in container for _, container in rendered["default-values.yaml"].containers())
    given = [container["resources"] for _, container in rendered["resources-values.yaml"].containers()]
    assert given == [
        {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        {"requests": {"cpu": 1, "memory": "256Mi"}},
    ]
    for container in rendered["enricher-values.yaml"].containers_of("enricher"):
        assert container["resources"] == {"limits": {"memory": "512Mi"}}
    chart = rendered["several-bridges-values.yaml"]
    assert [container["resources"] for _, container in chart.containers() if "resources" in container] == [
        {"limits": {"memory": "256Mi"}}
    ]


def test_changed_settings_replace_the_pods(rendered: dict[str, Rendered]) -> None:
    checksums = {
        name: rendered[name].deployment("writer")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for name in ("default-values.yaml", "all-settings-values.yaml", "claim-values.yaml")
    }
    assert checksums["default-values.yaml"] != checksums["all-settings-values.yaml"]
    assert checksums["default-values.yaml"] == checksums["claim-values.yaml"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("replicaCount=3", "replicaCount"),
        ("consumer.replica=3", "replica"),
        ("consumer.workers=0", "workers"),
        ("consumer.probePeriodSeconds=1", "probePeriodSeconds"),
        ("settings.kafka.bootstrap_server=kafka:9092", "bootstrap_server"),
        ("settings.inventory.interval=often", "interval"),
        ("settings.inventory.dir=inventories", "dir"),
        ("settings.inventory.level=PATIENT", "level"),
        ("settings.kafka.max_poll_records=0", "max_poll_records"),
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
        *((f"settings.{name}=hunter2", name.rpartition(".")[2]) for name in SECRETS.values()),
        *((f"secrets.{name}=hunter2", name.rpartition(".")[2]) for name in SECRETS.values()),
    ],
)
def test_the_schema_refuses_what_it_does_not_know_and_names_it(helm: Path, given: str, named: str) -> None:
    answer = _template(helm, "--set", given)
    assert answer.returncode != 0
    assert named in answer.stderr
    assert "schema" in answer.stderr


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
    ],
)
def test_what_could_not_run_is_refused_with_the_reason(helm: Path, given: list[str], told: str) -> None:
    answer = _template(helm, *(argument for one in given for argument in ("--set", one)))
    assert answer.returncode != 0
    assert told in answer.stderr


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


def test_the_notes_warn_of_servers_and_heartbeats_that_are_not_given(helm: Path, tmp_path: Path) -> None:
    """Only an installation prints the notes, so a copy of the chart renders them as an object."""
    copy = shutil.copytree(CHART, tmp_path / "chart")
    shown = copy / "templates" / "shown.yaml"
    shown.write_text('notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}', encoding="utf-8")

    def notes(values: str) -> str:
        arguments = ("--kube-version", KUBE_VERSION, "--show-only", "templates/shown.yaml")
        answer = _helm(helm, "template", "archive", copy, *arguments, "--values", CHART / "ci" / values)
        assert answer.returncode == 0, answer.stderr
        return str(yaml.safe_load(answer.stdout)["notes"])

    defaults = notes("default-values.yaml")
    assert "WARNING: settings.kafka.bootstrap_servers" in defaults
    assert "WARNING: secrets.redis.url" in defaults
    assert "bridge" not in defaults
    assert "WARNING" not in notes("all-settings-values.yaml")
    bridges = notes("several-bridges-values.yaml")
    assert "deployment/archive-stocktake-bridge-old-pacs" in bridges
    assert "WARNING: settings.repositories.teaching.heartbeats is not true" in bridges
    assert "settings.repositories.pacs.heartbeats" not in bridges
