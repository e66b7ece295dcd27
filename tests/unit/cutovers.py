"""Figures and sides of a cutover made by hand, by default those of one whose gate is met."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from monitor.figures import Figures
from monitor.forecast import Forecast, Outlook
from monitor.gate import Side
from monitor.lags import Lags
from monitor.policy import CutoverPolicy
from monitor.status import Status
from state.comparison import Place
from state.history import MINUTE, Row
from state.pair import Standing
from state.policy import ComparisonPolicy
from state.times import MICROSECONDS

NOW = 1_790_000_000 * MICROSECONDS
RULES = ComparisonPolicy("old", "new", ("PatientID", "StudyDate"), (), "", "", None, {}, {})
POLICY = CutoverPolicy(RULES, grace=900.0, quiet=600.0, max_lag=300.0, max_silence=3600.0)
HEAD: dict[str, Any] = {"sequence": 12, "status": "COMPLETE", "sop_instance_uid": "1.2.3"}


def figures(places: dict[Place, int] | None = None, *, acknowledged: int = 0, **changed: Any) -> Figures:
    """``places`` beside a hundred in sync; ``changed`` by the names of the fields."""
    standing = Standing(places=Counter({Place.IN_SYNC: 100} | (places or {})), acknowledged=acknowledged)
    made = Figures(
        now=NOW,
        policy=POLICY,
        standing=standing,
        exceptions=0,
        unseen=0,
        lags=Lags(0, None, None, None),
        forecast=Forecast(Outlook.DONE, None, 3600, 0.0, 0.0),
        recompared=True,
    )
    return replace(made, **changed)


def side(name: str, **changed: Any) -> Side:
    """One repository; ``backlog``, ``age`` of the watermark and ``head`` are the status'."""
    status = Status(
        repository=name,
        studies=100,
        backlog=changed.pop("backlog", 0),
        oldest_debt=None,
        lag=0,
        watermark=None,
        watermark_age=changed.pop("age", 5.0),
        held_back_by=(),
        stopped=None,
        head=changed.pop("head", HEAD),
        head_age=60.0,
        partitions=(),
        sinks=(),
        counters={},
    )
    return replace(Side(status, verified="1.2.3", silence=20.0, begin=None), **changed)


def rows(missing: int = 0, minutes: int = 11) -> list[Row]:
    """A row for each of the last minutes."""
    now = NOW // MICROSECONDS
    return [
        Row(now - minute * MINUTE, 0, 0, 100, missing, 0, 0, 0, 0, None, None, None, None)
        for minute in range(minutes, 0, -1)
    ]
