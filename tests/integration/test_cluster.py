"""The chart run as processes: every role restarted, and the release upgraded, under load, and nothing lost.

``python -m tests.cluster`` does more of the same, and with the chart's own periods.
"""

from __future__ import annotations

import signal
from pathlib import Path

from stocktake.first_process import ENDED
from tests.cluster.container import PATH, Container
from tests.cluster.rolling import finish, install
from tests.cluster.sandbox import Sandbox, User, need_sandboxes
from tests.cluster.site import Pace, open_site
from tests.harness import wait_for
from tests.servers.kafka_broker import KafkaBroker


def test_nothing_is_lost_when_every_role_is_restarted_under_load(
    tmp_path: Path, kafka_broker: KafkaBroker, redis_url: str, repository: str
) -> None:
    """Ready by their probes, on a root that cannot be written, and gone within the grace period, all of them."""
    kafka_broker.start()
    with open_site(tmp_path, kafka_broker, redis_url, Pace(20.0, 2, hurry=1), repository, 1) as site:
        one = {"replicas": 1}
        callers = install(site, consumer=one, writer=one)
        with site.load.stage("restart of everything"):
            for component in site.cluster.components():
                site.cluster.restart(component)
            site.cluster.until(site.cluster.settled, "the rollouts of all")
        assert finish(site, callers) == []
    assert site.load.archive.sent > 20
    assert callers.answers["200"] > 5


def test_sigterm_ends_a_container_whose_program_has_no_handler_of_its_own(tmp_path: Path) -> None:
    """It may still be loading, or end by itself. The kernel would keep the signal from a first process."""
    need_sandboxes()
    (tmp_path / "root").mkdir()
    program = "import stocktake.cli, time; print('loaded', flush=True); time.sleep(60)"
    sandbox = Sandbox(tmp_path / "root", "stocktake", User(10001, 10001, 10001), ())
    container = Container("one", ["python", "-c", program], {"PATH": PATH}, sandbox, tmp_path / "log")
    container.start()
    try:
        wait_for(lambda: "loaded" in container.log(), "the program's first word")
        container.signal(signal.SIGTERM)
        wait_for(lambda: container.exit_code is not None, "its end", 20.0)
        assert container.exit_code == ENDED
    finally:
        container.kill()
