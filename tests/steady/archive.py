"""The archive of a steady run: a process of its own that sends rounds at a pace, and says how far it has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event as ProcessFlag
from typing import Final

from kafka import KafkaProducer

from state.times import MICROSECONDS
from tests.steady.rounds import round_of

FLAT_OUT: Final = 0.0  # the pace that is none
_SLICE: Final = 0.02  # seconds between two times that events are sent
_UNCONFIRMED: Final = 20_000  # messages, beyond which it waits for the broker
_ENDING: Final = 120.0  # seconds


class Archive:
    """``pace`` (events a second, or :data:`FLAT_OUT`) may be set at any time; 0 events are sent before :meth:`go`."""

    def __init__(self, bootstrap_servers: str, topic: str, studies: int, seed: int) -> None:
        context = get_context("spawn")
        self._pace: Synchronized[float] = context.Value("d", FLAT_OUT)
        self._sent: Synchronized[int] = context.Value("q", 0)
        self._going, self._stop = context.Event(), context.Event()
        self.process = context.Process(
            target=_send,
            args=(bootstrap_servers, topic, studies, seed, self._pace, self._sent, self._going, self._stop),
            name="archive",
            daemon=True,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """It exists during the block."""
        self.process.start()
        try:
            yield
        finally:
            self.process.kill()
            self.process.join()

    @property
    def sent(self) -> int:
        """Events sent so far."""
        return self._sent.value

    def go(self, pace: float) -> None:
        """Send at this pace from now on."""
        self._pace.value = pace
        self._going.set()

    def rest(self) -> None:
        """Send nothing until the next :meth:`go`."""
        self._going.clear()

    def finish(self) -> None:
        """Send the round to its end, as fast as can be, and end."""
        self._stop.set()
        self._going.set()
        self.process.join(_ENDING)
        assert self.process.exitcode == 0, f"the archive ended with {self.process.exitcode}"


def _send(
    bootstrap_servers: str,
    topic: str,
    studies: int,
    seed: int,
    pace: Synchronized[float],
    sent: Synchronized[int],
    going: ProcessFlag,
    stop: ProcessFlag,
) -> None:
    messages = round_of(studies, seed)
    producer = KafkaProducer(
        bootstrap_servers=bootstrap_servers, linger_ms=5, batch_size=128 * 1024, compression_type="lz4", acks="all"
    )
    owed, before, latest, place = 0.0, time.monotonic(), 0, 0
    stream = cycle(messages)
    while not (stop.is_set() and place == 0):
        if not going.is_set():
            producer.flush()
            going.wait()
            before = time.monotonic()
        moment = time.monotonic()
        ending = stop.is_set()
        if ending or pace.value == FLAT_OUT:
            count = 1000
        else:
            owed += min(moment - before, 1.0) * pace.value
            count = int(owed)
            owed -= count
        before = moment
        if ending:
            count = min(count, len(messages) - place)
        for _ in range(count):
            message = next(stream)
            latest = max(latest + 1, time.time_ns() * MICROSECONDS // 1_000_000_000)
            producer.send(topic, message.at(latest), message.key)
        place = (place + count) % len(messages)
        if sent.value // _UNCONFIRMED != (sent.value + count) // _UNCONFIRMED:
            producer.flush()
        sent.value += count
        if not ending and pace.value != FLAT_OUT:
            time.sleep(_SLICE)
    producer.flush()
    producer.close()
