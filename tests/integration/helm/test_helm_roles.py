"""The roles that run for ever: their containers, how many of each, how they are replaced, and their probes."""

from __future__ import annotations

from collections.abc import Callable

from stocktake.cli import parser
from tests.integration.helm.rendered import Object, Rendered, render

PROBES = {"startupProbe", "livenessProbe", "readinessProbe"}


def test_each_repository_has_a_consumer_and_a_writer(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("several-repositories-values.yaml")
    for component, command in (("consumer", "consume"), ("writer", "write")):
        containers = chart.containers_of(component)
        assert [container["args"][:3] for container in containers] == [
            [command, "--repository", "new-target"],
            [command, "--repository", "source"],
        ]
    assert chart.workload("consumer").item["spec"]["replicas"] == 3


def test_each_archive_has_an_enricher(rendered: Callable[[str], Rendered]) -> None:
    containers = rendered("enricher-values.yaml").containers_of("enricher")
    assert [container["args"] for container in containers] == [
        ["enrich", "--repository", "pacs"],
        ["enrich", "--repository", "vna"],
    ]


def test_an_enricher_runs_only_where_there_is_an_archive_and_it_is_not_turned_off(
    rendered: Callable[[str], Rendered],
) -> None:
    for name in ("default-values.yaml", "several-repositories-values.yaml", "no-enricher-values.yaml"):
        assert rendered(name).components() == {"consumer", "writer"}
    turned_on = render("--set", "settings.archives.main.url=http://pacs", "--set", "enricher.enabled=true")
    assert "enricher" in turned_on.components()


def test_each_bridge_is_a_deployment_of_its_own(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("several-bridges-values.yaml")
    assert chart.components() == {"consumer", "writer", "enricher", "bridge-old-pacs", "bridge-orthanc"}
    (polling,) = chart.containers_of("bridge-old-pacs")
    args = parser().parse_args(polling["args"])
    assert (args.command, args.kind, args.repository) == ("bridge", "dicomweb", "pacs")
    assert (args.poll, args.window) == (300.0, 30)
    (following,) = chart.containers_of("bridge-orthanc")
    args = parser().parse_args(following["args"])
    assert (args.command, args.kind, args.repository) == ("bridge", "orthanc", "teaching")
    assert args.without_deletions
    (plain,) = rendered("bridge-values.yaml").containers_of("bridge-orthanc")
    assert plain["args"] == ["bridge", "orthanc", "--repository", "main"]


def test_a_consumer_container_runs_as_many_workers_as_asked_for(rendered: Callable[[str], Rendered]) -> None:
    for name, workers in (("default-values.yaml", 1), ("workers-values.yaml", 4)):
        for container in rendered(name).containers_of("consumer"):
            assert parser().parse_args(container["args"]).workers == workers


def _probes(container: Object) -> dict[str, Object]:
    return {kind: container[kind] for kind in PROBES & container.keys()}


def test_probes_ask_the_program_for_the_health_of_their_own_role_and_repository(chart: Rendered) -> None:
    roles = {"consume": "consumer", "write": "writer", "enrich": "enricher", "bridge": "bridge", "serve": "service"}
    for workload, container in chart.containers():
        role = roles.get(container["args"][0])
        file = chart.settings(container).health.file
        if role is None or file is None:
            assert not _probes(container)
            continue
        assert str(file).startswith("/tmp/")  # noqa: S108 -- the emptyDir
        assert _probes(container).keys() == PROBES
        for kind, probe in _probes(container).items():
            program, *arguments = probe["exec"]["command"]
            assert [program] == container["command"]
            args = parser().parse_args(arguments)
            assert (args.command, args.role, args.ready) == ("health", role, kind == "readinessProbe")
            assert args.repository == (None if role == "service" else container["name"])
            assert probe["periodSeconds"] == (5 if kind == "startupProbe" else 30)
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 30
            assert probe["periodSeconds"] * probe["failureThreshold"] > probe["timeoutSeconds"]
            assert probe["timeoutSeconds"] == (10 if kind == "readinessProbe" else 30)
        assert workload.item["kind"] in ("Deployment", "StatefulSet")


def test_how_often_probes_ask_can_be_said_for_each_role() -> None:
    chart = render(
        *("--values", "helm/ci/bridge-values.yaml", "--values", "helm/ci/service-values.yaml"),
        *("--set", "consumer.probePeriodSeconds=11,writer.probePeriodSeconds=12,service.probePeriodSeconds=13"),
        *("--set", "enricher.probePeriodSeconds=14,bridges.orthanc.probePeriodSeconds=15"),
    )
    periods = {one.component: one.containers[0]["livenessProbe"]["periodSeconds"] for one in chart.workloads[:5]}
    assert periods == {"consumer": 11, "writer": 12, "service": 13, "enricher": 14, "bridge-orthanc": 15}


def test_the_service_alone_answers_on_after_its_pod_was_told_to_end(chart: Rendered) -> None:
    for workload, container in chart.containers():
        if workload.component == "service":
            program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
            assert (program, container["lifecycle"].keys()) == ("sleep", {"preStop"})
            assert int(seconds) + 5 < workload.pod["terminationGracePeriodSeconds"]  # 5 for what is on its way
        else:
            assert "lifecycle" not in container


def test_without_a_health_file_there_are_no_probes(rendered: Callable[[str], Rendered]) -> None:
    for _, container in rendered("workers-values.yaml").containers():
        assert not _probes(container)


def test_of_enrichers_and_bridges_one_of_each_runs_at_a_time(chart: Rendered) -> None:
    for component in chart.components() - {"consumer", "writer", "service"}:
        specification = chart.workload(component).item["spec"]
        assert specification["replicas"] == 1
        assert specification["strategy"] == {"type": "Recreate"}


def test_writers_are_replaced_one_by_one_and_none_is_started_beside_them(chart: Rendered) -> None:
    specification = chart.workload("writer").item["spec"]
    assert specification["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_a_second_writer_stands_by_where_the_volume_allows_it(rendered: Callable[[str], Rendered]) -> None:
    for name, replicas, modes in (
        ("default-values.yaml", 2, ["ReadWriteMany"]),
        ("one-writer-values.yaml", 1, ["ReadWriteOnce"]),
    ):
        assert rendered(name).workload("writer").item["spec"]["replicas"] == replicas
        (claim,) = rendered(name).of_kind("PersistentVolumeClaim")
        assert claim["spec"]["accessModes"] == modes


def test_consumers_are_replaced_as_few_at_a_time_as_asked_for(rendered: Callable[[str], Rendered]) -> None:
    def rolling(chart: Rendered) -> Object:
        found: Object = chart.workload("consumer").item["spec"]["strategy"]["rollingUpdate"]
        return found

    assert rolling(rendered("default-values.yaml")) == {"maxSurge": 1, "maxUnavailable": 0}
    assert rolling(render("--set", "consumer.maxSurge=25%,consumer.maxUnavailable=2")) == {
        "maxSurge": "25%",
        "maxUnavailable": 2,
    }


def test_static_members_come_back_under_the_names_of_their_pods(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("static-membership-values.yaml")
    consumer = chart.workload("consumer")
    assert consumer.item["kind"] == "StatefulSet"
    specification = consumer.item["spec"]
    assert (specification["replicas"], specification["podManagementPolicy"]) == (3, "Parallel")
    assert specification["updateStrategy"] == {"type": "RollingUpdate"}
    service = chart.one("Service", "consumer")
    assert specification["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == specification["selector"]["matchLabels"]
    for container in consumer.containers:
        assert chart.settings(container).kafka.instance_id == "archive-stocktake-consumer-0"
    for other in chart.workloads:
        if other is not consumer:
            assert all(chart.settings(container).kafka.instance_id == "" for container in other.containers)


def test_the_service_serves_all_repositories_behind_tokens(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("service-values.yaml")
    (container,) = chart.containers_of("service")
    http = chart.settings(container).http
    assert http.listen == ("0.0.0.0", 8080)  # noqa: S104 -- behind tokens
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert http.tokens_file is not None
    volumes = {volume["name"]: volume for volume in chart.workload("service").pod["volumes"]}
    secret = volumes[mounts[str(http.tokens_file.parent)]]["secret"]
    assert secret["secretName"] == "stocktake-tokens"
    assert secret["items"] == [{"key": "tokens", "path": http.tokens_file.name}]
    service = chart.one("Service", "service")
    assert service["spec"]["ports"] == [
        {"name": "http", "port": 8080, "targetPort": "http", "appProtocol": "http"},
    ]
    assert service["spec"]["selector"].items() <= chart.workload("service").metadata["labels"].items()
    assert chart.of_kind("Ingress") == []


def test_only_the_service_is_told_where_it_listens(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("service-values.yaml")
    for workload, container in chart.containers():
        names = {name for name in chart.environment(container) if name.startswith("STOCKTAKE_HTTP__")}
        assert bool(names) == (workload.component == "service")


def test_the_service_speaks_tls_with_a_secret_of_certificates(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("service-tls-values.yaml")
    workload = chart.workload("service")
    (container,) = workload.containers
    http = chart.settings(container).http
    assert (workload.item["spec"]["replicas"], http.listen) == (2, ("::", 8443))
    assert container["ports"] == [{"name": "http", "containerPort": 8443}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in workload.pod["volumes"]}
    for file, key in ((http.tls_cert_file, "tls.crt"), (http.tls_key_file, "tls.key")):
        assert file is not None
        assert file.name == key
        assert volumes[mounts[str(file.parent)]]["secret"]["secretName"] == "stocktake-tls"
    service = chart.one("Service", "service")
    assert service["spec"]["ports"] == [
        {"name": "http", "port": 443, "targetPort": "http", "appProtocol": "https"},
    ]
    assert service["metadata"]["annotations"] == {"example.org/owner": "imaging"}


def test_the_service_does_without_the_volume_if_asked_to(rendered: Callable[[str], Rendered]) -> None:
    for name, mounted in (("service-values.yaml", True), ("service-tls-values.yaml", False)):
        volumes = {volume["name"] for volume in rendered(name).workload("service").pod["volumes"]}
        assert ("inventories" in volumes) == mounted


def test_an_ingress_leads_to_the_service_and_has_a_certificate_unless_it_may_not(
    rendered: Callable[[str], Rendered],
) -> None:
    for name, tls in (("service-tls-values.yaml", "stocktake-ingress"), ("ingress-without-tls-values.yaml", None)):
        chart = rendered(name)
        ingress = chart.one("Ingress", "service")["spec"]
        (rule,) = ingress["rules"]
        assert rule["host"] == "stocktake.example.org"
        (path,) = rule["http"]["paths"]
        backend = path["backend"]["service"]
        assert (path["path"], backend["port"]) == ("/", {"name": "http"})
        assert backend["name"] == chart.one("Service", "service")["metadata"]["name"]
        assert ingress.get("tls") == (tls and [{"hosts": ["stocktake.example.org"], "secretName": tls}])
    assert rendered("service-tls-values.yaml").one("Ingress", "service")["spec"]["ingressClassName"] == "nginx"


def test_an_existing_claim_is_used_and_none_created(rendered: Callable[[str], Rendered]) -> None:
    assert rendered("existing-claim-values.yaml").of_kind("PersistentVolumeClaim") == []


def test_uninstalling_keeps_the_claim(rendered: Callable[[str], Rendered]) -> None:
    (claim,) = rendered("default-values.yaml").of_kind("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
