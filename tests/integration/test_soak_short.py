"""A few of the soak's faults of each kind, on every run of the tests; docs/soak.md tells of the long one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
import pytest
from redis import Redis

from state.times import MICROSECONDS, to_iso
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, CT
from tests.oracle.events import Json
from tests.soak.forgetful import ForgetfulRedis
from tests.soak.profiles import PROFILES
from tests.soak.truth import Truth

ROOT: Final = Path(__file__).parents[2]
DEADLINE: Final = 600.0  # seconds; about one minute on two idle cores


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a short soak, in a process of its own: its servers are killed, its client reconnects noisily."""
    folder = tmp_path_factory.mktemp("soak")
    output = folder / "soak.json"
    command = [sys.executable, "-m", "tests.soak", "short", "--folder", str(folder / "run"), "--output", str(output)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    assert output.exists(), ended.stderr[-3000:]
    figures: dict[str, Any] = orjson.loads(output.read_bytes())
    return figures


def test_no_study_is_lost_invented_or_counted_twice_and_no_process_ends_by_itself(found: dict[str, Any]) -> None:
    assert found["failures"] == []
    for part in ("faults", "failovers", "rebalance"):
        for what in ("lost", "phantom", "wrong", "counted_twice"):
            assert found[part][f"studies_{what}"] == 0


def test_every_kind_of_fault_was_met_and_made_good(found: dict[str, Any]) -> None:
    for part, wanted in (("faults", PROFILES["short"].faults), ("failovers", PROFILES["short"].failovers)):
        assert {kind: figures["count"] for kind, figures in found[part]["kinds"].items()} == dict(wanted)


@pytest.mark.parametrize("part", ["faults", "failovers"])
def test_redis_really_lost_what_had_been_applied(found: dict[str, Any], part: str) -> None:
    assert found[part]["redis_losses"]["that_lost_applied_events"] > 0


def test_consumers_joined_and_left_while_events_were_applied(found: dict[str, Any]) -> None:
    assert found["rebalance"]["joined"] > 1
    assert found["rebalance"]["left"] > 0
    assert found["rebalance"]["offsets_that_went_back"] == 0


# --- a soak that could not fail would prove nothing ----------------------------------------------------------------


@pytest.fixture
def by_hand(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Deployment]:
    """A deployment to which two studies of two instances each are applied by hand."""
    deployment = Deployment(tmp_path, redis_url, repository)
    deployment.apply(STORED)
    deployment.clock.now = BEGIN + 60 * MICROSECONDS
    yield deployment
    deployment.close()


def ct(study: int, instance: int) -> tuple[Json, int]:
    values = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.{instance}"}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (values | {"00080016": CT}).items()}
    return {"id": f"{study}-{instance}", "action": "store", "time": to_iso(BEGIN + instance), "dataset": dataset}, BEGIN


STORED: Final = [ct(1, 1), ct(1, 2), ct(2, 1), ct(2, 2)]


@pytest.mark.parametrize(
    ("published", "lost", "phantom", "counted_twice"),
    [
        (STORED, [], [], []),
        ([*STORED, ct(3, 1)], ["1.2.3"], [], []),
        (STORED[:2], [], ["1.2.2"], []),
        (STORED[:3], [], [], ["1.2.2"]),
    ],
)
def test_a_study_that_is_lost_invented_or_counted_twice_is_found(
    by_hand: Deployment,
    published: list[tuple[Json, int]],
    lost: list[str],
    phantom: list[str],
    counted_twice: list[str],
) -> None:
    truth = Truth("127.0.0.1:1", "none", 1)
    for offset, (event, timestamp) in enumerate(published):
        truth.add(0, offset, orjson.dumps(event), timestamp)
    manifest = by_hand.produce()
    compared = truth.compare(manifest, by_hand.path(manifest))
    assert (compared.lost, compared.phantom, compared.counted_twice) == (lost, phantom, counted_twice)
    assert list(compared.wrong) == counted_twice
    assert bool(compared.faults) == bool(lost or phantom or counted_twice)


def test_a_valkey_that_is_cut_back_lacks_its_latest_writes_and_no_others(tmp_path: Path) -> None:
    valkey = ForgetfulRedis(tmp_path)
    with valkey.running(), Redis.from_url(valkey.url) as client:
        numbers = count()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            client.rpush("written", next(numbers))
            time.sleep(0.001)
        written = next(numbers)
        cut = valkey.kill(0.5, Random(1))
        valkey.start()
        kept = [int(one) for one in client.lrange("written", 0, -1)]
    assert cut.bytes > 0
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < written
