"""The sign-off report of a cutover: what was compared, by which rules, with what result, and how to repeat it.

Its numbers are those of ``stocktake diff --cutover`` of the two head inventories that it names. It holds UIDs, counts,
digests and what people noted, and no attribute of a patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Final

import orjson

from monitor.cutover import Cutover
from monitor.figures import Figures, name_of
from monitor.gate import Gate
from monitor.reasons import reasons
from monitor.tally import Tally
from state.comparison import OPEN, rules_of
from state.pair import Acknowledgement, Compared, Pair
from state.policy import ComparisonPolicy
from state.times import MICROSECONDS, to_iso

VERSION: Final = 1  # of the JSON object
_PAGE: Final = 500

# Of a manifest what tells which inventory it is, what it covers, and that it is the same to the byte.
_OF_MANIFEST: Final = (
    "repository",
    "sop_instance_uid",
    "sequence",
    "kind",
    "level",
    "status",
    "cut",
    "watermark",
    "scope_begin",
    "scope_end",
    "own_records",
    "total_records",
    "file",
    "bytes",
    "sha256",
    "software",
)
_OF_MEMBER: Final = ("sop_instance_uid", "sequence", "file", "total_records")


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is not settled. ``since``: UTC microseconds. ``on_its_way``: for less than the grace period."""

    study_instance_uid: str
    place: str
    reasons: tuple[str, ...]
    modality: str
    year: str
    since: int | None
    on_its_way: bool
    acknowledged: Acknowledgement | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; times are ISO 8601 in UTC."""
        seen = self.acknowledged
        found = asdict(self) | {
            "reasons": list(self.reasons),
            "since": None if self.since is None else to_iso(self.since),
        }
        if seen is not None:
            found["acknowledged"] = {"name": seen.name, "time": to_iso(seen.time), "note": seen.note}
        return found


@dataclass(frozen=True, slots=True)
class Report:
    """All of it but the open studies, which may be many: :func:`open_studies` reads them in pages.

    ``zone`` names the zone of the source, ``heads`` are the source's and the target's manifest, None before the first.
    """

    software: str
    zone: str
    figures: Figures
    gate: Gate
    tally: Tally
    heads: tuple[dict[str, Any] | None, dict[str, Any] | None]

    @property
    def rules(self) -> ComparisonPolicy:
        return self.figures.policy.rules

    @property
    def command(self) -> str:
        """What compares the two heads anew, run in the folder of the inventories (``inventory.dir``)."""
        names = (f"{head['repository']}/{head['file']}" if head else "(none)" for head in self.heads)
        return f"stocktake diff {' '.join(names)} --cutover"

    def to_json(self) -> dict[str, Any]:
        """A JSON object without the open studies; times are ISO 8601 in UTC, durations seconds."""
        figures, standing = self.figures, self.figures.standing
        return {
            "report": "stocktake cutover",
            "version": VERSION,
            "time": to_iso(figures.now),
            "zone": self.zone,
            "software": self.software,
            "source": self.rules.source,
            "target": self.rules.target,
            "gate": self.gate.to_json(),
            "counts": self.tally.to_json(),
            "acknowledged": standing.acknowledged,
            "longer_than_grace": figures.exceptions,
            "longer_than_grace_and_unacknowledged": figures.unseen,
            "grace_seconds": figures.policy.grace,
            "oldest": None if standing.oldest is None else to_iso(standing.oldest),
            "inventories": {"source": _of_head(self.heads[0]), "target": _of_head(self.heads[1])},
            "rules": rules_json(self.rules),
            "repeat": self.command,
        }


def report(software: str, zone: str, cutover: Cutover, heads: tuple[dict[str, Any] | None, ...]) -> Report:
    """The report of what was looked at; ``heads`` are the manifests of the source's head and of the target's."""
    source, target = heads
    return Report(
        software, zone, cutover.figures, cutover.gate, Tally.of(cutover.figures.standing.groups), (source, target)
    )


def open_studies(pair: Pair, figures: Figures) -> Iterator[OpenStudy]:
    """Every study that is open now, the longest first; memory holds a page.

    Raises:
        StateUnreachable: the state does not answer.
    """
    after: tuple[int, str] | None = None
    while page := pair.page(OPEN, after, _PAGE):
        for study in page:
            # A study whose place another event changed since the page was listed may be settled by now.
            if study.place in OPEN:
                yield _open_study(study, figures)
        last = page[-1]
        if last.since is None:
            return
        after = (last.since, last.study_instance_uid)


def json_parts(of: Report, studies: Iterable[OpenStudy]) -> Iterator[bytes]:
    """One JSON object, in parts: that of the report, with ``exceptions`` and, last, how many were ``listed``."""
    yield orjson.dumps(of.to_json(), option=orjson.OPT_INDENT_2).removesuffix(b"\n}")
    yield b',\n  "exceptions": ['
    listed = 0
    for listed, study in enumerate(studies, start=1):
        yield (b"\n    " if listed == 1 else b",\n    ") + orjson.dumps(study.to_json())
    yield b'\n  ],\n  "listed": %d\n}\n' % listed


def rules_json(rules: ComparisonPolicy) -> dict[str, Any]:
    """The rules of a comparison, so that it can be repeated: of a mapping its number of entries and a digest."""
    found: dict[str, Any] = {"id": rules_of(rules)}
    for one in fields(rules):
        if one.name not in ("source", "target"):
            found[one.name] = _rule(one.name, getattr(rules, one.name))
    return found


def _rule(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        # As a file of sorted lines would have it, so that it can be made with other tools.
        lines = "".join(f"{before},{after}\n" for before, after in sorted(value.items()))
        return {"entries": len(value), "sha256": sha256(lines.encode()).hexdigest()}
    if isinstance(value, tuple):
        return list(value)
    return to_iso(value) if name == "updated_from" and isinstance(value, int) else value


def _of_head(head: dict[str, Any] | None) -> dict[str, Any] | None:
    if head is None:
        return None
    members = [{name: member[name] for name in _OF_MEMBER} for member in head["members"]]
    return {name: head[name] for name in _OF_MANIFEST} | {"members": members}


def _open_study(study: Compared, figures: Figures) -> OpenStudy:
    told = study.source or study.target
    grace = round(figures.policy.grace * MICROSECONDS)
    return OpenStudy(
        study_instance_uid=study.study_instance_uid,
        place=name_of(study.place),
        reasons=tuple(reasons(study, figures.policy.rules.attributes)),
        modality="" if told is None else told.modality,
        year="" if told is None else told.year,
        since=study.since,
        on_its_way=study.since is not None and study.since > figures.now - grace,
        acknowledged=study.acknowledged,
    )
