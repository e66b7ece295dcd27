"""A chain of inventories made by hand, its oracle, and writers that die between two steps of it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from state.attributes import Level
from state.times import MICROSECONDS, to_iso
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, CT
from tests.oracle.events import Json
from tests.oracle.journal import Journal
from writers.manifest import Manifest
from writers.produce import Producer
from writers.verify import verify


class Chain:
    """A deployment whose events are applied by hand, second by second of the archive's clock, and their journal."""

    def __init__(self, folder: Path, redis_url: str, repository: str, **given: str) -> None:
        self.deployment = Deployment(folder, redis_url, repository, **given)
        self.journal = Journal(Level.INSTANCE)
        self.second = 0
        self._offset = 0

    def store(self, *studies: int, at: int | None = None) -> None:
        """One more instance of each study; ``at``: its second, if it is not the present one."""
        self.second += 1
        self.deployment.clock.now = BEGIN + self.second * MICROSECONDS
        events = [ct(study, self.second, self.second if at is None else at) for study in studies]
        for number, event in enumerate(events):
            self.journal.add(event, self.deployment.clock.now, 0, self._offset + number)
        self._offset = self.deployment.apply([(event, self.deployment.clock.now) for event in events], self._offset)

    def produce(self, kind: str = "next", *, force: bool = False) -> Manifest:
        return self.check(self.deployment.produce(kind, force=force))

    def check(self, manifest: Manifest) -> Manifest:
        """The inventory shows the state, and it and all below it break no rule."""
        path = self.deployment.path(manifest)
        self.journal.start = manifest.scope_begin
        self.journal.check_present(path)
        assert [finding for finding in verify(path) if finding.severity == "error"] == []
        return manifest

    def files(self) -> set[str]:
        """Everything below the folder, as paths relative to it."""
        folder = self.deployment.folder
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def check_no_orphans(self, head: Manifest) -> None:
        """Only the head's chain, and what it once replaced, is there: nothing temporary, nothing unpublished."""
        names = {path.removesuffix(".dcm") for path in self.files() if path.endswith(".dcm")}
        assert self.files() == {f"{name}.dcm" for name in names} | {f"{name}.json" for name in names} | {"head.json"}
        roots = [name for name in names if self.manifest(name).kind != "part"]
        assert len(roots) == head.sequence
        parts = {file for name in roots for file in self.manifest(name).members[-1].parts}
        assert names - {*roots} == {file.removesuffix(".dcm") for file in parts}

    def manifest(self, name: str) -> Manifest:
        """The one beside a file, by its path without suffix."""
        return Manifest.from_json(orjson.loads((self.deployment.folder / f"{name}.json").read_bytes()))


def ct(study: int, instance: int, second: int) -> Json:
    """The store of an instance at a second of the archive's clock."""
    values = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.{instance}"}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (values | {"00080016": CT}).items()}
    return {"action": "store", "time": to_iso(BEGIN + second * MICROSECONDS), "dataset": dataset}


class Died(Exception):
    """What stands for kill -9 in a producer: nothing of it runs after."""


# The method that begins the step after the one that the writer still did (the steps of writers/produce.py).
STEPS = {
    1: (Producer, "_moment"),
    2: (Producer, "_plan"),
    3: (Producer, "_cut"),
    4: (Producer, "_read_whole_slice"),
    6: (Producer, "_assemble"),
    7: ("folder", "publish"),
    8: (Producer, "_move_head"),
    9: ("folder", "write_head"),
    10: (Producer, "_settle"),
    11: (Producer, "_forget"),
}


def die_after(step: int, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the producer die when it has done that step; its lease expires."""

    def die(*args: object, **given: object) -> None:
        raise Died

    owner, name = STEPS[step]
    target: object = producer.folder if owner == "folder" else producer
    if step == 9:
        # head.json is also written when a writer begins; it dies at the one after the head was moved.
        written = producer.folder.write_head

        def second(manifest: Manifest) -> None:
            if producer.folder.head() is None or manifest.sequence > producer.folder.head().sequence:  # type: ignore[union-attr]
                raise Died
            written(manifest)

        monkeypatch.setattr(producer.folder, "write_head", second)
    else:
        monkeypatch.setattr(target, name, die)
    with pytest.raises(Died):
        producer.produce()
    monkeypatch.undo()
