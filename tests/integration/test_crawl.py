"""`stocktake crawl`, `enrich` and `bridge dicomweb` as an operator uses them, on an archive of DICOMweb in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import pytest

from consumers.crawl import POSITION
from state.positions import Positions
from stocktake import cli
from stocktake.archives import enrich
from stocktake.exits import Exit
from stocktake.roles import consume
from tests.harness import Deployment, wait_for
from tests.servers.fake_dicomweb import FakeArchive, instance, run_archive
from tests.soak.program import Program, program, settings_file

Deploy = Callable[..., Deployment]


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with run_archive(FakeArchive()) as archive:
        for number in range(1, 13):
            uid = f"1.2.{number}"
            archive.add(*(instance(uid, f"{uid}.1", f"{uid}.1.{one}", f"202405{number:02}") for one in (1, 2)))
        yield archive


@pytest.fixture
def deployment(deploy: Deploy, archive: FakeArchive, repository: str) -> Deployment:
    name = f"ARCHIVES__{repository.upper()}__"
    given = {"URL": archive.url, "QUIET": "0", "REQUESTS_PER_SECOND": "1000", "TRIES": "2", "ABSENT": "remove"}
    deployment = deploy(**{name + key: value for key, value in given.items()})
    deployment.clock.now = deployment.opened.connection.now()
    return deployment


@contextlib.contextmanager
def following(deployment: Deployment) -> Iterator[None]:
    """Consumer and enricher, each in a thread."""
    stop = Event()
    threads = [Thread(target=role, args=(deployment.settings, deployment.name, stop)) for role in (consume, enrich)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def run(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs a command; its JSON lines if it ended as it should."""
    settings = settings_file(tmp_path, deployment)
    monkeypatch.setattr("stocktake.commands.crawl.stop_on_signals", Event)

    def run(*words: str, code: int = Exit.DONE) -> list[dict[str, Any]]:
        capsys.readouterr()
        ended = cli.main([*words, "--config", str(settings)])
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return [orjson.loads(line) for line in captured.out.splitlines()]

    return run


def live(deployment: Deployment) -> set[str]:
    studies = deployment.opened.studies
    uids = [uid for shard in range(studies.shards) for uid in studies.updated(shard, None, None)]
    return {record.study_instance_uid for record, _ in studies.read(uids) if not record.is_removed}


def test_a_crawl_finds_every_study_and_the_state_is_whole_then(deployment: Deployment, run: Any) -> None:
    with following(deployment):
        [summary] = run("crawl", "--chunk", "5")
    assert summary == {"repository": deployment.name, "listed": 12, "given_up": 0, "whole": True}
    assert live(deployment) == {f"1.2.{number}" for number in range(1, 13)}
    assert deployment.opened.repository.is_whole()
    assert deployment.produce().scope_begin is None


def test_a_crawl_with_a_study_that_cannot_be_looked_up_says_so_and_claims_nothing(
    deployment: Deployment, archive: FakeArchive, run: Any
) -> None:
    archive.answers["studies/1.2.7/metadata"] = (400, b"", "text/plain")
    archive.answers["studies/1.2.7/series"] = (400, b"", "text/plain")
    archive.answers["studies/1.2.7/instances"] = (400, b"", "text/plain")
    with following(deployment):
        [summary] = run("crawl", code=Exit.FAULTS)
        assert (summary["given_up"], summary["whole"]) == (1, False)
        assert not deployment.opened.repository.is_whole()
        [row] = run("enrich", "--list")
        assert (row["owed"], row["tries"]) == ("1.2.7", 2)
        assert "400" in row["error"]
        archive.answers.clear()
        assert run("enrich", "--again") == [{"repository": deployment.name, "tried_again": 1}]
        wait_for(lambda: "1.2.7" in live(deployment), "the last study")
        wait_for(lambda: not deployment.opened.debts.count(), "nothing is owed")


def test_a_crawl_goes_on_where_it_was_and_waits_when_it_is_asked_to(
    deployment: Deployment, archive: FakeArchive, run: Any, tmp_path: Path
) -> None:
    positions = Positions(deployment.opened.connection, deployment.name)
    crawl: Program = program("crawl", settings_file(tmp_path, deployment), tmp_path, "crawl", "--chunk", "2")
    try:
        crawl.start()
        wait_for(lambda: (positions.read(POSITION) or {}).get("listed", 0) >= 4, "two chunks; nobody looks yet")
        assert positions.read(POSITION)["finished"] is False  # type: ignore[index]
        run("crawl", "--pause")
        crawl.kill()
        archive.requests.clear()
        crawl.start()  # that lets it go on
        with following(deployment):
            wait_for(lambda: crawl.exit_code is not None, "the end")
        assert crawl.exit_code == 0, crawl.last_words()
    finally:
        crawl.kill()
    assert len(live(deployment)) == 12
    assert not any("StudyDate=19000101" in request for request in archive.requests), "it began anew"
    run("crawl", "--pause", code=Exit.USAGE)


def test_what_the_archive_does_not_list_any_more_is_found_when_it_is_asked_for(
    deployment: Deployment, archive: FakeArchive, run: Any
) -> None:
    with following(deployment):
        run("crawl")
        archive.remove("1.2.3")
        archive.remove("1.2.9")
        assert run("crawl", "--absent") == [{"repository": deployment.name, "listed": 10, "not_listed": 2}]
        wait_for(lambda: len(live(deployment)) == 10, "two are removed")


def test_a_crawl_of_another_archive_does_not_go_on_with_that_of_this_one(deployment: Deployment, run: Any) -> None:
    positions = Positions(deployment.opened.connection, deployment.name)
    positions.write(POSITION, {"archive": "http://elsewhere", "following": "x", "listed": 5})
    run("crawl", code=Exit.USAGE)


def test_the_bridge_for_dicomweb_follows_what_is_stored_and_removed(
    deployment: Deployment, archive: FakeArchive, tmp_path: Path
) -> None:
    follow = ("bridge", "dicomweb", "--poll", "200ms", "--heartbeat", "200ms", "--window", "36500")
    bridge = program("bridge", settings_file(tmp_path, deployment), tmp_path, *follow)
    try:
        bridge.start()
        with following(deployment):
            wait_for(lambda: len(live(deployment)) == 12, "all studies")
            archive.add(instance("1.3.1", "1.3.1.1", "1.3.1.1.1", "20240520"))
            archive.remove("1.2.5")
            bridge.kill()
            archive.remove("1.2.6")
            bridge.start()
            expected = {f"1.2.{number}" for number in range(1, 13) if number not in (5, 6)} | {"1.3.1"}
            wait_for(lambda: live(deployment) == expected, "what the archive has")
        assert bridge.end() is None
    finally:
        bridge.kill()


def test_an_enricher_without_an_archive_says_which_setting_is_missing(
    deploy: Deploy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = deploy()
    assert cli.main(["enrich", "--config", str(settings_file(tmp_path, deployment))]) == Exit.USAGE
    assert f"archives.{deployment.name}.url is missing" in capsys.readouterr().err
