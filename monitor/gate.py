"""Whether a cutover is safe: named conditions, each with the figure that it is met by or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from monitor.figures import Figures
from monitor.policy import CutoverPolicy
from monitor.status import Status
from monitor.words import duration
from state.comparison import Place
from state.history import Row

_COMPLETE: Final = "COMPLETE"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: ``figure`` is what was found, ``wanted`` what meets it."""

    name: str
    met: bool
    figure: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Side:
    """One repository as the gate sees it.

    ``verified`` is the SOP Instance UID of the inventory that was last verified without findings, None if none was.
    ``silence`` is the age of the oldest partition's heartbeat where a bridge sends them, else that of the newest update
    (seconds), None if there is none. ``begin`` is the beginning of the
    head's scope (ISO 8601), None if it is open.
    """

    status: Status
    verified: str | None
    silence: float | None
    begin: str | None


@dataclass(frozen=True, slots=True)
class Gate:
    """All conditions; it is met when all of them are."""

    conditions: tuple[Condition, ...]

    @property
    def met(self) -> bool:
        return all(condition.met for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"met": self.met, "conditions": [asdict(condition) for condition in self.conditions]}


def gate(figures: Figures, rows: Sequence[Row], source: Side, target: Side) -> Gate:
    """The gate as it stands; ``rows`` are those of every minute of at least ``policy.quiet``."""
    policy = figures.policy
    return Gate(
        (
            _everything_compared(figures),
            _nothing_open(figures, rows, policy),
            _exceptions_seen(figures, policy),
            *(_watermark(side, policy) for side in (source, target)),
            *(_heard_of(side, policy) for side in (source, target)),
            *(one for side in (source, target) for one in _head(side)),
            _beginning(source, target),
            _equal(figures),
        )
    )


def _everything_compared(figures: Figures) -> Condition:
    places = figures.standing.places
    anew = places[Place.COMPARED_ANEW] + places[Place.OPEN_COMPARED_ANEW]
    if figures.recompared and not anew:
        return Condition("everything_compared", True, "every study by the present rules", "every study")
    figure = f"{anew:,} studies are to be compared anew" if anew else "not every study by the present rules"
    return Condition("everything_compared", False, figure, "every study; run stocktake cutover --compare")


def _nothing_open(figures: Figures, rows: Sequence[Row], policy: CutoverPolicy) -> Condition:
    wanted = f"nothing open for {duration(policy.quiet)}, but what was acknowledged"
    standing = figures.standing
    unseen = standing.open - standing.acknowledged
    begin = figures.now // 1_000_000 - policy.quiet
    looked_at = [row for row in rows if row.time >= begin]
    span = 0 if not looked_at else figures.now // 1_000_000 - looked_at[0].time
    most = max((row.open for row in looked_at), default=standing.open)
    if unseen:
        return Condition("nothing_open", False, f"{unseen:,} studies are open", wanted)
    if span + 60 < policy.quiet:
        return Condition("nothing_open", False, f"known for {duration(span)} only", wanted)
    if most > standing.open:
        return Condition("nothing_open", False, f"{most:,} were open within that time", wanted)
    return Condition("nothing_open", True, f"{standing.open:,} open, all acknowledged", wanted)


def _exceptions_seen(figures: Figures, policy: CutoverPolicy) -> Condition:
    wanted = f"every study open for longer than {duration(policy.grace)} acknowledged"
    figure = f"{figures.unseen:,} of {figures.exceptions:,} are not"
    return Condition("exceptions_acknowledged", not figures.unseen, figure, wanted)


def _watermark(side: Side, policy: CutoverPolicy) -> Condition:
    age = side.status.watermark_age
    figure = "there is none" if age is None else f"{duration(age)} old"
    wanted = f"younger than {duration(policy.max_lag)}"
    return Condition(f"watermark_{side.status.repository}", age is not None and age < policy.max_lag, figure, wanted)


def _heard_of(side: Side, policy: CutoverPolicy) -> Condition:
    figure = "nothing ever came" if side.silence is None else f"{duration(side.silence)} ago"
    met = side.silence is not None and side.silence < policy.max_silence
    return Condition(f"event_{side.status.repository}", met, figure, f"within {duration(policy.max_silence)}")


def _head(side: Side) -> Iterator[Condition]:
    head, name = side.status.head, side.status.repository
    if head is None:
        yield Condition(f"inventory_{name}", False, "there is none", "a COMPLETE head")
        return
    figure = f"sequence {head['sequence']:,}, {head['status']}"
    owed, looks = side.status.backlog, side.status.owed_looks
    if owed:
        figure += f", {owed:,} studies changed since"
    if looks:
        figure += f", {looks:,} are to be looked up"
    met = head["status"] == _COMPLETE and not owed and not looks
    yield Condition(f"inventory_{name}", met, figure, "COMPLETE, nothing since")
    verified = side.verified == head["sop_instance_uid"]
    figure = "without findings" if verified else "the head was not verified, or not without findings"
    yield Condition(f"verified_{name}", verified, figure, "the head verified without findings")


def _beginning(source: Side, target: Side) -> Condition:
    told = [f"{side.status.repository}: {_begin(side)}" for side in (source, target)]
    met = source.status.head is not None and target.status.head is not None
    return Condition("beginning", met, ", ".join(told), "inventories of both sides whose beginning is known")


def _begin(side: Side) -> str:
    return "no inventory" if side.status.head is None else f"since {side.begin}" if side.begin else "open"


def _equal(figures: Figures) -> Condition:
    places = figures.standing.places
    both = places[Place.IN_SYNC] + places[Place.INCOMPLETE] + places[Place.DIFFERENT]
    at_source = both + places[Place.MISSING]
    at_target = both + places[Place.EXTRA] + places[Place.REMOVED_AT_SOURCE_ONLY]
    figure = f"{at_source:,} live studies in scope at the source, {at_target:,} at the target"
    met = at_source == at_target or figures.standing.open == figures.standing.acknowledged
    return Condition("counts_equal", met, figure, "as many at both, or all that differ acknowledged")
