"""Which alerts of ``helm/files/alerts.yaml`` fire when, as promtool evaluates the rules over series that are given."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from tests.servers.promtool import promtool_binary

RULES: Final = Path(__file__).resolve().parents[1] / "helm" / "files" / "alerts.yaml"

Series: TypeAlias = "Mapping[str, Sequence[float | None]]"  # name{labels} -> value of each scrape, None: no sample
Spans: TypeAlias = (
    "dict[str, list[tuple[float, float]]]"  # alert -> first and last evaluation that it fires at, seconds
)
Firing: TypeAlias = "set[tuple[str, str]]"  # alerts and the deployments that they fire for

EVERYWHERE: Final = ""  # the deployment of an alert that is about none

_FIRING: Final = 'count by (alertname, namespace) (ALERTS{alertstate="firing"})'
_FAILED: Final = re.compile(r'expr: "count by .*", time: (\S+),\n\s+exp: nil\n\s+got: (.+)\n')
_GOT: Final = re.compile(r'\{alertname="(\w+)"(?:, namespace="([^"]*)")?\} [0-9.E+]+(?:, |$)')


def firing_spans(
    deployments: Mapping[str, Series], interval: int, folder: Path, evaluation: int | None = None
) -> dict[str, Spans]:
    """By deployment the alerts that fire, each with the spans in which it does, in seconds from the first scrape.

    All deployments stand in one Prometheus, each in a namespace of its name, which is added to the labels.
    ``interval`` is that of the scrapes, ``evaluation`` that of the rules (default: the same), both in seconds. A series
    that ends, or has a gap, is stale from then on, as it is in Prometheus. ``folder`` is for the files.
    """
    evaluation = evaluation or interval
    length = max(len(values) for series in deployments.values() for values in series.values()) * interval
    times = range(0, length, evaluation)
    found = _firing(deployments, interval, folder, evaluation, times)
    spans: dict[str, Spans] = {name: {} for name in (*deployments, EVERYWHERE)}
    for alert, name in sorted({one for firing in found.values() for one in firing}):
        fires = [(alert, name) in found.get(time, ()) for time in times]
        for is_firing, group in groupby(zip(times, fires, strict=True), key=lambda pair: pair[1]):
            if is_firing:
                span = [time for time, _ in group]
                spans[name].setdefault(alert, []).append((span[0], span[-1]))
    return spans


def _firing(
    deployments: Mapping[str, Series], interval: int, folder: Path, evaluation: int, times: Sequence[int]
) -> dict[int, Firing]:
    """What fires at each of these times.

    promtool tells what it found only where that is not what was expected, so the tests that it gets expect nothing.
    """
    tests: dict[str, Any] = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{evaluation}s",
        "tests": [
            {
                "interval": f"{interval}s",
                "input_series": [
                    {"series": _within(name, deployment), "values": written(values)}
                    for deployment, series in deployments.items()
                    for name, values in series.items()
                ],
                "promql_expr_test": [{"expr": _FIRING, "eval_time": f"{time}s", "exp_samples": []} for time in times],
            }
        ],
    }
    path = folder / "alerts-test.yaml"
    path.write_bytes(orjson.dumps(tests))  # which is YAML as well
    done = subprocess.run(
        [promtool_binary(), "test", "rules", path], capture_output=True, text=True, check=False, timeout=300
    )
    told = done.stdout + done.stderr
    found = {_seconds(match[1]): set(_alerts(match[2])) for match in _FAILED.finditer(told)}
    assert len(found) == told.count("time: "), told
    assert found or done.returncode == 0, told
    return found


def _within(name: str, deployment: str) -> str:
    label = f'namespace="{deployment}"'
    return f"{name[:-1]},{label}}}" if name.endswith("}") else f"{name}{{{label}}}"


def written(values: Sequence[float | None]) -> str:
    """Values in promtool's notation; the first that is missing after one that is there is a staleness marker."""
    words: list[str] = []
    present = False
    for value, group in groupby(values):
        count = len(list(group))
        if value is None:
            words += ["stale"] * present
            words += [f"_x{count - present}"] * (count > present)
        else:
            words.append(f"{value!r}x{count - 1}")
        present = value is not None
    return " ".join(words)


def _alerts(got: str) -> Iterator[tuple[str, str]]:
    assert _GOT.sub("", got) == "", got
    yield from _GOT.findall(got)


def _seconds(duration: str) -> int:
    """From a duration as promtool writes it, such as ``1h2m30s``."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    parts = re.findall(r"(\d+)(ms|[smhd])", duration)
    assert "".join(number + unit for number, unit in parts) == duration, duration
    return sum(int(number) * units[unit] for number, unit in parts)
