"""What the release's notes tell and warn of, and what the chart's pages tell to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.integration.helm.rendered import CHART, ci_file, template


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only an installation prints the notes, so a copy of the chart renders them as an object."""
    copy = shutil.copytree(CHART, tmp_path_factory.mktemp("notes") / "chart")
    shown = copy / "templates" / "shown.yaml"
    shown.write_text('notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}', encoding="utf-8")
    return copy


def _notes(copy: Path, *values: str) -> str:
    arguments = [argument for name in values for argument in ("--values", ci_file(name))]
    answer = template("--show-only", "templates/shown.yaml", *arguments, chart=copy)
    assert answer.returncode == 0, answer.stderr
    return str(yaml.safe_load(answer.stdout)["notes"])


def test_the_notes_warn_of_servers_that_are_not_given(copy: Path) -> None:
    notes = _notes(copy, "default-values.yaml")
    assert "WARNING: settings.kafka.bootstrap_servers" in notes
    assert "WARNING: secrets.redis.url" in notes
    assert "bridge" not in notes
    assert "WARNING" not in _notes(copy, "all-settings-values.yaml")


def test_the_notes_warn_of_bridges_without_heartbeats(copy: Path) -> None:
    notes = _notes(copy, "several-bridges-values.yaml")
    assert "deployment/archive-stocktake-bridge-old-pacs" in notes
    assert "WARNING: settings.repositories.teaching.heartbeats is not true" in notes
    assert "settings.repositories.pacs.heartbeats" not in notes


def test_the_notes_explain_partitions_until_the_chart_knows_how_many_there_are(copy: Path) -> None:
    told = "of the 3 that there can be (pods times workers) those above the number of partitions"
    assert told in " ".join(_notes(copy, "several-repositories-values.yaml").split())
    assert "partitions" not in _notes(copy, "workers-values.yaml")


def test_the_notes_tell_how_the_service_is_reached_and_warn_if_it_speaks_plainly(copy: Path) -> None:
    plain = _notes(copy, "service-values.yaml")
    assert "port-forward service/archive-stocktake-service 8080:8080" in plain
    assert "WARNING: the service speaks plain HTTP" in plain
    tls = _notes(copy, "service-tls-values.yaml")
    assert "https://stocktake.example.org/" in tls
    assert "plain HTTP" not in tls


def test_the_notes_tell_which_alerts_will_fire_for_nothing(copy: Path) -> None:
    plain = _notes(copy, "monitoring-plain-values.yaml")
    assert "StocktakeNotVerified will fire" in plain
    assert "StocktakeMetricsAbsent" not in plain
    assert "StocktakeNotVerified" not in _notes(copy, "monitoring-plain-values.yaml", "verification-values.yaml")
    assert "StocktakeNotVerified" not in _notes(copy, "default-values.yaml")
    rules = _notes(copy, "alerts-alone-values.yaml")
    assert "WARNING: monitoring.prometheusRule.enabled is true, but service.enabled is not" in rules
    assert "StocktakeNotVerified" not in rules  # switched off


def test_the_notes_name_the_consumers_as_what_they_are(copy: Path) -> None:
    assert "statefulset/archive-stocktake-consumer" in _notes(copy, "static-membership-values.yaml")
