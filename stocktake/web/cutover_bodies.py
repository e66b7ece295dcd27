"""The figures of a cutover as the API gives them, described for OpenAPI: :meth:`monitor.cutover.Cutover.to_json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class RatesBody(BaseModel):
    """Studies an hour, over the last ``window_seconds``; null: too little is known."""

    window_seconds: int
    arrived_per_hour: float | None
    settled_per_hour: float | None
    net_per_hour: float | None


class ForecastBody(BaseModel):
    """When nothing will be open, if it goes on as it did."""

    outlook: Literal["done", "expected", "never", "unknown"]
    seconds: float | None
    at: str | None


class LagBody(BaseModel):
    """How long what was settled within the last hours had been open; null: nothing was settled."""

    settled: int
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None


class ModalityBody(BaseModel):
    """Studies of one modality by place."""

    modality: str
    places: dict[str, int]
    open: int


class YearBody(BaseModel):
    """Studies of one year of Study Date by place; ``none``: without a date."""

    year: str
    places: dict[str, int]
    open: int


class DayBody(BaseModel):
    """Open studies by the day of their last update (UTC)."""

    day: str
    places: dict[str, int]
    open: int


class ConditionBody(BaseModel):
    """One condition of the gate: what was found, and what meets it."""

    name: str
    met: bool
    figure: str
    wanted: str


class GateBody(BaseModel):
    """Met when every condition is."""

    met: bool
    conditions: list[ConditionBody]


class CutoverBody(BaseModel):
    """All of it. ``exceptions`` are open for ``grace_seconds`` or longer. Times are ISO 8601 in UTC."""

    time: str
    source: str
    target: str
    recompared: bool
    places: dict[str, int]
    open: int
    grace_seconds: float
    exceptions: int
    unacknowledged: int
    oldest: str | None
    oldest_seconds: float | None
    rates: RatesBody
    forecast: ForecastBody
    lag: LagBody
    modalities: list[ModalityBody]
    years: list[YearBody]
    days: list[DayBody]
    gate: GateBody
