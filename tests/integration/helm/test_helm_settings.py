"""Settings and the chart hold each other: what the program knows can be given, and what the chart gives it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import yaml

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
from tests.integration.helm.rendered import CHART, STAND_IN, Rendered

SECRETS: Final = {setting.variable for setting in SETTINGS if setting.secret}
ONE_REPOSITORY: Final = {"consume", "write", "enrich", "bridge", "baseline", "verify", "doctor"}


def test_the_program_accepts_every_variable_and_argument_of_every_container(chart: Rendered) -> None:
    for _, container in chart.containers():
        settings = chart.settings(container)
        assert container["command"] == ["stocktake"]
        args = parser().parse_args(container["args"])
        if args.command == "serve":
            assert args.repository is None
            continue
        assert args.command in ONE_REPOSITORY
        assert settings.repository(args.repository).name == args.repository == container["name"]
        if args.command in {"enrich", "bridge"}:
            assert settings.archive(args.repository) is not None


def test_every_setting_of_the_program_can_be_given(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("all-settings-values.yaml")
    expected = {setting.variable for setting in SETTINGS}
    expected |= {
        setting.variable.replace("<NAME>", name) for setting in REPOSITORY_SETTINGS for name in ("PACS", "VNA")
    }

    def keys(settings: Sequence[Setting], *, with_secrets: bool) -> set[str]:
        found = [setting for setting in settings if with_secrets or not setting.secret]
        return {setting.variable.rpartition("__")[2] for setting in found}

    assert chart.components() == {"consumer", "writer", "enricher", "service"}
    for component in chart.components():
        containers = chart.containers_of(component)
        assert len(containers) == (1 if component == "service" else 2)
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


def test_values_reach_the_program_unchanged(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("all-settings-values.yaml")
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


def test_logs_are_for_what_collects_them_unless_people_read_them(rendered: Callable[[str], Rendered]) -> None:
    for name, form in (("default-values.yaml", "json"), ("all-settings-values.yaml", "text")):
        for _, container in rendered(name).containers():
            assert rendered(name).environment(container)["STOCKTAKE_LOG__FORMAT"] == form


def test_files_that_settings_name_are_mounted_from_secrets_and_read_only(
    rendered: Callable[[str], Rendered],
) -> None:
    chart = rendered("all-settings-values.yaml")
    for workload, container in chart.containers():
        secrets = {volume["name"] for volume in workload.pod["volumes"] if "secret" in volume}
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


def test_changed_settings_replace_the_pods(rendered: Callable[[str], Rendered]) -> None:
    """The sum is that of the ConfigMap, so what is not in it replaces nothing."""
    checksums = {
        name: rendered(name).workload("writer").metadata["annotations"]["checksum/settings"]
        for name in ("default-values.yaml", "all-settings-values.yaml", "claim-values.yaml")
    }
    assert checksums["default-values.yaml"] != checksums["all-settings-values.yaml"]
    assert checksums["default-values.yaml"] == checksums["claim-values.yaml"]


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


def test_a_named_secret_becomes_its_variable(rendered: Callable[[str], Rendered]) -> None:
    for _, container in rendered("secrets-values.yaml").containers():
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
                assert command in {"enrich", "bridge", "doctor"}
                assert entry["name"].startswith(f"{PREFIX}ARCHIVES__{repository}__")
            elif entry["name"].startswith(f"{PREFIX}SINKS__"):
                assert command in {"write", "doctor"}


def test_an_archives_secrets_reach_its_enricher_and_its_bridge(rendered: Callable[[str], Rendered]) -> None:
    chart = rendered("several-bridges-values.yaml")
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
