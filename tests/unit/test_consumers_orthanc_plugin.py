"""The script that runs inside Orthanc, with an Orthanc that is played: what its journal holds, whatever happens."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

DELETED, NEW_INSTANCE, STARTED, STOPPED = range(4)
STUDY_LEVEL, INSTANCE_LEVEL = 1, 3
NAME = "consumers.bridges.plugin.stocktake_orthanc"


def name(number: int) -> str:
    """An id as Orthanc writes it."""
    return "-".join([f"{number:08x}"] * 5)


class PlayedOrthanc(ModuleType):
    """The module that Orthanc lends to its scripts, and what Orthanc has: (study, series, instance) by id."""

    def __init__(self, folder: Path) -> None:
        super().__init__("orthanc")
        self.ChangeType = SimpleNamespace(
            DELETED=DELETED, NEW_INSTANCE=NEW_INSTANCE, ORTHANC_STARTED=STARTED, ORTHANC_STOPPED=STOPPED
        )
        self.ResourceType = SimpleNamespace(INSTANCE=INSTANCE_LEVEL, STUDY=STUDY_LEVEL)
        self.folder = folder
        self.configuration: dict[str, Any] = {"StorageDirectory": "storage"}
        self.property = ""
        self.has: dict[str, tuple[str, str, str]] = {}
        self.changes: list[dict[str, Any]] = []
        self.last = 0
        self.routes: dict[str, Any] = {}
        self.log: list[str] = []
        self.broken = False
        (folder / "storage").mkdir(exist_ok=True)

    def store(self, number: int, study: str = "1") -> str:
        """Store an instance, and say so in the changes."""
        self.has[name(number)] = (study, f"{study}.1", f"{study}.1.{number}")
        self.last += 1
        self.changes.append({"Seq": self.last, "ChangeType": "NewInstance", "ID": name(number)})
        return name(number)

    def remove(self, number: int) -> str:
        del self.has[name(number)]
        self.changes = [one for one in self.changes if one["ID"] != name(number)]
        return name(number)

    def GetConfiguration(self) -> str:
        return json.dumps(self.configuration)

    def GetConfigurationPath(self) -> str:
        return str(self.folder)

    def GetGlobalProperty(self, number: int, default: str) -> str:
        return self.property or default

    def SetGlobalProperty(self, number: int, value: str) -> None:
        self.property = value

    def LogWarning(self, text: str) -> None:
        self.log.append(text)

    LogError = LogWarning

    def RegisterOnChangeCallback(self, callback: Any) -> None:
        self.told = callback

    def RegisterRestCallback(self, route: str, callback: Any) -> None:
        self.routes[route] = callback

    def RestApiGet(self, uri: str) -> bytes:
        if self.broken:
            raise RuntimeError("stopped")
        if uri == "/instances":
            return json.dumps(list(self.has)).encode()
        if uri == "/changes?last":
            return json.dumps({"Last": self.changes[-1]["Seq"] if self.changes else 0}).encode()
        since, limit = (int(part.partition("=")[2]) for part in uri.partition("?")[2].split("&"))
        changes = [one for one in self.changes if one["Seq"] > since]
        return json.dumps({"Changes": changes[:limit], "Done": len(changes) <= limit}).encode()

    def RestApiPost(self, uri: str, body: str) -> bytes:
        if self.broken:
            raise RuntimeError("stopped")
        assert uri == "/tools/bulk-content"
        return json.dumps([found for one in json.loads(body)["Resources"] if (found := self._found(one))]).encode()

    def _found(self, resource: str) -> dict[str, Any] | None:
        if resource in self.has:
            study, series, uid = self.has[resource]
            return {"ID": resource, "MainDicomTags": {"0008,0018": uid}, "ParentSeries": id_of(series)}
        for study, series, _ in self.has.values():
            if resource == id_of(series):
                return {"ID": resource, "MainDicomTags": {"0020,000e": series}, "ParentStudy": id_of(study)}
            if resource == id_of(study):
                return {"ID": resource, "MainDicomTags": {"0020,000d": study}}
        return None


def id_of(uid: str) -> str:
    return name(0x10000 + int(uid.replace(".", "")))


class Machine:
    """Orthanc's folder, on which Orthanc and the script can be started again and again."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.orthanc = PlayedOrthanc(folder)
        self.patch = patch
        self.script: Any = None
        self.load()

    def load(self) -> None:
        """Load the script, as Orthanc does at its start."""
        self.patch.setitem(sys.modules, "orthanc", self.orthanc)
        sys.modules.pop(NAME, None)
        self.script = importlib.import_module(NAME)

    def start(self) -> None:
        """The script compares as it does in its thread, which is not started: a test calls what that would do."""
        keeper = self.script.keeper
        keeper._thread = SimpleNamespace(start=lambda: None, is_alive=lambda: False)
        self.orthanc.told(STARTED, 4, "")
        keeper._compare()
        keeper.ready = True

    def kill(self) -> None:
        """All that is only in memory is lost."""
        self.script.keeper._journal.close()

    def restart(self) -> None:
        self.kill()
        self.load()
        self.start()

    def work(self) -> None:
        self.script.keeper.work(0.0)

    def told(self) -> list[tuple[str, str, str]]:
        """The journal's UIDs, in its order."""
        rows = self.answer()["Deletions"]
        return [(one["StudyInstanceUID"], one["SeriesInstanceUID"], one["SOPInstanceUID"]) for one in rows]

    def answer(self, since: int = 0, limit: int = 100) -> Any:
        return self.script.keeper.answer(since, limit)

    def delete(self, number: int) -> None:
        self.orthanc.told(DELETED, INSTANCE_LEVEL, self.orthanc.remove(number))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, monkeypatch)
    made.start()
    yield made
    made.kill()
    sys.modules.pop(NAME, None)


def test_a_deletion_is_journaled_with_its_uids_and_its_time(machine: Machine) -> None:
    before = time.time()
    machine.orthanc.store(1)
    machine.work()
    machine.delete(1)
    machine.orthanc.told(DELETED, STUDY_LEVEL, id_of("1"))
    machine.work()
    answer = machine.answer()
    [one] = answer["Deletions"]
    assert (one["Seq"], one["ID"], answer["Done"], answer["Last"], answer["Ready"]) == (1, name(1), True, 1, True)
    assert machine.told() == [("1", "1.1", "1.1.1")]
    stamp = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))
    assert one["Time"].startswith(stamp[:13])
    assert one["Time"].endswith("+00:00")


def test_what_was_overwritten_is_not_journaled_and_its_deletion_later_is(machine: Machine) -> None:
    machine.orthanc.store(1)
    machine.work()
    machine.delete(1)
    machine.orthanc.store(1)
    machine.orthanc.told(NEW_INSTANCE, INSTANCE_LEVEL, name(1))
    machine.work()
    assert machine.told() == []
    machine.delete(1)
    machine.work()
    assert machine.told() == [("1", "1.1", "1.1.1")]


def test_what_went_while_the_script_was_away_is_journaled_at_the_start(machine: Machine) -> None:
    for number in range(5):
        machine.orthanc.store(number)
    machine.work()
    machine.delete(0)  # told, and not written down
    machine.orthanc.remove(1)
    machine.restart()
    assert sorted(machine.told()) == [("1", "1.1", "1.1.0"), ("1", "1.1", "1.1.1")]
    machine.restart()
    assert len(machine.told()) == 2


def test_what_was_there_before_the_script_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orthanc = PlayedOrthanc(tmp_path)
    for number in range(1000):
        orthanc.store(number, study=str(number % 7 + 1))
    orthanc.changes.clear()
    machine = Machine(tmp_path, monkeypatch)
    machine.orthanc = orthanc
    machine.load()
    machine.start()
    machine.delete(999)
    machine.work()
    assert len(machine.told()) == 1
    assert all(machine.told()[0])
    machine.kill()


def test_an_instance_that_nobody_knows_is_journaled_without_uids(machine: Machine) -> None:
    machine.orthanc.told(DELETED, INSTANCE_LEVEL, name(9))
    machine.work()
    assert machine.told() == [("", "", "")]
    assert machine.answer()["Deletions"][0]["ID"] == name(9)


def test_an_instance_that_went_twice_before_it_was_seen_again_has_its_uids(machine: Machine) -> None:
    machine.orthanc.store(1)
    machine.work()
    machine.delete(1)
    machine.orthanc.store(1)
    machine.delete(1)
    machine.work()
    machine.orthanc.told(DELETED, INSTANCE_LEVEL, name(1))
    machine.work()
    assert set(machine.told()) == {("1", "1.1", "1.1.1")}


def test_changes_says_up_to_where_deletions_can_be_told(machine: Machine) -> None:
    machine.orthanc.store(1)
    assert machine.answer()["Changes"] == 0
    machine.work()
    assert machine.answer()["Changes"] == 1


def test_until_is_before_every_deletion_that_is_not_journaled(machine: Machine) -> None:
    machine.orthanc.store(1)
    machine.work()
    machine.delete(1)
    until = machine.answer()["Until"]
    machine.work()
    [one] = machine.answer()["Deletions"]
    assert until == one["Time"]
    assert machine.answer()["Until"] > one["Time"]


def test_what_could_not_be_written_is_written_later(machine: Machine) -> None:
    machine.orthanc.store(1)
    machine.work()
    machine.delete(1)
    machine.orthanc.broken = True
    with pytest.raises(RuntimeError):
        machine.work()
    machine.orthanc.broken = False
    machine.work()
    assert machine.told() == [("1", "1.1", "1.1.1")]


def test_the_journal_is_paged_and_numbers_are_not_used_again(machine: Machine) -> None:
    for number in range(5):
        machine.orthanc.store(number)
    machine.work()
    for number in range(5):
        machine.delete(number)
    machine.work()
    page = machine.answer(1, 2)
    assert ([one["Seq"] for one in page["Deletions"]], page["Done"], page["Last"]) == ([2, 3], False, 3)
    machine.script.keeper._journal.trim(machine.script.now() + 1)
    page = machine.answer()
    assert (page["Deletions"], page["Trimmed"], page["Last"]) == ([], 5, 5)
    machine.orthanc.store(9)
    machine.work()
    machine.delete(9)
    machine.work()
    assert machine.answer()["Deletions"][0]["Seq"] == 6


def test_another_database_and_another_journal_have_other_names(machine: Machine, tmp_path: Path) -> None:
    before = machine.answer()
    machine.restart()
    again = machine.answer()
    assert (again["Database"], again["Journal"]) == (before["Database"], before["Journal"])
    machine.orthanc.property = ""
    machine.restart()
    after = machine.answer()
    assert after["Database"] not in ("", before["Database"])
    assert after["Journal"] == before["Journal"]
    machine.kill()
    for file in (tmp_path / "storage").iterdir():
        file.unlink()
    machine.load()
    machine.start()
    assert machine.answer()["Journal"] != before["Journal"]


def test_the_journal_is_where_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.kill()
    machine.orthanc.configuration["Stocktake"] = {"JournalPath": "own.db", "KeepDays": 3}
    machine.load()
    machine.kill()
    assert (tmp_path / "own.db").exists()
    assert machine.script.settings() == (str(tmp_path / "own.db"), 3)


def test_a_journal_that_cannot_be_kept_is_told_of_and_orthanc_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc = PlayedOrthanc(tmp_path)
    orthanc.configuration["Stocktake"] = {"JournalPath": "no/such/folder/own.db"}
    monkeypatch.setitem(sys.modules, "orthanc", orthanc)
    sys.modules.pop(NAME, None)
    script = importlib.import_module(NAME)
    assert "NO JOURNAL" in orthanc.log[0]
    assert orthanc.routes == {}
    script.on_change(DELETED, INSTANCE_LEVEL, name(1))
    sys.modules.pop(NAME, None)


def test_the_thread_journals_by_itself_and_ends_with_orthanc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.orthanc.store(1)
    machine.orthanc.told(STARTED, 4, "")
    deadline = time.monotonic() + 10
    while not machine.answer()["Ready"]:
        assert time.monotonic() < deadline
    machine.delete(1)
    machine.orthanc.told(STOPPED, 4, "")
    assert machine.told() == [("1", "1.1", "1.1.1")]
    machine.kill()


def test_the_file_survives_what_was_not_closed(machine: Machine, tmp_path: Path) -> None:
    machine.orthanc.store(1)
    machine.work()
    with closing(sqlite3.connect(tmp_path / "storage" / "stocktake-journal.db")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT uid FROM instance").fetchall() == [("1.1.1",)]
