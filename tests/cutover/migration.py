"""A simulated migration with planted discrepancies: what the sign-off report says of it, and what the files say.

``python -m tests.cutover.migration 20000`` plays one of that size with 50 discrepancies, and prints what was found.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

import orjson

from consumers.simulate import START, simulate
from state.pair import Acknowledgement, Pair
from state.times import MICROSECONDS
from tests.cutover.planted import IGNORED, Decoy, Kind, Plan, plan, study_of, told_to_target
from tests.harness import Deployment
from tests.mix import EVERYTHING
from tests.oracle.events import Json, moment
from tests.servers.redis_server import run_redis
from writers.manifest import Manifest

NOTE: Final = 'seen <b>&</b> "known"'  # what a page must not take for its own
ZONE: Final = "Europe/Berlin"
_MOST: Final = 6  # instances of a study
_BATCH: Final = 5000  # events
_PATIENCE: Final = 600  # seconds for a command

Timed = list[tuple[Json, int]]


@dataclass(slots=True)
class Outcome:
    """What was said of the migration: the report, what the repeated comparison wrote, and how long each stage took."""

    report: dict[str, Any] = field(default_factory=dict)
    html: str = ""
    studies: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    diff: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def reported(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Place and reasons of each study that the report lists."""
        return {one["study_instance_uid"]: _said(one) for one in self.report["exceptions"]}


class Migration:
    """Two repositories on a server; the target was told what the source was, and a few things went wrong."""

    def __init__(self, redis_url: str, folder: Path, studies: int, each: int, decoys: int = 2) -> None:
        self.folder = folder
        events = list(simulate(studies, 7, max_instances=_MOST, mix=EVERYTHING))
        timed = _timed(events)
        self.end = timed[-1][1]
        self.plan: Plan = plan(events, each, decoys, self.end)
        mapping = folder / "mapping.csv"
        mapping.write_text("".join(f"{old},{new}\n" for old, new in self.plan.mapped.items()), encoding="utf-8")
        self.names = tuple(f"{side}-{uuid4().hex[:8]}" for side in ("a", "b"))
        self.sides = tuple(self._deployment(redis_url, name, mapping) for name in self.names)
        self._source = timed
        # The target hears of the studies in another order.
        self._target = sorted(
            told_to_target(timed, self.plan.withheld), key=lambda one: crc32(study_of(one[0]).encode()) % 7
        )
        self.events = len(self._source) + len(self._target)

    def close(self) -> None:
        for side in self.sides:
            side.close()

    def _deployment(self, redis_url: str, name: str, mapping: Path) -> Deployment:
        other = next(one for one in self.names if one != name)
        return Deployment(
            self.folder,
            redis_url,
            name,
            **{f"REPOSITORIES__{other.upper()}__TOPICS": "other"},
            **{f"REPOSITORIES__{one.upper()}__TIMEZONE": ZONE for one in self.names},
            CUTOVER__SOURCE=self.names[0],
            CUTOVER__TARGET=self.names[1],
            CUTOVER__IGNORED_MODALITIES=IGNORED,
            CUTOVER__ACCESSION_NUMBERS=str(mapping),
        )

    @property
    def pair(self) -> Pair:
        source = self.sides[0]
        assert source.settings.cutover is not None
        return Pair(source.opened.connection, source.settings.cutover.rules, source.settings.state.shards)

    @property
    def told(self) -> Timed:
        """All that either side was told."""
        return [*self._source, *self._target, *_timed(self.plan.source), *_timed(self.plan.target)]

    # --- what happens ------------------------------------------------------------------------------------------

    def play(self) -> Outcome:
        """All of it: what both sides are told, inventories of both, the report, and the comparison that repeats it."""
        found = Outcome()
        with _timing(found, "events applied"):
            offsets = [
                self._tell(side, events, 0)
                for side, events in zip(self.sides, (self._source, self._target), strict=True)
            ]
        with _timing(found, "baselines"):
            self._produce()
        for side, events, offset in zip(self.sides, (self.plan.source, self.plan.target), offsets, strict=True):
            self._tell(side, _timed(events), offset)
        with _timing(found, "deltas"):
            heads = self._produce()
        uid = min(self.plan.expected)
        assert self.pair.acknowledge(uid, Acknowledgement("the operator", self.end, NOTE))
        with _timing(found, "both heads verified"):
            for side in self.sides:
                self.command("verify", str(side.folder), "--record", "--repository", side.name)
        page, data = self.folder / "report.html", self.folder / "report.json"
        with _timing(found, "report as JSON"):
            self.command("cutover", "--compare", "--report", str(data), code=1)
        with _timing(found, "report as HTML"):
            self.command("cutover", "--report", str(page), code=1)
        found.report, found.html = orjson.loads(data.read_bytes()), page.read_text(encoding="utf-8")
        self.check_heads(found, heads)
        words = shlex.split(found.report["repeat"])
        assert words[0] == "stocktake"
        with _timing(found, "diff of the heads"):
            *studies, found.diff = map(orjson.loads, self.command(*words[1:], "--json", code=1).splitlines())
        found.studies = {one["study_instance_uid"]: _said(one) for one in studies}
        found.text = self.command(*words[1:], code=1)
        return found

    def _tell(self, side: Deployment, events: Timed, offset: int) -> int:
        for first in range(0, len(events), _BATCH):
            some = events[first : first + _BATCH]
            side.clock.now = self.end + 3600 * MICROSECONDS
            offset = side.apply(some, offset)
        return offset

    def _produce(self) -> list[Manifest]:
        return [side.produce() for side in self.sides]

    def command(self, *words: str, code: int = 0) -> str:
        """What the program prints, run in the folder of the inventories.

        Raises:
            AssertionError: it ended with another exit code.
        """
        done = subprocess.run(
            [sys.executable, "-m", "stocktake", *words],
            env=os.environ | self.sides[0].environ,
            cwd=self.sides[0].settings.inventory.dir,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    # --- what is checked ---------------------------------------------------------------------------------------

    def check_heads(self, found: Outcome, heads: Sequence[Manifest]) -> None:
        """The report names the inventories that were written last."""
        for told, head in zip(found.report["inventories"].values(), heads, strict=True):
            assert told["sop_instance_uid"] == head.sop_instance_uid
            assert (told["sha256"], told["bytes"], told["cut"]) == (head.sha256, head.bytes, head.cut)
            assert head.sop_instance_uid in found.html
            assert head.sha256 in found.html

    def check(self, found: Outcome) -> None:
        """All that was planted was found, nothing else was, and the report's numbers are those of the two heads."""
        planted = {uid: (one.place, one.reasons) for uid, one in self.plan.expected.items()}
        assert found.reported == planted
        assert found.studies == planted
        assert found.report["counts"] == found.diff["counts"]
        assert found.report["rules"] == found.diff["rules"]
        places = Counter(one.place for one in self.plan.expected.values())
        counts = found.report["counts"]["places"]
        assert {name: counts[name] for name in places} == places
        assert found.report["counts"]["open"] == found.report["listed"] == len(planted)
        assert counts["out_of_scope"] >= sum(decoy is Decoy.OUT_OF_SCOPE for decoy in self.plan.decoys.values())
        for lines in (found.report["counts"]["modalities"], found.report["counts"]["years"]):
            for name in ("source_live", "target_live", "open"):
                assert sum(line[name] for line in lines) == found.report["counts"][name]


def _said(one: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    return one["place"], tuple(one["reasons"])


def _timed(events: Sequence[Json]) -> Timed:
    """Each with its record's timestamp (UTC microseconds): when the latest of it and those before happened."""
    latest, timed = START, []
    for event in events:
        if "time" in event:
            latest = max(latest, moment(event["time"]))
        timed.append((event, latest + MICROSECONDS))
    return timed


@contextmanager
def _timing(found: Outcome, what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    found.seconds[what] = time.monotonic() - begun


def main(argv: Sequence[str]) -> int:
    """Play one and print it; the first argument is the number of studies (20,000)."""
    studies = int(argv[0]) if argv else 20_000
    with tempfile.TemporaryDirectory() as name, run_redis(Path(name)) as redis:
        print(f"{studies:,} studies, {redis.description}")
        migration = Migration(redis.url, Path(name), studies, each=5, decoys=5)
        try:
            found = migration.play()
            migration.check(found)
        finally:
            migration.close()
    kinds = Counter(one.kind for one in migration.plan.expected.values())
    for kind in Kind:
        places = {one.place for one in migration.plan.expected.values() if one.kind is kind}
        print(f"  found {kinds[kind]:>3} of {kinds[kind]}  {kind}: {', '.join(places)}")
    print(f"  none invented, with {len(migration.plan.decoys)} decoys of {len(Decoy)} kinds")
    print("  the report's numbers equal those of diff over the two heads")
    counts = found.report["counts"]
    print(f"  {', '.join(f'{name} {count:,}' for name, count in counts['places'].items() if count)}")
    print(f"  live and in scope: {counts['source_live']:,} at the source, {counts['target_live']:,} at the target")
    for what, seconds in found.seconds.items():
        print(f"  {seconds:8.1f} s  {what}")
    print(f"  {migration.events:,} events in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
