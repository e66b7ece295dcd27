"""A real Orthanc followed by the program's own processes, in a small size.

In full: ``python -m tests.real_archives.life``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_archives import life
from tests.real_archives.site import open_site
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer


@pytest.fixture
def redis(redis_server: RedisServer, redis_url: str) -> RedisServer:
    assert redis_url == redis_server.url
    return redis_server


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # some of pydicom's own files are odd on purpose
def test_whatever_happens_in_orthanc_and_to_those_that_follow_it_the_head_lists_what_orthanc_lists(
    tmp_path: Path, kafka_broker: KafkaBroker, redis: RedisServer
) -> None:
    with open_site(tmp_path, kafka_broker, redis) as site:
        life.play(site, steps=9, kills=4, seed=3)
        assert set(site.killed) == {"bridge", "consumer", "orthanc", "enricher"}
