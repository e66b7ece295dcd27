"""Archives crawled and asked by the program's own processes, in a small size.

In full: ``python -m tests.real_archives.crawl`` and ``.slow``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_archives import crawl, slow
from tests.real_archives.site import open_site
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer


@pytest.fixture
def redis(redis_server: RedisServer, redis_url: str) -> RedisServer:
    assert redis_url == redis_server.url
    return redis_server


def test_an_orthanc_that_changes_while_it_is_crawled_is_inventoried_as_it_is_in_the_end(
    tmp_path: Path, kafka_broker: KafkaBroker, redis: RedisServer
) -> None:
    with open_site(tmp_path, kafka_broker, redis, ["--from-now"]) as site:
        figures = crawl.play(site, instances=300, kills=1, seed=2)
        assert figures["killed"] == {"crawl": 1}


def test_what_a_slow_and_failing_archive_has_to_say_is_complete_in_the_end(
    tmp_path: Path, kafka_broker: KafkaBroker, redis: RedisServer
) -> None:
    slow.play(tmp_path, kafka_broker, redis, events=3000, lacking=12, repetitions=1, latency=0.1, errors=0.3)
