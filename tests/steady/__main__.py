"""A long run without faults: half of the highest rate, an inventory each minute, memory and latency watched.

First the archive sends as fast as it can for a while, with everything at work: what is applied then is the highest
rate of this machine. Then it sends at half of that. In the end the chain is verified, and what it comes to is held to
the oracle. Starts its own servers, prints what it finds and writes ``build/steady.json``. Ends with 1 if anything was
wrong: studies, memory that grew, events that took longer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

from stocktake.embedded import free_ports
from tests.benchmarks.servers import process_id
from tests.harness import Deployment, wait_for
from tests.oracle.shown import shown
from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.servers.redis_server import run_redis
from tests.soak.inventories import produce
from tests.soak.program import Program, program, settings_file
from tests.soak.watch import Watch
from tests.steady.archive import FLAT_OUT, Archive
from tests.steady.rounds import outcome, without_time
from tests.steady.samples import Samples, Window, window
from writers.resolve import resolve
from writers.tree import load_tree
from writers.verify import verify

_FOLDER: Final = Path("build/steady")
_PARTITIONS: Final = 4
_MB: Final = 1_000_000
_GROWN: Final = 1.05  # of what was held at first, and some bytes: more is growth
_SLACK: Final = 5 * _MB
# Their allocators are not ours. What the state takes in Redis is told by the server itself.
_SERVERS: Final = ("broker", "Redis")
_SLOWER: Final = 1.5  # of what events took at first: more is slower. The machine itself changes its speed by a fifth
_PATIENCE: Final = 900.0  # seconds for all that was sent flat out


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    folder = args.folder.absolute()
    if args.folder == _FOLDER:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        (folder / "kafka").mkdir()
        broker = stack.enter_context(run_kafka(folder / "kafka"))
        redis = stack.enter_context(run_redis(folder / "redis"))
        print(f"{broker.description}; {redis.description}; {os.cpu_count()} processors; logs in {folder}", flush=True)
        deployment = _deployment(folder, broker, redis.url, args.interval)
        stack.callback(deployment.close)
        programs = stack.enter_context(_running(deployment, folder))
        archive = Archive(broker.bootstrap_servers, deployment.topic, args.studies, args.seed)
        stack.enter_context(archive.running())
        servers = {"broker": process_id(broker), "Redis": process_id(redis)}
        figures, failures = _run(args, deployment, programs, archive, servers)
    figures["failures"] = failures
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    print("all is well" if not failures else "\n".join(f"FAILURE {one}" for one in failures))
    return 1 if failures else 0


def _run(
    args: argparse.Namespace,
    deployment: Deployment,
    programs: Mapping[str, Program],
    archive: Archive,
    servers: Mapping[str, int],
) -> tuple[dict[str, Any], list[str]]:
    watch = Watch(deployment)
    highest = _highest_rate(archive, watch, args.flat_out)
    print(f"highest rate: {highest:,.0f} events a second", flush=True)
    _wait_until_applied(archive, watch)
    pids = {role: one.pid for role, one in programs.items() if one.pid is not None} | dict(servers)
    pace = args.pace or highest / 2
    sent, begun = archive.sent, time.monotonic()
    archive.go(pace)
    with Samples(deployment, pids) as found:
        for minute in range(args.minutes):
            time.sleep(max(0.0, begun + 60 * (minute + 1) - time.monotonic()))
            print(_line(window(found, 60 * minute, 60 * (minute + 1))), flush=True)
            if ended := [one.name for one in programs.values() if one.exit_code is not None]:
                raise SystemExit(f"ended by itself: {', '.join(ended)}")
    rate = (archive.sent - sent) / (time.monotonic() - begun)
    archive.finish()
    _wait_until_applied(archive, watch)
    failures = [f"{type(one).__name__}: {one}" for one in found.failures]
    failures += [problem for one in programs.values() if (problem := one.end())]
    each = 60 * max(1, args.minutes // 6)
    windows = [window(found, begin, begin + each) for begin in range(0, 60 * args.minutes, each)]
    # The first part warms up: caches, the first rollup.
    failures += _compare(windows[1 if len(windows) > 2 else 0], windows[-1])
    figures, wrong = _judge(deployment, args)
    figures = {
        "highest_per_second": round(highest),
        "sent_per_second": round(rate),
        "minutes": args.minutes,
        "events": archive.sent,
        **figures,
        "windows": [asdict(one) for one in windows],
    }
    print("\n".join(_line(one) for one in windows))
    return figures, failures + wrong


def _highest_rate(archive: Archive, watch: Watch, seconds: float) -> float:
    """Events applied a second, while there are more to apply than can be."""
    archive.go(FLAT_OUT)
    wait_for(lambda: _applied(watch) > 0, "the first events applied")
    time.sleep(seconds / 5)
    begun, before = time.monotonic(), _applied(watch)
    time.sleep(seconds)
    rate = (_applied(watch) - before) / (time.monotonic() - begun)
    archive.rest()
    return rate


def _applied(watch: Watch) -> int:
    watch.look({})
    return sum(offset + 1 for offset in watch.everywhere().values())


def _wait_until_applied(archive: Archive, watch: Watch) -> None:
    wait_for(lambda: _applied(watch) >= archive.sent, "everything sent is applied", _PATIENCE)


def _compare(first: Window, last: Window) -> list[str]:
    """What has grown, or takes longer, in the last part of the run."""
    failures = [
        f"memory of {role} grew from {held / _MB:.0f} to {last.peak[role] / _MB:.0f} MB"
        for role, held in first.peak.items()
        if role not in _SERVERS and last.peak[role] > _GROWN * held + _SLACK
    ]
    for name, before, after in (
        ("median", first.median_ms, last.median_ms),
        ("99th percentile", first.p99_ms, last.p99_ms),
    ):
        if after > _SLOWER * before + 20:
            failures.append(f"{name} of the time to be applied grew from {before:.0f} to {after:.0f} ms")
    return failures


def _judge(deployment: Deployment, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Make the last inventory, verify the chain and hold what it comes to to the oracle."""
    manifest = produce(deployment)
    path = deployment.path(manifest)
    failures = [str(one) for one in verify(path) if one.severity == "error"]
    expected = outcome(args.studies, args.seed)
    found = {
        item.study_instance_uid: without_time(shown(item.data, item.study_update_datetime))
        for item in (one.item for one in resolve(load_tree(path)))
    }
    failures += [f"lost: {uid}" for uid in sorted(expected.keys() - found.keys())[:20]]
    failures += [f"phantom: {uid}" for uid in sorted(found.keys() - expected.keys())[:20]]
    wrong = sorted(uid for uid in expected.keys() & found.keys() if expected[uid] != found[uid])
    failures += [f"wrong: {uid} is {found[uid]}, not {expected[uid]}"[:2000] for uid in wrong[:20]]
    tree_bytes = sum(one.stat().st_size for one in deployment.folder.rglob("*.dcm"))
    figures = {"inventories": manifest.sequence, "studies": len(found), "inventory_bytes": tree_bytes}
    return figures | {"lost_phantom_wrong": len(expected.keys() ^ found.keys()) + len(wrong)}, failures


def _deployment(folder: Path, broker: KafkaBroker, redis_url: str, interval: float) -> Deployment:
    topic = "stocktake.steady.events"
    # What is long applied goes, so that the broker's disk does not fill.
    configs = {"retention.ms": "300000", "segment.bytes": str(64 * 1024 * 1024), "segment.ms": "60000"}
    broker.create_topic(topic, _PARTITIONS, configs)
    [port] = free_ports(1)
    return Deployment(
        folder,
        redis_url,
        "steady",
        broker.bootstrap_servers,
        topic,
        STATE__SHARDS="64",
        CONSUMER__WATERMARK_INTERVAL="1s",
        INVENTORY__INTERVAL=f"{interval:g}s",
        INVENTORY__RETENTION="10m",
        HTTP__LISTEN=f"127.0.0.1:{port}",
    )


@contextmanager
def _running(deployment: Deployment, folder: Path) -> Iterator[dict[str, Program]]:
    """A consumer, a writer and the service, gone when the block ends."""
    settings = settings_file(folder, deployment)
    roles = {"consumer": "consume", "writer": "write", "service": "serve"}
    programs = {role: program(role, settings, folder, command) for role, command in roles.items()}
    try:
        for one in programs.values():
            one.start()
        yield programs
    finally:
        for one in programs.values():
            one.kill()


def _line(seen: Window) -> str:
    memory = ", ".join(f"{role} {held / _MB:.0f}" for role, held in seen.peak.items())
    processors = ", ".join(f"{role} {share:.2f}" for role, share in seen.processors.items())
    return (
        f"{seen.begin / 60:.0f} to {seen.end / 60:.0f} min: MB at most: {memory}; "
        f"applied after {seen.median_ms:.0f} ms "
        f"(99th percentile {seen.p99_ms:.0f}); processors: {processors}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.steady", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="at the pace (default: %(default)s)")
    parser.add_argument("--pace", type=float, help="events a second (default: half of the highest rate)")
    parser.add_argument("--flat-out", type=float, default=150.0, help="seconds flat out (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=60.0, help="between inventories (default: %(default)s s)")
    parser.add_argument("--studies", type=int, default=10_000, help="of the archive (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the changes (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="a new one, for logs and inventories")
    parser.add_argument("--output", type=Path, default=Path("build/steady.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
