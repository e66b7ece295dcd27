"""The commands on real servers, one after the other as an operator would use them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import orjson
import pytest

from consumers.simulate import simulate
from monitor.status import Status
from state.errors import StateUnreachable
from stocktake.cli import main
from stocktake.embedded import free_ports, wait_until
from stocktake.exits import Exit
from stocktake.roles import consume
from stocktake.settings import SettingsError, load
from stocktake.web.server import serve
from tests.prometheus_text import parse
from tests.servers.kafka_broker import KafkaBroker

_STUDIES = 12


class Operator:
    """Runs commands in this process, with settings from the environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path, repository: str) -> None:
        self._capsys = capsys
        self.folder = folder / repository
        self.repository = repository

    def run(self, *arguments: str, expect: Exit = Exit.DONE) -> str:
        """The command's stdout."""
        self._capsys.readouterr()
        code = main(list(arguments))
        captured = self._capsys.readouterr()
        assert code == expect, captured.err
        return captured.out

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.run(*arguments))
        return found


@pytest.fixture
def operator(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kafka_broker: KafkaBroker,
    redis_url: str,
    repository: str,
    topic: str,
    tmp_path: Path,
) -> Operator:
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "KAFKA__SESSION_TIMEOUT": "6s",
        "REDIS__URL": redis_url,
        "INVENTORY__DIR": str(tmp_path),
        "INVENTORY__LEASE": "3s",
        f"REPOSITORIES__{repository.upper()}__TOPICS": topic,
        "LOG__LEVEL": "WARNING",
    }
    for name, value in settings.items():
        monkeypatch.setenv("STOCKTAKE_" + name, value)
    return Operator(capsys, tmp_path, repository)


@pytest.fixture
def filled(operator: Operator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """A simulated archive, published and consumed, with a baseline."""
    events = b"".join(orjson.dumps(event) + b"\n" for event in simulate(_STUDIES, 3, max_instances=20))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(events)))
    operator.run("publish", "-")
    operator.run("consume", "--until-caught-up")
    assert operator.json("write", "--once")["kind"] == "baseline"
    return operator


def test_an_archive_is_published_consumed_inventoried_and_read_back(filled: Operator) -> None:
    status = filled.json("status", "--json")
    assert status["studies"] == _STUDIES
    assert status["backlog"] == status["lag"] == 0
    assert status["head"]["own_records"] == _STUDIES
    records = [orjson.loads(line) for line in filled.run("resolve", str(filled.folder), "--removed").splitlines()]
    assert len(records) == _STUDIES
    assert "COMPLETE" in filled.run("show", str(filled.folder))
    assert "no findings" in filled.run("verify", str(filled.folder))
    assert f"studies      {_STUDIES}" in filled.run("status")


def test_each_kind_of_inventory_is_produced_on_request(filled: Operator) -> None:
    assert filled.json("delta")["kind"] == "delta"
    assert filled.json("write", "--once")["kind"] == "delta"
    rollup = filled.json("rollup")
    assert (rollup["kind"], rollup["tier"], len(rollup["members"])) == ("rollup", 1, 2)
    baseline = filled.json("baseline")
    assert (baseline["kind"], baseline["own_records"], baseline["incorporated"]) == ("baseline", _STUDIES, [])
    assert filled.json("delta", "--force")["status"] == "PARTIAL"
    assert "no findings" in filled.run("verify", str(filled.folder))


def test_a_stand_alone_delta_holds_exactly_its_range_and_leaves_the_chain_alone(
    filled: Operator, tmp_path: Path
) -> None:
    head = filled.json("status", "--json")["head"]
    resolved = [orjson.loads(line) for line in filled.run("resolve", str(filled.folder), "--removed").splitlines()]
    times = sorted(record["0008041F"]["Value"][0] for record in resolved)
    begin, end = times[3], times[7]
    output = tmp_path / "range.dcm"
    summary = filled.json("delta", "--from", begin, "--to", end, "--output", str(output))
    assert summary["records"] == sum(begin <= time <= end for time in times)
    found = [orjson.loads(line) for line in filled.run("resolve", str(output), "--removed").splitlines()]
    assert {record["0008041F"]["Value"][0] for record in found} == {time for time in times if begin <= time <= end}
    assert "no findings" in filled.run("verify", str(output))
    assert filled.json("status", "--json")["head"] == head
    filled.run("delta", "--from", end, "--to", begin, "--output", str(output), expect=Exit.USAGE)
    filled.run("delta", "--from", begin, expect=Exit.USAGE)


def test_a_deliberate_replay_ends_in_the_same_state(filled: Operator) -> None:
    before = filled.run("resolve", str(filled.folder), "--removed")
    events = sum(partition["last_offset"] + 1 for partition in filled.json("status", "--json")["partitions"])
    done = filled.json("reset", "--to", "earliest", "--yes")
    assert done["shards_lowered"] > 0
    assert done["messages"] == events == sum(partition["messages"] for partition in done["partitions"])
    assert {partition["next_offset"] for partition in done["partitions"]} == {0}
    again = filled.json("status", "--json")
    assert again["lag"] == events
    assert any("applied again from offset 0" in hold["why"] for hold in again["held_back_by"])
    filled.run("consume", "--until-caught-up")
    filled.run("baseline")
    after = filled.run("resolve", str(filled.folder), "--removed")
    assert _without_item_times(after) == _without_item_times(before)
    assert filled.json("reset", "--to", "2100-01-01T00:00:00Z")["shards_lowered"] == 0
    filled.run("reset", "--to", "yesterday", expect=Exit.USAGE)


class Terminal(io.StringIO):
    """A stdin where somebody sits."""

    def isatty(self) -> bool:
        return True


def test_a_replay_is_told_first_and_not_begun_unless_somebody_agrees(
    filled: Operator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset", "--to", "earliest"]) == Exit.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "messages are read and applied again" in told.err
    assert told.err.endswith("nothing was changed; where nobody can be asked, say --yes\n")
    monkeypatch.setattr("sys.stdin", Terminal("\n"))
    filled.run("reset", "--to", "earliest", expect=Exit.INTERRUPTED)
    assert filled.json("status", "--json")["lag"] == 0
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert filled.json("reset", "--to", "earliest")["messages"] > 0


def test_a_running_consumer_goes_back_by_itself(filled: Operator) -> None:
    settings, stop = load(None, os.environ), Flag()
    before = filled.json("status", "--json")["counters"]["events_store"]
    consumer = Thread(target=consume, args=(settings, filled.repository, stop))
    consumer.start()
    try:
        assert wait_until(lambda: _counted(filled) == before, 30)  # it has joined; nothing is applied twice
        assert filled.json("reset", "--to", "earliest", "--yes")["messages"] > 0
        assert wait_until(lambda: _counted(filled) == 2 * before, 30)
        assert filled.json("status", "--json")["lag"] == 0
    finally:
        stop.set()
        consumer.join()


def _counted(operator: Operator) -> int:
    found: int = operator.json("status", "--json")["counters"]["events_store"]
    return found


def _without_item_times(ndjson: str) -> dict[str, Any]:
    records = {}
    for line in ndjson.splitlines():
        record = orjson.loads(line)
        del record["00080404"]
        records[record["0020000D"]["Value"][0]] = record
    return records


def test_nothing_is_produced_without_a_watermark(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", "--once"]) == Exit.FAULTS
    assert "no watermark" in capsys.readouterr().err


def test_resume_says_whether_consumers_were_stopped(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume"]) == Exit.DONE
    assert "were not stopped" in capsys.readouterr().err


@pytest.fixture
def service(filled: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The HTTP service in a thread; its address."""
    port = free_ports(1)[0]
    monkeypatch.setenv("STOCKTAKE_HTTP__LISTEN", f"127.0.0.1:{port}")
    stop = Flag()
    thread = Thread(target=serve, args=(load(None, os.environ), [filled.repository], stop))
    thread.start()
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: _get(address + "/healthz")[0] == 200, 20)
        yield address
    finally:
        stop.set()
        thread.join()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own address
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_the_service_tells_health_metrics_status_and_head(service: str, filled: Operator) -> None:
    assert _get(service + "/readyz")[0] == 200
    name = filled.repository
    assert orjson.loads(_get(service + "/api/v1/repositories")[1]) == {"items": [{"name": name}], "next": None}
    assert orjson.loads(_get(f"{service}/api/v1/repositories/{name}")[1])["studies"] == _STUDIES
    assert orjson.loads(_get(f"{service}/api/v1/repositories/{name}/head")[1])["kind"] == "baseline"
    assert _get(service + "/api/v1/repositories/nobody")[0] == 404


def test_the_service_gives_metrics_with_the_lag_of_every_partition(service: str, filled: Operator) -> None:
    of_this = ("repository", filled.repository)
    values = parse(_get(service + "/metrics")[1]).values
    assert values["stocktake_studies", (of_this,)] == _STUDIES
    assert values["stocktake_head_sequence", (of_this,)] == 1
    assert values["stocktake_batches_total", (of_this,)] > 0
    assert wait_until(lambda: "\nstocktake_lag_messages{" in _get(service + "/metrics")[1], 20)
    values = parse(_get(service + "/metrics")[1]).values
    assert [value for (name, _), value in values.items() if name == "stocktake_lag_messages"] == [0] * 4


def test_the_service_says_that_the_state_is_away(
    service: str, filled: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Status:
        raise StateUnreachable("Redis at a secret place cannot be reached")

    monkeypatch.setattr("stocktake.web.server.standing", away)
    code, text = _get(service + "/metrics")
    told = {name: value for (name, _), value in parse(text).values.items()}
    assert (code, told) == (200, {"stocktake_build_info": 1, "stocktake_state_up": 0})
    address = f"{service}/api/v1/repositories/{filled.repository}"
    assert _get(address) == (503, '{"detail":"the state cannot be reached"}')


def test_the_service_listens_on_loopback_only() -> None:
    settings = load(None, {"STOCKTAKE_HTTP__LISTEN": "0.0.0.0:8080"})
    with pytest.raises(SettingsError, match="loopback"):
        serve(settings, ["main"], Flag())


def test_run_embedded_serves_other_commands_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    data = tmp_path / "data"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
    environ["STOCKTAKE_HTTP__LISTEN"] = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-m", "stocktake", "run", "--embedded", "--data", str(data)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            config = data / "stocktake.toml"
            assert wait_until(config.exists, 30)
            events = b"".join(orjson.dumps(event) + b"\n" for event in simulate(3, 5, max_instances=5))
            publish = [sys.executable, "-m", "stocktake", "publish", "-", "--config", str(config)]
            subprocess.run(publish, env=environ, input=events, check=True, stdout=subprocess.DEVNULL)
            assert wait_until(lambda: _studies(config, environ) == 3, 60)
            assert wait_until((data / "inventories" / "main" / "head.json").exists, 60)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == Exit.DONE, errors
    assert time.monotonic() - begun < 20


def _studies(config: Path, environ: dict[str, str]) -> int:
    status = [sys.executable, "-m", "stocktake", "status", "--json", "--config", str(config)]
    found: int = orjson.loads(subprocess.run(status, env=environ, check=True, stdout=subprocess.PIPE).stdout)["studies"]
    return found


def test_the_demo_tells_its_stories_and_leaves_two_chains(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
    data = tmp_path / "demo"
    command = [sys.executable, "-m", "stocktake", "demo", "--data", str(data), "--studies", "20"]
    told = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    assert "equals the state, byte for byte" in told
    for words in ("1 missing at the target", "differs in AccessionNumber", "gate         MET: every condition"):
        assert words in told
    chains = {"main": ["baseline", "delta", "delta", "delta", "delta"], "vna": ["baseline"]}
    for repository, wanted in chains.items():
        manifests = (data / "inventories" / repository).rglob("2.25.*.json")
        assert sorted(orjson.loads(path.read_bytes())["kind"] for path in manifests) == wanted
