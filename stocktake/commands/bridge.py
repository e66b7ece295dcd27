"""stocktake bridge: write what an archive that does not speak Kafka tells to its repository's topic."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections import Counter
from contextlib import ExitStack, closing
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from consumers.archives.client import ArchiveClient
from consumers.archives.qido import Search
from consumers.bridges import dicomweb
from consumers.bridges.bridge import Bridge, Feed
from consumers.bridges.dicomweb import DicomwebFeed, PollPolicy
from consumers.bridges.orthanc import OrthancFeed
from consumers.publish import PublishError, ensure_topic
from state.positions import Positions
from state.seen import Seen
from stocktake.archives import archive_policy, open_publisher
from stocktake.arguments import duration, whole_number
from stocktake.exits import CommandError, Exit
from stocktake.logs import log_about
from stocktake.members import Member, announcing
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.wiring import OpenRepository, open_health, open_repository, system_clock

HELP: Final = "write what an archive that does not speak Kafka tells to its repository's topic"
EXAMPLE: Final = """stocktake bridge orthanc
stocktake bridge orthanc --print-plugin > /usr/share/orthanc/stocktake_orthanc.py
stocktake bridge dicomweb --poll 1m --window 14"""


def configure(parser: argparse.ArgumentParser) -> None:
    details = (
        "orthanc   follows Orthanc's changes, and the deletions that a plug-in keeps a journal of\n"
        "          (--print-plugin; docs/archives/orthanc.md says how to install it)\n"
        "dicomweb  polls by QIDO-RS, for archives that have nothing else\n\n"
        "The archive is the one of archives.<repository>.*. A bridge goes on where it was when it is started\n"
        "again, and sends heartbeats: let repositories.<name>.heartbeats be true. Run one for each repository.\n\n"
        "Of the bridge dicomweb:\n" + inspect.cleandoc(dicomweb.__doc__ or "").replace("``", "")
    )
    parser.epilog = f"{details}\n\n{parser.epilog}"
    parser.add_argument("kind", choices=("orthanc", "dicomweb"), help="what the archive is")
    parser.add_argument(
        "--poll", type=duration, metavar="TIME", help="ask again after this (default: 1s; dicomweb: 60s)"
    )
    parser.add_argument(
        "--heartbeat",
        type=duration,
        default="10s",
        metavar="TIME",
        help="between two heartbeats (default: %(default)s)",
    )
    orthanc = parser.add_argument_group("orthanc")
    orthanc.add_argument(
        "--print-plugin", action="store_true", help="print the plug-in's file, and end (default: run the bridge)"
    )
    orthanc.add_argument(
        "--without-deletions",
        action="store_true",
        help="do without the plug-in: what is deleted is not seen (default: wait for it)",
    )
    orthanc.add_argument(
        "--from-now",
        action="store_true",
        help="at the first start, pass over what has happened, for a crawl to find (default: tell it all)",
    )
    polled = parser.add_argument_group("dicomweb")
    polled.add_argument(
        "--window", type=whole_number, default=14, metavar="DAYS", help="studies dated so lately (default: %(default)s)"
    )
    polled.add_argument(
        "--page", type=whole_number, default=200, metavar="N", help="studies asked for at once (default: %(default)s)"
    )
    polled.add_argument(
        "--older",
        type=whole_number,
        default=200,
        metavar="N",
        help="of all studies, so many are compared after each poll (default: %(default)s)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Run until SIGTERM; one JSON summary on stdout at the end."""
    if args.print_plugin:
        sys.stdout.write(files("consumers.bridges.plugin").joinpath("stocktake_orthanc.py").read_text("utf-8"))
        return Exit.DONE
    policy = archive_policy(settings, settings.repository(args.repository).name)
    if args.kind == "orthanc" and policy.kind != "orthanc":
        raise CommandError(Exit.USAGE, f"archives.{policy.name}.kind is {policy.kind}; the bridge needs orthanc")
    stop = stop_on_signals()
    counts: Counter[str] = Counter()
    member = Member("bridge", policy.name)
    log_about(repository=policy.name)
    with ExitStack() as stack:
        stack.enter_context(announcing(settings, [member]))
        health = open_health(settings, member)
        opened = stack.enter_context(closing(open_repository(settings, policy.name)))
        client = stack.enter_context(closing(ArchiveClient(policy, answered=health.still)))
        try:
            ensure_topic(settings.kafka, opened.policy.topics[0])
        except PublishError as error:
            raise CommandError(Exit.UNREACHABLE, str(error)) from error
        feed = (_orthanc if args.kind == "orthanc" else _dicomweb)(args, client, opened, counts)
        poll = args.poll or (1.0 if args.kind == "orthanc" else 60.0)
        name = f"bridge {args.kind}"
        Bridge(name, feed, lambda: open_publisher(settings, opened), poll, counts, beat=health.beat).run(stop)
    summary = {"repository": policy.name, "bridge": args.kind, "counts": dict(sorted(counts.items()))}
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return Exit.DONE


def _orthanc(args: argparse.Namespace, client: ArchiveClient, opened: OpenRepository, counts: Counter[str]) -> Feed:
    positions = Positions(opened.connection, opened.policy.name)
    return OrthancFeed(
        client,
        positions,
        args.heartbeat,
        counts,
        deletions=not args.without_deletions,
        from_now=args.from_now,
    )


def _dicomweb(args: argparse.Namespace, client: ArchiveClient, opened: OpenRepository, counts: Counter[str]) -> Feed:
    return DicomwebFeed(
        Search(client),
        opened.studies,
        Seen(opened.connection, opened.policy.name, opened.studies.shards),
        Positions(opened.connection, opened.policy.name),
        PollPolicy(args.window, args.page, args.older, args.heartbeat),
        ZoneInfo(opened.policy.timezone),
        counts,
        system_clock().now,
    )
