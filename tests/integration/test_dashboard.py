"""The dashboard held to the metrics, the alerts and Grafana's schema, as far as that can be told without a Grafana."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitor.metrics import METRICS
from tests.alerting import RULES
from tests.servers.promtool import promtool_binary

FILES: Final = Path(__file__).resolve().parents[2] / "helm" / "files"
DASHBOARD: Final[dict[str, Any]] = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
PANELS: Final = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
ROWS: Final = [one for one in DASHBOARD["panels"] if one["type"] == "row"]
VARIABLES: Final = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
_RULES: Final = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
ALERTS: Final = {rule["alert"]: rule["expr"] for rule in _RULES if "alert" in rule}
RECORDED: Final = {rule["record"]: rule["expr"] for rule in _RULES if "record" in rule}
COLUMNS: Final = 24

# Units of Grafana by those of the metrics; rates and shares have their own.
UNITS: Final = {"s", "bytes", "Bps", "cps", "percentunit", "short", "none"}


def expressions() -> Iterator[str]:
    """Every expression, with the variables filled in as Grafana would."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield filled(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        yield filled(annotation["expr"])


def named(expr: str) -> set[str]:
    """The metrics that an expression names, and what the rules record."""
    return set(re.findall(r"\bstocktake[_:][\w:]+", expr))


def measured(expr: str) -> set[str]:
    """The metrics that it reads in the end."""
    names = named(expr)
    return {name for name in names if name not in RECORDED}.union(
        *(measured(RECORDED[name]) for name in names if name in RECORDED)
    )


def filled(expr: str) -> str:
    return re.sub(r"\$(\w+)", lambda match: ".*" if match[1] in VARIABLES else f"<{match[1]}>", expr)


def test_ids_and_places_are_those_of_one_panel() -> None:
    everything = DASHBOARD["panels"]
    assert len({one["id"] for one in everything}) == len(everything)
    places = [one["gridPos"] for one in everything]
    for one in places:
        assert one["x"] >= 0
        assert one["x"] + one["w"] <= COLUMNS
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_rows_are_full_and_follow_each_other_without_gaps() -> None:
    taken: dict[int, int] = {}
    for one in DASHBOARD["panels"]:
        place = one["gridPos"]
        for y in range(place["y"], place["y"] + place["h"]):
            taken[y] = taken.get(y, 0) + place["w"]
    assert taken == dict.fromkeys(range(max(taken) + 1), COLUMNS)
    assert [row["title"] for row in ROWS] == [
        "How it stands",
        "Events",
        "Inventories and sinks",
        "Archives: looks and bridges",
        "Redis and the service",
    ]


def test_it_can_be_imported_with_any_data_source() -> None:
    assert DASHBOARD["schemaVersion"] >= 39  # Grafana 10
    assert "id" not in DASHBOARD  # which Grafana gives
    assert VARIABLES.keys() == {"datasource", "namespace", "job", "repository", "runbook"}
    for panel in PANELS:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_each_variable_offers_what_those_before_it_leave_and_everything_where_there_is_no_such_label() -> None:
    offered = {
        "namespace": "label_values(stocktake_build_info, namespace)",
        "job": 'label_values(stocktake_build_info{namespace=~"$namespace"}, job)',
        "repository": 'label_values(stocktake_state_up{namespace=~"$namespace", job=~"$job"}, repository)',
    }
    assert [name for name in VARIABLES if name in offered] == list(offered)
    for name, query in offered.items():
        variable = VARIABLES[name]
        assert (variable["definition"], variable["query"]) == (query, {"query": query, "refId": name})
        assert (variable["includeAll"], variable["allValue"]) == (True, ".*")  # no label at all matches that as well
        assert variable["current"]["value"] == ["$__all"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_releases_are_never_mixed(panel: dict[str, Any]) -> None:
    # Two releases in one Prometheus may both have a repository `main`.
    for target in panel["targets"]:
        expr = target["expr"]
        selectors = re.findall(r"\bstocktake[_:][\w:]+(\{[^}]*\})?", expr)
        assert selectors
        for selector in selectors:
            assert selector.startswith('{namespace=~"$namespace", job=~"$job"'), expr
        grouped = [found.split(", ") for found in re.findall(r"\bby \(([^)]*)\)", expr)]
        told_apart = {"namespace", "job"}.union(*grouped)
        assert all({"namespace", "job"} <= set(labels) for labels in grouped), expr
        assert told_apart <= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])), target["legendFormat"]


def test_releases_are_told_apart_with_and_without_namespaces(tmp_path: Path) -> None:
    [panel] = [one for one in PANELS if one["title"] == "Head behind what is applied"]
    labels = [
        'job="stocktake", repository="main"',  # a plain Prometheus
        'job="stocktake", namespace="a", repository="main"',
        'job="stocktake", namespace="b", repository="main"',
    ]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": f"stocktake_{metric}_age_seconds{{{one}}}", "values": f"{value + number}x1"}
            for number, one in enumerate(labels)
            for metric, value in (("head", 100), ("watermark", 0))
        ],
        "promql_expr_test": [
            {
                "expr": filled(panel["targets"][0]["expr"]),
                "eval_time": "1m",
                "exp_samples": [{"labels": f"{{{one}}}", "value": 100} for one in labels],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({"tests": [test]}), encoding="utf-8")
    done = subprocess.run(
        [promtool_binary(), "test", "rules", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    names = {name for target in panel["targets"] for name in named(target["expr"])}
    if panel["fieldConfig"]["defaults"]["unit"] == "s":
        assert any("seconds" in name for name in names), names
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_it_reads_nothing_but_metrics_and_what_the_rules_record() -> None:
    known = {metric.name for metric in METRICS} | RECORDED.keys()
    for expr in expressions():
        assert named(expr) <= known, expr
        assert "<" not in expr.replace("<=", "").replace(" < ", ""), expr


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    path = tmp_path / "expressions.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [promtool_binary(), "check", "rules", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_linked_where_its_figure_is_shown() -> None:
    linked: dict[str, list[str]] = {}
    for panel in PANELS:
        for link in panel["links"]:
            alert = link["title"].removeprefix("Runbook: ")
            assert link["url"] == "${runbook}#" + alert.lower()
            linked.setdefault(alert, []).append(panel["title"])
            shown = {name for one in panel["targets"] for name in measured(one["expr"])}
            assert shown & measured(ALERTS[alert]), (panel["title"], alert)
    assert linked.keys() == ALERTS.keys()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_red_and_yellow_begin_where_an_alert_does(panel: dict[str, Any]) -> None:
    # Of the two stat panels that are read in whole numbers, 1 is what the alert says by "== 1" or "> 0".
    limits = {
        float(number)
        for link in panel["links"]
        for number in re.findall(r"[<>=] ?(\d[\d.]*)", ALERTS[link["title"].removeprefix("Runbook: ")])
    }
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        value = step["value"]
        if value is None or (panel["title"], value) in OTHERWISE:
            continue
        assert value in limits or (float(value).is_integer() and value - 1 in limits), (panel["title"], value, limits)


# What no single number of a rule says: three intervals of the default and a minute; worth a look before the alert.
OTHERWISE: Final = {("Head behind what is applied", 960), ("Watermark age", 300)}
