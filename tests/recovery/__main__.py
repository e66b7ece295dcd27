"""Losses and outages, made good as docs/runbook/ says, and held to the oracle: ``python -m tests.recovery PART``.

Starts its own servers. Prints the figures as JSON and ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import orjson

from tests.recovery import losses, outage
from tests.recovery.restored import RestoredRedis
from tests.recovery.site import Site
from tests.servers.kafka_broker import KafkaBroker, run_kafka

SAMPLES: Final = Path(__file__).parents[1] / "samples" / "outages"

_FOLDER: Final = Path("build") / "recovery"
_KEPT_EVERY: Final = 15.0  # seconds between the samples of a recording that is kept


def main() -> int:
    args = _parser().parse_args()
    seed = SystemRandom().randrange(10**6) if args.seed is None else args.seed
    folder = args.folder.absolute() / args.part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.basicConfig(filename=folder / "trial.log", level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # every reconnection, and there are many
    print(f"{args.part}, seed {seed}; logs and inventories in {folder}", flush=True)
    kafka = folder / "kafka"
    kafka.mkdir()
    with run_kafka(kafka) as broker:
        if args.part in outage.KINDS:
            figures = _outage(folder, broker, args.part, args.seconds, seed, keep=args.keep)
        else:
            figures = _loss(folder, broker, args.part, args.events, seed)
    print(orjson.dumps(figures | {"seed": seed}, option=orjson.OPT_INDENT_2).decode())
    return 1 if figures.get("failures") else 0


def _outage(folder: Path, broker: KafkaBroker, kind: str, seconds: float, seed: int, *, keep: bool) -> dict[str, Any]:
    found = outage.run_outage(folder, broker, kind, outage.course_of(seconds), seed)
    found.recording.save(folder / "recording.json.gz")
    if keep:
        found.recording.thinned(_KEPT_EVERY).save(SAMPLES / f"{kind}.json.gz")
    times = {"away": seconds, "caught_up": found.caught_up, "inventory": found.inventory}
    return times | found.figures | {"failures": found.failures}


def _loss(folder: Path, broker: KafkaBroker, part: str, events: int, seed: int) -> dict[str, Any]:
    """What was wrong is an error that is raised."""
    with RestoredRedis.running(folder / "redis") as redis:
        site = Site(folder, redis.url, broker, seed)
        try:
            if part == "redis-lost":
                return losses.redis_lost(site, events)
            if part == "volume-lost":
                return losses.folder_lost(site, events)
            if part == "partitions":
                return losses.more_partitions(site, events)
            return losses.redis_restored(site, redis, events, too_old=part == "redis-backup-too-old")
        finally:
            site.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parts = ("redis-lost", "redis-backup", "redis-backup-too-old", "volume-lost", "partitions", *outage.KINDS)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--seconds", type=float, default=300.0, help="of an outage (default: 300)")
    parser.add_argument("--events", type=int, default=2000, help="before each step of a loss (default: 2000)")
    parser.add_argument("--seed", type=int, help="of the events (default: drawn)")
    parser.add_argument("--keep", action="store_true", help="keep the recording among tests/samples/outages")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="for logs and inventories; its part is emptied")
    return parser


if __name__ == "__main__":
    sys.exit(main())
