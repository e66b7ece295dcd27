"""The cutover as a whole at one moment: figures and gate, read from the state, and kept for the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitor.figures import Figures, row_of, take_figures
from monitor.gate import Gate, Side, gate
from monitor.partitions import seconds_since
from monitor.policy import CutoverPolicy
from monitor.status import Status
from state.chain import Chain
from state.comparison import rules_of
from state.history import HOUR, MINUTE, History
from state.pair import Pair, is_recompared
from state.repository import Repository
from state.studies import Studies
from state.times import MICROSECONDS


@dataclass(frozen=True, slots=True)
class OpenSide:
    """One repository's state, and how it stands."""

    repository: Repository
    studies: Studies
    chain: Chain
    status: Status


@dataclass(frozen=True, slots=True)
class Cutover:
    """Figures and gate of one moment."""

    figures: Figures
    gate: Gate

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return self.figures.to_json() | {"gate": self.gate.to_json()}


def look(pair: Pair, history: History, policy: CutoverPolicy, source: OpenSide, target: OpenSide, now: int) -> Cutover:
    """Read all of it. ``now`` is UTC microseconds of the state's clock.

    Raises:
        StateUnreachable: the state does not answer.
    """
    recompared = is_recompared(pair, rules_of(policy.rules))
    figures = take_figures(pair, history, policy, now, recompared=recompared)
    minute = now // MICROSECONDS
    rows = history.rows(MINUTE, minute - round(policy.quiet) - 2 * MINUTE, minute)
    return Cutover(figures, gate(figures, rows, _side(source, now), _side(target, now)))


def keep(pair: Pair, history: History, cutover: Cutover) -> None:
    """Keep the moment's row, and drop what is too old to be looked at."""
    figures = cutover.figures
    history.keep(row_of(figures.standing, figures.lags, figures.now))
    hour = figures.now // MICROSECONDS // HOUR
    if any(one < hour - 2 for one, _ in figures.standing.lags):
        pair.forget_lags(hour - 2)


def _side(side: OpenSide, now: int) -> Side:
    verified, newest, head = side.repository.verified(), side.studies.newest_update(), side.chain.head()
    return Side(
        status=side.status,
        verified=verified.sop_instance_uid if verified is not None and not verified.findings else None,
        silence=_silence(side.status.heartbeat_age, newest, now),
        begin=None if head is None else head["scope_begin"],
    )


def _silence(heartbeat_age: float | None, newest: int | None, now: int) -> float | None:
    """A bridge that beats says that it is alive however quiet its archive is; without one, only updates tell."""
    if heartbeat_age is not None:
        return heartbeat_age
    return None if newest is None else seconds_since(newest, now)
