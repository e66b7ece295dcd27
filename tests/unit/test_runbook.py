"""The runbook held to the program and the alerts: what somebody pastes at night exists, and leads on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest
import yaml

from stocktake.cli import parser
from tests.unit.test_documentation import blocks, command_lines

ROOT: Final = Path(__file__).resolve().parents[2]
RUNBOOK: Final = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
RULES: Final = yaml.safe_load((ROOT / "helm" / "files" / "alerts.yaml").read_text(encoding="utf-8"))
ALERTS: Final = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
SECTIONS: Final = dict(re.findall(r"^## (Stocktake\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
OBJECTS: Final = {"consumer", "writer", "service", "enricher"}
COMPONENTS: Final = OBJECTS | {"verification"}


def pasted() -> list[str]:
    """Every call of the program, on its own, in a pod or in a sentence."""
    lines = list(command_lines(RUNBOOK.replace("\n   ```", "\n```")))
    in_pods = re.findall(r"-- (stocktake [^`\n]+)", RUNBOOK)
    return [line for line in (*lines, *in_pods) if '"$@"' not in line]


@pytest.mark.parametrize("line", sorted(set(pasted())))
def test_every_command_can_be_pasted(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *arguments = shlex.split(line)[1:]
    try:
        parser(command).parse_args([command, *arguments])
    except SystemExit:
        pytest.fail(f"{line}: {capsys.readouterr().err}")


def test_every_alert_has_a_section_in_the_order_of_the_rules() -> None:
    assert list(SECTIONS) == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_section_says_what_it_is_what_it_harms_and_what_to_do(alert: str) -> None:
    said = re.findall(r"^\*\*(Means|Harm|Look|Do|Over)\b", SECTIONS[alert], re.MULTILINE)
    assert said == ["Means", "Harm", "Look", "Do", "Over"]


def test_the_index_has_every_alert_with_its_severity() -> None:
    rows = dict(re.findall(r"^\| (critical|warning): [^|]+ \| (.+) \|$", RUNBOOK, re.MULTILINE))
    for severity, row in rows.items():
        listed = re.findall(r"\[(\w+)\]", row)
        assert listed == [name for name, rule in ALERTS.items() if rule["labels"]["severity"] == severity]


def test_what_kubectl_is_asked_for_is_in_the_chart() -> None:
    assert set(re.findall(r"\bdeployment[/ ]stocktake-([a-z]+)", RUNBOOK)) <= OBJECTS | {"bridge"}
    components = set(re.findall(r"component=([a-z]+)", RUNBOOK)) | set(re.findall(r"^logs ([a-z]+)", RUNBOOK, re.M))
    assert components <= COMPONENTS
    helpers = (ROOT / "helm" / "templates").glob("*.yaml")
    used = {found for path in helpers for found in re.findall(r'"component" "(\w+)"', path.read_text(encoding="utf-8"))}
    assert components <= used


def test_the_functions_to_paste_first_are_there() -> None:
    [first] = [block for block in blocks(RUNBOOK, "sh") if "stocktake()" in block]
    assert {"REPO=", "stocktake()", "logs()"} <= set(re.findall(r"^\w+(?:=|\(\))", first, re.MULTILINE))
