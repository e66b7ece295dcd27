"""This machine's clock beside those of the servers.

A watermark is what a consumer's clock says, less ``consumer.max_out_of_order``: a clock that is ahead claims more than
has come. Ages in `status` and leases go by the clock of the state's server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

from state.connection import Connection
from state.errors import StateError
from state.times import MICROSECONDS
from stocktake.doctor.finding import Examined, Finding, Limits, Reporter

_REPORT: Final = Reporter("clock")
_TRIES: Final = 3


def check(examined: Examined) -> Iterator[Finding]:
    try:
        with closing(Connection(examined.redis)) as connection:
            connection.now()  # connects
            # The quickest answer tells it best: it lies between the two readings of our own clock.
            asked = [(examined.now(), connection.now() / MICROSECONDS, examined.now()) for _ in range(_TRIES)]
    except StateError as error:
        yield _REPORT.skip("redis", f"the state's server does not tell its time: {error}")
        return
    before, theirs, after = min(asked, key=lambda one: one[2] - one[0])
    yield judge(
        (before + after) / 2 - theirs,
        (after - before) / 2,
        examined.settings.consumer.max_out_of_order,
        examined.limits,
    )


def judge(ahead: float, unsure: float, out_of_order: float, limits: Limits) -> Finding:
    """How this machine's clock is, that is ``ahead`` of the server's by so many seconds, ``unsure`` more or less."""
    least = max(0.0, abs(ahead) - unsure)
    told = f"this machine is {abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'} the state's server"
    advice = "let both follow the same time server (chrony, systemd-timesyncd)"
    if least > max(out_of_order, limits.clock):
        return _REPORT.fail("redis", f"{told}, more than consumer.max_out_of_order ({out_of_order:g} s)", advice)
    if least > limits.clock:
        return _REPORT.warn("redis", told, advice)
    return _REPORT.ok("redis", told)
