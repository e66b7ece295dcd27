"""What all pods have in common: few rights, one identity without any, time to end, and where they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stocktake.web.tokens import Role, Tokens, line_for, new_token
from tests.integration.helm.rendered import COMPONENT, Rendered


def test_no_container_has_more_rights_than_it_needs(chart: Rendered) -> None:
    assert chart.workloads
    for workload, container in chart.containers():
        effective = workload.pod["securityContext"] | container["securityContext"]
        assert effective["runAsNonRoot"] is True
        assert effective["runAsUser"] == effective["runAsGroup"] == effective["fsGroup"] == 10001
        assert effective["readOnlyRootFilesystem"] is True
        assert effective["allowPrivilegeEscalation"] is False
        assert effective["capabilities"] == {"drop": ["ALL"]}
        assert effective["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "privileged" not in effective
        (tmp,) = (volume for volume in workload.pod["volumes"] if volume["name"] == "tmp")
        assert tmp["emptyDir"].keys() <= {"sizeLimit"}
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108
        assert {"name": "PYTHONSAFEPATH", "value": "1"} in container["env"]


def test_tmp_has_the_limit_that_is_given_and_else_none(rendered: Callable[[str], Rendered]) -> None:
    for name, volume in (("default-values.yaml", {}), ("resources-values.yaml", {"sizeLimit": "4Gi"})):
        for workload in rendered(name).workloads:
            assert {"name": "tmp", "emptyDir": volume} in workload.pod["volumes"]


def test_no_pod_shares_anything_with_its_node(chart: Rendered) -> None:
    for workload in chart.workloads:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & workload.pod.keys()
        assert not [volume for volume in workload.pod["volumes"] if "hostPath" in volume]
        assert not [
            port for container in workload.containers for port in container.get("ports", []) if "hostPort" in port
        ]


def test_no_pod_can_reach_the_kubernetes_api(chart: Rendered) -> None:
    accounts = chart.of_kind("ServiceAccount")
    assert all(holder["automountServiceAccountToken"] is False for holder in [*accounts, *chart.pods()])
    names = {account["metadata"]["name"] for account in accounts} or {"imaging"}
    assert {pod["serviceAccountName"] for pod in chart.pods()} == names


def test_no_service_puts_its_variables_among_the_settings(chart: Rendered) -> None:
    assert {pod["enableServiceLinks"] for pod in chart.pods()} == {False}


def test_a_pod_has_longer_to_end_than_the_program_takes(chart: Rendered) -> None:
    for workload, container in chart.containers():
        settings = chart.settings(container)
        longest = max([settings.consumer.shutdown_timeout, *(archive.timeout for archive in settings.archives)])
        assert workload.pod["terminationGracePeriodSeconds"] > longest


def test_mounts_and_volumes_belong_together(chart: Rendered) -> None:
    for workload in chart.workloads:
        volumes = {volume["name"] for volume in workload.pod["volumes"]}
        assert len(volumes) == len(workload.pod["volumes"])
        for container in workload.containers:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_volume_is_mounted_where_the_program_looks_for_it_and_only_writers_and_the_doctor_may_write(
    chart: Rendered,
) -> None:
    created = {claim["metadata"]["name"] for claim in chart.of_kind("PersistentVolumeClaim")}
    for workload in chart.workloads:
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in workload.pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert set(claims.values()) <= (created or {"archive-inventories"})
        assert claims or workload.component != "writer"
        for container in workload.containers:
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            for name in claims:
                assert mounts[name]["mountPath"] == str(chart.settings(container).inventory.dir)
                assert mounts[name].get("readOnly", False) == (workload.component not in {"writer", "doctor"})


def test_a_file_of_tokens_as_kubernetes_mounts_it_is_accepted(chart: Rendered, tmp_path: Path) -> None:
    """The kubelet leaves it to root, and lets the pod's group read it."""
    modes = {
        volume["secret"]["defaultMode"]
        for workload in chart.workloads
        for volume in workload.pod["volumes"]
        if "secret" in volume
    }
    assert modes <= {0o440}
    token = new_token()
    data = tmp_path / "..data"
    data.mkdir()
    (data / "tokens").write_text(line_for("grafana", Role.READ, token) + "\n", encoding="utf-8")
    (data / "tokens").chmod(0o440)
    link = tmp_path / "tokens"
    link.symlink_to(Path("..data") / "tokens")
    assert os.stat(link).st_uid in (0, os.geteuid())
    caller = Tokens(link).caller(token)
    assert caller is not None


def test_selectors_match_their_pods_alone_and_survive_an_upgrade(chart: Rendered) -> None:
    components = []
    for workload in chart.workloads:
        if workload.item["kind"] in ("Deployment", "StatefulSet"):
            selector = workload.item["spec"]["selector"]["matchLabels"]
            assert selector.items() <= workload.metadata["labels"].items()
            assert selector[COMPONENT] == workload.component
        components.append(workload.component)
    assert len(set(components)) == len(components)
    assert {"consumer", "writer"} <= set(components)


def test_resources_are_unset_unless_given(rendered: Callable[[str], Rendered]) -> None:
    assert all("resources" not in container for _, container in rendered("default-values.yaml").containers())
    given = [container["resources"] for _, container in rendered("resources-values.yaml").containers()]
    assert given == [
        {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        {"requests": {"cpu": 1, "memory": "256Mi"}},
        {"limits": {"memory": "128Mi"}},
    ]
    for container in rendered("enricher-values.yaml").containers_of("enricher"):
        assert container["resources"] == {"limits": {"memory": "512Mi"}}
    chart = rendered("several-bridges-values.yaml")
    assert [container["resources"] for _, container in chart.containers() if "resources" in container] == [
        {"limits": {"memory": "256Mi"}}
    ]


def test_all_pods_are_placed_and_marked_as_asked_for(rendered: Callable[[str], Rendered]) -> None:
    for workload in rendered("scheduling-values.yaml").workloads:
        pod = workload.pod
        assert pod["priorityClassName"] == "imaging"
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert pod["terminationGracePeriodSeconds"] == 60
        assert pod["imagePullSecrets"] == [{"name": "registry-login"}]
        assert workload.metadata["labels"]["team"] == "imaging"
        assert workload.metadata["annotations"]["sidecar.istio.io/inject"] == "false"
        (spread,) = pod["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
        assert spread["labelSelector"]["matchLabels"].items() <= workload.metadata["labels"].items()
        assert spread["labelSelector"]["matchLabels"][COMPONENT] == workload.component
