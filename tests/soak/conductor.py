"""Random faults, alone and over each other, while events arrive; how long each took to be made good."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.soak.archive import Archive
from tests.soak.faults import Steps
from tests.soak.fleet import Fleet
from tests.soak.inventories import Inventories
from tests.soak.profiles import WRITER_KILLED
from tests.soak.watch import Watch

log = logging.getLogger(__name__)

PATIENCE: Final = 120.0  # seconds for a fault to be made good

_EACH: Final = 0.05  # seconds between two looks
_LONG: Final = 30.0  # seconds after which the log says how things stand
_AFTER: Final = 1.0  # what was published so long after a fault's end is part of what has to be applied
_WIDTHS: Final = (1, 2, 2, 3, 3, 4)  # how many faults may be under way, the next one included
_GAP: Final = (0.2, 1.0)  # seconds between two beginnings
_STRIKE: Final = 0.4  # seconds after a burst of events within which a fault begins: most while they are applied
_RATES: Final = (10.0, 200.0)  # events a second
_IN_BURSTS: Final = 0.6  # of the events


@dataclass
class Fault:
    """A fault under way. ``ended`` and ``due`` are monotonic seconds."""

    kind: str
    steps: Steps
    alone: bool
    due: float
    ended: float | None = None
    made_good: Callable[[], bool] | None = None
    told: bool = False  # that it takes long


@dataclass(frozen=True, slots=True)
class Recovery:
    """A fault that was made good, ``seconds`` after its end. ``alone``: no other was under way meanwhile.

    It is made good when every shard has applied all that was published up to one second after the fault's end; that of
    a writer when the next inventory is there.
    """

    kind: str
    alone: bool
    seconds: float


@dataclass
class Scene:
    """Where faults happen. ``begin`` is given a kind and those under way; it may answer that it cannot begin now."""

    fleet: Fleet
    archive: Archive
    watch: Watch
    inventories: Inventories
    begin: Callable[[str, list[str]], Steps | None]
    rng: Random

    def explain(self) -> str:
        """What is not applied, and how the consumers' group stands."""
        behind = self.watch.behind(self.archive.ends())
        return f"partitions behind (applied, published): {behind}; group: {self.watch.group()}"


class Conductor:
    """Works through a deck of faults in one thread: servers die with the thread that started them."""

    def __init__(self, scene: Scene, deck: list[str], events: int) -> None:
        self.recoveries: list[Recovery] = []
        self.failures: list[str] = []
        self._scene = scene
        self._deck = deck
        self._total = len(deck)
        self._events = events
        self._burst = round(events / len(deck) * _IN_BURSTS)
        self._open: list[Fault] = []
        self._begun = time.monotonic()

    def run(self, check_every: int) -> None:
        """Until the deck is empty and every fault is made good, or given up; inventories are checked now and then."""
        next_check = check_every
        next_begin, width = 0.0, 1
        while self._deck or self._open:
            done = self._total - len(self._deck)
            if done >= next_check and not self._open:
                self._scene.inventories.check()
                next_check += check_every
            elif done < next_check and len(self._open) < width and time.monotonic() >= next_begin and self._begin():
                width = self._scene.rng.choice(_WIDTHS)
                next_begin = time.monotonic() + self._scene.rng.uniform(*_GAP)
            self._advance()
            self._scene.fleet.tend()
            self._look()
            time.sleep(_EACH)

    def _begin(self) -> bool:
        """Begin the first fault of the deck that can do its work now, if there is one."""
        under_way = [one.kind for one in self._open]
        for kind in dict.fromkeys(self._deck):
            steps = self._scene.begin(kind, under_way)
            if steps is not None:
                self._deck.remove(kind)
                break
        else:
            return False
        for other in self._open:
            other.alone = False
        self._scene.archive.burst(self._burst)
        strike = time.monotonic() + self._scene.rng.uniform(0.0, _STRIKE)
        self._open.append(Fault(kind, steps, alone=not self._open, due=strike))
        self._say("begins", kind)
        return True

    def _advance(self) -> None:
        for fault in self._open:
            if fault.ended is None and time.monotonic() >= fault.due:
                wait = next(fault.steps, None)
                if wait is None:
                    fault.ended = time.monotonic()
                    self._say("ends", fault.kind)
                else:
                    fault.due = time.monotonic() + wait

    def _look(self) -> None:
        self._scene.watch.look(self._scene.archive.ends())
        for fault in list(self._open):
            if fault.ended is None:
                continue
            since = time.monotonic() - fault.ended
            if fault.made_good is None:
                if since >= _AFTER:
                    fault.made_good = self._made_good(fault.kind)
            elif fault.made_good():
                self._close(fault, since)
            elif since > _LONG and not fault.told:
                fault.told = True
                log.warning("%s: not made good after %.0f s; %s", fault.kind, since, self._scene.explain())
            elif since > PATIENCE:
                self.failures.append(f"{fault.kind}: not made good within {PATIENCE:g} seconds")
                self._open.remove(fault)

    def _made_good(self, kind: str) -> Callable[[], bool]:
        scene = self._scene
        if kind == WRITER_KILLED:
            before = scene.inventories.sequence()
            return lambda: scene.inventories.sequence() > before
        ends = scene.archive.ends()
        return lambda: scene.watch.applied(ends)

    def _close(self, fault: Fault, seconds: float) -> None:
        self.recoveries.append(Recovery(fault.kind, fault.alone, seconds))
        self._open.remove(fault)
        self._say(f"made good after {seconds:.1f} s", fault.kind)
        self._pace()
        done = len(self.recoveries)
        if done % 10 == 0 or done == self._total:
            since = time.monotonic() - self._begun
            print(f"{since:6.0f} s  {done} of {self._total} faults, {self._scene.archive.sent:,} events", flush=True)

    def _say(self, what: str, kind: str) -> None:
        log.info("%s: %s; %d under way", kind, what, len(self._open))

    def _pace(self) -> None:
        """Let the events last as long as the faults."""
        done = len(self.recoveries)
        left = (self._total - done) * (time.monotonic() - self._begun) / done
        rate = (1 - _IN_BURSTS) * (self._events - self._scene.archive.sent) / max(left, 1.0)
        self._scene.archive.rate = min(max(rate, _RATES[0]), _RATES[1])
