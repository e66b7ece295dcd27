"""How soon the figures of a cutover are answered over HTTP, with many studies in the state and a consumer at work."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from threading import Event as Flag
from threading import Thread, Timer
from typing import Final

import httpx

from consumers.policy import RepositoryPolicy
from consumers.publish import Publisher
from monitor.policy import CutoverPolicy
from stocktake.memory import prepare_memory
from stocktake.settings import Settings
from stocktake.web.server import serve
from stocktake.wiring import open_consumer, open_repository
from tests.benchmarks.events import instance_events, study_events
from tests.benchmarks.paths import PARTITIONS, Servers, apply
from tests.benchmarks.report import Figures
from tests.benchmarks.servers import own_redis, process_id
from tests.servers.kafka_broker import run_kafka

_ASKED: Final = 1000  # times
_PAUSE: Final = 0.02  # seconds between two questions
_STUDIES: Final = "page-studies"
_MORE: Final = "page-more"


def measure_page(settings: Settings, policy: CutoverPolicy, studies: int) -> Figures:
    """``cutover_page_p99_ms`` and ``_p50_ms``: of ``GET /api/v1/cutover`` with so many studies on both sides, while one
    consumer takes in instances as fast as it can.
    """
    sides = (policy.rules.source, policy.rules.target)
    with tempfile.TemporaryDirectory() as name, run_kafka(Path(name)) as broker, own_redis(settings) as redis:
        kafka = replace(settings.kafka, bootstrap_servers=tuple(broker.bootstrap_servers.split(",")))
        given = replace(redis.settings, kafka=kafka, cutover=policy)
        for topic in (_STUDIES, _MORE):
            broker.create_topic(topic, PARTITIONS, {})
        with Publisher(kafka, _STUDIES) as publisher:
            for key, value in study_events(studies):
                publisher.send(key, value)
        with Publisher(kafka, _MORE) as publisher:
            for key, value in instance_events(3000, first=10 * studies):
                publisher.send(key, value)
        servers = Servers(given, {"broker": process_id(broker), "redis": redis.pid})
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            for side in sides:
                pool.submit(apply, servers, _STUDIES, studies, studies, side).result()
                sys.stderr.write(f"{side}: {studies:,} studies\n")
            working = pool.submit(consume_for, servers, sides[0], _MORE, 3 + _ASKED * _PAUSE * 2)
            time.sleep(2)
            found = ask(replace(given, repositories=_both(servers, sides)), list(sides))
            working.result()
    found.sort()
    return {
        "cutover_page_p50_ms": found[len(found) // 2] * 1000,
        "cutover_page_p99_ms": found[len(found) * 99 // 100] * 1000,
    }


def _both(servers: Servers, sides: tuple[str, str]) -> tuple[RepositoryPolicy, ...]:
    return tuple(servers.following(side, _STUDIES).repositories[0] for side in sides)


def consume_for(servers: Servers, repository: str, topic: str, seconds: float) -> None:
    """Follow a topic for so long."""
    prepare_memory()
    settings = servers.following(repository, topic)
    stop = Flag()
    opened = open_repository(settings, None)
    with closing(opened):
        following = open_consumer(settings, opened)
        Timer(seconds, stop.set).start()
        try:
            following.consumer.run(stop)
        finally:
            following.close(5)


def ask(settings: Settings, names: list[str]) -> list[float]:
    """Seconds that each of many answers took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = replace(settings, http=replace(settings.http, listen=("127.0.0.1", port)))
    stop = Flag()
    thread = Thread(target=serve, args=(settings, names, stop))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            return _answers(client)
    finally:
        stop.set()
        thread.join()


def _answers(client: httpx.Client) -> list[float]:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.get("/healthz").raise_for_status()
            break
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    found = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        client.get("/api/v1/cutover").raise_for_status()
        found.append(time.perf_counter() - begun)
        time.sleep(_PAUSE)
    return found
