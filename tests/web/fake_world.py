"""A migration that is made up: plausible figures that a test changes while the page looks on."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.words import duration
from stocktake.web.verifications import State

STUDY_ROOT: Final = "1.2.826.0.1.3680043.8.498."
OPEN: Final = ("missing", "incomplete", "different", "extra", "removed_at_source_only")
PLACES: Final = ("in_sync", *OPEN, "removed_on_both", "out_of_scope", "compared_anew")
_GRACE: Final = 900.0


def study_uid(number: int, letters: int = 64) -> str:
    """A made-up Study Instance UID of a length. All begin alike, and like nothing else."""
    return (STUDY_ROOT + _digits(number))[:letters]


def _digits(number: int) -> str:
    return str(int(hashlib.sha256(str(number).encode()).hexdigest(), 16))


@dataclass(kw_only=True)
class OpenStudy:
    """A study on which source and target do not agree."""

    study_instance_uid: str
    place: str
    since: datetime
    modality: str
    year: str
    acknowledged: dict[str, str] | None = None


@dataclass(kw_only=True)
class World:
    """All that the fake tells. A test changes it; every answer is made from what it is then."""

    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)  # token: name and role
    configured: bool = True  # a cutover is
    down: str = ""  # why nothing answers but with 503
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    in_sync: int = 1_284_310
    others: dict[str, int] = field(default_factory=lambda: {"removed_on_both": 1_204, "out_of_scope": 18_733})
    studies: list[OpenStudy] = field(default_factory=list)
    rates: tuple[float | None, float | None] = (120.0, 480.0)
    watermark_age: float = 7.4
    repositories: list[str] = field(default_factory=lambda: ["pacs", "vna"])
    stopped: str | None = None
    sinks_in_trouble: bool = False
    inventories: list[dict[str, Any]] = field(default_factory=list)  # newest first
    findings: list[dict[str, str]] = field(default_factory=list)  # of every verification
    verifying: State = "done"  # how far a verification is
    verified: str = ""  # the inventory of which one was asked for last
    requested: list[int] = field(default_factory=list)  # deltas that were asked for: the head's sequence then
    writer: bool = True  # one leads
    history: bool = True
    reports: bool = True  # reports are made

    def exceptions(self) -> list[OpenStudy]:
        """Those open for longer than the grace, the oldest first."""
        until = self.now() - timedelta(seconds=_GRACE)
        return sorted((one for one in self.studies if one.since <= until), key=lambda one: one.since)

    def figures(self) -> dict[str, Any]:
        """The answer of ``/cutover``."""
        now = self.now()
        exceptions = self.exceptions()
        unseen = sum(one.acknowledged is None for one in exceptions)
        oldest = min((one.since for one in self.studies), default=None)
        places = dict.fromkeys(PLACES, 0) | {"in_sync": self.in_sync} | self.others
        places |= Counter(one.place for one in self.studies)
        return {
            "time": iso(now),
            "source": "pacs",
            "target": "vna",
            "recompared": not places["compared_anew"],
            "places": places,
            "open": len(self.studies),
            "grace_seconds": _GRACE,
            "exceptions": len(exceptions),
            "unacknowledged": unseen,
            "oldest": None if oldest is None else iso(oldest),
            "oldest_seconds": None if oldest is None else (now - oldest).total_seconds(),
            **self._pace(now),
            "lag": {"settled": 431, "p50_seconds": 4.2, "p95_seconds": 38.0, "p99_seconds": 312.5},
            **self._breakdowns(),
            "gate": self._gate(len(exceptions), unseen),
        }

    def _pace(self, now: datetime) -> dict[str, Any]:
        arrived, settled = self.rates
        net = None if arrived is None or settled is None else settled - arrived
        outlook, seconds = "unknown", None
        if not self.studies:
            outlook = "done"
        elif net is not None and net <= 0:
            outlook = "never"
        elif net is not None:
            outlook, seconds = "expected", len(self.studies) * 3600 / net
        return {
            "rates": {
                "window_seconds": 3600,
                "arrived_per_hour": arrived,
                "settled_per_hour": settled,
                "net_per_hour": net,
            },
            "forecast": {
                "outlook": outlook,
                "seconds": seconds,
                "at": None if seconds is None else iso(now + timedelta(seconds=seconds)),
            },
        }

    def _breakdowns(self) -> dict[str, list[dict[str, Any]]]:
        shares = {"CR": 0.42, "CT": 0.18, "MG": 0.06, "MR": 0.11, "US": 0.2, "XA": 0.03}
        years = {str(2026 - ago): 0.18 * 0.82**ago for ago in range(12)} | {"none": 0.0003}
        today = self.now()
        days = {(today - timedelta(days=ago)).strftime("%Y%m%d"): 0.001 for ago in range(12)}
        found = {}
        for names, what, parts in (
            ("modalities", "modality", shares),
            ("years", "year", years),
            ("days", "day", days),
        ):
            rows = []
            for value, share in sorted(parts.items()):
                places: dict[str, int] = {"in_sync": round(self.in_sync * share)}
                if what != "day":
                    places |= Counter(one.place for one in self.studies if getattr(one, what) == value)
                opened = sum(places.get(place, 0) for place in OPEN)
                rows.append({what: value, "places": places, "open": opened})
            found[names] = rows
        return found

    def _gate(self, exceptions: int, unseen: int) -> dict[str, Any]:
        opened = sum(one.acknowledged is None for one in self.studies)
        figure = f"{opened} studies are open" if opened else f"{len(self.studies)} open, all acknowledged"
        left, seen = f"{unseen} of {exceptions} are not", "every study open for longer than 15 min acknowledged"
        age = self.watermark_age
        conditions = [
            _condition("everything_compared", True, "every study by the present rules", "every study"),
            _condition("nothing_open", not opened, figure, "nothing open for 10 min, but what was acknowledged"),
            _condition("exceptions_acknowledged", not unseen, left, seen),
            *(
                _condition(f"watermark_{name}", age < 300, f"{duration(age)} old", "younger than 5 min")
                for name in ("pacs", "vna")
            ),
            *(_condition(f"event_{name}", True, "12 s ago", "within 1 h") for name in ("pacs", "vna")),
        ]
        for name in ("pacs", "vna"):
            told = f"sequence {self.sequence()}, COMPLETE"
            conditions.append(_condition(f"inventory_{name}", True, told, "COMPLETE, nothing since"))
            conditions.append(
                _condition(f"verified_{name}", True, "without findings", "the head verified without findings")
            )
        both = self.in_sync + len(self.studies)
        told = f"{both:,} live studies in scope at the source, {both:,} at the target"
        begin = "inventories of both sides with the same beginning"
        conditions.append(_condition("beginning", True, "pacs: open, vna: open", begin))
        conditions.append(_condition("counts_equal", True, told, "as many at both, or all that differ acknowledged"))
        return {"met": all(one["met"] for one in conditions), "conditions": conditions}

    def rows(self, step: str, begin: int, end: int) -> list[dict[str, Any]]:
        """Rows of history that look like a migration of months, with the present at their end."""
        if not self.history:
            return []
        size = 60 if step == "minute" else 3600
        present = self.now().timestamp()
        first, last = (one // size for one in (begin, end))
        return [self._row(at * size, present) for at in range(first, last + 1) if at * size >= begin]

    def _row(self, at: int, present: float) -> dict[str, Any]:
        ago = max(0.0, present - at) / 3600
        day = math.sin(at / 86_400 * 2 * math.pi)
        settled = round(self.in_sync + 1204 - 480 * ago + 900 * day * min(1.0, ago / 4))
        grown = 360 * ago + 700 * math.sin(at / 43_200 * 2 * math.pi) * min(1.0, ago / 6)
        opened = len(self.studies) + round(grown)
        counts = Counter(one.place for one in self.studies)
        parts = {place: counts[place] + round(grown * share) for place, share in zip(OPEN, _SHARES, strict=True)}
        return {
            "time": iso(datetime.fromtimestamp(at, UTC)),
            "arrived": settled + opened,
            "settled": settled,
            "open": opened,
            "in_sync": settled - 1204,
            **parts,
            "lag_p50": 4 + 2 * day,
            "lag_p95": 38 + 20 * day,
            "lag_p99": 240 + 90 * day,
            "oldest": 3600.0 * (1 + ago / 20),
        }

    def status(self, name: str) -> dict[str, Any]:
        """How a repository stands."""
        now = self.now()
        watermark = now - timedelta(seconds=self.watermark_age)
        head = self.inventories[0] if self.inventories else None
        names = ("sop_instance_uid", "sequence", "kind", "status", "watermark", "own_records", "total_records", "file")
        late = self.watermark_age > 60
        return {
            "repository": name,
            "studies": self.in_sync + len(self.studies),
            "backlog": 214,
            "oldest_debt": 2,
            "lag": 61,
            "watermark": iso(watermark),
            "watermark_age": self.watermark_age,
            "held_back_by": [
                {
                    "partition": f"{name}.events/3",
                    "why": "no consumer has told of it for long",
                    "since": iso(watermark),
                    "seconds": self.watermark_age,
                }
            ]
            if late
            else [],
            "stopped": self.stopped,
            "head": None if head is None else {key: head[key] for key in names},
            "head_age": None if head is None else 251.0,
            "partitions": [self._partition(name, number, now) for number in range(6)],
            "sinks": [self._sink("web", now), self._sink("bucket", now)],
            "counters": {
                "events_store": 12_918_221,
                "events_update": 81_023,
                "events_delete": 2_011,
                "dead_letters": 3,
                "studies_late": 41,
                "values_repaired": 118,
                "batches": 190_224,
            },
        }

    def _partition(self, name: str, number: int, now: datetime) -> dict[str, Any]:
        last = 2_167_000 + 311 * number
        lag = 61 if number == 3 else 0
        age = self.watermark_age if number == 3 else 2.0 + number / 10
        seen = iso(now - timedelta(seconds=age))
        return {
            "topic": f"{name}.events",
            "partition": number,
            "applied_offset": last - lag,
            "last_offset": last,
            "lag": lag,
            "watermark": seen,
            "watermark_age": age,
            "published": seen,
            "published_age": 0.8,
        }

    def _sink(self, name: str, now: datetime) -> dict[str, Any]:
        bad = self.sinks_in_trouble and name == "web"
        sequence = self.sequence()
        return {
            "name": name,
            "sequence": max(0, sequence - 2 * bad),
            "behind": 2 * bad,
            "inventories": sequence,
            "files": sequence + 4,
            "bytes": 4_211_908_112,
            "failures": 19 * bad,
            "trouble": "no association; is it running at vna.example.org:11112?" if bad else None,
            "trouble_since": iso(now - timedelta(hours=1)) if bad else None,
            "trouble_age": 3600.0 if bad else None,
        }

    def sequence(self) -> int:
        """The head's; 0 before the first inventory."""
        return self.inventories[0]["sequence"] if self.inventories else 0

    def publish(self, kind: str = "delta") -> None:
        """One more inventory in the chain."""
        self.inventories.insert(0, _inventory(self.sequence() + 1, kind, self.now()))

    def find(self, study: str) -> OpenStudy | None:
        """The open study of this UID."""
        return next((one for one in self.studies if one.study_instance_uid == study), None)


_SHARES: Final = (0.5, 0.2, 0.15, 0.1, 0.05)


def plausible() -> World:
    """A migration towards its end: 60 studies are open, 48 of them for too long."""
    world = World()
    now = datetime.now(UTC)
    modalities = ("CT", "MR", "US", "CR", "MG", "XA")
    for number in range(60):
        minutes = 2 + number if number < 12 else 20 + number * 37
        world.studies.append(
            OpenStudy(
                study_instance_uid=study_uid(number, 64 if number % 3 else 38),
                place=OPEN[(number * 7) % 10 % 5],
                since=now - timedelta(minutes=minutes),
                modality=modalities[number % 6],
                year="none" if number == 30 else str(2026 - number % 9),
                acknowledged={
                    "name": "anna",
                    "time": iso(now - timedelta(minutes=3)),
                    "note": "Known test patient; the target never had it and will not.",
                }
                if number % 5 == 4
                else None,
            )
        )
    for sequence in range(1, 64):
        kind = "baseline" if sequence == 1 else "rollup" if sequence % 9 == 0 else "delta"
        world.inventories.insert(0, _inventory(sequence, kind, now - timedelta(minutes=10 * (63 - sequence) + 4)))
    return world


def _inventory(sequence: int, kind: str, watermark: datetime) -> dict[str, Any]:
    own = 1_271_118 if kind == "baseline" else 1904 if kind == "rollup" else 40 + sequence * 13 % 300
    name = f"2.25.{_digits(sequence)[:39]}"
    counts = {"studies": own, "series": own * 4, "instances": own * 211, "removed_studies": own % 5}
    return {
        "sop_instance_uid": name,
        "sequence": sequence,
        "kind": kind,
        "tier": None if kind == "baseline" else int(kind == "rollup"),
        "status": "PARTIAL" if sequence == 57 else "COMPLETE",
        "watermark": iso(watermark),
        "scope_begin": None,
        "scope_end": iso(watermark),
        "slice_from": max(0, sequence - (8 if kind == "rollup" else 1)),
        "cut": sequence,
        "own_records": own,
        "total_records": 1_271_118 + sequence * 190,
        "counts": counts,
        "bytes": own * 2_204,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "file": f"2026/11/27/{name}.dcm",
        "parts": [],
        "reached": kind != "delta" or sequence > 54,
    }


def _condition(name: str, met: bool, figure: str, wanted: str) -> dict[str, Any]:
    return {"name": name, "met": met, "figure": figure, "wanted": wanted}


def iso(when: datetime) -> str:
    """The moment as the API tells it."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
