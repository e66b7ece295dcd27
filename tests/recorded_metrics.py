"""Which alerts would have fired over metrics that were recorded, and when."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.alerting import EVERYWHERE, Spans, firing_spans
from tests.recovery.recording import Recording

_TARGET: Final = 'job="stocktake-service",instance="stocktake-service:8080"'  # what Prometheus adds to each series


def alerts_that_fire(recording: Recording, evaluation: int = 15) -> Spans:
    """Each alert that fires, with the spans (seconds from the first scrape) in which it does, for any series.

    ``evaluation``: how often the rules are evaluated, in seconds.
    """
    interval = round(recording.interval)
    slots = [round(time / recording.interval) for time in recording.times]
    series = {_of_target(name): _in_slots(values, slots) for name, values in recording.series.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = firing_spans({"recorded": series}, interval, Path(folder), max(evaluation, interval))
    return found["recorded"] | found[EVERYWHERE]


def _of_target(name: str) -> str:
    if not name.endswith("}"):
        return f"{name}{{{_TARGET}}}"
    return f"{name[:-1]},{_TARGET}}}"


def _in_slots(values: Sequence[float | None], slots: Sequence[int]) -> list[float | None]:
    """One value for each scrape that was due; what was not scraped has the value before it, as within Prometheus."""
    found: list[float | None] = []
    for value, slot in zip(values, slots, strict=True):
        while len(found) < slot:
            found.append(found[-1] if found else value)
        found[slot:] = [value]
    return found


if __name__ == "__main__":
    for path in sys.argv[1:]:
        for alert, spans in alerts_that_fire(Recording.load(Path(path))).items():
            sys.stdout.write(f"{alert}: {', '.join(f'{begin:.0f} to {end:.0f} s' for begin, end in spans)}\n")
