"""The chart's own suites in helm/tests, run by helm-unittest."""

from __future__ import annotations

import re
import subprocess

from tests.integration.helm.rendered import CHART
from tests.servers.helm_tool import unittest_binary


def test_every_suite_of_the_chart_passes() -> None:
    """And as many ran as there are: a glob that matches none would pass too."""
    answer = subprocess.run(
        [unittest_binary(), "--strict", CHART], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    files = list((CHART / "tests").glob("*_test.yaml"))
    assert re.search(rf"^Test Suites: {len(files)} passed, {len(files)} total$", answer.stdout, re.MULTILINE)
    written = sum(file.read_text(encoding="utf-8").count("\n  - it: ") for file in files)
    assert re.search(rf"^Tests: +{written} passed, {written} total$", answer.stdout, re.MULTILINE)


def test_the_snapshot_is_of_what_there_is_now() -> None:
    """A snapshot that nobody compares with is left behind silently."""
    snapshots = {path.name.removesuffix(".snap") for path in (CHART / "tests" / "__snapshot__").iterdir()}
    taken = {path.name for path in (CHART / "tests").glob("*_test.yaml") if "matchSnapshot" in path.read_text("utf-8")}
    assert snapshots == taken
