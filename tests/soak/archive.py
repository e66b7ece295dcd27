"""The archive of a soak: simulated events sent to the topic at a pace, whatever happens to the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from random import Random
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Final

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from consumers.publish import event_key
from consumers.simulate import simulate
from state.times import MICROSECONDS, to_dt, to_iso
from tests.mix import EVERYTHING
from tests.oracle.events import Json, moment
from tests.soak.news import with_news

BAD_MESSAGE: Final = b"no event, number "

_BAD_EACH: Final = 400  # one message in so many is no event
_MOST_INSTANCES: Final = 60  # of one study
_MOST_STUDIES: Final = 1_000_000  # more than any soak can publish
_SLICE: Final = 0.05  # seconds between two times that events are sent
_PATIENCE: Final = 120.0  # seconds for the broker to take what is sent


class Retimed:
    """Simulated events moved from the simulated archive's clock to the present.

    How far an event's time lies behind that clock is kept, so what was late stays late. An event that comes again
    keeps the time that it was first given.
    """

    def __init__(self) -> None:
        self._clock = 0
        self._now = 0
        self._given: dict[str, Json] = {}

    def event(self, event: Json) -> Json:
        if event["id"] in self._given:
            return self._given[event["id"]]
        self._now = max(self._now + 1, time.time_ns() * MICROSECONDS // 1_000_000_000)
        if "time" in event:
            text = str(event["time"])
            told = moment(text)
            self._clock = max(self._clock, told)
            write = to_iso if "-" in text[:5] else to_dt
            event = event | {"time": write(self._now - (self._clock - told))}
        self._given[event["id"]] = event
        return event


class Archive:
    """Sends events in a thread until it is told to stop. Each is confirmed by the broker, or sent again.

    ``rate`` is events a second; ``ids`` are those of the events that the broker has confirmed.
    """

    def __init__(self, bootstrap_servers: str, topic: str, seed: int, rate: float) -> None:
        self.rate = rate
        self.ids: list[str] = []
        self.bad = 0
        self.failures: list[BaseException] = []
        self._servers = bootstrap_servers
        self._topic = topic
        self._retimed = Retimed()
        self._events = with_news(
            simulate(_MOST_STUDIES, seed, max_instances=_MOST_INSTANCES, mix=EVERYTHING), Random(seed)
        )
        self._stop = Flag()
        self._lock = Lock()
        self._burst = 0
        self._ends: dict[int, int] = {}
        self._thread = Thread(target=self._run, name="archive", daemon=True)

    @property
    def sent(self) -> int:
        return len(self.ids)

    def ends(self) -> Mapping[int, int]:
        """The last offset that the broker has confirmed, by partition."""
        with self._lock:
            return dict(self._ends)

    def burst(self, count: int) -> None:
        """Send so many events at once, soon."""
        with self._lock:
            self._burst += count

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more; returns when all that was begun is confirmed."""
        self._stop.set()
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the archive's events were not taken"
        if self.failures:
            raise self.failures[0]

    def _run(self) -> None:
        try:
            producer = self._producer()
            owed, before = 0.0, time.monotonic()
            while not self._stop.wait(_SLICE):
                now = time.monotonic()
                owed, before = min(owed + self.rate * (now - before), max(1.0, self.rate)), now
                with self._lock:
                    count, self._burst = int(owed) + self._burst, 0
                owed -= int(owed)
                producer = self._send(producer, list(self._messages(count)))
            producer.close()
        except BaseException as error:
            self.failures.append(error)

    def _messages(self, count: int) -> Iterator[tuple[str | None, bytes, bytes]]:
        """The next events: id, key, value; id None for a message that is no event."""
        for number in range(count):
            if (self.sent + number) % _BAD_EACH == _BAD_EACH - 1:
                self.bad += 1
                yield None, b"bad-%d" % self.bad, BAD_MESSAGE + b"%d" % self.bad
            event = self._retimed.event(next(self._events))
            yield event["id"], event_key(event), orjson.dumps(event)

    def _send(self, producer: KafkaProducer, messages: list[tuple[str | None, bytes, bytes]]) -> KafkaProducer:
        """Send until all are confirmed; after an error all from the first that was not are sent again, in order."""
        while messages:
            futures = [producer.send(self._topic, value, key) for _, key, value in messages]
            confirmed = 0
            try:
                for future, (identity, _, _) in zip(futures, messages, strict=True):
                    self._confirmed(future.get(timeout=_PATIENCE), identity)
                    confirmed += 1
            except KafkaError:
                producer.close(timeout=1)
                producer = self._producer()
            messages = messages[confirmed:]
        return producer

    def _confirmed(self, found: Any, identity: str | None) -> None:
        with self._lock:
            self._ends[found.partition] = max(found.offset, self._ends.get(found.partition, -1))
        if identity is not None:
            self.ids.append(identity)

    def _producer(self) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            linger_ms=5,
            reconnect_backoff_max_ms=500,
            bootstrap_timeout_ms=round(_PATIENCE * 1000),
        )
