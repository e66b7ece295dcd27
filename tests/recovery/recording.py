"""What ``/metrics`` answered over some minutes, kept small: the series of a Prometheus that asked every few seconds."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Final, Self

import orjson

from tests.prometheus_text import parse

UP: Final = "up"
_TIMEOUT: Final = 10.0  # seconds for an answer, as Prometheus waits


@dataclass
class Recording:
    """``times`` are seconds since the first scrape; ``series`` is by name with labels, None where it had no sample.

    ``away`` is when the server went and when it was back, on the same clock. ``up`` is one of the series: 1 where the
    service answered, else 0.
    """

    what: str
    interval: float
    times: list[float] = field(default_factory=list)
    series: dict[str, list[float | None]] = field(default_factory=dict)
    away: tuple[float, float] = (0.0, 0.0)

    def add(self, at: float, samples: Mapping[str, float] | None) -> None:
        """Note one scrape; None: it failed."""
        found = {UP: 0.0} if samples is None else {UP: 1.0} | dict(samples)
        for name in found.keys() - self.series.keys():
            self.series[name] = [None] * len(self.times)
        self.times.append(round(at, 1))
        for name, values in self.series.items():
            values.append(found.get(name))

    def thinned(self, interval: float) -> Recording:
        """The same as if it had been asked every ``interval`` seconds."""
        kept, due = [], 0.0
        for index, at in enumerate(self.times):
            if at >= due:
                kept.append(index)
                due = (at // interval + 1) * interval
        return Recording(
            self.what,
            interval,
            [self.times[index] for index in kept],
            {name: [values[index] for index in kept] for name, values in self.series.items()},
            self.away,
        )

    def save(self, path: Path) -> None:
        """Write it compressed, the same bytes for the same recording."""
        content = {
            "what": self.what,
            "interval": self.interval,
            "away": self.away,
            "times": self.times,
            "series": dict(sorted(self.series.items())),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(orjson.dumps(content), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Self:
        found: dict[str, Any] = orjson.loads(gzip.decompress(path.read_bytes()))
        return cls(found["what"], found["interval"], found["times"], found["series"], tuple(found["away"]))


class Scraper:
    """Asks a service on loopback every ``interval`` seconds in a thread, as Prometheus would."""

    def __init__(self, what: str, port: int, interval: float) -> None:
        self.recording = Recording(what, interval)
        self._port = port
        self._begun = time.monotonic()
        self._stop = Flag()
        self._thread = Thread(target=self._run, name="scraper", daemon=True)

    @property
    def now(self) -> float:
        """Seconds since the first scrape."""
        return time.monotonic() - self._begun

    def start(self) -> None:
        self._begun = time.monotonic()
        self._thread.start()

    def stop(self) -> Recording:
        self._stop.set()
        self._thread.join()
        return self.recording

    def _run(self) -> None:
        due = self._begun
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            asked = self.now
            self.recording.add(asked, scrape(self._port))
            due = max(due + self.recording.interval, time.monotonic())


def scrape(port: int) -> dict[str, float] | None:
    """What ``/metrics`` says now, by name with labels; None if it does not answer with 200 in time."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return dict(_flat(text)) if answer.status == 200 else None


def _flat(text: str) -> Iterator[tuple[str, float]]:
    for (name, labels), value in parse(text).values.items():
        words = ",".join(f'{label}="{text}"' for label, text in labels)
        yield f"{name}{{{words}}}" if words else name, value
