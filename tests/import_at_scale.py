"""A large archive's own Inventories imported, then its events followed: ``python -m tests.import_at_scale 100000``.

The tree is another producer's (:mod:`tests.foreign`): four Inventories, studies recorded twice and more, removed ones,
some without an update time, values to be repaired. ``stocktake import`` loads it as a process of its own, which is
killed a few times, terminated once, and robbed of what one shard had; each time it is run again. Then events come
through a real Kafka and ``stocktake consume``, some of them older than what was imported; a baseline and a delta are
produced. The chain must break no rule, and its head show of every study what the oracle says. A tenth as many studies
are imported after the first events have been followed.

Printed are the rates of a first import and of one that finds everything there, and the memory of both; the status is 1
if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from uuid import uuid4
from zoneinfo import ZoneInfo

import orjson

from tests.foreign.archive import prevailing
from tests.foreign.changes import changes
from tests.foreign.truth import Truth
from tests.foreign.writing import Written, write_tree
from tests.harness import Deployment
from tests.oracle.shown import shown
from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.servers.redis_server import run_redis
from writers.resolve import resolve
from writers.tree import load_tree

ROOT: Final = Path(__file__).resolve().parent.parent
ZONE: Final = "Europe/Berlin"
_INTERRUPTED: Final = 130
_PATIENCE: Final = 3_600.0  # seconds
# Batches may be made small, so that a small import can be stopped in its midst; the rest is the program as it is.
_PROGRAM: Final = """\
import sys, stocktake.importing, stocktake.cli
stocktake.importing.BATCH = int(sys.argv.pop(1))
sys.exit(stocktake.cli.main())
"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code, what it printed, seconds it took, and its largest memory in MB."""

    code: int
    out: bytes
    err: str
    seconds: float
    memory: float

    @property
    def counts(self) -> dict[str, int]:
        assert self.code == 0, (self.code, self.err)
        return dict(orjson.loads(self.out))


@dataclass
class Found:
    """What the trial came to."""

    studies: int
    records: int
    stopped: list[str] = field(default_factory=list)
    rerun: dict[str, int] = field(default_factory=dict)
    events: int = 0
    compared: int = 0


class Trial:
    """One deployment, the tree that is imported into it, and the commands that are run on it."""

    def __init__(self, deployment: Deployment, tree: Written, studies: int, batch: int = 200) -> None:
        self.deployment = deployment
        self.tree = tree
        self.studies = studies
        self._batch = batch
        self.found = Found(studies, tree.records)

    # --- commands ----------------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environ = os.environ | self.deployment.environ
        command = [sys.executable, "-c", _PROGRAM, str(self._batch), *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments: str) -> Ran:
        """Run a command to its end; what it prints must fit in a pipe."""
        begun = time.monotonic()
        process = self.start(*arguments)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out, err = process.communicate()
        return Ran(process.returncode, out, err.decode(), seconds, usage.ru_maxrss / 1024)

    def run_import(self) -> Ran:
        return self.run("import", str(self.tree.root))

    # --- the import --------------------------------------------------------------------------------------------

    def stop_import(self, share: float, number: signal.Signals) -> None:
        """Start the import, and stop it when that share of the studies is in the state."""
        before = self.deployment.opened.studies.count()
        process = self.start("import", str(self.tree.root))
        wanted = max(share * self.studies, before + 1)
        deadline = time.monotonic() + _PATIENCE
        while self.deployment.opened.studies.count() < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        out, err = process.communicate(timeout=_PATIENCE)
        after = self.deployment.opened.studies.count()
        assert before < after < self.studies, f"stopped too early or too late: {before}, {after}, {err.decode()}"
        if number is signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert (process.returncode, out) == (_INTERRUPTED, b""), err.decode()
            written = f"{after - before} studies were written; importing the tree again goes on from there"
            assert f"interrupted. {written}" in err.decode(), err.decode()
        self.found.stopped.append(f"{number.name} at {after:,}")

    def lose_a_shard(self) -> int:
        """Take from one shard all that it holds; how many studies that is."""
        keys, redis = self.deployment.shard_keys[1], self.deployment.redis
        lost = int(redis.zcard(keys.updated))
        for key in redis.scan_iter(match=keys.study("").replace("study:", "") + "*", count=1000):
            redis.delete(key)
        assert lost > 0
        return lost

    def import_with_interruptions(self, kills: Sequence[float], stops: Sequence[tuple[float, signal.Signals]]) -> None:
        for share, number in sorted([*((share, signal.SIGKILL) for share in kills), *stops]):
            self.stop_import(share, number)
        there = self.deployment.opened.studies.count()
        self._check_counts(self.run_import().counts, imported=self.studies - there)
        lost = self.lose_a_shard()
        self._check_counts(self.run_import().counts, imported=lost)
        self.found.rerun = self.run_import().counts
        self._check_counts(self.found.rerun, imported=0)

    def _check_counts(self, counts: dict[str, int], imported: int) -> None:
        wanted = {
            "imported": imported,
            "completed": 0,
            "unchanged": self.studies - imported,
            "newer_in_state": 0,
            "unusable": 0,
            "parts_unusable": 0,
            "times_raised": 0,
        }
        found = {name: count for name, count in counts.items() if name != "removed"}
        assert found == wanted | self._seen

    @cached_property
    def _seen(self) -> dict[str, int]:
        """What every import of the tree must say of its records, whether they are there already or not."""
        seen = dict.fromkeys(("times_assumed", "values_repaired", "values_emptied"), 0)
        for record in map(prevailing, range(self.studies)):
            seen["times_assumed"] += record.updated is None
            for value in record.all_values:
                seen["values_repaired"] += value.repaired
                seen["values_emptied"] += value.emptied
        return seen

    # --- events on top -----------------------------------------------------------------------------------------

    def follow(self, *, early: bool = False) -> None:
        """Events, a baseline, events again, a delta; its tree must show what the oracle says.

        ``early``: the import comes after the first events, of which it completes the studies.
        """
        truth = Truth(self.studies)
        for part, command in enumerate(("baseline", "delta")):
            messages = list(changes(self.studies, part, 2, before=early and part == 0))
            truth.add(messages)
            self.deployment.publish([(one.event, one.timestamp) for one in messages])
            self.found.events += len(messages)
            consumed = self.run("consume", "--until-caught-up")
            assert consumed.code == 0, consumed.err
            if early and part == 0:
                counts = self.run_import().counts
                assert counts["completed"] > 0
                assert counts["imported"] + counts["completed"] + counts["newer_in_state"] == self.studies
            self._produce(command)
        verified = self.run("verify", str(self.deployment.folder))
        assert verified.code == 0, verified.out.decode()
        self.compare(truth)

    def _produce(self, command: str) -> None:
        produced = self.run(command)
        assert produced.code == 0, produced.err
        manifest: dict[str, Any] = orjson.loads(produced.out)
        assert (manifest["kind"], manifest["status"], manifest["scope_begin"]) == (command, "COMPLETE", None)
        assert (manifest["counts"]["studies"] >= self.studies) == (command == "baseline")

    def compare(self, truth: Truth) -> None:
        tree = load_tree(self.deployment.folder)
        places = {one.item.study_instance_uid: one.item for one in resolve(tree)}
        for uid, wanted in truth.states():
            item = places.pop(uid, None)
            assert item is not None, f"study {uid} is missing"
            found = shown(item.data, item.study_update_datetime)
            assert found == wanted, f"study {uid} is {found}, and must be {wanted}"
            self.found.compared += 1
        assert not places, f"invented: {list(places)[:5]}"


def deployment_of(folder: Path, redis: str, name: str, kafka: str = "127.0.0.1:1", topic: str = "none") -> Deployment:
    given = {"STATE__SHARDS": "64", f"REPOSITORIES__{name.upper()}__TIMEZONE": ZONE}
    return Deployment(folder, redis, name, kafka, topic, **given)


def measure(folder: Path, redis: str, name: str, studies: int) -> Written:
    """Print how fast a first import is and one that finds all there, and what memory they need; the tree."""
    tree = write_tree(folder / "theirs", studies, ZoneInfo(ZONE))
    size = sum(path.stat().st_size for path in tree.root.parent.iterdir())
    print(f"{studies:,} studies in {tree.records:,} records, {size / 1e6:,.0f} MB", flush=True)
    deployment = deployment_of(folder, redis, name)
    trial = Trial(deployment, tree, studies)
    for what in ("first import", "again"):
        ran = trial.run_import()
        assert ran.counts["imported" if what == "first import" else "unchanged"] == studies
        print(
            f"  {what}: {ran.seconds:.1f} s, {studies / ran.seconds:,.0f} studies/s, at most {ran.memory:.0f} MB",
            flush=True,
        )
    deployment.close()
    return tree


def _follow_early(folder: Path, redis: str, broker: KafkaBroker, studies: int) -> None:
    """The same where consumers were at work before the import."""
    topic = f"import-{uuid4().hex}"
    broker.create_topic(topic, 4, {})
    deployment = deployment_of(folder, redis, "early", broker.bootstrap_servers, topic)
    trial = Trial(deployment, write_tree(folder / "theirs", studies, ZoneInfo(ZONE)), studies)
    trial.follow(early=True)
    deployment.close()
    print(f"  imported after the first events: {trial.found.compared:,} studies as the oracle has them", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.import_at_scale", description="Import a large tree of another producer's, and go on."
    )
    parser.add_argument("studies", type=int, nargs="?", default=100_000, metavar="STUDIES")
    studies = parser.parse_args().studies
    with tempfile.TemporaryDirectory() as name, run_redis(Path(name) / "redis") as redis:
        folder = Path(name)
        for number, count in enumerate((max(studies // 10, 1), studies)):
            tree = measure(folder / f"measured{number}", redis.url, f"measured{number}", count)
        (folder / "kafka").mkdir()
        with run_kafka(folder / "kafka") as broker:
            print(f"events through {broker.description}", flush=True)
            topic = f"import-{uuid4().hex}"
            broker.create_topic(topic, 4, {})
            deployment = deployment_of(folder / "followed", redis.url, "followed", broker.bootstrap_servers, topic)
            trial = Trial(deployment, tree, studies, batch=min(200, max(studies // 50, 1)))
            trial.import_with_interruptions([0.1, 0.4, 0.8], [(0.3, signal.SIGTERM), (0.6, signal.SIGINT)])
            print(f"  stopped by {', '.join(trial.found.stopped)} studies; run again each time")
            print(f"  in the end: {trial.found.rerun}", flush=True)
            trial.follow()
            deployment.close()
            found = trial.found
            print(f"  {found.events:,} events on top; baseline and delta break no rule")
            print(f"  the delta's tree shows {found.compared:,} studies, all as the oracle has them", flush=True)
            _follow_early(folder / "early", redis.url, broker, max(studies // 10, 1))


if __name__ == "__main__":
    main()
