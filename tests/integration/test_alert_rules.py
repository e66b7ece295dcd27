"""The alert rules as Prometheus has them: each fires when it should, is quiet when it should, and is explained."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitor.metrics import METRICS, Scrape, to_prometheus
from tests.alert_deployment import HEALTHY, TARGET, Scenario
from tests.alert_scenarios import SCENARIOS
from tests.alerting import EVERYWHERE, RULES, Spans, firing_spans
from tests.recorded_metrics import alerts_that_fire
from tests.recovery.recording import Recording
from tests.servers.promtool import promtool_binary
from tests.unit.test_monitor_metrics import NOTHING, STATUS

ROOT: Final = Path(__file__).resolve().parents[2]
TARGET_LABELS: Final = {"namespace", "job"}  # which Prometheus adds
LENGTHS: Final = (45, 100, 200, 1600)  # minutes


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED: Final = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def test_prometheus_accepts_the_rules() -> None:
    subprocess.run([promtool_binary(), "check", "rules", RULES], capture_output=True, check=True, timeout=60)


def test_prometheus_accepts_the_metrics_and_their_names() -> None:
    told = to_prometheus(Scrape("1.2", [STATUS, NOTHING], ["away"]))
    done = subprocess.run(
        [promtool_binary(), "check", "metrics"], input=told, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def played(scenario: Scenario) -> tuple[int, int, str]:
    """Scenarios of about one length are evaluated together: how long, with which step, and who alone."""
    minutes = next(length for length in LENGTHS if scenario.minutes <= length)
    return minutes, scenario.step, scenario.name if scenario.alone else ""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spans]:
    """What fires in each scenario, by its name."""
    found: dict[str, Spans] = {}
    for group, scenarios in groupby(sorted(SCENARIOS, key=played), key=played):
        minutes, step, _ = group
        deployments = {one.name: one.series(minutes) for one in scenarios}
        folder = tmp_path_factory.mktemp("alerts")
        spans = firing_spans(deployments, 60 * step, folder)
        for name in deployments:
            found[name] = spans[name] | spans[EVERYWHERE]
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_exactly_the_alerts_fire_that_should(scenario: Scenario, evaluated: dict[str, Spans]) -> None:
    minutes, _, _ = played(scenario)
    assert evaluated[scenario.name] == scenario.spans(minutes)


def test_every_alert_is_seen_to_fire_and_seen_to_keep_quiet() -> None:
    assert {alert for one in SCENARIOS for alert in one.fires} == ALERTS.keys()
    assert {alert for one in SCENARIOS for alert in one.near} == ALERTS.keys()
    for one in SCENARIOS:
        assert not set(one.near) & one.fires.keys(), one.name


def test_the_scenarios_have_every_metric_that_the_rules_read() -> None:
    read = {name for expr in expressions() for name in re.findall(r"\bstocktake_\w+", expr)}
    assert read <= HEALTHY.keys()
    assert HEALTHY.keys() - {"up"} <= {metric.name for metric in METRICS}


def test_the_rules_read_nothing_but_metrics_and_their_labels() -> None:
    known = {metric.name: metric.labels for metric in METRICS}
    for expr in expressions():
        names = set(re.findall(r"\bstocktake_\w+", expr))
        assert names <= known.keys(), expr
        assert set(re.findall(r"\bstocktake:\w+:\w+", expr)) <= RECORDED.keys()
        labels = {label for name in names for label in known[name]} | TARGET_LABELS
        if re.search(r"\bstocktake:", expr):
            labels |= {"repository"}
        used = {one.strip() for found in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr) for one in found.split(",")}
        used |= set(re.findall(r"(\w+)=\"", expr))
        assert used - {""} <= labels, expr


def test_the_texts_of_an_alert_name_only_labels_that_it_has() -> None:
    for name, rule in ALERTS.items():
        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels_of(rule["expr"]), name


def test_no_alert_is_told_once_for_each_partition() -> None:
    for name, rule in ALERTS.items():
        assert not labels_of(rule["expr"]) & {"topic", "partition"}, name


def test_what_is_counted_is_there_at_0_before_anything_was_counted() -> None:
    # So that the first rise is one: what appears with a value was counted while nobody looked.
    counters = {metric.name for metric in METRICS if metric.counters}
    read = {name for expr in expressions() for name in re.findall(r"\bstocktake_\w+", expr)} & counters
    told = to_prometheus(Scrape("1.2", [NOTHING], []))
    assert len(read) > 5
    for name in read:
        assert set(re.findall(rf"^{name}{{.*}} (\S+)$", told, re.M)) <= {"0", "0.0"} != set(), name


def labels_of(expr: str) -> set[str]:
    """The labels of what an expression finds: those of its first part, or of what was recorded."""
    found = re.search(r"\bby \(([^)]*)\)", expr)
    return {one.strip() for one in found[1].split(",")} if found else {*TARGET_LABELS, "repository"}


def test_what_was_recorded_is_evaluated_as_prometheus_would_have() -> None:
    scenario = next(one for one in SCENARIOS if one.name == "Redis is away for five minutes")
    series = {without_target(name): list(values) for name, values in scenario.series(45).items()}
    # Scrapes come late, and one not at all.
    recording = Recording("a trial", 60.0)
    for minute in range(46):
        if minute != 30:
            samples = {name: value for name, values in series.items() if (value := values[minute]) is not None}
            assert samples.pop("up") == 1
            recording.add(60 * minute + 7 * (minute % 2), samples)
    recording.add(46 * 60, None)
    assert alerts_that_fire(recording, 60) == {"StocktakeStateAway": [(720, 840)]}


def without_target(name: str) -> str:
    return name.replace("," + TARGET, "").replace("{" + TARGET + "}", "")


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    anchors = re.findall(r"^## (Stocktake\w+)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.M)
    assert anchors == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert "\n" not in rule["annotations"]["description"]


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()]
