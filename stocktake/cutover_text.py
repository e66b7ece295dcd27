"""The figures of a cutover as lines for people, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.cutover import Cutover
from monitor.figures import Figures
from monitor.forecast import Outlook
from monitor.gate import Condition
from monitor.words import PLACES, duration
from state.comparison import OPEN, Place
from state.times import to_datetime
from stocktake.labelled import labelled


def cutover_lines(cutover: Cutover, zone: ZoneInfo) -> Iterator[str]:
    """The lines, times in ``zone``."""
    figures, gate = cutover.figures, cutover.gate
    rules = figures.policy.rules
    yield from labelled("cutover", f"{rules.source} to {rules.target}")
    yield from labelled("gate", "MET: every condition" if gate.met else "not met")
    for condition in gate.conditions:
        yield from _condition(condition)
    yield from labelled("open", f"{figures.standing.open:,} studies")
    for place in OPEN:
        if figures.standing.places[place]:
            yield from labelled("", _count(figures, place))
    for number, place in enumerate(place for place in PLACES if place not in OPEN):
        yield from labelled("" if number else "others", _count(figures, place))
    exceptions = f"{figures.exceptions:,} open for longer than {duration(figures.policy.grace)}"
    yield from labelled("exceptions", f"{exceptions}; {figures.unseen:,} not acknowledged")
    yield from labelled("forecast", forecast_text(figures, zone))
    yield from labelled("lag", _lag(figures))


def forecast_text(figures: Figures, zone: ZoneInfo) -> str:
    """When nothing will be open, in words."""
    ahead = figures.forecast
    rates = ""
    if ahead.arrived_per_hour is not None and ahead.settled_per_hour is not None:
        rates = f"{ahead.arrived_per_hour:,.0f} an hour come, {ahead.settled_per_hour:,.0f} are settled"
    match ahead.outlook:
        case Outlook.DONE:
            return "nothing is open"
        case Outlook.UNKNOWN:
            return "not known yet"
        case Outlook.NEVER:
            return f"never, at the present rates: {rates}"
    seconds = ahead.seconds or 0.0
    at: datetime = to_datetime(figures.now, zone) + timedelta(seconds=seconds)
    return f"caught up in {duration(seconds)}, on {at:%Y-%m-%d %H:%M%z}; {rates}"


def _condition(condition: Condition) -> Iterator[str]:
    mark = "met " if condition.met else "NOT "
    text = f"{condition.name.replace('_', ' ')}: {condition.figure}"
    yield from labelled("", mark + text + ("" if condition.met else f" (wanted: {condition.wanted})"))


def _count(figures: Figures, place: Place) -> str:
    return f"{figures.standing.places[place]:>13,} {PLACES[place]}"


def _lag(figures: Figures) -> str:
    lags = figures.lags
    if lags.p50 is None or lags.p95 is None or lags.p99 is None:
        text = "nothing was settled within the hour"
    else:
        text = f"half within {duration(lags.p50)}, 95 % {duration(lags.p95)}, 99 % {duration(lags.p99)}"
    oldest = figures.oldest_seconds
    return text if oldest is None else f"{text}; the oldest is open for {duration(oldest)}"
