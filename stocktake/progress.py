"""Progress of long work, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

_INTERVAL: Final = 0.2
_WIDTH: Final = 30


class Progress:
    """A line that counts up, with a bar where the total is known; a context manager that ends the line.

    ``count`` is how much is done.
    """

    def __init__(self, unit: str, total: int | None = None) -> None:
        self._unit = unit
        self._total = total
        self.count = 0
        self._shown = 0.0
        self._begun = monotonic()
        self._line = False
        self._terminal = sys.stderr.isatty()

    def expect(self, total: int) -> None:
        """Say how much there is to do, when that comes to be known."""
        self._total = total

    def at(self, count: int) -> None:
        """Say how much is done."""
        self.count = count
        if not self._terminal:
            return
        now = monotonic()
        if now - self._shown < _INTERVAL:
            return
        self._shown = now
        rate = count / max(now - self._begun, 0.001)
        bar = ""
        if self._total:
            filled = min(_WIDTH, _WIDTH * count // self._total)
            share = min(100, 100 * count // self._total)
            bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {share} % of {self._total:,} "
        sys.stderr.write(f"\r\x1b[K  {bar}{count:,} {self._unit}, {rate:,.0f}/s")
        sys.stderr.flush()
        self._line = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
