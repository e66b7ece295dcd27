"""How long a server is waited for: tries again until a time is over, with pauses that grow and differ."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_SHORTEST: Final = 0.02  # seconds; the first pause is at most this, each further one at most twice the one before
_LONGEST: Final = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waiting needs of the machine: seconds that only rise, a pause in seconds, a number in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


class Patience:
    """The time that one exchange has: ``seconds`` from now. It is not for several threads."""

    __slots__ = ("_end", "_most", "_waiting")

    def __init__(self, seconds: float, waiting: Waiting) -> None:
        self._waiting = waiting
        self._end = waiting.monotonic() + seconds
        self._most = _SHORTEST

    def pause(self, why: Exception) -> None:
        """Wait before the next try; half of the pause is drawn, so that many clients do not come at once.

        Raises:
            why: the time is over. No try begins after it.
        """
        left = self._end - self._waiting.monotonic()
        if left <= 0:
            raise why
        pause = self._most * (0.5 + 0.5 * self._waiting.random())
        self._most = min(2 * self._most, _LONGEST)
        self._waiting.sleep(min(pause, left))
