"""A few hundred studies of the large trial of import (tests/import_at_scale.py), on every run of the tests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.foreign.writing import write_tree
from tests.import_at_scale import ZONE, Trial, deployment_of
from tests.servers.kafka_broker import KafkaBroker
from writers.verify import verify

STUDIES = 600


def test_a_tree_imported_with_interruptions_and_followed_by_events_resolves_to_the_oracle(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> None:
    tree = write_tree(tmp_path / "theirs", STUDIES, ZoneInfo(ZONE))
    deployment = deployment_of(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, make_topic())
    try:
        trial = Trial(deployment, tree, STUDIES, batch=10)
        trial.import_with_interruptions([0.2], [(0.5, signal.SIGTERM)])
        trial.follow()
    finally:
        deployment.close()
    assert trial.found.compared > STUDIES


def test_studies_of_which_only_the_latest_events_have_told_are_completed_by_the_import(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> None:
    tree = write_tree(tmp_path / "theirs", STUDIES, ZoneInfo(ZONE))
    deployment = deployment_of(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, make_topic())
    try:
        trial = Trial(deployment, tree, STUDIES)
        trial.follow(early=True)
    finally:
        deployment.close()
    assert trial.found.compared > STUDIES


def test_the_tree_of_the_trial_has_the_faults_that_it_is_to_have_and_no_other(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "theirs", 200, ZoneInfo(ZONE))
    # A study without an update time lies in no range, and values that break their VR are in it on purpose.
    assert {finding.rule for finding in verify(tree.root)} == {"scope", "type-2", "value"}
