"""``python -m tests.cluster``: the chart, run as processes, through all that a platform team does to it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from itertools import count
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Final

from tests.cluster import archived
from tests.cluster.archived import changing_archive
from tests.cluster.rolling import finish, install, restart, restart_static, run_jobs, scale, upgrade
from tests.cluster.site import Pace, open_site
from tests.cluster.two_writers import PHASES, open_pair
from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.servers.redis_server import run_redis


def main() -> int:
    args = _parser().parse_args()
    seed = SystemRandom().randrange(10**6) if args.seed is None else args.seed
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    print(f"seed {seed}", flush=True)
    failures: list[str] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kafka").mkdir()
        with run_kafka(folder / "kafka") as broker, run_redis(folder / "redis") as redis:
            print(f"{broker.description}, {redis.description}", flush=True)
            for part in args.part or PARTS:
                print(f"--- {part}", flush=True)
                (folder / part).mkdir()
                try:
                    wrong = PARTS[part](folder / part, broker, redis.url, args, seed)
                except AssertionError as error:
                    wrong = [str(error)]
                failures += [f"{part}: {one}" for one in wrong]
    print("\n".join(failures) or "nothing was lost")
    return 1 if failures else 0


def _rolling(folder: Path, broker: KafkaBroker, redis_url: str, args: argparse.Namespace, seed: int) -> list[str]:
    """Restarts of every role, an upgrade and scaling, again and again for as long as was asked for."""
    with open_site(folder, broker, redis_url, Pace(args.rate, 4), "rolling", seed) as site:
        begun = time.monotonic()
        callers = install(site, baselineJob={"enabled": True}, verification={"enabled": True})
        for turn in count(1):
            for component in site.cluster.components():
                restart(site, component)
            upgrade(site, settings={"inventory": {"interval": f"{2 + turn % 3}s"}})
            for replicas in (1, 3, 2):
                scale(site, "consumer", replicas)
            if time.monotonic() - begun > 60 * args.minutes:
                break
        run_jobs(site)
        faults = finish(site, callers)
        sequence, answers = site.load.head().sequence, dict(callers.answers)
        print(f"{site.load.archive.sent} events, {sequence} inventories, answers of the service: {answers}", flush=True)
    return faults


def _static(folder: Path, broker: KafkaBroker, redis_url: str, args: argparse.Namespace, seed: int) -> list[str]:
    """Consumers as static members of their group, restarted: no partition moves."""
    with open_site(folder, broker, redis_url, Pace(args.rate, 4, session=120.0), "static", seed) as site:
        callers = install(site, consumer={"staticMembership": True})
        moved = restart_static(site)
        return moved + finish(site, callers)


def _archived(folder: Path, broker: KafkaBroker, redis_url: str, args: argparse.Namespace, seed: int) -> list[str]:
    """Enricher and bridge of an archive."""
    with (
        changing_archive(seed) as changing,
        open_site(folder, broker, redis_url, Pace(0.0, 4), archived.REPOSITORY, seed) as site,
    ):
        faults = archived.run(site, changing)
        what = f"{changing.changes} changes, {len(changing.removed)} removed studies"
        print(f"{what}, {site.load.head().sequence} inventories", flush=True)
    return faults


def _writers(folder: Path, broker: KafkaBroker, redis_url: str, args: argparse.Namespace, seed: int) -> list[str]:
    """Two writers, the leader paused and woken."""
    with open_pair(folder, redis_url, "pair", 2000, seed) as pair:
        pair.begin()
        pair.time_baseline()
        print(f"a baseline takes {pair.baseline:.1f} s", flush=True)
        for number in range(args.pauses):
            print(pair.pause(PHASES[number % len(PHASES)]), flush=True)
        return pair.end()


PARTS: Final = {"rolling": _rolling, "static": _static, "archived": _archived, "writers": _writers}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the events (default: drawn)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one (default: all)")
    parser.add_argument("--minutes", type=float, default=0.0, help="of rolling, at least; one turn is more than that")
    parser.add_argument("--pauses", type=int, default=20, help="of leading writers")
    parser.add_argument("--rate", type=float, default=50.0, help="events a second")
    return parser


if __name__ == "__main__":
    sys.exit(main())
